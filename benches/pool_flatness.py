"""Claim: the cost of a task does not grow with the number of earlier tasks or of workers, and a pool that is fed by a
generator needs no more memory for millions of tasks than for thousands."""

from __future__ import annotations

import gc
import operator
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from benches._harness import growing, rate, repeated, series
from benches._peers import Peer
from benches._pools import Pool, pool
from benches.pool import MEGABYTE, same

TASKS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
WORKERS = (1, 2, 4, 8, 16, 32)
INPUTS = (1_000, 10_000, 100_000)
PEERS = ("kettle", "stdlib", "futures")


def _tasks(peer: Peer, seconds: float, run: Callable[[Pool, int], object]) -> Mapping[str, float]:
    with pool(peer) as workers:

        def cost(n: int) -> float:
            begun = time.perf_counter()
            run(workers, n)
            return time.perf_counter() - begun

        cost(1000)
        return growing(seconds, TASKS, repeated(cost))


def _drained(results: Iterable[Any]) -> None:
    deque(results, maxlen=0)


def _generated(n: int) -> Iterator[int]:
    yield from range(n)


@series("pool-flat-map", "Pool.map, automatic chunks, by number of tasks", unit="ns/task", points=TASKS, peers=PEERS)
def flat_map(peer: Peer, seconds: float) -> Mapping[str, float]:
    return _tasks(peer, seconds, lambda workers, n: workers.map(same, range(n)))


@series(
    "pool-flat-unordered",
    "Pool.imap_unordered from a generator, chunksize=1, by number of tasks",
    unit="ns/task",
    points=TASKS,
    peers=PEERS,
)
def flat_unordered(peer: Peer, seconds: float) -> Mapping[str, float]:
    return _tasks(peer, seconds, lambda workers, n: _drained(workers.unordered(same, _generated(n))))


@series("pool-flat-workers", "Pool.map, chunksize=1, by number of workers", unit="ns/task", points=WORKERS, peers=PEERS)
def flat_workers(peer: Peer, seconds: float) -> Mapping[str, float]:
    found = {}
    for count in WORKERS:
        with pool(peer, count) as workers:

            def run(n: int, workers: Pool = workers) -> float:
                begun = time.perf_counter()
                workers.map(same, range(n), 1)
                return time.perf_counter() - begun

            found[str(count)] = 1e9 / rate(run, seconds, start=1000)
    return found


# ------------------------------------------------------------------------------------------------------- memory


def _status(field: str) -> float:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1]) * 1024 / MEGABYTE


@series(
    "pool-memory",
    "growth of the parent's peak memory over a Pool.imap from a generator, by number of tasks",
    unit="MB",
    points=TASKS,
    peers=PEERS,
)
def memory(peer: Peer, seconds: float) -> Mapping[str, float]:
    grown: dict[str, float] = {}
    with pool(peer) as workers:

        def run(n: int) -> float:
            gc.collect()
            with open("/proc/self/clear_refs", "w") as peak:
                peak.write("5")  # the peak restarts at the current resident size
            before = _status("VmRSS")
            begun = time.perf_counter()
            _drained(workers.imap(same, _generated(n)))
            took = time.perf_counter() - begun
            grown[str(n)] = max(0.0, _status("VmHWM") - before)
            return took

        run(1000)
        growing(seconds, TASKS, run)
    return grown


@series(
    "pool-ahead",
    "inputs that Pool.imap has pulled while its consumer rests at the first result, by number of inputs",
    unit="inputs",
    points=INPUTS,
    peers=PEERS,
)
def ahead(peer: Peer, seconds: float) -> Mapping[str, float]:
    """Measures how far ahead `imap` reads. It has finished when the input ends, or when nothing has been read for a
    while."""
    found = {}
    for n in INPUTS:
        inputs = iter(range(n))
        with pool(peer) as workers:
            results = iter(workers.imap(same, inputs))
            next(results)
            before, left = n, operator.length_hint(inputs)
            while 0 < left < before:
                time.sleep(max(0.2, seconds))
                before, left = left, operator.length_hint(inputs)
            found[str(n)] = n - left
            _drained(results)
    return found
