"""Checks of parameters, and their error messages: the parameter's name, what it must be, and what it was. The types of
these errors are the standard library's, where that has one."""

from __future__ import annotations

from operator import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = [
    "arguments",
    "must_be_callable",
    "must_be_iterable",
    "must_be_text",
    "no_lock",
    "seconds",
    "shown",
    "whole",
]


def shown(value: object) -> str:
    """Returns the text for a value in a message."""
    try:
        text = repr(value)
    except Exception:  # user-defined classes may raise anything
        text = ""
    return text if 0 < len(text) <= 60 else f"an object of the class {type(value).__name__}"


def whole(name: str, value: Any) -> int:
    """Returns a whole number. Raises TypeError for other values."""
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {shown(value)}") from None


def seconds(name: str, value: Any) -> float | None:
    """Returns a time limit. Raises TypeError, or ValueError for nan."""
    if value is None:
        return None
    try:
        if isinstance(value, (str, bytes, bytearray)):  # `float` would accept these
            raise TypeError
        number = float(value)
    except TypeError:
        raise TypeError(f"{name} must be a number of seconds or None, not {shown(value)}") from None
    if number != number:
        raise ValueError(f"{name} must be a number, not nan")
    return number


def arguments(name: str, value: Iterable[Any]) -> tuple[Any, ...]:
    """Returns the arguments of a call. Raises TypeError if they are not iterable."""
    try:
        iterator = iter(value)
    except TypeError:
        raise TypeError(
            f"{name} must be a tuple of arguments, not {shown(value)}; a tuple with one argument needs a comma: "
            f"{name}=({shown(value)},)"
        ) from None
    return tuple(iterator)


def must_be_callable(name: str, value: Any) -> None:
    """Raises TypeError if the value is neither callable nor None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a callable (for example a function), not {shown(value)}")


def must_be_text(name: str, value: Any) -> None:
    """Raises TypeError if the value is neither text nor None."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be text or None, not {shown(value)}")


def no_lock(name: str, value: Any, missing: str | None) -> AttributeError:
    """Returns the error for a value that lacks this method of a lock."""
    return AttributeError(f"{name} must be a lock, not {shown(value)}, which has no method {missing!r}")


def must_be_iterable(name: str, value: Any) -> None:
    """Raises TypeError if the value is not iterable. Iteration is not attempted, since it may have effects or work only
    once."""
    kind = type(value)
    if not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"):
        raise TypeError(f"{name} must be an iterable (for example a list), and {shown(value)} is not iterable")
