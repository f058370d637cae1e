"""`max_memory_per_worker`: a worker that has grown is replaced, and one that grows without end is killed. Also, the
memory that the parent keeps for a map."""

from __future__ import annotations

import os
import threading
import weakref

import pytest

import kettle
import kettle.multiprocessing as mp

from .support import LIMIT, running, square, until

MEGABYTE = 1 << 20
KEPT: list[bytearray] = []


def resident(_=None):
    """Returns the resident memory of this process in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def grow_to(size):
    """Grows to the given size, in small steps, and keeps the memory; returns its pid."""
    while resident() < size:
        KEPT.append(bytearray(b"x" * MEGABYTE))
    return os.getpid()


def the_base(ctx):
    with running(ctx, 1) as pool:
        return pool.apply(resident)


def test_a_worker_that_has_grown_is_replaced_after_its_task(ctx):
    limit = the_base(ctx) + 80 * MEGABYTE
    with running(ctx, 1, max_memory_per_worker=limit) as pool:
        assert pool.apply(os.getpid) == pool.apply(os.getpid)
        grown = pool.apply(grow_to, (limit + 10 * MEGABYTE,))
        assert grown not in {pool.apply(os.getpid) for _ in range(5)}
        assert pool.map(square, range(100)) == [n * n for n in range(100)]
        assert pool.statistics().died == 0 and pool.statistics().failed == 0


def test_nothing_of_a_chunk_is_lost(fork):
    limit = the_base(fork) + 60 * MEGABYTE
    with running(fork, 2, max_memory_per_worker=limit) as pool:
        size = limit + 5 * MEGABYTE
        assert len(pool.map(grow_to, [0, size, 0, 0, size, 0, 0, size, 0, 0], 10)) == 10


def test_one_that_grows_without_end_is_killed(fork):
    limit = the_base(fork) + 40 * MEGABYTE
    with running(fork, 2, max_memory_per_worker=limit) as pool:
        with pytest.raises(kettle.WorkerDied) as caught:
            pool.apply(grow_without_end)
        assert caught.value.reason == "memory" and "grow_without_end" in caught.value.task
        assert "max_memory_per_worker" in str(caught.value)
        assert pool.apply(square, (3,)) == 9


def grow_without_end():
    import time

    grow_to(1 << 30)  # far beyond the limit of this test, but not of the machine
    time.sleep(LIMIT * 10)


@pytest.mark.parametrize("limit", ["2GB", "512MiB", "1.5 GiB", 1 << 30, None])
def test_sizes(limit):
    with running(mp.get_context("fork"), 1, max_memory_per_worker=limit) as pool:
        assert pool.apply(os.getpid) == pool.apply(os.getpid)


@pytest.mark.parametrize("limit", ["much", "GB", "-1MB", 0, -5])
def test_wrong_sizes(fork, limit):
    with pytest.raises(ValueError):
        fork.Pool(1, max_memory_per_worker=limit)


# ---------------------------------------------------------------- in the parent

GATE = None


class Item:
    def __init__(self, number):
        self.number = number


def set_gate(gate):
    global GATE
    GATE = gate


def number_of(item):
    """The last one is done when the gate is open."""
    if item.number == 9:
        GATE.wait(LIMIT)
    return item.number


@pytest.mark.parametrize("threads", [True, False])
def test_items_of_a_map_are_let_go_as_they_are_done(fork, threads):
    make, gate = (mp.pool.ThreadPool, threading.Event()) if threads else (fork.Pool, fork.Event())
    seen = []

    def items():
        for number in range(10):
            item = Item(number)
            seen.append(weakref.ref(item))
            yield item
            del item

    with make(1, set_gate, (gate,)) as pool:
        result = pool.map_async(number_of, items(), 1)
        until(lambda: all(ref() is None for ref in seen[:9]))
        assert seen[9]() is not None and not result.ready()
        gate.set()
        assert result.get(LIMIT) == list(range(10))
