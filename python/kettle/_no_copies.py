"""Objects that cloudpickle copies, although a copy is not what is meant: the standard pickler refuses them."""

from __future__ import annotations

import io
import sys

__all__ = ["refuse"]


def refuse(obj: object) -> None:
    """Raises the standard pickler's TypeError for an open file and for a view of memory.

    cloudpickle would send the contents of a file: what the receiver writes would be lost, and what it reads might be
    old. The standard streams mean those of the receiver. Instead of a view, which is often one of shared memory, the
    receiver would get bytes.

    Views of a dict are copied, too, but are only read, and the copy is equal.
    """
    if type(obj) is memoryview:
        raise TypeError("cannot pickle memoryview objects")
    if type(obj) is io.TextIOWrapper and obj is not sys.stdout and obj is not sys.stderr:
        raise TypeError("cannot pickle '_io.TextIOWrapper' object")
