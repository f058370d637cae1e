"""Attributes that the standard library's locks and queues have in Python, on classes whose state the core keeps.

A program that reads or sets such a part (`semaphore._cond`), or replaces a method that the standard library calls, gets
the same behaviour as there. The state *moves out* of the core into the object's dictionary, and from then on the object
works by the standard library's own methods, at their speed:

    inside  ──(first access to a part)──►  outside
    acquire, set, ...: the core            _kettle_acquire, _kettle_set, ...: the standard library's methods
"""

from __future__ import annotations

import threading
from types import MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Hook", "Part", "moving"]

#: Held while an object moves out, which happens once per object.
moving = threading.RLock()


class Part:
    """An attribute of the standard library's class: the object moves out when it is read or set.

    look: returns the value for an object that is still inside, which then stays there.
    """

    def __init__(self, look: Callable[[Any], Any] | None = None) -> None:
        self._look = look

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, it: Any, owner: type | None = None) -> Any:
        if it is None:
            return self
        parts = vars(it)
        if self._name not in parts:
            if self._look is not None and not it._kettle_is_outside():
                return self._look(it)
            it._kettle_move_out()
        try:
            return parts[self._name]
        except KeyError:
            raise AttributeError(f"{type(it).__name__!r} object has no attribute {self._name!r}") from None

    def __set__(self, it: Any, value: Any) -> None:
        it._kettle_move_out()
        vars(it)[self._name] = value

    def __delete__(self, it: Any) -> None:
        it._kettle_move_out()
        _remove(it, self._name)


class Hook:
    """A method that the standard library's class calls: an object for which it is replaced moves out."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, it: Any, owner: type | None = None) -> Any:
        if it is None:
            return self.method
        own = vars(it).get(self._name)
        return MethodType(self.method, it) if own is None else own

    def __set__(self, it: Any, value: Any) -> None:
        it._kettle_move_out()
        vars(it)[self._name] = value

    def __delete__(self, it: Any) -> None:
        _remove(it, self._name)


def _remove(it: Any, name: str) -> None:
    try:
        del vars(it)[name]
    except KeyError:
        raise AttributeError(f"{type(it).__name__!r} object has no attribute {name!r}") from None
