"""The standard library's own modules, whatever a program has put into their places in `sys.modules`.

Tests put stubs there, or None for a module that is to be missing, and programs have modules of the same names. They get
what they have put there. This package gets what it is built on.
"""

from __future__ import annotations

import os
import sys
import types
from importlib import import_module

from kettle import _frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["MISSING", "SetRight", "find", "forget", "is_genuine", "is_loading", "is_of_library", "known"]

#: What has no entry in `sys.modules`; None is an entry.
MISSING: Any = object()

_HOME = os.path.dirname(types.__file__)
_known: dict[str, ModuleType] = {}
#: The names of the modules that `_load` runs.
_loading: list[dict[str, Any]] = []


def is_genuine(name: str, module: object) -> bool:
    """Whether `module` is the standard library's module `name`, or a copy of it that was imported anew."""
    spec = getattr(module, "__spec__", None) if issubclass(type(module), type(sys)) else None
    return spec is not None and spec.name == name and is_of_library(spec)


def is_of_library(spec: ModuleSpec | None) -> bool:
    """Whether this describes a module of the standard library."""
    if spec is not None and _frozen.IS_FROZEN:
        # There is one module of a name, whatever the freezer makes of the places where they lay.
        return spec.loader is not None and spec.name.partition(".")[0] in sys.stdlib_module_names
    origin = getattr(spec, "origin", None)
    if spec is None or not isinstance(origin, str) or not origin.startswith(_HOME + os.sep):
        return False
    # Other packages may be in a folder there.
    place = origin[len(_HOME) + 1 :].partition(os.sep)[0]
    return place.partition(".")[0] == spec.name.partition(".")[0]


def is_loading(namespace: object) -> bool:
    """Whether this is the namespace of a module that `_load` runs."""
    return any(namespace is each for each in _loading)


def find(name: str) -> ModuleType:
    """The standard library's module `name`. It is imported if that is still to be done. The native module asks here for
    the classes that it raises."""
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
        module = import_module(name)
        if is_genuine(name, module):  # and no module of the program's with that name
            return known(name) or module
    return _known.setdefault(name, _load(name))


def known(name: str) -> ModuleType | None:
    """The same, if it was found before or stands in its place now. `name` has no dots."""
    if name not in _known:
        entry: Any = sys.modules.get(name)
        # What another thread is about to import must be waited for, by the import system.
        if is_genuine(name, entry) and not getattr(entry.__spec__, "_initializing", False):
            _known[name] = entry
    return _known.get(name)


def forget(name: str) -> None:
    """What has been found is not meant any more."""
    _known.pop(name, None)


def _load(name: str) -> ModuleType:
    """A copy of the standard library's module `name`, which has no dots. While it is loaded it stands in its place in
    `sys.modules`, and then what stood there before."""
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
    """For a while, what `genuine(name)` says stands in the places of `names`; if that is MISSING, nothing does. Then
    what stood there comes back."""

    def __init__(self, names: Iterable[str], genuine: Any) -> None:
        self._right = {name: genuine(name) for name in names}
        self._before: dict[str, Any] = {}

    def __enter__(self) -> None:
        self._before = _put(self._right)

    def __exit__(self, *_: object) -> None:
        _put(self._before)


def _put(entries: dict[str, Any]) -> dict[str, Any]:
    """Makes these the entries of `sys.modules`, and gives those that were there."""
    before = {name: sys.modules.get(name, MISSING) for name in entries}
    for name, module in entries.items():
        if module is MISSING:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module
    return before
