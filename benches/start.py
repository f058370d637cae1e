"""Claim: supervision, the arena and the life pipe do not make a process slower to start."""

from __future__ import annotations

import time

from benches._harness import cell, rate
from benches._peers import LIBRARIES, Peer


def _nothing() -> None:
    pass


def _starts(peer: Peer, method: str, seconds: float) -> float:
    context = peer.context(method)

    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            child = context.Process(target=_nothing)
            child.start()
            child.join()
        return time.perf_counter() - begun

    run(1)  # starts the fork server, if there is one
    return rate(run, seconds, start=3)


@cell("start-fork", "Process start + join, fork", unit="processes/s", goal=1, peers=LIBRARIES)
def fork(peer: Peer, seconds: float) -> float:
    return _starts(peer, "fork", seconds)


@cell("start-spawn", "Process start + join, spawn", unit="processes/s", goal=1, peers=LIBRARIES)
def spawn(peer: Peer, seconds: float) -> float:
    return _starts(peer, "spawn", seconds)


@cell("start-forkserver", "Process start + join, forkserver", unit="processes/s", goal=1, peers=LIBRARIES)
def forkserver(peer: Peer, seconds: float) -> float:
    return _starts(peer, "forkserver", seconds)
