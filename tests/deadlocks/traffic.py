"""Traffic: threads of several processes on locks that have an order. They wait long and often, but never forever, so no
deadlock may be reported.

Each thread repeats these actions at random:

    in order    takes some of the locks in their order, and waits for each
    late        takes them against their order, each with a time-out; after a time-out releases all
    tried       the same without waiting
    notified    takes some, then waits on a condition, which comes after them, until it is notified
    passed on   takes a lock, leaves it to a porter to release it, and goes on at once

The porters, and the tickers, which notify, never wait long. But a porter dawdles now and then, and in the meantime
threads that wait for each other's locks would look like a deadlock if they were assumed to release these locks
themselves. Only locks for that purpose are passed on: each of those is passed on once before the traffic begins.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading as standard
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.death.support import LIMIT

import kettle
import kettle.multiprocessing
from kettle import _deadlock, queue, threading
from kettle._core import native

ORDERED = 20  # locks that each process sees
SHARED = 6  # the last of them: those that all processes see
PORTERS = 4
TICK = 0.01  # seconds between two notifications
NAP = 0.004  # maximum seconds for which a lock is held
DAWDLES = 1 / 32  # the share of a porter's rounds in which it dawdles
LONG = 0.6  # and for how many seconds


class Shared:
    """What all processes share; sent to each."""

    def __init__(self, context: Any, processes: int) -> None:
        self.locks = [
            context.Lock(),
            context.RLock(),
            context.Lock(name="passed on"),
            context.Condition(),
            context.RLock(),
            context.Semaphore(1),
        ]
        assert len(self.locks) == SHARED
        self.passed = context.SimpleQueue()
        self.all_done = context.Barrier(processes)
        self.results = context.Queue()


def own_locks() -> list[Any]:
    kinds = [threading.Lock, threading.RLock, threading.Condition, lambda: threading.Semaphore(1)]
    kinds.append(lambda: threading.Lock(name="passed on"))
    return [kinds[i % len(kinds)]() for i in range(ORDERED - SHARED)]


def is_passed_on(lock: Any) -> bool:
    """Returns whether any thread may release the lock, as its purpose is."""
    is_semaphore = isinstance(lock, standard.Semaphore) or hasattr(lock, "get_value")
    return is_semaphore or getattr(lock, "name", None) == "passed on"


def is_condition(lock: Any) -> bool:
    return hasattr(lock, "notify_all")


def pass_on_once(lock: Any) -> None:
    """It is released by a thread that did not take it."""
    lock.acquire()
    porter = standard.Thread(target=lock.release)
    porter.start()
    porter.join()


class Traffic:
    """The part of one process."""

    def __init__(self, shared: Shared, seconds: float, threshold: float, seed: int) -> None:
        self.shared = shared
        self.threshold = threshold
        self.seed = seed
        self.ends = time.monotonic() + seconds
        self.own = own_locks()
        self.locks = [*self.own, *shared.locks]
        self.counts: Counter = Counter()
        self.alarms: list[str] = []
        self.errors: list[str] = []
        self._porters_work: Any = queue.SimpleQueue()

    def run(self, threads: int, with_signals: bool) -> dict[str, Any]:
        """Runs until the time is over; the calling thread, which is the main one, takes part."""
        native.deadlock_policy("raise", self.threshold)
        for lock in self.own:
            if getattr(lock, "name", None) == "passed on":
                pass_on_once(lock)
        done = standard.Event()
        drivers = [standard.Thread(target=self._drive, args=(n,), name=f"driver {n}") for n in range(1, threads)]
        porters = [standard.Thread(target=self._carry, args=(self._porters_work,)) for _ in range(PORTERS)]
        porters.append(standard.Thread(target=self._carry, args=(self.shared.passed,)))
        # One for each condition: a waiter for its lock may wait long, and others hold locks while they wait for it.
        tickers = [standard.Thread(target=self._tick, args=(lock, done)) for lock in self.locks if is_condition(lock)]
        people = [*tickers, *porters, *drivers]
        with self._reports_kept(), self._signals(with_signals):
            for one in people:
                one.start()
            self._drive(0)
            for one in drivers:
                one.join()
            # Threads of other processes may still wait for what is carried or notified here.
            self.shared.all_done.wait(LIMIT)
            done.set()
            for _ in range(PORTERS):
                self._porters_work.put(None)
            self.shared.passed.put(None)  # one for each process
            for one in people:
                one.join()
        for n, lock in enumerate(self.own):
            if not lock.acquire(blocking=False):
                self.errors.append(f"lock {n} is not free")
        return {"counts": self.counts, "alarms": self.alarms, "errors": self.errors}

    @contextlib.contextmanager
    def _reports_kept(self) -> Iterator[None]:
        before = _deadlock.report
        _deadlock.report = lambda text, _: self.alarms.append(text)
        try:
            yield
        finally:
            _deadlock.report = before

    @contextlib.contextmanager
    def _signals(self, wanted: bool) -> Iterator[None]:
        """The main thread is interrupted all the time, by a handler that takes a lock as well."""
        if not wanted:
            yield
            return
        lock = threading.RLock()

        def handle(*_: object) -> None:
            with lock:
                self.counts["signals"] += 1

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _drive(self, number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        ways = [self.in_order, self.late, self.tried, self.notified, self.passed_on]
        try:
            while time.monotonic() < self.ends:
                way = chance.choices(ways, [6, 1, 1, 1, 2])[0]
                way(chance)
                self.counts[way.__name__] += 1
        except kettle.DeadlockError as error:
            self.alarms.append(str(error))
        except BaseException:
            self.errors.append(traceback.format_exc())

    def _carry(self, work: Any) -> None:
        chance = random.Random(self.seed)
        while (n := work.get()) is not None:
            if chance.random() < DAWDLES:
                time.sleep(LONG)
            self.locks[n].release()

    def _tick(self, condition: Any, done: standard.Event) -> None:
        while not done.wait(TICK):
            with condition:
                condition.notify_all()

    def _some(self, chance: random.Random, most: int = 3) -> list[int]:
        return sorted(chance.sample(range(ORDERED), chance.randint(1, most)))

    def _take(self, n: int) -> None:
        begun = time.monotonic()
        self.locks[n].acquire()
        if time.monotonic() - begun > self.threshold:
            self.counts["long waits"] += 1

    def in_order(self, chance: random.Random) -> None:
        with contextlib.ExitStack() as held:
            for n in self._some(chance):
                self._take(n)
                held.callback(self.locks[n].release)
                time.sleep(NAP * chance.random())

    def late(self, chance: random.Random) -> None:
        with contextlib.ExitStack() as held:
            for n in reversed(self._some(chance)):
                if not self.locks[n].acquire(timeout=0.2 * chance.random()):
                    return
                held.callback(self.locks[n].release)

    def tried(self, chance: random.Random) -> None:
        with contextlib.ExitStack() as held:
            for n in reversed(self._some(chance)):
                if not self.locks[n].acquire(False):
                    return
                held.callback(self.locks[n].release)
                time.sleep(NAP * chance.random())

    def notified(self, chance: random.Random) -> None:
        n = chance.choice([n for n, lock in enumerate(self.locks) if is_condition(lock)])
        with contextlib.ExitStack() as held:
            for before in sorted(chance.sample(range(n), chance.randint(0, 1))):
                self._take(before)
                held.callback(self.locks[before].release)
            self._take(n)
            held.callback(self.locks[n].release)
            self.locks[n].wait()

    def passed_on(self, chance: random.Random) -> None:
        n = chance.choice([n for n, lock in enumerate(self.locks) if is_passed_on(lock)])
        self._take(n)
        (self._porters_work if n < len(self.own) else self.shared.passed).put(n)


def part(shared: Shared, seconds: float, threshold: float, seed: int, threads: int) -> None:
    """The part of another process."""
    shared.results.put(Traffic(shared, seconds, threshold, seed).run(threads, with_signals=False))


def traffic(seconds: float, threads: int, methods: list[str], threshold: float, seed: int) -> list[dict[str, Any]]:
    """Runs the traffic, in this process with the given number of threads and in one process of each method with a tenth
    of them. Returns the counts of each process, this one first."""
    context = kettle.multiprocessing.get_context()
    shared = Shared(context, 1 + len(methods))
    pass_on_once(shared.locks[2])
    others = [
        kettle.multiprocessing.get_context(method).Process(
            target=part, args=(shared, seconds, threshold, seed + 1 + i, max(2, threads // 10))
        )
        for i, method in enumerate(methods)
    ]
    policy = native.deadlock_policy()
    try:
        for other in others:
            other.start()
        results = [Traffic(shared, seconds, threshold, seed).run(threads, with_signals=True)]
        results += [shared.results.get(timeout=LIMIT) for _ in others]
        for other in others:
            other.join()
    finally:
        native.deadlock_policy(*policy)
    for n, lock in enumerate(shared.locks):
        if not lock.acquire(False):
            results[0]["errors"].append(f"shared lock {n} is not free in process {os.getpid()}")
    return results
