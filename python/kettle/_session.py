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
from multiprocessing import context, reduction, util
from types import ModuleType

from kettle import _frozen
from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ForkingPickler", "fallback_dumps", "look_for_pickler", "native", "reducers"]

#: The standard library's own module, whatever the program has put in its place.
ForkingPickler: Any = getattr(reduction.register, "__self__", None) or reduction.ForkingPickler
reducers: dict[type, Any] = ForkingPickler._extra_reducers


def fallback_dumps(obj: object) -> bytes:
    """Pickles by value what the standard pickler cannot find by name (a lambda, a function defined in a notebook)."""
    from kettle import _by_value

    return _by_value.dumps(obj)


def look_for_pickler() -> None:
    """Makes everything use what the program substituted for `ForkingPickler`, or for its methods. A substitution of
    the class is noticed when it is made; for methods, and a context's own `reducer`, when an object that sends is
    created."""
    own = context.reduction.ForkingPickler is not ForkingPickler or _is_patched()  # type: ignore[attr-defined]
    if own:
        from kettle import _own_pickler

        native.replace_pickler((_own_pickler.dumps, _own_pickler.loads))
    elif _Reduction.is_replaced:
        native.replace_pickler(None)
    _Reduction.is_replaced = own


def _is_patched() -> bool:
    dumps = getattr(vars(ForkingPickler).get("dumps"), "__func__", None)
    is_standard = getattr(dumps, "__globals__", None) is vars(reduction)
    return not is_standard or vars(ForkingPickler).get("loads") is not pickle.loads


class _Reduction(ModuleType):
    """`multiprocessing.reduction`, which notices when another pickler is set."""

    is_replaced = False

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "ForkingPickler":
            look_for_pickler()

    def __reduce__(self) -> tuple[Any, ...]:
        from importlib import import_module

        # cloudpickle and dill, which can send modules, check for exactly that type.
        return import_module, (self.__name__,)


# The registry that `ForkingPickler` consults: registering a reducer there takes effect here.
native.set_pickler(reducers, copyreg.dispatch_table, fallback_dumps)
reduction.__class__ = _Reduction
look_for_pickler()
# As if `util` had been imported just now, because `atexit` runs backwards.
atexit.unregister(util._exit_function)  # type: ignore[attr-defined]
atexit.register(util._exit_function)  # type: ignore[attr-defined]

if _frozen.IS_FROZEN:
    # The child joins the parent's session there, before one of its own can begin.
    import kettle.multiprocessing.spawn  # noqa: F401
