"""Claim: a Pipe is faster, for small and for large messages."""

from __future__ import annotations

import time
from typing import Any

from benches._harness import Gate, cell, rate
from benches._peers import LIBRARIES, Peer

MEGABYTE = 1 << 20


def _echo(end: Any) -> None:
    while (item := end.recv()) is not None:
        end.send(item)


@cell("pipe-round-trip", "Pipe, round trip", unit="trips/s", goal=3, peers=LIBRARIES)
def round_trip(peer: Peer, seconds: float) -> float:
    context = peer.context()
    ours, theirs = context.Pipe()
    child = context.Process(target=_echo, args=(theirs,))
    child.start()

    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            ours.send(7)
            ours.recv()
        return time.perf_counter() - begun

    result = rate(run, seconds)
    ours.send(None)
    child.join()
    return result


def _send(end: Any, n: int, gate: Gate) -> None:
    block = bytes(MEGABYTE)
    gate.wait()
    for _ in range(n):
        end.send_bytes(block)


@cell("pipe-megabyte", "Pipe, 1 MB send_bytes", unit="GB/s", goal=2, peers=LIBRARIES)
def megabyte(peer: Peer, seconds: float) -> float:
    context = peer.context()

    def run(n: int) -> float:
        reader, writer = context.Pipe(duplex=False)
        gate = Gate()
        child = context.Process(target=_send, args=(writer, n, gate))
        child.start()
        begun = gate.open()
        for _ in range(n):
            reader.recv_bytes()
        took = time.perf_counter() - begun
        child.join()
        gate.close()
        reader.close()
        writer.close()
        return took

    return rate(run, seconds, start=64) * MEGABYTE / 1e9
