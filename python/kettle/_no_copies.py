"""Objects that cloudpickle copies, although a copy is not what was meant: the standard pickler refuses them."""

from __future__ import annotations

import io
import sys

__all__ = ["refuse"]


def refuse(obj: object) -> None:
    """Raises the standard pickler's TypeError for an open file.

    cloudpickle would send its contents: what the receiver writes would be lost, and what it reads might be old. The
    standard streams mean those of the receiver.
    """
    if type(obj) is io.TextIOWrapper and obj is not sys.stdout and obj is not sys.stderr:
        raise TypeError("cannot pickle '_io.TextIOWrapper' object")
