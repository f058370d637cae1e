"""Claim: a pool whose workers may die at any time is faster than pools that do not survive such a death."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from benches._harness import cell, rate
from benches._peers import EXECUTORS, MAPS, POOLS, Peer
from benches._pools import Pool, executor, pool

MEGABYTE = 1 << 20
ARRAYS = 32  # in one map: distinct arrays, since pickle sends equal references once


def same(item: Any) -> Any:
    return item


def work(steps: int) -> int:
    """Computes for a time in proportion to `steps`: about 10 microseconds for 1,000."""
    return sum(range(steps))


def first(array: Any) -> float:
    return float(array[0])


def _warm_rate(run: Callable[[int], float], seconds: float, start: int = 100) -> float:
    """Measures after a warm-up, because some pools start their workers with the first task."""
    run(start)
    return rate(run, seconds, start)


def _map(peer: Peer, seconds: float, chunk: int | None) -> float:
    with pool(peer) as workers:

        def run(n: int) -> float:
            begun = time.perf_counter()
            results = workers.map(same, range(n), chunk)
            took = time.perf_counter() - begun
            assert len(results) == n and results[-1] == n - 1
            return took

        return _warm_rate(run, seconds)


@cell("pool-map", "Pool.map, trivial, automatic chunks", unit="tasks/s", goal=1.2, peers=MAPS)
def map_automatic(peer: Peer, seconds: float) -> float:
    return _map(peer, seconds, None)


@cell("pool-map-1", "Pool.map, trivial, chunksize=1", unit="tasks/s", goal=5, peers=MAPS)
def map_singly(peer: Peer, seconds: float) -> float:
    return _map(peer, seconds, 1)


def _work(peer: Peer, seconds: float, steps: int, results: Callable[[Pool, Iterable[int]], Iterable[int]]) -> float:
    """Tasks that compute, so that whatever processor time the parent takes is missing from them."""
    with pool(peer) as workers:

        def run(n: int) -> float:
            begun = time.perf_counter()
            last = deque(results(workers, [steps] * n), maxlen=1)
            took = time.perf_counter() - begun
            assert last[0] == work(steps)
            return took

        return _warm_rate(run, seconds)


@cell("pool-map-10us", "Pool.map, tasks of about 10 µs, automatic chunks", unit="tasks/s", goal=1, peers=MAPS)
def map_ten(peer: Peer, seconds: float) -> float:
    return _work(peer, seconds, 1_000, lambda workers, items: workers.map(work, [*items]))


@cell("pool-map-100us", "Pool.map, tasks of about 100 µs, automatic chunks", unit="tasks/s", goal=1, peers=MAPS)
def map_hundred(peer: Peer, seconds: float) -> float:
    return _work(peer, seconds, 10_000, lambda workers, items: workers.map(work, [*items]))


@cell("pool-map-1-100us", "Pool.map, tasks of about 100 µs, chunksize=1", unit="tasks/s", goal=1, peers=MAPS)
def map_hundred_singly(peer: Peer, seconds: float) -> float:
    return _work(peer, seconds, 10_000, lambda workers, items: workers.map(work, [*items], 1))


@cell("pool-imap-100us", "Pool.imap, tasks of about 100 µs, chunksize=1", unit="tasks/s", goal=1, peers=MAPS)
def imap_hundred(peer: Peer, seconds: float) -> float:
    return _work(peer, seconds, 10_000, lambda workers, items: workers.imap(work, items))


@cell("pool-map-numpy", "Pool.map, NumPy 1 MB in, chunksize=1", unit="tasks/s", goal=4, peers=MAPS)
def map_arrays(peer: Peer, seconds: float) -> float:
    """Maps over arrays that no worker has seen before; creating them is excluded."""
    import numpy as np

    with pool(peer) as workers:

        def run(n: int) -> float:
            took = 0.0
            for _ in range(n):
                arrays = [np.full(MEGABYTE // 8, float(i)) for i in range(ARRAYS)]
                begun = time.perf_counter()
                results = workers.map(first, arrays, 1)
                took += time.perf_counter() - begun
                assert results == list(range(ARRAYS))
            return took

        return ARRAYS * _warm_rate(run, seconds, start=1)


def _apply(workers: Pool, seconds: float) -> float:
    def run(n: int) -> float:
        begun = time.perf_counter()
        for i in range(n):
            workers.apply(same, i)
        return time.perf_counter() - begun

    assert workers.apply(same, 7) == 7
    return _warm_rate(run, seconds)


def _burst(workers: Pool, seconds: float) -> float:
    def run(n: int) -> float:
        begun = time.perf_counter()
        workers.burst(same, range(n))
        return time.perf_counter() - begun

    return _warm_rate(run, seconds)


def _drained(results: Callable[[Iterable[int]], Iterable[int]], seconds: float) -> float:
    def run(n: int) -> float:
        begun = time.perf_counter()
        last = deque(results(range(n)), maxlen=1)
        took = time.perf_counter() - begun
        assert last[0] < n
        return took

    return _warm_rate(run, seconds)


@cell("pool-apply", "Pool.apply, round trip", unit="trips/s", goal=5, peers=POOLS)
def apply(peer: Peer, seconds: float) -> float:
    with pool(peer) as workers:
        return _apply(workers, seconds)


@cell("pool-burst", "Pool.apply_async many times, then get", unit="tasks/s", goal=1, peers=POOLS)
def burst(peer: Peer, seconds: float) -> float:
    with pool(peer) as workers:
        return _burst(workers, seconds)


@cell("pool-imap", "Pool.imap, trivial, chunksize=1", unit="tasks/s", goal=1, peers=MAPS)
def imap(peer: Peer, seconds: float) -> float:
    with pool(peer) as workers:
        return _drained(lambda items: workers.imap(same, items), seconds)


@cell("pool-unordered", "Pool.imap_unordered, trivial, chunksize=1", unit="tasks/s", goal=1, peers=MAPS)
def unordered(peer: Peer, seconds: float) -> float:
    with pool(peer) as workers:
        return _drained(lambda items: workers.unordered(same, items), seconds)


@cell("pool-start", "Pool(2), imap(range(1000), 10), close, join", unit="pools/s", goal=1, peers=MAPS)
def start(peer: Peer, seconds: float) -> float:
    """The pattern of pyperformance's `concurrent_imap`."""

    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            with pool(peer) as workers:
                # joblib returns results one by one only from workers that are slower to start.
                results = workers.map if peer.name == "joblib" else workers.imap
                deque(results(same, range(1000), 10), maxlen=0)
        return time.perf_counter() - begun

    return _warm_rate(run, seconds, start=1)


@cell(
    "pool-executor-submit",
    "ProcessPoolExecutor, submit + result, one by one",
    unit="trips/s",
    goal=1,
    peers=EXECUTORS,
)
def executor_submit(peer: Peer, seconds: float) -> float:
    with executor(peer) as workers:
        return _apply(workers, seconds)


@cell(
    "pool-executor-burst",
    "ProcessPoolExecutor, submit many times, then result",
    unit="tasks/s",
    goal=1,
    peers=EXECUTORS,
)
def executor_burst(peer: Peer, seconds: float) -> float:
    with executor(peer) as workers:
        return _burst(workers, seconds)


@cell("pool-executor-map", "ProcessPoolExecutor.map, chunksize=1", unit="tasks/s", goal=1, peers=EXECUTORS)
def executor_map(peer: Peer, seconds: float) -> float:
    with executor(peer) as workers:
        return _drained(lambda items: workers.imap(same, items), seconds)


@cell("pool-executor-chunks", "ProcessPoolExecutor.map, chunksize=100", unit="tasks/s", goal=1, peers=EXECUTORS)
def executor_chunks(peer: Peer, seconds: float) -> float:
    with executor(peer) as workers:
        return _drained(lambda items: workers.imap(same, items, 100), seconds)
