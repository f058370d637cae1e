"""Programs frozen by PyInstaller, cx_Freeze or Nuitka: one executable that contains the interpreter, the library and
the program."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

__all__ = ["IS_COMPILED", "IS_FROZEN", "find_spec"]

#: Set by Nuitka in each module.
IS_COMPILED = "__compiled__" in globals()
IS_FROZEN = IS_COMPILED or bool(getattr(sys, "frozen", False))


def find_spec(name: str, path: Any = None) -> ModuleSpec | None:
    """Finds a module in `path`. A frozen module may be in no folder, and be known only to the freezer's finder."""
    if not IS_FROZEN:
        from importlib.machinery import PathFinder  # not imported by every module that checks whether it is frozen

        return PathFinder.find_spec(name, path)
    for finder in sys.meta_path:
        if type(finder).__module__.partition(".")[0] != "kettle":  # Kettle's own finders extend what the others find
            spec = finder.find_spec(name, path)
            if spec is not None:
                return spec
    return None
