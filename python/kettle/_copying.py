"""What `copy` and dill get from the locks and queues between threads.

Pickle refuses those of the standard library, since each contains a lock of the interpreter's. `copy.copy` creates
another object with the same parts. And dill, which can send the interpreter's locks, sends a copy of everything.
Kettle's have no such parts, so the result depends on the caller. No protocol of `__reduce_ex__` names the caller, but
it is a function of `copy`, or a method of a pickler of dill's.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Copied"]


class Copied:
    """A base class for objects that describe themselves by these methods."""

    #: The name of its counterpart between processes.
    _kettle_sibling = "kettle.multiprocessing"

    def _kettle_facts(self) -> Any:
        """For dill: returns the object's state, without its connections to other objects."""
        return None

    def _kettle_fill(self, facts: Any) -> None:
        """Initializes an uninitialized object with such a state."""

    def _kettle_share(self, original: Any) -> None:
        """Makes an uninitialized object a copy of `original`, with the same parts. An object for which this raises
        TypeError cannot be copied."""
        raise _refusal(original)

    def __reduce_ex__(self, protocol: Any) -> Any:
        kind = type(self)
        if kind.__reduce__ is not object.__reduce__:
            return self.__reduce__()
        if kind.__getstate__ is not object.__getstate__:
            return super().__reduce_ex__(protocol)
        asked_by = sys._getframe(1)
        if asked_by.f_globals.get("__name__") == "copy" and asked_by.f_code.co_name == "copy":
            return _copy_of, (self,)
        if _is_dill(asked_by.f_locals.get("self")):
            return *self._kettle_made_by(), self._kettle_state(), None, None, _fill
        raise _refusal(self)

    def _kettle_made_by(self) -> tuple[Any, tuple[Any, ...]]:
        return _make, (type(self),)

    def _kettle_state(self) -> tuple[Any, dict[str, Any]]:
        parts = self._kettle_part_names()
        return self._kettle_facts(), {name: value for name, value in vars(self).items() if name not in parts}

    def _kettle_part_names(self) -> tuple[str, ...]:
        """Returns the names in the object's dictionary that `_kettle_fill` creates anew."""
        return ()


def _is_dill(pickler: Any) -> bool:
    dill = sys.modules.get("dill")
    return dill is not None and isinstance(pickler, dill.Pickler)


def _refusal(it: Any) -> TypeError:
    return TypeError(
        f"cannot pickle {type(it).__name__!r} object: it connects the threads of one process. "
        f"Between processes use {it._kettle_sibling}"
    )


def _make(cls: Any) -> Any:
    return cls.__new__(cls)


def _fill(it: Any, state: tuple[Any, dict[str, Any]]) -> None:
    facts, attributes = state
    it._kettle_fill(facts)
    vars(it).update(attributes)


def _copy_of(original: Any) -> Any:
    made = _make(type(original))
    made._kettle_share(original)
    return made
