"""The extension module, or an error that says how to get it. The package can exist without it: in a Python for which it
was not built, in a source tree, in an archive."""

from __future__ import annotations

import os
import sys

__all__ = ["native"]


def _advice(error: ImportError) -> str:
    home = os.path.dirname(os.path.abspath(__file__))
    cure = "install kettle for this Python (pip install kettle), or run `make build` in its source tree"
    try:
        built = [
            name.split(".")[1] for name in os.listdir(home) if name.startswith("_native.") and name.endswith(".so")
        ]
    except OSError:
        built = []
        if not os.path.isdir(home):
            cure = (
                "no extension module can be loaded from an archive: unpack it, or install kettle (pip install kettle)"
            )
    reason = str(error)
    if "cannot import name" in reason:  # there is no file for this interpreter
        others = f", only for {', '.join(sorted(built))}" if built else ""
        reason = f"it is not in {home}{others}"
    return f"kettle's extension module does not load in this Python ({sys.executable}): {reason}; {cure}"


try:
    from kettle import _native as native
except ImportError as error:
    if "subinterpreters" in str(error):
        raise
    raise ImportError(_advice(error), name="kettle._native") from None
