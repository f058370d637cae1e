"""Claim: each waiter gets its share, and idle waiters cost next to nothing.

For `stdlib`, coroutines use asyncio's own locks and queues, which threads cannot use.
"""

from __future__ import annotations

import asyncio
import importlib
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benches._harness import series
from benches._peers import THREADS, Peer
from benches.threads import HOMES

WAITS = ("median", "p99", "longest")
TURN = 0.005  # seconds
MANY, CROWD = 1000, 50


def _threads_lock(peer: Peer) -> Any:
    return importlib.import_module(HOMES[peer.name][1]).Lock()


def _waits(turn: Callable[[], None], end: float) -> list[float]:
    """Returns the seconds that this thread waited for each turn, including the length of the turn."""
    waits = []
    while (begun := time.perf_counter()) < end:
        turn()
        waits.append(time.perf_counter() - begun)
    return waits


def _milliseconds(waits: list[float]) -> dict[str, float]:
    waits.sort()
    found = statistics.median(waits), waits[int(len(waits) * 0.99)], waits[-1]
    return {name: seconds * 1000 for name, seconds in zip(WAITS, found, strict=True)}


def _shares(turns: list[int]) -> dict[str, float]:
    """Returns the turns of the least and the most served user, in % of the mean."""
    mean = sum(turns) / len(turns)
    return {"least": 100 * min(turns) / mean, "most": 100 * max(turns) / mean}


def _contend(lock: Any, seconds: float, threads: int, with_main: bool) -> list[list[float]]:
    """Returns the waits of each user; the main thread is the last one, if it takes part."""

    def turn() -> None:
        with lock:
            time.sleep(TURN)

    waits: list[list[float]] = []
    end = time.perf_counter() + seconds
    crowd = [threading.Thread(target=lambda: waits.append(_waits(turn, end))) for _ in range(threads)]
    for thread in crowd:
        thread.start()
    main = _waits(turn, end) if with_main else []
    for thread in crowd:
        thread.join()
    return [*waits, main] if with_main else waits


@series(
    "fair-main",
    "a lock held for 5 ms by the main thread and ten others: how long the main thread waits",
    unit="ms",
    points=WAITS,
    peers=THREADS,
)
def main_thread(peer: Peer, seconds: float) -> Mapping[str, float]:
    return _milliseconds(_contend(_threads_lock(peer), 4 * seconds, 10, with_main=True)[-1])


@series(
    "fair-threads",
    "a lock held for 5 ms by each of 20 threads: how long each waits",
    unit="ms",
    points=WAITS,
    peers=THREADS,
)
def twenty_threads(peer: Peer, seconds: float) -> Mapping[str, float]:
    waits = _contend(_threads_lock(peer), 4 * seconds, 20, with_main=False)
    return _milliseconds([wait for each in waits for wait in each])


@series(
    "fair-mix",
    "a lock held for 5 ms by three threads and three coroutines: turns of the least and the most served, to the mean",
    unit="% of its share",
    points=("least", "most"),
    peers=("kettle", "aiologic"),
)
def threads_and_coroutines(peer: Peer, seconds: float) -> Mapping[str, float]:
    lock, turns = _threads_lock(peer), [0] * 6
    end = time.perf_counter() + 4 * seconds

    def thread(i: int) -> None:
        while time.perf_counter() < end:
            with lock:
                time.sleep(TURN)
            turns[i] += 1

    async def task(i: int) -> None:
        while time.perf_counter() < end:
            async with lock:
                await asyncio.sleep(TURN)
            turns[i] += 1

    async def tasks() -> None:
        await asyncio.gather(*(task(i) for i in range(3, 6)))

    crowd = [threading.Thread(target=thread, args=(i,)) for i in range(3)]
    for member in crowd:
        member.start()
    asyncio.run(tasks())
    for member in crowd:
        member.join()
    return _shares(turns)


@series(
    "fair-tasks",
    "`async with` by ten tasks of one loop, 1 ms each: turns of the least and the most served, to the mean",
    unit="% of its share",
    points=("least", "most"),
    peers=THREADS,
)
def tasks_of_one_loop(peer: Peer, seconds: float) -> Mapping[str, float]:
    turns = [0] * 10
    end = time.perf_counter() + 2 * seconds

    async def run() -> None:
        lock = asyncio.Lock() if peer.name == "stdlib" else _threads_lock(peer)

        async def task(i: int) -> None:
            while time.perf_counter() < end:
                async with lock:
                    await asyncio.sleep(0.001)
                turns[i] += 1

        await asyncio.gather(*(task(i) for i in range(len(turns))))

    asyncio.run(run())
    return _shares(turns)


def _processor() -> Callable[[], float]:
    """Measures the share of one processor that this process uses from now until the returned function is called."""
    used, begun = time.process_time(), time.perf_counter()
    return lambda: 100 * (time.process_time() - used) / (time.perf_counter() - begun)


@series(
    "idle-coroutines",
    "10,000 coroutines, each waiting for its own queue: processor, and how late a timer of that loop is at worst",
    unit="% and ms",
    points=("% of a processor", "ms late"),
    peers=("kettle", "stdlib"),
)
def idle_coroutines(peer: Peer, seconds: float) -> Mapping[str, float]:
    async def run() -> dict[str, float]:
        if peer.name == "stdlib":
            waits = [asyncio.Queue().get() for _ in range(10 * MANY)]
        else:
            Queue = importlib.import_module("kettle.queue").Queue
            waits = [Queue().aget() for _ in range(10 * MANY)]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.sleep(1)
        used, late, end = _processor(), 0.0, time.perf_counter() + 3 * seconds
        while (begun := time.perf_counter()) < end:
            await asyncio.sleep(0.02)
            late = max(late, time.perf_counter() - begun - 0.02)
        found = {"% of a processor": used(), "ms late": late * 1000}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found

    return asyncio.run(run())


@series(
    "idle-threads",
    "1,000 threads that wait for a queue, a lock, an event or a condition: processor",
    unit="% of a processor",
    points=("queue", "lock", "event", "condition"),
    peers=("kettle", "stdlib"),
)
def idle_threads(peer: Peer, seconds: float) -> Mapping[str, float]:
    queues, threads = (importlib.import_module(home) for home in HOMES[peer.name])
    return {name: _processor_of(name, queues, threads, seconds) for name in ("queue", "lock", "event", "condition")}


@series(
    "idle-processes",
    "50 processes that wait for a queue, a lock, an event, a condition or a barrier: processor",
    unit="% of a processor",
    points=("queue", "lock", "event", "condition", "barrier"),
    peers=("kettle", "stdlib"),
)
def idle_processes(peer: Peer, seconds: float) -> Mapping[str, float]:
    context = peer.context("fork")
    return {
        name: _processor_of_processes(name, context, seconds)
        for name in ("queue", "lock", "event", "condition", "barrier")
    }


def _processor_of_processes(name: str, context: Any, seconds: float) -> float:
    queue, lock, event, condition = context.Queue(), context.Lock(), context.Event(), context.Condition()
    barrier = context.Barrier(CROWD + 1)
    lock.acquire()

    def wait_for_notice() -> None:
        with condition:
            condition.wait()

    waits = {
        "queue": queue.get,
        "lock": lock.acquire,
        "event": event.wait,
        "condition": wait_for_notice,
        "barrier": barrier.wait,
    }
    crowd = [context.Process(target=waits[name], daemon=True) for _ in range(CROWD)]
    for process in crowd:
        process.start()
    time.sleep(3)  # until the waits count as long
    pids = [process.pid for process in crowd]
    used, begun = _used_by(pids), time.perf_counter()
    time.sleep(3 * seconds)
    found = 100 * (_used_by(pids) - used) / (time.perf_counter() - begun)
    for process in crowd:
        process.kill()
        process.join()
    return found


def _used_by(pids: Iterable[int]) -> float:
    """Returns the processor time that these processes have used, in seconds, with a resolution of a nanosecond."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def _processor_of(name: str, queues: Any, threads: Any, seconds: float) -> float:
    queue, lock, event, condition = queues.Queue(), threads.Lock(), threads.Event(), threads.Condition()
    lock.acquire()
    over: list[bool] = []

    def wait_for_notice() -> None:
        with condition:
            condition.wait_for(lambda: over)

    def take_turn() -> None:
        with lock:
            pass

    wait = {"queue": queue.get, "lock": take_turn, "event": event.wait, "condition": wait_for_notice}[name]
    crowd = [threading.Thread(target=wait) for _ in range(MANY)]
    for thread in crowd:
        thread.start()
    time.sleep(0.5)
    used = _processor()
    time.sleep(2 * seconds)
    found = used()
    over.append(True)
    with condition:
        condition.notify_all()
    event.set()
    lock.release()
    for _ in crowd:
        queue.put(None)
    for thread in crowd:
        thread.join()
    return found
