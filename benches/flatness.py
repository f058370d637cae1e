"""Claim: the cost of a message does not grow with the number of earlier messages, of waiting messages, or of queues,
and memory is returned after a burst."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from benches._harness import Gate, growing, repeated, series
from benches._peers import Peer
from benches.process_queue import MEGABYTE, _produce

MESSAGES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
BACKLOG = (1_000, 10_000, 100_000, 1_000_000)
COUNTS = (1, 10, 100, 500)


@series(
    "flat-messages",
    "one producer, one consumer, by number of messages",
    unit="ns/message",
    points=MESSAGES,
    peers=("kettle", "stdlib"),
)
def messages(peer: Peer, seconds: float) -> Mapping[str, float]:
    queue = peer.queue()

    return growing(seconds, MESSAGES, repeated(lambda n: _flow(peer, queue, n)))


def _flow(peer: Peer, queue: Any, n: int) -> float:
    """Returns the seconds for `n` items from another process. The clock starts at the first item, so the start of the
    process is excluded."""
    gate = Gate()
    child = peer.context().Process(target=_produce, args=(queue, 7, n + 1, gate))
    child.start()
    gate.open()
    queue.get()
    begun = time.perf_counter()
    for _ in range(n):
        queue.get()
    took = time.perf_counter() - begun
    child.join()
    gate.close()
    return took


@series(
    "flat-backlog",
    "all put before the first is taken, by number of messages",
    unit="ns/message",
    points=BACKLOG,
    peers=("kettle", "stdlib"),
)
def backlog(peer: Peer, seconds: float) -> Mapping[str, float]:
    queue = peer.queue()

    def cost(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            queue.put(7)
        for _ in range(n):
            queue.get()
        return time.perf_counter() - begun

    cost(1000)
    return growing(seconds, BACKLOG, cost)


@series(
    "flat-queues",
    "put + get in turn over many queues, by number of queues",
    unit="ns/message",
    points=COUNTS,
    peers=("kettle",),
)
def queues(peer: Peer, seconds: float) -> Mapping[str, float]:
    found = {}
    for count in COUNTS:
        many = [peer.queue() for _ in range(count)]
        rounds = max(1, int(50_000 * seconds) // count)
        for queue in many:
            queue.put(7)
            queue.get()
        begun = time.perf_counter()
        for _ in range(rounds):
            for queue in many:
                queue.put(7)
                queue.get()
        found[str(count)] = (time.perf_counter() - begun) / (rounds * count) * 1e9
    return found


@series(
    "arena-burst",
    "arena memory around a burst of 400 arrays of 1 MB",
    unit="MB",
    points=("before", "all waiting", "all taken", "reclaimed"),
    peers=("kettle",),
)
def burst(peer: Peer, seconds: float) -> Mapping[str, float]:
    import numpy as np

    from kettle import _native

    def resident() -> float:
        return _native.arena_statistics()["resident_bytes"] / MEGABYTE

    queue = peer.queue()
    queue.put(7)
    queue.get()
    found = {"before": resident()}
    for _ in range(400):
        queue.put(np.ones(MEGABYTE // 8))
    found["all waiting"] = resident()
    for _ in range(400):
        queue.get()
    found["all taken"] = resident()
    _native.reclaim()
    found["reclaimed"] = resident()
    return found
