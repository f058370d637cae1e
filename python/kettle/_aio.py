"""Waiting on an event loop: how every awaitable twin waits, on any asyncio loop, without a thread per wait.

A loop has one `Hub`. The hub owns one doorbell, which any process of the session can ring, and listens to it with
`loop.add_reader`. A coroutine that must wait joins a *line*: one for each thing that can be waited for. The line leaves
the doorbell's number with the primitive; a ring takes it away, and wakes the first of the line, who tries again in the
loop's own thread. Whoever leaves a line, served or cancelled, wakes the next, so that no wake-up is lost; and since an
item is taken only between two awaits, no item is either.

    joins ──► sleeps ──► woken ──► tries ──► leaves (served, failed, late or cancelled; wakes the next)
                ▲                    │
                └── nothing there ───┘

Threads and the coroutines of all loops stand in one line at each primitive: each place has a *ticket* of it. The
doorbell is left for all tickets of this loop's line; when the turn of one has come, no other is served before. Of the
coroutines the first takes what it is for.

A ring can be missed: its sender, in another process, may die on the way; a primitive may have no room for one more
doorbell; and a turn may be that of a coroutine of another loop, which is busy. Hence a timer, running only while one of
these may be so, that wakes the first of such lines: five times a second at first, and once when all have waited for
long and no ring is known to be due.
"""

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

from kettle._core import native
from kettle._parameters import seconds

__all__ = ["PENDING", "Source", "readable", "retry", "writable"]

T = TypeVar("T")

PENDING: Final = cast(Any, object())  # what an attempt gives that must be made again later
SLICE, LONGEST_SLICE = 0.2, 1.0  # seconds
LATE = 0.06  # after which what is reserved for a coroutine that does not come is anyone's
BITS = 32
BREATH = 64  # calls served without waiting, after which the loop gets a turn


class Waitable(Protocol):
    """A primitive of the core."""

    @property
    def _kettle_key(self) -> int: ...
    @property
    def _kettle_rings_surely(self) -> bool: ...
    def _kettle_arm(self, door: int, ticket: int, bits: int, /) -> int: ...
    def _kettle_disarm(self, door: int, /) -> object: ...
    def _kettle_take_ticket(self) -> int: ...
    def _kettle_is_admitted(self, bits: int, /) -> bool: ...
    def _kettle_leave_line(self, ticket: int, bits: int, /) -> object: ...


class Turns(NamedTuple):
    """How to be served in the order of arrival."""

    take_ticket: Callable[[], int]
    is_admitted: Callable[[int], bool]  # whether a holder of tickets with these bits may take what there is
    leave: Callable[[int, int], object]  # gives the ticket back, one of those with these bits


class Source(NamedTuple):
    """Something that can be waited for: who rings, and how to ask for that."""

    key: int  # what the doorbell calls out
    identity: tuple[Any, ...]  # the same for all who wait for the same
    # For the holders of a ticket and of those with these bits: gives the one that counts from now on, 0 without room.
    arm: Callable[[int, int, int], int]
    disarm: Callable[[int], object]
    rings_surely: bool = False
    turns: Turns | None = None

    @classmethod
    def of(cls, primitive: Waitable) -> "Source":
        """That the primitive's non-blocking call may succeed."""
        turns = Turns(primitive._kettle_take_ticket, primitive._kettle_is_admitted, primitive._kettle_leave_line)
        identity, surely = (id(primitive),), primitive._kettle_rings_surely
        return cls(primitive._kettle_key, identity, primitive._kettle_arm, primitive._kettle_disarm, surely, turns)


async def retry(
    source: Callable[[], Source],
    attempt: Callable[[], T],
    timeout: float | None = None,
    *,
    together: bool = False,
    is_admitted: Callable[[], bool] | None = None,
) -> T:
    """Calls `attempt` until it gives something else than PENDING, and returns that, or PENDING after `timeout` seconds.

    Between two attempts it waits for what `source` gives, in the order of coming; with `together`, each wake-up is for
    all who wait. What `attempt` raises passes through. `is_admitted` says whether a newcomer may take what there is.
    """
    if timeout is not None:
        timeout = seconds("timeout", timeout)
    is_patient = timeout is None or timeout > 0
    must_breathe = _is_out_of_breath()
    if must_breathe and (together or not is_patient):
        await asyncio.sleep(0)
        must_breathe = False
    # Who comes while others wait is served after them; and who lets the loop run keeps its place meanwhile.
    must_wait = must_breathe or (is_patient and is_admitted is not None and not is_admitted())
    known = None
    if is_patient and not must_wait and not together and Hub.waiting:
        known = source()
        must_wait = _hub().has_line(known)
    if not must_wait:
        result = attempt()
        if result is not PENDING or not is_patient:
            return result
    hub = _hub()
    with hub.in_line(known or source(), together) as place:
        deadline = None if timeout is None else hub.time() + timeout
        if must_breathe:
            await asyncio.sleep(0)
        while True:
            # The doorbell is armed: what comes after this attempt wakes us.
            result = attempt() if place.is_admitted() else PENDING
            if result is not PENDING or not await place.sleep(deadline):
                return result


async def readable(fd: int, timeout: float | None = None) -> bool:
    """Waits until `fd` can be read or is at its end; False if that takes longer than `timeout` seconds."""
    return await _hub().ready(fd, "reader", seconds("timeout", timeout))


async def writable(fd: int, timeout: float | None = None) -> bool:
    """Waits until `fd` takes more, or fails; False if that takes longer than `timeout` seconds."""
    return await _hub().ready(fd, "writer", seconds("timeout", timeout))


_served = 0


def _is_out_of_breath() -> bool:
    """Whether the loop must run now, as it must now and then, for callers who are always served at once. It does before
    anything is taken: who is cancelled then has lost nothing."""
    global _served
    _served += 1
    return _served % BREATH == 0


_hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()
_changing = threading.RLock()  # each thread may have a loop, and a signal handler or a finalizer may run another
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

    def __init__(self, loop: asyncio.AbstractEventLoop, line: "Line") -> None:
        self._loop = loop
        self._line = line
        self._future: asyncio.Future[bool] | None = None

    def is_admitted(self) -> bool:
        """Whether its owner may attempt what it waits for."""
        return self._line.admits(self)

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
    """The coroutines of one loop that wait for one thing, in the order of arrival."""

    def __init__(self, together: bool, source: Source | None = None, hub: "Hub | None" = None) -> None:
        self.places: dict[Place, None] = {}
        self.source = source
        self._turns = None if source is None or together else source.turns
        self._tickets: deque[int] = deque()  # as many as places, the first one's first
        self._together = together
        self._hub = hub

    def join(self, place: Place) -> None:
        """Joins at the end."""
        self.places[place] = None
        if self._turns is not None:
            self._tickets.append(self._turns.take_ticket())

    def leave(self, place: Place) -> None:
        """Leaves from wherever it stands; those behind it come one ticket further."""
        is_first = self.is_first(place)
        del self.places[place]
        if self._turns is not None:
            bits = self._bits()
            self._turns.leave(self._tickets.popleft() if is_first else self._tickets.pop(), bits)

    def is_first(self, place: Place) -> bool:
        """Whether nobody of this loop stands before it."""
        return next(iter(self.places)) is place

    def admits(self, place: Place) -> bool:
        """Whether the owner of `place` may attempt what it waits for."""
        if self._turns is None:
            return True
        if not self.is_first(place):
            return False  # the one before wakes it
        is_admitted = self._turns.is_admitted(self._bits())
        if not is_admitted:
            # What there is is reserved for another, which may be a coroutine of a loop that is busy.
            self.look_again()
        return is_admitted

    def arm(self) -> None:
        """Leaves the doorbell's number, for the first. Look after this."""
        source = self.source
        assert source is not None and self._hub is not None
        has_room = bool(self._leave_door(source, self._hub.door))
        if has_room and source.rings_surely:
            self._hub.unsure.discard(self)
        else:
            self._hub.unsure.add(self)
            if not has_room:
                self._hub.hurry()

    def _leave_door(self, source: Source, door: int) -> int:
        while self._tickets:
            ticket = self._tickets[0]
            counts = source.arm(door, ticket, self._bits())
            if counts in (0, ticket):
                return counts
            # That turn is over, and its holder goes on with the next one's.
            self._tickets.popleft()
            self._tickets.append(counts)
        return source.arm(door, 0, 0)

    def _bits(self) -> int:
        """The numbers of its first tickets modulo 32, by which the core tells them apart, each as a bit."""
        bits = 0
        for ticket in islice(self._tickets, BITS):
            bits |= 1 << ticket % BITS
        return bits

    def look_again(self) -> None:
        """The next ring may not come."""
        if self._hub is not None:
            self._hub.unsure.add(self)
            self._hub.hurry(LATE)

    def wake(self) -> None:
        """Wakes all, or the first, who may be on its way already. Never the next one as well: should the first look in
        vain, what comes the moment after that would be the next one's."""
        for place in self.places:
            place.wake()
            if not self._together:
                return

    def wake_first(self) -> None:
        """Wakes one alone: if that is served, it wakes the others."""
        for place in self.places:
            place.wake()
            return


class Hub:
    """All that one event loop waits for."""

    waiting = 0  # lines of all hubs

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self.time = loop.time
        self._bell = native.Doorbell()
        self._bell_fd = self._bell.fileno()
        self._lines: dict[int, dict[tuple[Any, ...], Line]] = {}  # by key, then by identity
        self.unsure: set[Line] = set()  # lines that may miss a ring
        self._fds: dict[tuple[int, str], Line] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._slice = SLICE
        loop.add_reader(self._bell_fd, self._rung)

    @property
    def door(self) -> int:
        """The doorbell's number."""
        return self._bell.door

    def has_line(self, source: Source) -> bool:
        """Whether a coroutine of this loop waits for `source`."""
        return source.identity in self._lines.get(source.key, {})

    @contextmanager
    def in_line(self, source: Source, together: bool) -> Iterator[Place]:
        """A place in the line for `source`, which has the doorbell's number meanwhile."""
        loop = self._running()
        lines = self._lines.setdefault(source.key, {})
        line = lines.get(source.identity)
        if line is None:
            line = lines[source.identity] = Line(together, source, self)
            Hub.waiting += 1
            self.hurry()
        place = Place(loop, line)
        line.join(place)
        if len(line.places) == 1:
            line.arm()
        if self._timer is None:
            self._timer = loop.call_later(self._slice, self._tick)
        try:
            yield place
        finally:
            line.leave(place)
            if line.places:
                # The number is the first one's, who may be another now.
                line.arm()
                line.wake()
            else:
                self._drop(line)

    async def ready(self, fd: int, what: str, timeout: float | None) -> bool:
        """Waits in the line of those who wait for `fd`: a loop knows one reader and one writer of it at a time."""
        loop = self._running()
        line = self._fds.get((fd, what))
        if line is None:
            line = self._fds[fd, what] = Line(together=True)
            (loop.add_reader if what == "reader" else loop.add_writer)(fd, line.wake)
        place = Place(loop, line)
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

    def _drop(self, line: Line) -> None:
        """Nobody waits in `line` any more."""
        source = line.source
        assert source is not None
        lines = self._lines[source.key]
        del lines[source.identity]
        Hub.waiting -= 1
        self.unsure.discard(line)
        source.disarm(self._bell.door)
        if not lines:
            del self._lines[source.key]
        for other in lines.values():
            # Perhaps another handle of the same primitive, whose number has just been taken away.
            other.arm()

    def _rung(self) -> None:
        keys = self._bell.drain()
        for key in list(self._lines) if keys is None else keys:
            for line in self._lines.get(key, {}).values():
                # The ring took the number away. It is left again before anybody looks.
                line.arm()
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

    def hurry(self, within: float = SLICE) -> None:
        """The next tick comes within so many seconds, and the ones after it soon."""
        if self._slice > within:
            self._slice = within
            if self._timer is not None:
                self._timer.cancel()
                self._timer = self._running().call_later(within, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._slice = min(1.5 * self._slice, LONGEST_SLICE)
        if not self._bell.is_ours():
            self._renew_bell()
            self.unsure.update(line for lines in self._lines.values() for line in lines.values())
        for line in list(self.unsure):
            line.arm()
            line.wake_first()
        if self._lines:
            self._timer = self._running().call_later(self._slice, self._tick)
