"""Claim: a process queue is many times faster than a pickle through a pipe with a feeder thread."""

from __future__ import annotations

import time
from typing import Any

from benches._harness import Gate, cell, rate
from benches._peers import QUEUES, Peer

RECORD = {"id": 123456, "name": "kettle", "price": 19.99, "tags": ["a", "b", "c"], "text": "x" * 120, "seen": None}
MEGABYTE = 1 << 20


def _produce(queue: Any, item: Any, n: int, gate: Gate) -> None:
    gate.wait()
    for _ in range(n):
        queue.put(item)


def _transfer(peer: Peer, queue: Any, item: Any, n: int, producers: int = 1) -> float:
    """Returns the seconds from the start signal until this process has received `n` items from each producer."""
    context, gate = peer.context(), Gate()
    children = [context.Process(target=_produce, args=(queue, item, n, gate)) for _ in range(producers)]
    for child in children:
        child.start()
    begun = gate.open(producers)
    get = queue.get
    for _ in range(n * producers):
        get()
    took = time.perf_counter() - begun
    for child in children:
        child.join()
    gate.close()
    return took


@cell("queue-small", "process queue, small item, 1 producer, 1 consumer", unit="msg/s", goal=10, peers=QUEUES)
def small(peer: Peer, seconds: float) -> float:
    queue = peer.queue()
    return rate(lambda n: _transfer(peer, queue, 7, n), seconds, start=1000)


@cell("queue-dict", "process queue, 200-byte dict", unit="msg/s", goal=5, peers=QUEUES)
def record(peer: Peer, seconds: float) -> float:
    queue = peer.queue()
    return rate(lambda n: _transfer(peer, queue, RECORD, n), seconds, start=1000)


@cell("queue-4-producers", "process queue, small item, 4 producers", unit="msg/s", goal=8, peers=QUEUES)
def four_producers(peer: Peer, seconds: float) -> float:
    queue = peer.queue()
    return 4 * rate(lambda n: _transfer(peer, queue, 7, n, producers=4), seconds, start=1000)


@cell("queue-numpy-warm", "process queue, NumPy 1 MB, a few in flight", unit="msg/s", goal=4, peers=QUEUES)
def numpy_warm(peer: Peer, seconds: float) -> float:
    import numpy as np

    # faster-fifo is bounded by bytes, so it gets room for the same few arrays.
    queue = peer.queue(maxsize=4, room=5 * MEGABYTE)
    array = np.ones(MEGABYTE // 8)
    return rate(lambda n: _transfer(peer, queue, array, n), seconds, start=64)


def _produce_all_ahead(queue: Any, array: Any, n: int, gate: Gate, done: Gate) -> None:
    gate.wait()
    for _ in range(n):
        queue.put(array)
    done.open()


@cell("queue-numpy-ahead", "process queue, NumPy 1 MB, producer 200 ahead", unit="msg/s", goal=2, peers=QUEUES)
def numpy_ahead(peer: Peer, seconds: float) -> float:
    """Every `put` returns before the first `get`, so no memory is recycled."""
    import numpy as np

    n = 200
    queue = peer.queue(room=(n + 2) * MEGABYTE)
    gate, done = Gate(), Gate()
    child = peer.context().Process(target=_produce_all_ahead, args=(queue, np.ones(MEGABYTE // 8), n, gate, done))
    child.start()
    begun = gate.open()
    done.wait()
    for _ in range(n):
        queue.get()
    took = time.perf_counter() - begun
    child.join()
    return n / took


def _echo(requests: Any, replies: Any) -> None:
    while (item := requests.get()) is not None:
        replies.put(item)


@cell("queue-round-trip", "process queue, round trip", unit="trips/s", goal=5, peers=QUEUES)
def round_trip(peer: Peer, seconds: float) -> float:
    requests, replies = peer.queue(), peer.queue()
    child = peer.context().Process(target=_echo, args=(requests, replies))
    child.start()

    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            requests.put(7)
            replies.get()
        return time.perf_counter() - begun

    result = rate(run, seconds)
    requests.put(None)
    child.join()
    return result
