"""Attributes that are worked out, and that a program may have one of its own in the place of."""

from typing import TYPE_CHECKING

__all__ = ["Shown"]

if TYPE_CHECKING:
    Shown = property
else:

    class Shown:
        """As `property`, but an object may be given another value, which it then has: in the standard library these are
        attributes like any other."""

        def __init__(self, get):
            self._get = get
            self.__doc__ = get.__doc__

        def __get__(self, it, owner=None):
            return self if it is None else self._get(it)
