"""Claim: threads on one queue, and on one pool, do not slow each other down more than the standard library's do.

    python -m benches.scaling [ROUNDS] [SECONDS]

All libraries take turns in one process, a short measurement each, ROUNDS times. The table has the medians, in thousands
per second for all threads together. The program runs on every Python but is intended for free-threaded ones: with a
GIL, several threads can at best achieve as much as one.
"""

from __future__ import annotations

import concurrent.futures
import gc
import multiprocessing.pool
import platform
import queue
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import kettle.futures
import kettle.multiprocessing.pool
import kettle.queue

THREADS = (1, 2, 3, 4)

Work = Callable[[int], object]


class Shape(NamedTuple):
    """One row of the table for each number of threads."""

    title: str
    #: The minimum number of operations, so that the time to start threads matters little.
    least: int
    #: For each library: prepares for a number of threads, and returns a function that performs `n` operations.
    contenders: dict[str, Callable[[int], AbstractContextManager[Work]]]


def together(count: int, work: Callable[[int], object], n: int) -> None:
    """Runs `work(number)` in `count` threads, and returns when all have finished."""
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ------------------------------------------------------------------------------------------------------- queues


def put_and_get(make: Callable[[], Any]) -> Callable[[int], AbstractContextManager[Work]]:
    """Each thread alternately puts an item and gets one."""

    @contextmanager
    def prepare(count: int) -> Iterator[Work]:
        q = make()

        def do(n: int) -> None:
            def turns(_: int) -> None:
                put, get = q.put, q.get
                for item in range(n // count):
                    put(item)
                    get()

            together(count, turns, n)

        yield do

    return prepare


def producers_and_consumers(make: Callable[[], Any]) -> Callable[[int], AbstractContextManager[Work]]:
    """`count` threads put, and as many get."""

    @contextmanager
    def prepare(count: int) -> Iterator[Work]:
        q = make()

        def do(n: int) -> None:
            def part(number: int) -> None:
                put, get = q.put, q.get
                if number % 2:
                    for item in range(n // count):
                        put(item)
                else:
                    for _ in range(n // count):
                        get()

            together(2 * count, part, n)

        yield do

    return prepare


QUEUES = {"kettle": kettle.queue.Queue, "stdlib": queue.Queue}
SIMPLE = {"kettle": kettle.queue.SimpleQueue, "stdlib": queue.SimpleQueue}


# -------------------------------------------------------------------------------------------------------- pools


def trivial(item: int) -> int:
    return item


def short(item: int) -> int:
    """Takes about 10 µs of pure Python."""
    total = item
    for i in range(200):
        total += i
    return total


def mapping(
    make: Callable[[int], Any], function: Callable[[int], int]
) -> Callable[[int], AbstractContextManager[Work]]:
    @contextmanager
    def prepare(count: int) -> Iterator[Work]:
        with make(count) as pool:
            yield lambda n: sum(1 for _ in pool.map(function, range(n), chunksize=1))

    return prepare


def applying(make: Callable[[int], Any]) -> Callable[[int], AbstractContextManager[Work]]:
    """`count` threads call a pool with as many workers, and wait for each result."""

    @contextmanager
    def prepare(count: int) -> Iterator[Work]:
        with make(count) as pool:
            if hasattr(pool, "apply"):
                call = pool.apply
            else:

                def call(function: Callable[[int], int], args: tuple[int]) -> int:
                    return pool.submit(function, *args).result()

            def do(n: int) -> None:
                def calls(_: int) -> None:
                    for item in range(n // count):
                        call(short, (item,))

                together(count, calls, n)

            yield do

    return prepare


POOLS = {
    "kettle": kettle.multiprocessing.pool.ThreadPool,
    "stdlib": multiprocessing.pool.ThreadPool,
    "kettle executor": kettle.futures.ThreadPoolExecutor,
    "stdlib executor": concurrent.futures.ThreadPoolExecutor,
}

SHAPES = [
    Shape("`Queue`, put + get in each thread", 20_000, {name: put_and_get(make) for name, make in QUEUES.items()}),
    Shape(
        "`SimpleQueue`, put + get in each thread", 20_000, {name: put_and_get(make) for name, make in SIMPLE.items()}
    ),
    Shape("`Queue`, pairs of threads", 20_000, {name: producers_and_consumers(make) for name, make in QUEUES.items()}),
    Shape(
        "`SimpleQueue`, pairs of threads",
        20_000,
        {name: producers_and_consumers(make) for name, make in SIMPLE.items()},
    ),
    Shape("pool, `map` of a trivial function", 2_000, {name: mapping(make, trivial) for name, make in POOLS.items()}),
    Shape("pool, `map` of 10 µs", 2_000, {name: mapping(make, short) for name, make in POOLS.items()}),
    Shape("pool, `apply` of 10 µs from each thread", 1_000, {name: applying(make) for name, make in POOLS.items()}),
]


# ---------------------------------------------------------------------------------------------------- measuring


def timed(work: Work, n: int) -> float:
    begun = time.perf_counter()
    work(n)
    return time.perf_counter() - begun


def how_many(work: Work, least: int, seconds: float) -> int:
    """Returns the number of operations that take about the given time."""
    n = least
    while (took := timed(work, n)) < 0.6 * seconds:
        n = int(n * min(10.0, 1.2 * seconds / took)) + 1
    return n


def measure(shape: Shape, count: int, rounds: int, seconds: float) -> dict[str, float]:
    """Returns the median for each library."""
    found: dict[str, list[float]] = {name: [] for name in shape.contenders}
    enough: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, prepare in shape.contenders.items():
            gc.collect()
            with prepare(count) as work:
                if number == 0:
                    enough[name] = how_many(work, shape.least, seconds)
                else:
                    found[name].append(enough[name] / timed(work, enough[name]))
    return {name: statistics.median(rates) for name, rates in found.items()}


def row(title: str, found: dict[str, float]) -> str:
    """Returns the rates, and the ratio of the first one to the best of the other libraries."""
    ratio = found["kettle"] / max(rate for name, rate in found.items() if not name.startswith("kettle"))
    return f"| {title} | {' | '.join(f'{rate / 1e3:,.0f}' for rate in found.values())} | {ratio:.1f} |"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0.1
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {platform.python_version()}, {'with' if gil else 'without'} a GIL; thousands per second\n")
    for shape in SHAPES:
        names = list(shape.contenders)
        print(f"| {shape.title} | {' | '.join(names)} | ratio |\n|---|{'---:|' * (len(names) + 1)}")
        for count in THREADS:
            title = f"{count} thread{'s' if count > 1 else ''}"
            print(row(title, measure(shape, count, rounds, seconds)), flush=True)
        print()


if __name__ == "__main__":
    main()
