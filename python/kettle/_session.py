"""What processes need of this interpreter in addition to `kettle._core`: the pickler's registry, and the order of
actions at exit.

Every module of primitives that processes share imports the core from here (`from kettle._session import native`). This
module is imported with the first process or primitive, like the standard library's `util`, and not with
`multiprocessing` itself. Handlers that a program has registered with `atexit` before that therefore run after its
children were joined, as in the standard library.
"""

from __future__ import annotations

import atexit
import copyreg
import pickle
import sys
from multiprocessing import context, reduction, util
from types import ModuleType

from kettle import _frozen
from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

__all__ = ["ForkingPickler", "Mirror", "fallback_dumps", "look_for_pickler", "native", "reducers"]

#: The standard library's own module, whatever the program has put in its place.
ForkingPickler: Any = getattr(reduction.register, "__self__", None) or reduction.ForkingPickler
reducers: dict[type, Any] = ForkingPickler._extra_reducers


def fallback_dumps(obj: object) -> bytes:
    """Pickles by value what the standard pickler cannot find by name (a lambda, a function defined in a notebook)."""
    from kettle import _by_value

    return _by_value.dumps(obj)


def look_for_pickler() -> None:
    """Has everything go through what the program put in the place of `ForkingPickler`, or of methods of that. It is
    noticed when it is put there; for methods, and a context's own `reducer`, when something is made that sends."""
    for name in _SENDERS:
        module = sys.modules.get(name)
        if type(module) is ModuleType:
            _watch(module)
    is_replaced = context.reduction.ForkingPickler is not ForkingPickler or _is_patched()  # type: ignore[attr-defined]
    if is_replaced or _Watched.own or _Watched.is_replaced:
        ways = [_way(name, is_replaced) for name in _SENDERS]
        native.replace_picklers(*ways)
        _Watched.is_replaced = any(ways)


#: The modules of the standard library that send, each with a name for the pickler that it uses.
_SENDERS = ("multiprocessing.queues", "multiprocessing.connection")


def _watch(module: ModuleType) -> None:
    """Has the module tell when another pickler is put there, and notes the one that it has already."""
    # It has none yet while another thread imports it.
    pickler = getattr(module, "_ForkingPickler", ForkingPickler)
    if pickler not in (ForkingPickler, context.reduction.ForkingPickler):  # type: ignore[attr-defined]
        _Watched.own[module.__name__] = pickler
    module.__class__ = _Sender


def _way(name: str, is_replaced: bool) -> Any:
    """Returns what this module has in the place of pickle; None if nothing."""
    own = _Watched.own.get(name)
    if own is None and not is_replaced:
        return None
    from kettle import _own_pickler

    return _own_pickler.functions(own)


def _is_patched() -> bool:
    dumps = getattr(vars(ForkingPickler).get("dumps"), "__func__", None)
    is_standard = getattr(dumps, "__globals__", None) is vars(reduction)
    return not is_standard or vars(ForkingPickler).get("loads") is not pickle.loads


class _Watched(ModuleType):
    """A module of the standard library, which tells when another pickler is put there."""

    is_replaced = False
    own: ClassVar[dict[str, Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        from importlib import import_module

        # cloudpickle and dill, which can send modules, check for exactly that type.
        return import_module, (self.__name__,)


class _Reduction(_Watched):
    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "ForkingPickler":
            look_for_pickler()


class _Sender(_Watched):
    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "_ForkingPickler":
            _Watched.own[self.__name__] = None if value is ForkingPickler else value
            look_for_pickler()


class Mirror(_Watched):
    """A module of this package whose pickler is the standard library's module's."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "_ForkingPickler":
            setattr(self._standard, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name == "_ForkingPickler":
            # As `unittest.mock` does when it takes back what it has put there.
            setattr(self._standard, name, ForkingPickler)
        else:
            super().__delattr__(name)


# What `ForkingPickler` would consult: registering a reducer there counts here.
native.set_pickler(reducers, copyreg.dispatch_table, fallback_dumps)
reduction.__class__ = _Reduction
look_for_pickler()
# As if `util` had been imported just now, because `atexit` runs backwards.
atexit.unregister(util._exit_function)  # type: ignore[attr-defined]
atexit.register(util._exit_function)  # type: ignore[attr-defined]

if _frozen.IS_FROZEN:
    # The child joins the parent's session there, before one of its own can begin.
    import kettle.multiprocessing.spawn  # noqa: F401
