"""Computed attributes that a program may replace by attributes of its own."""

from typing import TYPE_CHECKING

__all__ = ["Shown"]

if TYPE_CHECKING:
    Shown = property
else:

    class Shown:
        """Like `property`, but a program may assign another value to it, which the object then has: in the standard
        library these are ordinary attributes."""

        def __init__(self, get):
            self._get = get
            self.__doc__ = get.__doc__

        def __get__(self, it, owner=None):
            return self if it is None else self._get(it)
