"""`Queue[int]`, without `Generic` among the bases of `Queue`."""

import types
from typing import TYPE_CHECKING, TypeVar

__all__ = ["Parametrized"]

T = TypeVar("T")

if TYPE_CHECKING:
    from typing import Generic

    class Parametrized(Generic[T]):
        """The view of a type checker."""
else:

    class Parametrized:
        """A class that can be written with a type in brackets.

        As in the standard library, it does not use `Generic`, which would keep a subclass from listing it first among
        its bases, as in `class Jobs(Generic[T], Queue)`.
        """

        __class_getitem__ = classmethod(types.GenericAlias)
