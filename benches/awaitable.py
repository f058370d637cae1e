"""Claim: awaiting a process queue needs no thread and is not slower than blocking on one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benches._harness import Gate, cell, rate
from benches._peers import Peer
from benches.process_queue import _produce

#: The standard library has no awaitable queue; programs use a thread for every wait instead.
PEERS = ("kettle", "stdlib")


def _getter(peer: Peer, queue: Any) -> Callable[[], Awaitable[Any]]:
    if peer.name == "kettle":
        return queue.aget
    loop = asyncio.get_running_loop()
    return lambda: loop.run_in_executor(None, queue.get)


async def _take(peer: Peer, queue: Any, n: int, gate: Gate) -> float:
    get = _getter(peer, queue)
    begun = gate.open()
    for _ in range(n):
        await get()
    return time.perf_counter() - begun


def _awaited(peer: Peer, seconds: float, run: Callable[[Any], float]) -> float:
    context, queue = peer.context(), peer.queue()

    def once(n: int) -> float:
        gate = Gate()
        child = context.Process(target=_produce, args=(queue, 7, n, gate))
        child.start()
        took = run(_take(peer, queue, n, gate))
        child.join()
        gate.close()
        return took

    return rate(once, seconds, start=1000)


@cell("aget-asyncio", "await q.aget(), another process puts, asyncio", unit="msg/s", goal=None, peers=PEERS)
def on_asyncio(peer: Peer, seconds: float) -> float:
    return _awaited(peer, seconds, asyncio.run)


@cell("aget-uvloop", "await q.aget(), another process puts, uvloop", unit="msg/s", goal=None, peers=PEERS)
def on_uvloop(peer: Peer, seconds: float) -> float:
    import uvloop

    return _awaited(peer, seconds, uvloop.run)
