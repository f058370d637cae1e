"""Large arguments of joblib's calls: each is copied into shared memory once, no matter how many calls get it.

    argument ──pickled once, its buffers apart──► LargeArgument ──a token with each call──► an object in the worker

The memory lives as long as the argument, and after that as long as a call or a worker uses it. The argument must not be
changed while calls get it, as with joblib's own mapped arrays.
"""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable

from kettle._session import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LargeArguments"]

_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
_CONTAINERS = frozenset({list, tuple, dict})
_DEPTH = 3  # the maximum depth of nested containers that are searched; the first holds the arguments
_ITEMS = 64  # larger containers are not searched
_REST = 1 << 16  # a pickle of more bytes, without its buffers, is put into shared memory as well


class LargeArguments:
    """The large arguments of one call of `Parallel`: objects of more than `limit` bytes. `mode` is as for NumPy's
    memory-mapped files: "r" to read, "r+" or "w+" to write for all to see, "c" to write to a private copy."""

    def __init__(self, limit: int, mode: str) -> None:
        self._limit = limit
        self._mode = mode
        self._shared: dict[int, tuple[weakref.ref[Any], LargeArgument]] = {}

    def shared(self, value: Any, depth: int = _DEPTH) -> Any:
        """Returns the value with its large parts in shared memory; the same object if it has none."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind in _CONTAINERS:
            return self._within(value, kind, depth) if depth and len(value) <= _ITEMS else value
        if _size(value) <= self._limit:
            return value
        key = id(value)
        if key not in self._shared:
            forget = self._shared.pop
            try:
                # When it is gone, another object may have its address.
                self._shared[key] = weakref.ref(value, lambda _: forget(key, None)), LargeArgument.of(value, self._mode)
            except Exception:  # for example, it cannot be pickled: sent like any other argument, it gets its error
                return value
        return self._shared[key][1]

    def _within(self, value: Any, kind: type, depth: int) -> Any:
        items = list(value.values() if kind is dict else value)
        shared = [self.shared(item, depth - 1) for item in items]
        if all(new is old for new, old in zip(shared, items, strict=True)):
            return value
        return dict(zip(value, shared, strict=True)) if kind is dict else kind(shared)


class LargeArgument:
    """An object whose buffers are in shared memory. Unpickling returns that object."""

    def __init__(self, rest: bytes | native.SharedBytes, memory: list[native.SharedBytes], mode: str) -> None:
        self._rest = rest
        self._memory = memory
        self._mode = mode

    @classmethod
    def of(cls, value: Any, mode: str) -> LargeArgument:
        memory: list[native.SharedBytes] = []

        def keep(buffer: pickle.PickleBuffer) -> None:
            with buffer.raw() as raw:
                memory.append(_copy(raw))

        rest = pickle.dumps(value, protocol=5, buffer_callback=keep)
        return cls(rest if len(rest) <= _REST else _copy(rest), memory, mode)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        rest = self._rest if isinstance(self._rest, bytes) else self._rest._kettle_token()
        return _rebuild, (rest, [memory._kettle_token() for memory in self._memory], self._mode)


def _copy(data: bytes | memoryview) -> native.SharedBytes:
    memory = native.SharedBytes(len(data))
    memoryview(memory)[:] = data
    return memory


def _view(token: Any) -> memoryview:
    return memoryview(native.SharedBytes._kettle_from_token(token))


def _rebuild(rest: Any, tokens: list[Any], mode: str) -> Any:
    views = [_view(token) for token in tokens]
    if mode == "c":
        buffers: list[Any] = [bytearray(view) for view in views]
    else:
        buffers = views if mode in ("r+", "w+") else [view.toreadonly() for view in views]
    return pickle.loads(rest if isinstance(rest, bytes) else _view(rest), buffers=buffers)


def _size(value: Any) -> int:
    """Returns the approximate size in bytes of an object that may have buffers."""
    try:
        if isinstance(size := getattr(value, "nbytes", None), int):  # arrays
            return size
        if callable(usage := getattr(value, "memory_usage", None)):  # tables
            used = usage()
            return int(used if isinstance(used, int) else used.sum())
        if hasattr(value, "indptr") or hasattr(value, "nnz"):  # sparse matrices
            return sum(int(getattr(getattr(value, part, None), "nbytes", 0)) for part in ("data", "indices", "indptr"))
    except Exception:  # unknown objects may raise anything
        pass
    return 0
