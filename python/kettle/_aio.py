"""Waiting on an event loop: how every awaitable twin waits, on any asyncio loop, without a thread per wait.

A loop has one `Hub`. The hub owns one doorbell, which any process of the session can ring, and listens to it with
`loop.add_reader`. A coroutine that must wait joins a *line*: one for each thing that can be waited for. The line leaves
the doorbell's number with the primitive; a ring takes it away, and wakes the first of the line, who tries again in the
loop's own thread. Whoever leaves a line, served or cancelled, wakes the next, so that no wake-up is lost; and since an
item is taken only between two awaits, no item is either.

    joins ──► sleeps ──► woken ──► tries ──► leaves (served, failed, late or cancelled; wakes the next)
                ▲                    │
                └── nothing there ───┘

A ring can be missed: its sender may die on the way, or a primitive may have no room for one more doorbell. Hence one
timer for each hub, running only while somebody waits, that wakes the first of every line five times a second.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

from kettle._core import native

__all__ = ["PENDING", "Source", "readable", "retry", "writable"]

T = TypeVar("T")

PENDING: Final = cast(Any, object())  # what an attempt gives that must be made again later
SLICE = 0.2  # seconds
BREATH = 64  # calls served without waiting, after which the loop gets a turn


class Waitable(Protocol):
    """A primitive of the core."""

    @property
    def _kettle_key(self) -> int: ...
    def _kettle_arm(self, door: int, /) -> object: ...
    def _kettle_disarm(self, door: int, /) -> object: ...


class Source(NamedTuple):
    """Something that can be waited for: who rings, and how to ask for that."""

    key: int  # what the doorbell calls out
    identity: tuple[Any, ...]  # the same for all who wait for the same
    arm: Callable[[int], object]
    disarm: Callable[[int], object]

    @classmethod
    def of(cls, primitive: Waitable) -> "Source":
        """That the primitive's non-blocking call may succeed."""
        return cls(primitive._kettle_key, (id(primitive),), primitive._kettle_arm, primitive._kettle_disarm)


async def retry(
    source: Callable[[], Source],
    attempt: Callable[[], T],
    timeout: float | None = None,
    *,
    together: bool = False,
) -> T:
    """Calls `attempt` until it gives something else than PENDING, and returns that, or PENDING after `timeout` seconds.

    Between two attempts it waits for what `source` gives, in the order of coming; with `together`, each wake-up is for
    all who wait. What `attempt` raises passes through.
    """
    await _breathe()
    result = attempt()
    if result is not PENDING or (timeout is not None and timeout <= 0):
        return result
    hub = _hub()
    with hub.in_line(source(), together) as place:
        deadline = None if timeout is None else hub.time() + timeout
        while True:
            # The doorbell is armed: what comes after this attempt wakes us.
            result = attempt()
            if result is not PENDING or not await place.sleep(deadline):
                return result


async def readable(fd: int, timeout: float | None = None) -> bool:
    """Waits until `fd` can be read or is at its end; False if that takes longer than `timeout` seconds."""
    return await _hub().ready(fd, "reader", timeout)


async def writable(fd: int, timeout: float | None = None) -> bool:
    """Waits until `fd` takes more, or fails; False if that takes longer than `timeout` seconds."""
    return await _hub().ready(fd, "writer", timeout)


_served = 0


async def _breathe() -> None:
    """Lets the loop run now and then, for callers who are always served at once. Before anything is taken: whoever is
    cancelled here has lost nothing."""
    global _served
    _served += 1
    if _served % BREATH == 0:
        await asyncio.sleep(0)


_hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()
_changing = threading.Lock()  # each thread may have a loop
os.register_at_fork(after_in_child=_hubs.clear)
os.register_at_fork(after_in_child=_changing._at_fork_reinit)  # type: ignore[attr-defined]


def _hub() -> "Hub":
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        with _changing:
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
            woken: bool = await future
            return woken
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Wakes who sleeps here, if somebody does."""
        if self._future is not None:
            _settle(self._future, True)


def _settle(future: "asyncio.Future[bool]", result: bool) -> None:
    if not future.done():
        future.set_result(result)


class Line:
    """Those who wait for one thing, in the order of their coming."""

    def __init__(self, together: bool) -> None:
        self.places: dict[Place, None] = {}
        self._together = together

    def wake(self) -> None:
        """Wakes all, or the first, who may be on its way already. Never the next one as well: should the first look in
        vain, what comes the moment after that would be the next one's."""
        for place in self.places:
            place.wake()
            if not self._together:
                return


class Hub:
    """All that one event loop waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self.time = loop.time
        self._bell = native.Doorbell()
        self._bell_fd = self._bell.fileno()
        self._lines: dict[int, dict[tuple[Any, ...], tuple[Source, Line]]] = {}  # by key, then by identity
        self._fds: dict[tuple[int, str], Line] = {}
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(self._bell_fd, self._rung)

    @contextmanager
    def in_line(self, source: Source, together: bool) -> Iterator[Place]:
        """A place in the line for `source`, which has the doorbell's number meanwhile."""
        loop = self._running()
        lines = self._lines.setdefault(source.key, {})
        if source.identity not in lines:
            lines[source.identity] = source, Line(together)
            source.arm(self._bell.door)
        line = lines[source.identity][1]
        place = Place(loop)
        line.places[place] = None
        if self._timer is None:
            self._timer = loop.call_later(SLICE, self._tick)
        try:
            yield place
        finally:
            del line.places[place]
            if line.places:
                line.wake()
            else:
                self._drop(source)

    async def ready(self, fd: int, what: str, timeout: float | None) -> bool:
        """Waits in the line of those who wait for `fd`: a loop knows one reader and one writer of it at a time."""
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

    def _drop(self, source: Source) -> None:
        """Nobody waits for `source` any more."""
        lines = self._lines[source.key]
        del lines[source.identity]
        source.disarm(self._bell.door)
        if not lines:
            del self._lines[source.key]
        for other, _ in lines.values():
            # Perhaps another handle of the same primitive, whose number has just been taken away.
            other.arm(self._bell.door)

    def _rung(self) -> None:
        keys = self._bell.drain()
        for key in list(self._lines) if keys is None else keys:
            self._wake(key)

    def _wake(self, key: int) -> None:
        for source, line in self._lines.get(key, {}).values():
            # The ring took the number away. It is left again before anybody looks.
            source.arm(self._bell.door)
            line.wake()

    def _renew_bell(self) -> None:
        """The program closed the descriptor. Its number may be that of a file of its own, which the loop may watch."""
        loop = self._running()
        try:
            reader = loop._selector.get_key(self._bell_fd).data[0]  # type: ignore[attr-defined]
            is_watched = reader._callback == self._rung
        except (AttributeError, KeyError):
            is_watched = False  # a loop that does not tell forgets what is closed by itself
        if is_watched:
            loop.remove_reader(self._bell_fd)
        self._bell.close()
        self._bell = native.Doorbell()
        self._bell_fd = self._bell.fileno()
        loop.add_reader(self._bell_fd, self._rung)

    def _tick(self) -> None:
        self._timer = None
        if not self._bell.is_ours():
            self._renew_bell()
        for key in self._lines:
            self._wake(key)
        if self._lines:
            self._timer = self._running().call_later(SLICE, self._tick)
