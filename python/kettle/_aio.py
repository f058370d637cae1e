"""Waiting on an event loop: how every awaitable twin waits, on any asyncio loop, without a thread per wait.

A loop has one `Hub`. The hub owns one doorbell, which any process of the session can ring, and listens to it with
`loop.add_reader`. A coroutine that must wait joins a *line* (one for each primitive and purpose); a ring wakes the first
of the line, who tries again in the loop's own thread. Whoever leaves a line, served or cancelled, passes the wake-up on
if there is more to be had, so none is lost; and since an item is taken only between two awaits, neither is an item.

    joins ──► sleeps ──► woken ──► tries ──► leaves (served, failed, late or cancelled; wakes the next)
                ▲                    │
                └── nothing there ───┘

A ring can be missed: its sender may die on the way, or all doors of a primitive may be taken. Hence one timer for each
hub, running only while somebody waits, that wakes the first of every line five times a second.
"""

import asyncio
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

from kettle._session import native

__all__ = ["PENDING", "readable", "retry", "writable"]

T = TypeVar("T")

PENDING: Final = cast(Any, object())  # what an attempt gives that must be made again later
SLICE = 0.2  # seconds
BREATH = 64  # calls served without waiting, after which the loop gets a turn

_hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()
os.register_at_fork(after_in_child=_hubs.clear)
_served = 0


async def retry(
    primitive: native.Primitive,
    purpose: str,
    attempt: Callable[[], T],
    timeout: float | None = None,
    *,
    together: bool = False,
) -> T:
    """Calls `attempt` until it gives something else than PENDING, and returns that, or PENDING after `timeout` seconds.

    Between two attempts it waits for `primitive` to ring. Attempts of the same `purpose` wait in one line, first come
    first served; with `together`, each wake-up is for all of the line. What `attempt` raises passes through.
    """
    await _breathe()
    result = attempt()
    if result is not PENDING or (timeout is not None and timeout <= 0):
        return result
    hub = _hub()
    with hub.in_line(primitive, purpose, together) as place:
        deadline = None if timeout is None else hub.time() + timeout
        while True:
            # The line rings from here on: what comes after this attempt wakes us.
            result = attempt()
            if result is not PENDING or not await place.sleep(deadline):
                return result


async def readable(fd: int, timeout: float | None = None) -> bool:
    """Waits until `fd` can be read or is at its end; False if that takes longer than `timeout` seconds."""
    return await _hub().ready(fd, "reader", timeout)


async def writable(fd: int, timeout: float | None = None) -> bool:
    """Waits until `fd` takes more, or fails; False if that takes longer than `timeout` seconds."""
    return await _hub().ready(fd, "writer", timeout)


async def _breathe() -> None:
    """Lets the loop run now and then, for callers who are always served at once. Before anything is taken: whoever is
    cancelled here has lost nothing."""
    global _served
    _served += 1
    if _served % BREATH == 0:
        await asyncio.sleep(0)


def _hub() -> "Hub":
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        for old in [old for old in _hubs if old.is_closed()]:
            _hubs.pop(old).close()
        hub = _hubs[loop] = Hub(loop)
    return hub


class Place:
    """One coroutine's place in a line."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[bool] | None = None

    async def sleep(self, deadline: float | None) -> bool:
        """Until woken (True), or until the loop's clock says `deadline` (False)."""
        future = self._future = self._loop.create_future()
        timer = None if deadline is None else self._loop.call_at(deadline, _settle, future, False)
        try:
            return await future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()

    def wake(self) -> bool:
        """Wakes who sleeps here; False if nobody does, or somebody woke them already."""
        return self._future is not None and _settle(self._future, True)


def _settle(future: "asyncio.Future[bool]", result: bool) -> bool:
    if future.done():
        return False
    future.set_result(result)
    return True


class Line:
    """Those who wait for one thing, in the order of their coming."""

    def __init__(self, together: bool) -> None:
        self.places: dict[Place, None] = {}
        self._together = together

    def wake(self) -> None:
        for place in self.places:
            if place.wake() and not self._together:
                return


class Hub:
    """All that one event loop waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self.time = loop.time
        self._bell = native.Doorbell()
        self._rings: dict[int, dict[str, Line]] = {}  # by the primitive's key, then by purpose
        self._unarmed: dict[int, native.Primitive] = {}
        self._fds: dict[tuple[int, str], Line] = {}
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(self._bell.fileno(), self._rung)

    @contextmanager
    def in_line(self, primitive: native.Primitive, purpose: str, together: bool) -> Iterator[Place]:
        """A place in the line for `purpose` at `primitive`, whose doorbell is armed meanwhile."""
        key = primitive._key
        lines = self._rings.get(key)
        if lines is None:
            lines = self._rings[key] = {}
            if not primitive._arm(self._bell.door):
                self._unarmed[key] = primitive
        line = lines.get(purpose)
        if line is None:
            line = lines[purpose] = Line(together)
        place = self._join(line)
        try:
            yield place
        finally:
            del line.places[place]
            if line.places:
                line.wake()
            else:
                del lines[purpose]
                if not lines:
                    del self._rings[key]
                    if self._unarmed.pop(key, None) is None:
                        primitive._disarm(self._bell.door)

    async def ready(self, fd: int, what: str, timeout: float | None) -> bool:
        """Waits in the line of those who wait for `fd`, of which a loop knows only one at a time."""
        loop = self._running()
        line = self._fds.get((fd, what))
        if line is None:
            line = self._fds[fd, what] = Line(together=True)
            (loop.add_reader if what == "reader" else loop.add_writer)(fd, line.wake)
        place = Place(loop)
        line.places[place] = None
        try:
            return await place.sleep(None if timeout is None else loop.time() + max(timeout, 0.0))
        finally:
            del line.places[place]
            if not line.places:
                del self._fds[fd, what]
                (loop.remove_reader if what == "reader" else loop.remove_writer)(fd)

    def close(self) -> None:
        """The loop is closed: nobody waits here any more."""
        self._bell.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        loop = self._loop()
        assert loop is not None
        return loop

    def _join(self, line: Line) -> Place:
        loop = self._running()
        place = Place(loop)
        line.places[place] = None
        if self._timer is None:
            self._timer = loop.call_later(SLICE, self._tick)
        return place

    def _rung(self) -> None:
        keys = self._bell.drain()
        for key in list(self._rings) if keys is None else keys:
            self._wake(key)

    def _wake(self, key: int) -> None:
        for line in self._rings.get(key, {}).values():
            line.wake()

    def _tick(self) -> None:
        self._timer = None
        if not self._rings:
            return
        for key, primitive in list(self._unarmed.items()):
            if primitive._arm(self._bell.door):
                del self._unarmed[key]
        for key in self._rings:
            self._wake(key)
        self._timer = self._running().call_later(SLICE, self._tick)
