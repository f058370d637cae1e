"""Blocks of shared memory. They are allocated in the session's arena, so this module has no allocator."""

from __future__ import annotations

import sys

from kettle._session import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

__all__ = ["BufferWrapper"]


def __getattr__(name: str) -> Any:
    from multiprocessing import heap as _standard

    return getattr(_standard, name)


class BufferWrapper:
    """`size` zeroed bytes, shared by all processes that inherited or received them."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"Size {size:n} out of range")
        if sys.maxsize <= size:
            raise OverflowError(f"Size {size:n} too large")
        self._memory = native.SharedBytes(size)
        self._size = size

    @classmethod
    def _over(cls, memory: native.SharedBytes) -> Self:
        self = cls.__new__(cls)
        self._memory = memory
        self._size = len(memory)
        return self

    def create_memoryview(self) -> memoryview:
        """Returns a writable view of the bytes, which keeps them alive."""
        return memoryview(self._memory)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._memory._kettle_token())


def _rebuild(cls: type[BufferWrapper], token: bytes) -> BufferWrapper:
    return cls._over(native.SharedBytes._kettle_from_token(token))
