"""Scenarios in which processes are killed: a shared object, processes that use it until they are killed, and
invariants.

A round (see `rounds`) starts the processes, kills one of them at some instant, waits until the others continue, kills
them too, and then checks the invariants. A scenario lives through many rounds, and so through many deaths.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import time
from collections import Counter
from typing import Any

import kettle.multiprocessing as mp
from kettle import ConsumerDied, OwnerDied, _native
from kettle.multiprocessing.connection import Connection

from .support import PROMPT, prompt, runs

SIZES = (0, 40, 1_000, 3_000, 90_000)  # inline, inline, inline in two parts, a block, a large block


def parcel(number: int) -> tuple[int, bytes]:
    """Returns an item that shows whether it is intact."""
    return number, bytes([number % 251]) * SIZES[number % len(SIZES)]


def whole(item: object) -> int:
    """Returns the number of a parcel, after checking that it arrived intact."""
    assert isinstance(item, tuple) and item == parcel(item[0]), f"a torn item: {str(item)[:80]}"
    return item[0]


def mend(lock: Any) -> None:
    """Resets a broken lock, unless another process did so and has acquired it since."""
    try:
        lock.reset()
    except RuntimeError as error:
        assert "lives" in str(error)


class Ground:
    """`crew` processes run `act` forever; `self.moves[slot]` counts the moves of each."""

    crew = 3

    def __init__(self, ctx: Any) -> None:
        self.moves = ctx.RawArray("q", self.crew)

    def begin(self) -> None:
        """In the parent, before each round."""

    def act(self, slot: int) -> None:
        """In one of the processes: makes one move. A method, so that it can be sent with spawn."""
        raise NotImplementedError

    def nudge(self) -> None:
        """In the parent, repeatedly while it waits for the survivors to move."""

    def census(self, killed: int) -> Counter:
        """In the parent, when all processes are dead: asserts the invariants, and counts notable events."""
        return Counter()

    def run(self, slot: int, crash_point: str | None = None) -> None:
        if crash_point is not None:
            _native.arm_crash_point(crash_point)
        while True:
            self.act(slot)
            self.moves[slot] += 1


class Stream(Ground):
    """One putter. No item for which `put` returned is lost, and none is torn, duplicated or out of order."""

    crew = 1

    def __init__(self, ctx: Any, maxsize: int = 0) -> None:
        super().__init__(ctx)
        self.queue = ctx.Queue(maxsize)
        self.maxsize = maxsize
        self.taken: list[int] = []

    def begin(self) -> None:
        self.taken = []

    def act(self, slot: int) -> None:
        self.queue.put(parcel(self.moves[slot]))

    def nudge(self) -> None:
        self._drain(200)  # the putter may be as fast as this loop

    def _drain(self, most: int) -> None:
        for _ in range(most):
            try:
                self.taken.append(whole(prompt(self.queue.get_nowait)))
            except queue.Empty:
                return

    def census(self, killed: int) -> Counter:
        counts = self.count()
        assert self.queue.qsize() == 0 and self.queue.empty()
        return counts

    def count(self) -> Counter:
        published = self.moves[0]
        self._drain(published + 2)
        # One more may be there: it was committed, but its putter died before counting it.
        assert self.taken == list(range(len(self.taken))), "lost, doubled or out of order"
        assert published <= len(self.taken) <= published + 1, f"{published} published, {len(self.taken)} arrived"
        return Counter(messages=len(self.taken), unannounced=len(self.taken) - published)


class BoundedStream(Stream):
    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx, maxsize=3)


class Drain(Ground):
    """Getters. Each item is taken once, in order; only items held by dead processes are missing."""

    crew = 2
    stock = 300

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.queue = ctx.Queue()
        self.taken_by = ctx.RawArray("b", self.stock)
        self.next = 0

    def begin(self) -> None:
        for number in range(self.stock):
            self.taken_by[number] = 0
            self.queue.put(parcel(number))
        self.next = self.stock

    def act(self, slot: int) -> None:
        number = whole(self.queue.get())
        if number < self.stock:
            self.taken_by[number] = slot + 1

    def nudge(self) -> None:
        self.queue.put(parcel(self.next))
        self.next += 1

    def census(self, killed: int) -> Counter:
        left = []
        while True:
            try:
                left.append(whole(prompt(self.queue.get_nowait)))
            except queue.Empty:
                break
        assert left == sorted(set(left)), "doubled or out of order"
        missing = [n for n in range(self.stock) if not self.taken_by[n] and n not in left]
        twice = [n for n in left if n < self.stock and self.taken_by[n]]
        assert not twice, f"taken and still there: {twice}"
        assert len(missing) <= killed, f"lost: {missing}"
        return Counter(messages=self.stock, lost_with_their_taker=len(missing))


class Tokens(Ground):
    """All processes get from and put into one queue. No token is duplicated; a dead process loses at most one."""

    stock = 8

    def __init__(self, ctx: Any, maxsize: int = 0) -> None:
        super().__init__(ctx)
        self.queue = ctx.Queue(maxsize)
        self.next = 0
        self.out: set[int] = set()

    def begin(self) -> None:
        while len(self.out) < self.stock:
            self._add()

    def _add(self) -> None:
        self.out.add(self.next)
        self.queue.put(parcel(self.next), timeout=PROMPT)
        self.next += 1

    def act(self, slot: int) -> None:
        item = self.queue.get()
        whole(item)
        self.queue.put(item)

    def census(self, killed: int) -> Counter:
        found = []
        while True:
            try:
                found.append(whole(prompt(self.queue.get_nowait)))
            except queue.Empty:
                break
        assert len(found) == len(set(found)), f"doubled: {sorted(found)}"
        assert set(found) <= self.out, "from nowhere"
        lost = len(self.out) - len(found)
        assert lost <= killed, f"{lost} tokens lost with {killed} dead"
        self.out = set()
        return Counter(messages=len(found) + lost, lost_with_their_taker=lost)


class BoundedTokens(Tokens):
    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx, maxsize=self.stock)


class Unfinished(Ground):
    """Getters of a JoinableQueue. `join` ends: all items were finished, or a process died with unfinished ones."""

    crew = 2

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.ctx = ctx
        self.queue = ctx.JoinableQueue()

    def __getstate__(self) -> dict:
        return {key: value for key, value in vars(self).items() if key != "ctx"}

    def begin(self) -> None:
        self.queue = self.ctx.JoinableQueue()
        for number in range(60):
            self.queue.put(parcel(number))

    def act(self, slot: int) -> None:
        whole(self.queue.get())
        self.queue.task_done()

    def nudge(self) -> None:
        self.queue.put(parcel(0))

    def census(self, killed: int) -> Counter:
        while True:
            try:
                whole(prompt(self.queue.get_nowait))
            except queue.Empty:
                break
            self.queue.task_done()
        try:
            prompt(self.queue.join)
        except ConsumerDied as error:
            assert 1 <= error.unfinished <= killed
            return Counter(consumer_died=1)
        return Counter(all_done=1)


class Locks(Ground):
    """Holders. The lock is never held by two processes, and never held forever."""

    def __init__(self, ctx: Any, kind: str = "Lock", on_owner_death: str = "raise") -> None:
        super().__init__(ctx)
        self.lock = getattr(ctx, kind)(on_owner_death=on_owner_death)
        self.inside = ctx.RawValue("q", 0)
        self.broken = 0

    def act(self, slot: int) -> None:
        try:
            self.lock.acquire()
        except OwnerDied:
            mend(self.lock)
            return
        other = self.inside.value
        assert not (other and runs(other)), f"{other} and {os.getpid()} both hold the lock"
        self.inside.value = os.getpid()
        self.inside.value = 0
        self.lock.release()

    def census(self, killed: int) -> Counter:
        broken = 0
        try:
            prompt(self.lock.acquire)
        except OwnerDied as error:
            broken = 1
            assert not runs(error.pid)
            self.lock.reset()
            assert prompt(self.lock.acquire)
        self.inside.value = 0
        self.lock.release()
        return Counter(broken_locks=broken)


class RLocks(Locks):
    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx, "RLock")

    def act(self, slot: int) -> None:
        try:
            with self.lock, self.lock:
                pass
        except OwnerDied:
            mend(self.lock)


class RecoveringLocks(Locks):
    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx, "Lock", "recover")

    def census(self, killed: int) -> Counter:
        assert prompt(self.lock.acquire), "not handed on"
        self.inside.value = 0
        self.lock.release()
        return Counter()


class Permits(Ground):
    """Holders of a robust semaphore's permits: all permits are returned."""

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.semaphore = ctx.Semaphore(2, robust=True)

    def act(self, slot: int) -> None:
        with self.semaphore:
            pass

    def census(self, killed: int) -> Counter:
        assert prompt(self.semaphore.acquire) and prompt(self.semaphore.acquire), "a permit was lost"
        assert not self.semaphore.acquire(False), "a permit too many"
        self.semaphore.release(2)
        return Counter()


class Events(Ground):
    """Waiters for an event. `set` returns, and wakes the living ones."""

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.event = ctx.Event()

    def act(self, slot: int) -> None:
        self.event.wait()
        self.event.clear()

    def nudge(self) -> None:
        prompt(self.event.set)

    def census(self, killed: int) -> Counter:
        prompt(self.event.set)
        assert prompt(self.event.wait) is True
        prompt(self.event.clear)
        assert self.event.wait(0) is False
        return Counter()


class Conditions(Ground):
    """Waiters on a condition. No notification is lost to a dead one."""

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.condition = ctx.Condition(ctx.Lock())

    def act(self, slot: int) -> None:
        try:
            with self.condition:
                self.condition.notify()
                self.condition.wait()
        except OwnerDied:
            mend(self.condition._lock)

    def nudge(self) -> None:
        self._as_owner(self.condition.notify)

    def _as_owner(self, then: Any) -> None:
        try:
            prompt(self.condition.acquire)
        except OwnerDied:
            mend(self.condition._lock)
            return
        try:
            then()
        finally:
            self.condition.release()

    def census(self, killed: int) -> Counter:
        self._as_owner(self.condition.notify_all)
        self._as_owner(lambda: prompt(self.condition.wait, 0.001))
        return Counter()


class Barriers(Ground):
    """Parties of a barrier. It breaks for the others when one dies waiting, and can be used again after `reset`."""

    crew = 2

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.barrier = ctx.Barrier(2)

    def act(self, slot: int) -> None:
        if self.moves[slot] % 8 == 7:
            self.barrier.abort()
        try:
            self.barrier.wait()
        except threading.BrokenBarrierError:
            time.sleep(0.001)

    def nudge(self) -> None:
        if self.barrier.broken:
            prompt(self.barrier.reset)
        try:
            self.barrier.wait(0.01)
        except threading.BrokenBarrierError:
            pass

    def census(self, killed: int) -> Counter:
        broken = 0
        try:
            # A party that died before it arrived leaves nothing; one that had arrived breaks the barrier for this
            # process.
            self.barrier.wait(0.001)
        except threading.BrokenBarrierError:
            broken = 1
        prompt(self.barrier.reset)
        assert not self.barrier.broken and self.barrier.n_waiting == 0
        return Counter(broken_barriers=broken)


class Sender(Stream):
    """One sender on a pipe. Like a stream, but through the pipe's own code path."""

    def __init__(self, ctx: Any) -> None:
        Ground.__init__(self, ctx)
        self.reader, self.writer = ctx.Pipe(duplex=False)

    def act(self, slot: int) -> None:
        self.writer.send(parcel(self.moves[slot]))

    def _drain(self, most: int) -> None:
        for _ in range(most):
            if not prompt(self.reader.poll):
                return
            self.taken.append(whole(prompt(self.reader.recv)))

    def census(self, killed: int) -> Counter:
        counts = self.count()
        assert not self.reader.poll()
        return counts


class Receiver(Ground):
    """One receiver on a pipe: what it had not taken is available to the next one."""

    crew = 1
    stock = 12

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.reader, self.writer = ctx.Pipe(duplex=False)

    def begin(self) -> None:
        for number in range(self.stock):
            self.writer.send(parcel(number))

    def act(self, slot: int) -> None:
        assert whole(self.reader.recv()) == self.moves[slot], "lost, doubled or out of order"

    def census(self, killed: int) -> Counter:
        taken, left = self.moves[0], []
        while prompt(self.reader.poll):
            left.append(whole(prompt(self.reader.recv)))
        assert left == list(range(self.stock - len(left), self.stock)), "lost, doubled or out of order"
        lost = self.stock - taken - len(left)
        assert 0 <= lost <= 1, f"{taken} taken, {len(left)} left"
        return Counter(messages=self.stock, lost_with_their_taker=lost)


class PartsReceiver(Receiver):
    """As a receiver, of messages in two parts: so those are sent that do not know of the pipe's shared memory."""

    def begin(self) -> None:
        bare = Connection(os.dup(self.writer.fileno()))
        for number in range(self.stock):
            (self.writer if number % len(SIZES) == len(SIZES) - 1 else bare).send(parcel(number))


class BacklogSender(Sender):
    """As a sender, whose receiver comes when the socket has been full for a while."""

    def nudge(self) -> None:
        if self.moves[0] - len(self.taken) >= 300:
            self._drain(1000)


class BacklogReceiver(Receiver):
    """As a receiver, with more than the socket has room for."""

    stock = 300


class Memory(Ground):
    """Processes that hold memory of the arena: all of it is returned."""

    slack = 70_000  # bytes: less than one of the large buffers that would be missed

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.level = 0

    def begin(self) -> None:
        self.level = self._used()

    def census(self, killed: int) -> Counter:
        missing = self._used() - self.level
        assert missing <= self.slack, f"{missing} bytes were not given back"
        return Counter()

    def _used(self) -> int:
        _native.reclaim()
        return _native.arena_statistics()["allocated_bytes"]


class Makers(Memory):
    """Processes that create and drop primitives."""

    def act(self, slot: int) -> None:
        lock, condition, items = mp.Lock(), mp.Condition(), mp.Queue()
        items.put(parcel(self.moves[slot]))
        with lock, condition:
            whole(items.get())
        items.put(parcel(self.moves[slot] + 2))


class Senders(Memory):
    """Processes that send to each other through one queue."""

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.queue = ctx.Queue()
        self.queue.put(None)  # allocates the queue's own memory before the first count
        self.queue.get()

    def arrived(self, item: Any) -> None:
        """In the parent: returns what was left in the queue."""

    def census(self, killed: int) -> Counter:
        while not self.queue.empty():
            self.arrived(prompt(self.queue.get_nowait))
        return super().census(killed)


class Viewers(Senders):
    """Processes that hold views of large buffers that arrived in messages."""

    def act(self, slot: int) -> None:
        self.queue.put(pickle.PickleBuffer(bytearray(b"x" * 100_000)))
        view = self.queue.get()
        self.queue.put(pickle.PickleBuffer(memoryview(view)[:80_000]))
        self.queue.get()


class Replies(Senders):
    """Processes that send a queue for the answer with each request, and drop queues that hold such messages."""

    def act(self, slot: int) -> None:
        answers = mp.Queue()
        self.queue.put((parcel(self.moves[slot]), answers))
        self.arrived(self.queue.get())
        dropped = mp.Queue()
        dropped.put(answers)

    def arrived(self, item: Any) -> None:
        request, where = item
        where.put(whole(request))  # it is as usable as ever, even if its creator has died


GROUNDS: dict[str, type[Ground]] = {
    ground.__name__: ground
    for ground in (
        *(Stream, BoundedStream, Drain, Tokens, BoundedTokens, Unfinished),
        *(Locks, RLocks, RecoveringLocks, Permits, Events, Conditions, Barriers),
        *(Sender, Receiver, PartsReceiver, BacklogSender, BacklogReceiver, Makers, Viewers, Replies),
    )
}
