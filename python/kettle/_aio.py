"""Waiting on an event loop: the basis of all awaitable methods, on any asyncio loop, without a thread per wait.

A loop has one `Hub`. The hub owns one doorbell, which any process of the session can ring, and listens to it with
`loop.add_reader`. A coroutine that must wait joins a *line*; there is one line for each thing that can be waited for.
The line registers the doorbell's number with the primitive. A ring removes the registration and wakes the first
coroutine in the line, which tries again in the loop's own thread. A coroutine that leaves a line, served or cancelled,
wakes the next, so no wake-up is lost; and since an item is taken only between two awaits, no item is lost either.

    joins ──► sleeps ──► woken ──► tries ──► leaves (served, failed, late or cancelled; wakes the next)
                ▲                    │
                └── nothing there ───┘

Threads and the coroutines of all loops form one line at each primitive: each place has a *ticket* of it. The doorbell
is registered for all tickets of this loop's line; while it is the turn of one of them, no other ticket is served. Of
the loop's coroutines the first one takes the item.

A ring can be missed: its sender, in another process, may die before it rings; a primitive may have no room for another
doorbell; and the turn may be that of a coroutine of another loop, which is busy. A timer, which runs only while one of
these is possible, therefore wakes the first coroutine of the affected lines: five times a second at first, and once a
second when all have waited for long and no ring is known to be due.
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

PENDING: Final = cast(Any, object())  # the result of an attempt that must be repeated later
SLICE, LONGEST_SLICE = 0.2, 1.0  # seconds
LATE = 0.06  # seconds after which a resource reserved for a coroutine that does not come is free for others
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
    """The operations for being served in the order of arrival."""

    take_ticket: Callable[[], int]
    is_admitted: Callable[[int], bool]  # whether a holder of tickets with these bits may take an item
    leave: Callable[[int, int], object]  # returns the ticket, one of those with these bits


class Source(NamedTuple):
    """Something that can be waited for, with the operations to register a doorbell."""

    key: int  # the key that a ring of the doorbell carries
    identity: tuple[Any, ...]  # equal for all that wait for the same thing
    # For the holders of a ticket and of those with these bits: returns the ticket that counts from now on, 0 if there
    # is no room.
    arm: Callable[[int, int, int], int]
    disarm: Callable[[int], object]
    rings_surely: bool = False
    turns: Turns | None = None

    @classmethod
    def of(cls, primitive: Waitable) -> "Source":
        """Returns the source for waiting until the primitive's non-blocking call may succeed."""
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
    """Calls `attempt` until it returns something other than PENDING, and returns that, or PENDING after `timeout`
    seconds.

    Between two attempts it waits for `source`, in the order of arrival; with `together`, each wake-up is for all
    waiters. Exceptions from `attempt` pass through. `is_admitted` returns whether a newcomer may take an item.
    """
    if timeout is not None:
        timeout = seconds("timeout", timeout)
    is_patient = timeout is None or timeout > 0
    must_breathe = _is_out_of_breath()
    if must_breathe and (together or not is_patient):
        await asyncio.sleep(0)
        must_breathe = False
    # A newcomer is served after those that wait; a coroutine that lets the loop run keeps its place in the meantime.
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
            # The doorbell is armed: anything that happens after this attempt wakes this coroutine.
            result = attempt() if place.is_admitted() else PENDING
            if result is not PENDING or not await place.sleep(deadline):
                return result


async def readable(fd: int, timeout: float | None = None) -> bool:
    """Waits until `fd` is readable or at its end; returns False if that takes longer than `timeout` seconds."""
    return await _hub().ready(fd, "reader", seconds("timeout", timeout))


async def writable(fd: int, timeout: float | None = None) -> bool:
    """Waits until `fd` is writable, or fails; returns False if that takes longer than `timeout` seconds."""
    return await _hub().ready(fd, "writer", seconds("timeout", timeout))


_served = 0


def _is_out_of_breath() -> bool:
    """Returns whether the loop must run now, as it must now and then if calls are always served at once. It runs before
    anything is taken, so a coroutine cancelled at that time has lost nothing."""
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
    """The place of one coroutine in a line."""

    def __init__(self, loop: asyncio.AbstractEventLoop, line: "Line") -> None:
        self._loop = loop
        self._line = line
        self._future: asyncio.Future[bool] | None = None

    def is_admitted(self) -> bool:
        """Returns whether its owner may attempt what it waits for."""
        return self._line.admits(self)

    async def sleep(self, deadline: float | None) -> bool:
        """Sleeps until woken (returns True), or until the loop's clock reaches `deadline` (returns False)."""
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
        """Wakes the coroutine that sleeps here, if there is one."""
        if self._future is not None:
            _settle(self._future, True)


def _settle(future: "asyncio.Future[bool]", result: bool) -> None:
    if not future.done():
        future.set_result(result)


class Line:
    """The coroutines of one loop that wait for the same thing, in the order of arrival."""

    def __init__(self, together: bool, source: Source | None = None, hub: "Hub | None" = None) -> None:
        self.places: dict[Place, None] = {}
        self.source = source
        self._turns = None if source is None or together else source.turns
        self._tickets: deque[int] = deque()  # as many as places, in the same order
        self._together = together
        self._hub = hub

    def join(self, place: Place) -> None:
        """Joins at the end."""
        self.places[place] = None
        if self._turns is not None:
            self._tickets.append(self._turns.take_ticket())

    def leave(self, place: Place) -> None:
        """Leaves from any position; those behind it advance by one ticket."""
        is_first = self.is_first(place)
        del self.places[place]
        if self._turns is not None:
            bits = self._bits()
            self._turns.leave(self._tickets.popleft() if is_first else self._tickets.pop(), bits)

    def is_first(self, place: Place) -> bool:
        """Returns whether no other coroutine of this loop is before it."""
        return next(iter(self.places)) is place

    def admits(self, place: Place) -> bool:
        """Returns whether the owner of `place` may attempt what it waits for."""
        if self._turns is None:
            return True
        if not self.is_first(place):
            return False  # the coroutine before it wakes it
        is_admitted = self._turns.is_admitted(self._bits())
        if not is_admitted:
            # The available item is reserved for another waiter, which may be a coroutine of a busy loop.
            self.look_again()
        return is_admitted

    def arm(self) -> None:
        """Registers the doorbell's number, for the first place. Check the primitive after this."""
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
            # That turn is over, and its holder continues with the next one's.
            self._tickets.popleft()
            self._tickets.append(counts)
        return source.arm(door, 0, 0)

    def _bits(self) -> int:
        """Returns its first tickets modulo 32, by which the core tells them apart, as bits."""
        bits = 0
        for ticket in islice(self._tickets, BITS):
            bits |= 1 << ticket % BITS
        return bits

    def look_again(self) -> None:
        """Marks that the next ring may not come."""
        if self._hub is not None:
            self._hub.unsure.add(self)
            self._hub.hurry(LATE)

    def wake(self) -> None:
        """Wakes all, or the first, which may already be awake. Never wakes the next one as well: if the first checks in
        vain, an item that arrives a moment later would go to the next one."""
        for place in self.places:
            place.wake()
            if not self._together:
                return

    def wake_first(self) -> None:
        """Wakes only the first: if it is served, it wakes the others."""
        for place in self.places:
            place.wake()
            return


class Hub:
    """Everything that one event loop waits for."""

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
        """Returns whether a coroutine of this loop waits for `source`."""
        return source.identity in self._lines.get(source.key, {})

    @contextmanager
    def in_line(self, source: Source, together: bool) -> Iterator[Place]:
        """Holds a place in the line for `source`, where the doorbell's number is registered in the meantime."""
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
                # The number is registered for the first place, which may be another one now.
                line.arm()
                line.wake()
            else:
                self._drop(line)

    async def ready(self, fd: int, what: str, timeout: float | None) -> bool:
        """Waits in the line for `fd`: a loop accepts only one reader and one writer per descriptor."""
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
        """The loop is closed, so no coroutine waits here any more."""
        self._bell.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        loop = self._loop()
        assert loop is not None
        return loop

    def _drop(self, line: Line) -> None:
        """No coroutine waits in `line` any more."""
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
            # Perhaps another handle of the same primitive, whose registration has just been removed.
            other.arm()

    def _rung(self) -> None:
        keys = self._bell.drain()
        for key in list(self._lines) if keys is None else keys:
            for line in self._lines.get(key, {}).values():
                # The ring removed the registration. It is restored before the next check.
                line.arm()
                line.wake()

    def _renew_bell(self) -> None:
        """The program closed the descriptor. Its number may belong to a file of the program's, which the loop may
        watch."""
        loop = self._running()
        try:
            reader = loop._selector.get_key(self._bell_fd).data[0]  # type: ignore[attr-defined]
            is_watched = reader._callback == self._rung
        except (AttributeError, KeyError):
            is_watched = False  # a loop that does not report this drops closed descriptors itself
        if is_watched:
            loop.remove_reader(self._bell_fd)
        self._bell.close()
        self._bell = native.Doorbell()
        self._bell_fd = self._bell.fileno()
        loop.add_reader(self._bell_fd, self._rung)

    def hurry(self, within: float = SLICE) -> None:
        """The next tick comes within this many seconds, and the following ones soon after."""
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
