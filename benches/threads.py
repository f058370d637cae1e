"""Claim: the primitives that threads share are faster in Rust, and can also be awaited."""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from benches._harness import cell, rate, series
from benches._peers import AWAITABLE_QUEUES, THREAD_QUEUES, THREADS, Peer

POOLS = ("kettle", "stdlib", "futures")
EXECUTORS = ("kettle", "futures")
AWAITABLE = ("kettle", "aiologic")
COUNTS = (1, 2, 3, 4)

#: The modules of the libraries that correspond to `queue` and `threading`.
HOMES = {
    "kettle": ("kettle.queue", "kettle.threading"),
    "stdlib": ("queue", "threading"),
    "aiologic": ("aiologic", "aiologic"),
    "culsans": ("culsans", "culsans"),
}


def _queue(peer: Peer, kind: str = "Queue") -> tuple[Callable[[Any], object], Callable[[], Any]]:
    """Returns the blocking `put` and `get` of a new queue."""
    queue = getattr(importlib.import_module(HOMES[peer.name][0]), kind)()
    names = {"aiologic": ("green_put", "green_get"), "culsans": ("sync_put", "sync_get")}
    put, get = names.get(peer.name, ("put", "get"))
    if kind == "SimpleQueue":
        put = "put"  # never blocks, not even in aiologic
    return getattr(queue, put), getattr(queue, get)


def _lock(peer: Peer, kind: str, *arguments: object) -> Any:
    return getattr(importlib.import_module(HOMES[peer.name][1]), kind)(*arguments)


# ------------------------------------------------------------------------------------------------------- queues


@cell("thread-queue", "queue.Queue, 2 threads", unit="msg/s", goal=8, peers=THREAD_QUEUES)
def two_threads(peer: Peer, seconds: float) -> float:
    put, get = _queue(peer)

    def produce(n: int) -> None:
        for i in range(n):
            put(i)

    def run(n: int) -> float:
        producer = threading.Thread(target=produce, args=(n,), daemon=True)
        begun = time.perf_counter()
        producer.start()
        for _ in range(n):
            get()
        took = time.perf_counter() - begun
        producer.join()
        return took

    return rate(run, seconds, start=1000)


def _pairs(peer: Peer, kind: str, seconds: float) -> float:
    put, get = _queue(peer, kind)
    for i in range(10):
        put(i)

    def run(n: int) -> float:
        begun = time.perf_counter()
        for i in range(n):
            put(i)
            get()
        return time.perf_counter() - begun

    return rate(run, seconds, start=1000)


@cell("thread-queue-pair", "queue.Queue, one thread, put + get", unit="pairs/s", goal=15, peers=THREAD_QUEUES)
def one_thread(peer: Peer, seconds: float) -> float:
    return _pairs(peer, "Queue", seconds)


@cell("thread-lifo-pair", "queue.LifoQueue, one thread, put + get", unit="pairs/s", goal=15, peers=THREAD_QUEUES)
def lifo(peer: Peer, seconds: float) -> float:
    return _pairs(peer, "LifoQueue", seconds)


@cell("thread-priority-pair", "queue.PriorityQueue, one thread, put + get", unit="pairs/s", goal=6, peers=THREAD_QUEUES)
def priority(peer: Peer, seconds: float) -> float:
    return _pairs(peer, "PriorityQueue", seconds)


@cell("thread-simple-pair", "queue.SimpleQueue, one thread, put + get", unit="pairs/s", goal=1, peers=THREADS)
def simple(peer: Peer, seconds: float) -> float:
    return _pairs(peer, "SimpleQueue", seconds)


# -------------------------------------------------------------------------------------------------------- locks


def _held(acquire: Callable[[], object], release: Callable[[], object], seconds: float) -> float:
    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            acquire()
            release()
        return time.perf_counter() - begun

    return rate(run, seconds, start=10_000)


def _lock_pair(peer: Peer, seconds: float, kind: str, *arguments: object) -> float:
    lock = _lock(peer, kind, *arguments)
    if peer.name == "aiologic":
        return _held(lock.green_acquire, lock.green_release, seconds)
    return _held(lock.acquire, lock.release, seconds)


@cell("thread-lock", "threading.Lock, acquire + release, uncontended", unit="pairs/s", goal=1, peers=THREADS)
def lock(peer: Peer, seconds: float) -> float:
    return _lock_pair(peer, seconds, "Lock")


@cell("thread-rlock", "threading.RLock, acquire + release, uncontended", unit="pairs/s", goal=1, peers=THREADS)
def rlock(peer: Peer, seconds: float) -> float:
    return _lock_pair(peer, seconds, "RLock")


@cell("thread-semaphore", "threading.Semaphore, acquire + release", unit="pairs/s", goal=10, peers=THREADS)
def semaphore(peer: Peer, seconds: float) -> float:
    return _lock_pair(peer, seconds, "Semaphore", 1)


def _with_pair(guard: Any, seconds: float) -> float:
    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            with guard:
                pass
        return time.perf_counter() - begun

    return rate(run, seconds, start=10_000)


@cell("thread-lock-with", "threading.Lock, with block, uncontended", unit="blocks/s", goal=1, peers=THREADS)
def lock_with(peer: Peer, seconds: float) -> float:
    return _with_pair(_lock(peer, "Lock"), seconds)


@cell("thread-rlock-with", "threading.RLock, with block, uncontended", unit="blocks/s", goal=1, peers=THREADS)
def rlock_with(peer: Peer, seconds: float) -> float:
    return _with_pair(_lock(peer, "RLock"), seconds)


@cell("thread-event", "threading.Event, set + clear", unit="pairs/s", goal=10, peers=THREADS)
def event(peer: Peer, seconds: float) -> float:
    event = _lock(peer, "REvent" if peer.name == "aiologic" else "Event")
    return _held(event.set, event.clear, seconds)


@cell("thread-notify", "threading.Condition, with + notify, no waiter", unit="calls/s", goal=5, peers=THREADS)
def notify(peer: Peer, seconds: float) -> float:
    condition = _lock(peer, "Condition")

    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            with condition:
                condition.notify()
        return time.perf_counter() - begun

    return rate(run, seconds, start=10_000)


def _in_turn(peer: Peer, seconds: float, count: int) -> float:
    """Every turn is a notify, a wait, and a switch of threads. The threads are restricted to a number of processors,
    because their placement by the kernel matters more than the implementation of the condition."""
    condition = _lock(peer, "Condition")
    places = sorted(os.sched_getaffinity(0))[:count]
    turn = 0

    def play(mine: int, n: int) -> None:
        nonlocal turn
        os.sched_setaffinity(threading.get_native_id(), {places[mine % len(places)]})
        for _ in range(n):
            with condition:
                while turn != mine:
                    condition.wait()
                turn = 1 - mine
                condition.notify()

    def run(n: int) -> float:
        other = threading.Thread(target=play, args=(1, n), daemon=True)
        begun = time.perf_counter()
        other.start()
        play(0, n)
        other.join()
        return time.perf_counter() - begun

    return 2 * rate(run, seconds)


@cell("thread-wake", "threading.Condition, two threads in turn, one core", unit="turns/s", goal=1, peers=THREADS)
def in_turn(peer: Peer, seconds: float) -> float:
    return _in_turn(peer, seconds, 1)


@cell("thread-wake-cores", "threading.Condition, two threads in turn, two cores", unit="turns/s", goal=1, peers=THREADS)
def in_turn_on_two(peer: Peer, seconds: float) -> float:
    return _in_turn(peer, seconds, 2)


# -------------------------------------------------------------------------------------------------------- pools


def same(item: Any) -> Any:
    return item


def _thread_pool(peer: Peer, workers: int = 2) -> Any:
    """A pool with `map` and `apply`; for an executor these are `map` and `submit`."""
    if peer.name == "futures":
        return _executor(peer, workers)
    home = {"kettle": "kettle.multiprocessing.pool", "stdlib": "multiprocessing.pool"}[peer.name]
    return importlib.import_module(home).ThreadPool(workers)


def _executor(peer: Peer, workers: int = 2) -> Any:
    home = {"kettle": "kettle.futures", "futures": "concurrent.futures"}[peer.name]
    return importlib.import_module(home).ThreadPoolExecutor(workers)


def _mapped(pool: Any, peer: Peer, task: Callable[[Any], Any], n: int) -> float:
    begun = time.perf_counter()
    results = list(pool.map(task, range(n))) if peer.name == "futures" else pool.map(task, range(n), 1)
    took = time.perf_counter() - begun
    assert len(results) == n
    return took


@cell("thread-pool-map", "ThreadPool.map, trivial, chunksize=1", unit="tasks/s", goal=4, peers=POOLS)
def pool_map(peer: Peer, seconds: float) -> float:
    with _thread_pool(peer) as pool:
        return rate(lambda n: _mapped(pool, peer, same, n), seconds)


def _one_by_one(call: Callable[[int], object], seconds: float) -> float:
    def run(n: int) -> float:
        begun = time.perf_counter()
        for i in range(n):
            call(i)
        return time.perf_counter() - begun

    return rate(run, seconds)


@cell("thread-pool-apply", "ThreadPool.apply, round trip", unit="trips/s", goal=3, peers=POOLS)
def pool_apply(peer: Peer, seconds: float) -> float:
    with _thread_pool(peer) as pool:
        if peer.name == "futures":
            return _one_by_one(lambda i: pool.submit(same, i).result(), seconds)
        return _one_by_one(lambda i: pool.apply(same, (i,)), seconds)


@cell(
    "thread-executor-submit", "ThreadPoolExecutor, submit + result, one by one", unit="trips/s", goal=1, peers=EXECUTORS
)
def executor_submit(peer: Peer, seconds: float) -> float:
    with _executor(peer) as pool:
        return _one_by_one(lambda i: pool.submit(same, i).result(), seconds)


@cell(
    "thread-executor-burst",
    "ThreadPoolExecutor, submit many times, then result",
    unit="tasks/s",
    goal=1,
    peers=EXECUTORS,
)
def executor_burst(peer: Peer, seconds: float) -> float:
    with _executor(peer) as pool:

        def run(n: int) -> float:
            begun = time.perf_counter()
            for future in [pool.submit(same, i) for i in range(n)]:
                future.result()
            return time.perf_counter() - begun

        return rate(run, seconds)


# --------------------------------------------------------------------------------------- threads and coroutines


def _ends(peer: Peer) -> tuple[Any, Callable[[Any], object], Callable[[], Any]]:
    """Returns a new queue, created in the loop's thread, and how a thread puts and gets."""
    if peer.name == "janus":
        queue = importlib.import_module("janus").Queue()
        return queue, queue.sync_q.put, queue.sync_q.get
    queue = importlib.import_module(HOMES[peer.name][0]).Queue()
    if peer.name == "aiologic":
        return queue, queue.green_put, queue.green_get
    if peer.name == "culsans":
        return queue, queue.sync_put, queue.sync_get
    return queue, queue.put, queue.get


def _getter(peer: Peer, queue: Any) -> Callable[[], Awaitable[Any]]:
    if peer.name == "kettle":
        return queue.aget
    if peer.name == "janus":
        return queue.async_q.get
    if peer.name == "stdlib":
        loop = asyncio.get_running_loop()
        return lambda: loop.run_in_executor(None, queue.get)
    return queue.async_get


def _putter(peer: Peer, queue: Any) -> Callable[[Any], Awaitable[Any]]:
    if peer.name == "kettle":
        return queue.aput
    if peer.name == "janus":
        return queue.async_q.put
    if peer.name == "stdlib":
        loop = asyncio.get_running_loop()
        return lambda item: loop.run_in_executor(None, queue.put, item)
    return queue.async_put


@cell("thread-aget", "await q.aget(), another thread puts, asyncio", unit="msg/s", goal=1, peers=AWAITABLE_QUEUES)
def awaited_get(peer: Peer, seconds: float) -> float:
    async def take(n: int) -> float:
        queue, put, _ = _ends(peer)
        get = _getter(peer, queue)

        def produce() -> None:
            for i in range(n):
                put(i)

        producer = threading.Thread(target=produce, daemon=True)
        begun = time.perf_counter()
        producer.start()
        for _ in range(n):
            await get()
        took = time.perf_counter() - begun
        producer.join()
        return took

    return rate(lambda n: asyncio.run(take(n)), seconds)


@cell(
    "thread-aget-turns",
    "queue there and back: a coroutine asks, a thread answers, asyncio",
    unit="trips/s",
    goal=1,
    peers=AWAITABLE_QUEUES,
)
def awaited_turns(peer: Peer, seconds: float) -> float:
    async def ask(n: int) -> float:
        requests, _, take = _ends(peer)
        replies, answer, _ = _ends(peer)
        put, get = _putter(peer, requests), _getter(peer, replies)

        def serve() -> None:
            for _ in range(n):
                answer(take())

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        begun = time.perf_counter()
        for i in range(n):
            await put(i)
            await get()
        took = time.perf_counter() - begun
        server.join()
        return took

    return rate(lambda n: asyncio.run(ask(n)), seconds)


@cell("thread-alock", "threading.Lock, awaited acquire + release, uncontended", unit="pairs/s", goal=1, peers=AWAITABLE)
def awaited_lock(peer: Peer, seconds: float) -> float:
    lock = _lock(peer, "Lock")
    acquire, release = (
        (lock.async_acquire, lock.async_release) if peer.name == "aiologic" else (lock.aacquire, lock.release)
    )

    async def hold(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            await acquire()
            release()
        return time.perf_counter() - begun

    return rate(lambda n: asyncio.run(hold(n)), seconds, start=1000)


# ------------------------------------------------------------------------- with more threads; free-threaded builds


def _together(count: int, n: int, work: Callable[[int], None]) -> float:
    """Returns the seconds in which `count` threads have each done `work(n)`."""
    barrier = threading.Barrier(count + 1)

    def begin() -> None:
        barrier.wait()
        work(n)

    threads = [threading.Thread(target=begin, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


@series(
    "thread-scaling-queue",
    "one queue.Queue, put + get in every thread, by number of threads",
    unit="pairs/s, together",
    points=COUNTS,
    peers=THREAD_QUEUES,
)
def scaling_queue(peer: Peer, seconds: float) -> Mapping[str, float]:
    put, get = _queue(peer)

    def work(n: int) -> None:
        for i in range(n):
            put(i)
            get()

    return {
        str(count): count * rate(lambda n, count=count: _together(count, n, work), seconds, start=1000)
        for count in COUNTS
    }


def _busy(item: int) -> int:
    """Keeps the interpreter busy for about 10 µs."""
    total = item
    for i in range(200):
        total += i
    return total


@series(
    "thread-scaling-pool",
    "one pool, map of tasks of some 10 µs, chunksize=1, by number of threads",
    unit="tasks/s",
    points=COUNTS,
    peers=POOLS,
)
def scaling_pool(peer: Peer, seconds: float) -> Mapping[str, float]:
    found = {}
    for count in COUNTS:
        with _thread_pool(peer, count) as pool:
            found[str(count)] = rate(lambda n, pool=pool: _mapped(pool, peer, _busy, n), seconds)
    return found
