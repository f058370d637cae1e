"""Claim: recording the owner of a lock, so that its death is noticed, costs nothing."""

from __future__ import annotations

import time
from typing import Any

from benches._harness import Gate, cell, rate
from benches._peers import LIBRARIES, Peer


def _pairs(lock: Any, seconds: float) -> float:
    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            lock.acquire()
            lock.release()
        return time.perf_counter() - begun

    return rate(run, seconds, start=10_000)


def _withs(lock: Any, seconds: float) -> float:
    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            with lock:
                pass
        return time.perf_counter() - begun

    return rate(run, seconds, start=10_000)


@cell("lock-pair", "Lock, acquire + release, uncontended", unit="pairs/s", goal=1, peers=LIBRARIES)
def lock_pair(peer: Peer, seconds: float) -> float:
    return _pairs(peer.context().Lock(), seconds)


@cell("rlock-pair", "RLock, acquire + release, uncontended", unit="pairs/s", goal=1, peers=LIBRARIES)
def rlock_pair(peer: Peer, seconds: float) -> float:
    return _pairs(peer.context().RLock(), seconds)


@cell("semaphore-pair", "Semaphore, acquire + release, uncontended", unit="pairs/s", goal=1, peers=LIBRARIES)
def semaphore_pair(peer: Peer, seconds: float) -> float:
    return _pairs(peer.context().Semaphore(1), seconds)


@cell("lock-with", "Lock, with block, uncontended", unit="blocks/s", goal=1.5, peers=LIBRARIES)
def lock_with(peer: Peer, seconds: float) -> float:
    return _withs(peer.context().Lock(), seconds)


@cell("rlock-with", "RLock, with block, uncontended", unit="blocks/s", goal=1.5, peers=LIBRARIES)
def rlock_with(peer: Peer, seconds: float) -> float:
    return _withs(peer.context().RLock(), seconds)


@cell("semaphore-with", "Semaphore, with block, uncontended", unit="blocks/s", goal=1.5, peers=LIBRARIES)
def semaphore_with(peer: Peer, seconds: float) -> float:
    return _withs(peer.context().Semaphore(1), seconds)


def _compete(lock: Any, n: int, gate: Gate, done: Gate) -> None:
    gate.wait()
    for _ in range(n):
        lock.acquire()
        lock.release()
    done.open()


@cell("lock-4-processes", "Lock, 4 processes", unit="pairs/s", goal=2, peers=LIBRARIES)
def four_processes(peer: Peer, seconds: float) -> float:
    context = peer.context()
    lock = context.Lock()

    def run(n: int) -> float:
        gate, done = Gate(), Gate()
        children = [context.Process(target=_compete, args=(lock, n, gate, done)) for _ in range(4)]
        for child in children:
            child.start()
        begun = gate.open(4)
        done.wait(4)
        took = time.perf_counter() - begun
        for child in children:
            child.join()
        gate.close()
        done.close()
        return took

    return 4 * rate(run, seconds, start=1000)


@cell("value-add", "Value += 1 under its lock", unit="additions/s", goal=3, peers=LIBRARIES)
def value_add(peer: Peer, seconds: float) -> float:
    value = peer.context().Value("i", 0)

    def run(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            with value.get_lock():
                value.value += 1
        return time.perf_counter() - begun

    return rate(run, seconds, start=10_000)
