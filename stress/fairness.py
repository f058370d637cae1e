"""Checks that all waiters get their share: threads, the main thread, coroutines of one and of several loops, processes.

    python -m stress fairness --rounds 50 --seconds 3

Each round draws a primitive and its users, lets them contend for some seconds, and compares their turns. The share of a
user is the ratio of its turns to an equal distribution.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import kettle.multiprocessing
import kettle.queue
import kettle.threading

#: The promise of `make stress`: every user gets at least four fifths and at most six fifths of its share.
LEAST, MOST = 0.8, 1.2
#: With more users, bits of tickets are shared: threads may overtake a loop, but the loop does not starve.
APART, LEAST_OF_MANY = 32, 0.1
#: With fewer turns each, a share means little.
ENOUGH = 20


class Place(NamedTuple):
    """The contended object: how a thread takes a turn, and how a coroutine does."""

    turn: Callable[[float], None]
    aturn: Callable[[float], Awaitable[None]]


def of_lock(lock: Any) -> Place:
    """A turn holds the lock for some time."""

    def turn(hold: float) -> None:
        with lock:
            time.sleep(hold)

    async def aturn(hold: float) -> None:
        async with lock:
            await asyncio.sleep(hold)

    return Place(turn, aturn)


def of_pool(queue: Any, size: int) -> Place:
    """A turn takes an item of the queue for some time."""
    for number in range(size):
        queue.put(number)

    def turn(hold: float) -> None:
        number = queue.get()
        time.sleep(hold)
        queue.put(number)

    async def aturn(hold: float) -> None:
        number = await queue.aget()
        await asyncio.sleep(hold)
        queue.put(number)

    return Place(turn, aturn)


def of_room(queue: Any) -> Place:
    """A turn occupies the free place in a full queue for some time."""

    def turn(hold: float) -> None:
        queue.put(None)
        time.sleep(hold)
        queue.get()

    async def aturn(hold: float) -> None:
        await queue.aput(None)
        await asyncio.sleep(hold)
        queue.get()

    return Place(turn, aturn)


BETWEEN_THREADS: dict[str, Callable[[], Place]] = {
    "Lock": lambda: of_lock(kettle.threading.Lock()),
    "Semaphore(1)": lambda: of_lock(kettle.threading.Semaphore(1)),
    "Semaphore(3)": lambda: of_lock(kettle.threading.Semaphore(3)),
    "BoundedSemaphore(2)": lambda: of_lock(kettle.threading.BoundedSemaphore(2)),
    "Condition": lambda: of_lock(kettle.threading.Condition(kettle.threading.Lock())),
    "Queue, get": lambda: of_pool(kettle.queue.Queue(), 1),
    "LifoQueue, get": lambda: of_pool(kettle.queue.LifoQueue(), 2),
    "PriorityQueue, get": lambda: of_pool(kettle.queue.PriorityQueue(), 2),
    "Queue(1), put": lambda: of_room(kettle.queue.Queue(1)),
    "Queue(3), put": lambda: of_room(kettle.queue.Queue(3)),
}
BETWEEN_PROCESSES: dict[str, Callable[[Any], Place]] = {
    "Lock": lambda context: of_lock(context.Lock()),
    "Semaphore(1)": lambda context: of_lock(context.Semaphore(1)),
    "Semaphore(3)": lambda context: of_lock(context.Semaphore(3)),
    "Queue, get": lambda context: of_pool(context.Queue(), 1),
    "Queue(2), put": lambda context: of_room(context.Queue(2)),
}


class Users(NamedTuple):
    """The users in one process."""

    main: bool
    threads: int
    loops: tuple[int, ...]  # the number of coroutines of each loop; each loop runs in its own thread

    def __str__(self) -> str:
        return " ".join(filter(None, (
            "main" if self.main else "",
            f"{self.threads} threads" if self.threads else "",
            *(f"loop of {n}" for n in self.loops),
        )))  # fmt: skip


class Tally:
    """The turns of the users of one process, by name."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = 0.0
        self.turns: dict[str, int] = {}

    def note(self, name: str) -> bool:
        """Counts a turn; returns False when the time is over."""
        if time.monotonic() > self.end:
            return False
        self.turns[name] = self.turns.get(name, 0) + 1
        return True

    def run(self, place: Place, users: Users, hold: float, ready: Callable[[], object]) -> dict[str, int]:
        """Lets all users contend, starting when all of them are `ready`."""

        def begin() -> None:
            ready()
            self.end = time.monotonic() + self.seconds

        self._begin = threading.Barrier(users.threads + len(users.loops) + users.main, begin)
        threads = [
            threading.Thread(target=self._thread, args=(place, f"thread {i}", hold)) for i in range(users.threads)
        ]
        threads += [
            threading.Thread(target=lambda i=i, n=n: asyncio.run(self._loop(place, i, n, hold)))
            for i, n in enumerate(users.loops)
        ]
        for thread in threads:
            thread.start()
        if users.main:
            self._thread(place, "main", hold)
        for thread in threads:
            thread.join()
        return self.turns

    def _thread(self, place: Place, name: str, hold: float) -> None:
        self.turns[name] = 0
        self._begin.wait()
        while time.monotonic() < self.end:
            place.turn(hold)
            self.note(name)

    async def _loop(self, place: Place, number: int, tasks: int, hold: float) -> None:
        self._begin.wait()

        async def task(name: str) -> None:
            self.turns[name] = 0
            while time.monotonic() < self.end:
                await place.aturn(hold)
                self.note(name)

        await asyncio.gather(*(task(f"loop {number} task {i}") for i in range(tasks)))


def _child(place: Place, users: Users, hold: float, seconds: float, begin: Any, result: Any) -> None:
    result.send(Tally(seconds).run(place, users, hold, begin.wait))


def _contend(rng: random.Random, seconds: float) -> tuple[str, dict[str, int]]:
    """Runs one round and returns its description and the turns of each user."""
    hold = rng.choice([0.0005, 0.001, 0.002, 0.005])
    if rng.random() < 0.6:
        name = rng.choice(list(BETWEEN_THREADS))
        users = _draw(rng, most_loops=6)
        what = f"{name}, {hold * 1000:g} ms, between threads: {users}"
        return what, Tally(seconds).run(BETWEEN_THREADS[name](), users, hold, lambda: None)
    context = kettle.multiprocessing.get_context("fork")
    name = rng.choice(list(BETWEEN_PROCESSES))
    place = BETWEEN_PROCESSES[name](context)
    households = [_draw(rng, most_loops=1) for _ in range(rng.randint(2, 4))]
    begin = context.Barrier(len(households))
    pipes, children = [], []
    for users in households:
        ours, theirs = context.Pipe()
        pipes.append(ours)
        children.append(context.Process(target=_child, args=(place, users, hold, seconds, begin, theirs)))
    for child in children:
        child.start()
    turns = {f"process {i}, {who}": n for i, pipe in enumerate(pipes) for who, n in pipe.recv().items()}
    for child in children:
        child.join()
    return f"{name}, {hold * 1000:g} ms, between processes: {'; '.join(map(str, households))}", turns


def _draw(rng: random.Random, most_loops: int) -> Users:
    while True:
        loops = tuple(rng.randint(1, 4) for _ in range(rng.randint(0, most_loops)))
        # More than 32 waiters share the bits of tickets.
        threads = rng.choice([0, 1, 2, 3, 4, 5, 40])
        users = Users(rng.random() < 0.5, threads, loops)
        if users.main + users.threads + len(loops) > 1:
            return users


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m stress fairness", description=__doc__)
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("FAIR_ROUNDS", "40")))
    parser.add_argument("--seconds", type=float, default=3.0, help="for each round")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", time.time_ns() % 1_000_000)))
    options = parser.parse_args(arguments)
    print(f"SEED={options.seed} ROUNDS={options.rounds}", flush=True)
    rng = random.Random(options.seed)
    unfair = 0
    for number in range(options.rounds):
        faulthandler.dump_traceback_later(60 + options.seconds, exit=True)
        what, turns = _contend(rng, options.seconds)
        mean = sum(turns.values()) / len(turns)
        shares = {who: n / mean for who, n in turns.items()}
        least, most = min(shares.values()), max(shares.values())
        are_many = len(shares) > APART
        is_fair = mean < ENOUGH or (least >= LEAST_OF_MANY if are_many else least >= LEAST and most <= MOST)
        unfair += not is_fair
        print(
            f"{number:3} {'fair  ' if is_fair else 'UNFAIR'} {least:.2f} to {most:.2f} of {mean:.0f} turns  {what}",
            flush=True,
        )
        if not is_fair:
            print("      " + ", ".join(f"{who}: {share:.2f}" for who, share in sorted(shares.items())), flush=True)
    faulthandler.cancel_dump_traceback_later()
    print(f"fairness: {options.rounds} rounds, {unfair} unfair")
    return 1 if unfair else 0
