"""Patches modules of the standard library right after they are imported, so that nothing is imported for it."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    Mend = Callable[[Any], None]

__all__ = ["mend_when_imported", "no_longer"]

_menders: dict[str, list[Mend]] = {}


def mend_when_imported(name: str, mend: Mend) -> None:
    """Calls `mend` with the module: now if it is loaded, otherwise when it is."""
    menders = _menders.setdefault(name, [])
    if mend in menders:
        return
    menders.append(mend)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    if name in sys.modules:
        mend(sys.modules[name])


def no_longer(name: str, mend: Mend) -> None:
    """Reverts `mend_when_imported`. What `mend` has changed already is left to the caller."""
    if mend in _menders.get(name, []):
        _menders[name].remove(mend)
    if not any(_menders.values()) and _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


class _Finder:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if _menders.get(name) else None
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_mend(module: ModuleType) -> None:
            load(module)
            for mend in list(_menders.get(name, ())):
                mend(module)

        spec.loader.exec_module = load_and_mend  # type: ignore[method-assign]
        return spec


_finder: Any = _Finder()
