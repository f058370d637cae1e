"""`Queue[int]`, without `Generic` among the bases of `Queue`."""

import types
from typing import TYPE_CHECKING, TypeVar

__all__ = ["Parametrized"]

T = TypeVar("T")

if TYPE_CHECKING:
    from typing import Generic

    class Parametrized(Generic[T]):
        """What a type checker takes it for."""
else:

    class Parametrized:
        """What can be written with a type in brackets.

        As in the standard library there is no `Generic` in it: that would keep a subclass from naming it first among
        its bases, as in `class Jobs(Generic[T], Queue)`.
        """

        __class_getitem__ = classmethod(types.GenericAlias)
