"""Programs that were frozen, by PyInstaller, cx_Freeze or Nuitka: one executable with the interpreter, the library and
the program in it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

__all__ = ["IS_COMPILED", "IS_FROZEN", "find_spec"]

#: By Nuitka, which puts this name into each module.
IS_COMPILED = "__compiled__" in globals()
IS_FROZEN = IS_COMPILED or bool(getattr(sys, "frozen", False))


def find_spec(name: str, path: Any = None) -> ModuleSpec | None:
    """How a module is found in `path`. A frozen one may lie in no folder, and be known to a finder of the freezer's."""
    if not IS_FROZEN:
        from importlib.machinery import PathFinder  # not with every module that asks whether it is frozen

        return PathFinder.find_spec(name, path)
    for finder in sys.meta_path:
        if type(finder).__module__.partition(".")[0] != "kettle":  # those only add to what the others find
            spec = finder.find_spec(name, path)
            if spec is not None:
                return spec
    return None
