"""What programs that make turns of their own, such as `nest_asyncio`, find in a loop as `_ready` and `_selector`."""

from __future__ import annotations

import selectors
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import asyncio

    from kettle.asyncio._loop import EventLoop

__all__ = ["Ready", "Watched"]


class Ready(Sequence["asyncio.Handle"]):
    """What runs next: the loop's own queue, with the methods of a deque that such programs use."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop

    def __len__(self) -> int:
        return self._loop._kettle_count_ready()

    @overload
    def __getitem__(self, index: int) -> asyncio.Handle: ...
    @overload
    def __getitem__(self, index: slice) -> list[asyncio.Handle]: ...
    def __getitem__(self, index: int | slice) -> asyncio.Handle | list[asyncio.Handle]:
        return self._loop._kettle_ready()[index]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._loop._kettle_ready()})"

    def append(self, handle: asyncio.Handle) -> None:
        """Adds a handle at the end. A timer of the loop is no longer one then."""
        self._loop._kettle_push_ready(handle)

    def popleft(self) -> asyncio.Handle:
        """Removes the first handle and returns it. Raises IndexError if there is none."""
        handle = self._loop._kettle_pop_ready()
        if handle is None:
            raise IndexError("nothing is ready")
        return handle

    def clear(self) -> None:
        """Removes all of them."""
        while self._loop._kettle_pop_ready() is not None:
            pass


class Watched:
    """Takes the place of the selector in asyncio's loop."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = weakref.ref(loop)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Returns what is watched about a descriptor. Raises KeyError if it is not watched."""
        loop = self._loop()
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        handles = None if loop is None else loop._kettle_handles(number)
        if handles is None:
            raise KeyError(f"{fileobj!r} is not registered")
        reader, writer = handles
        events = (selectors.EVENT_READ if reader else 0) | (selectors.EVENT_WRITE if writer else 0)
        return selectors.SelectorKey(fileobj, number, events, handles)

    def select(self, timeout: float | None = None) -> list[Any]:
        """Waits until something is ready. The callbacks of descriptors become ready here, so the list is empty."""
        loop = self._loop()
        if loop is not None:
            loop._kettle_select(timeout)
        return []

    def close(self) -> None:
        """Does nothing: there is nothing to close."""
