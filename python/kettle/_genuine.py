"""The standard library's own modules, whatever a program has put in their place in `sys.modules`.

Tests put stubs there, or None for a module that should be missing, and programs have modules of the same names. They
get what they put there. This package gets the modules that it is built on.
"""

from __future__ import annotations

import os
import sys
import types
from importlib import _bootstrap

from kettle import _frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["MISSING", "SetRight", "find", "forget", "is_genuine", "is_loading", "is_of_library", "known"]

# What `importlib.import_module` calls. Nuitka compiles a use of that name as a look-up at each call, which finds the
# function that `kettle.install()` puts there.
_import_module: Any = _bootstrap._gcd_import  # type: ignore[attr-defined]

#: Marks a missing entry in `sys.modules`; None is an entry.
MISSING: Any = object()

_HOME = os.path.dirname(types.__file__)
_known: dict[str, ModuleType] = {}
#: The names of the modules that `_load` is running.
_loading: list[dict[str, Any]] = []


def is_genuine(name: str, module: object) -> bool:
    """Returns whether `module` is the standard library's module `name`, or a newly imported copy of it."""
    spec = getattr(module, "__spec__", None) if issubclass(type(module), type(sys)) else None
    return spec is not None and spec.name == name and is_of_library(spec)


def is_of_library(spec: ModuleSpec | None) -> bool:
    """Returns whether `spec` describes a module of the standard library."""
    if spec is not None and _frozen.IS_FROZEN:
        # There is one module per name, whatever the freezer makes of file locations.
        return spec.loader is not None and spec.name.partition(".")[0] in sys.stdlib_module_names
    origin = getattr(spec, "origin", None)
    if spec is None or not isinstance(origin, str) or not origin.startswith(_HOME + os.sep):
        return False
    # Other packages may be in a folder there.
    place = origin[len(_HOME) + 1 :].partition(os.sep)[0]
    return place.partition(".")[0] == spec.name.partition(".")[0]


def is_loading(namespace: object) -> bool:
    """Returns whether this is the namespace of a module that `_load` is running."""
    return any(namespace is each for each in _loading)


def find(name: str) -> ModuleType:
    """Returns the standard library's module `name`, importing it if necessary. The native module uses this for the
    classes that it raises."""
    top, _, rest = name.partition(".")
    module = _find(top)
    for part in rest.split(".") if rest else ():
        module = getattr(module, part)
    return module


def _find(name: str) -> ModuleType:
    module = known(name)
    if module is not None:
        return module
    entry = sys.modules.get(name, MISSING)
    if entry is MISSING or is_genuine(name, entry):
        module = _import_module(name)
        if is_genuine(name, module):  # and the program has no module with that name
            return known(name) or module
    return _known.setdefault(name, _load(name))


def known(name: str) -> ModuleType | None:
    """Returns the same module if it was found before, or is in its place now. `name` has no dots."""
    if name not in _known:
        entry: Any = sys.modules.get(name)
        # If another thread is importing the module, the import system must wait for it.
        if is_genuine(name, entry) and not getattr(entry.__spec__, "_initializing", False):
            _known[name] = entry
    return _known.get(name)


def forget(name: str) -> None:
    """Forgets all modules that were found."""
    _known.pop(name, None)


def _load(name: str) -> ModuleType:
    """Returns a copy of the standard library's module `name`, which has no dots. While it is loaded it is in its place
    in `sys.modules`; afterwards the previous entry is restored."""
    from importlib.util import module_from_spec

    spec = _frozen.find_spec(name, None if _frozen.IS_FROZEN else [_HOME])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"the standard library has no module {name!r}", name=name)
    module = module_from_spec(spec)
    with SetRight([name], lambda _: module):
        _loading.append(vars(module))
        try:
            spec.loader.exec_module(module)
        finally:
            _loading.remove(vars(module))
    return module


class SetRight:
    """In this context the modules returned by `genuine(name)` are in the places of `names`; for MISSING the entry is
    removed. Afterwards the previous entries are restored."""

    def __init__(self, names: Iterable[str], genuine: Any) -> None:
        self._right = {name: genuine(name) for name in names}
        self._before: dict[str, Any] = {}

    def __enter__(self) -> None:
        self._before = _put(self._right)

    def __exit__(self, *_: object) -> None:
        _put(self._before)


def _put(entries: dict[str, Any]) -> dict[str, Any]:
    """Sets these entries of `sys.modules`, and returns the previous ones."""
    before = {name: sys.modules.get(name, MISSING) for name in entries}
    for name, module in entries.items():
        if module is MISSING:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module
    return before
