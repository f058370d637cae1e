"""`concurrent.futures.ProcessPoolExecutor` on Kettle's context: more than the twins cover."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import pytest

LIMIT = 30


def square(n):
    return n * n


def share(queue, value, lock):
    global QUEUE, VALUE, LOCK
    QUEUE, VALUE, LOCK = queue, value, lock


def add(n):
    with LOCK:
        VALUE.value += n
    QUEUE.put(n)
    return n


def hang(_=None):
    QUEUE.put(os.getpid())
    time.sleep(3600)


def test_many_tasks(ctx):
    with ProcessPoolExecutor(3, mp_context=ctx) as executor:
        assert list(executor.map(square, range(2000), chunksize=7)) == [n * n for n in range(2000)]
        futures = [executor.submit(square, n) for n in range(500)]
        assert [future.result(LIMIT) for future in futures] == [n * n for n in range(500)]


def test_what_is_shared_reaches_the_workers(ctx):
    queue, value = ctx.Queue(), ctx.Value("i", 0, lock=False)
    with ProcessPoolExecutor(2, mp_context=ctx, initializer=share, initargs=(queue, value, ctx.Lock())) as executor:
        assert sum(executor.map(add, range(100))) == 4950
    assert value.value == 4950
    assert sorted(queue.get() for _ in range(100)) == list(range(100))


def test_what_cannot_be_pickled_fails_alone(ctx):
    with ProcessPoolExecutor(1, mp_context=ctx) as executor:
        with pytest.raises((AttributeError, TypeError)):
            executor.submit(square, (n for n in ())).result(LIMIT)
        assert executor.submit(square, 4).result(LIMIT) == 16


@pytest.mark.parametrize("state", ["busy", "idle"])
def test_a_killed_worker_breaks_the_pool_without_a_hang(ctx, state):
    queue = ctx.Queue()
    executor = ProcessPoolExecutor(2, mp_context=ctx, initializer=share, initargs=(queue, None, None))
    try:
        if state == "busy":
            futures = [executor.submit(hang) for _ in range(2)]
            busy = [queue.get(timeout=LIMIT) for _ in futures]
            # The executor watches the workers that it had when it last began to wait, and with spawn it starts them one
            # by one: a further task makes it check again, now that all exist.
            futures.append(executor.submit(square, 3))
            os.kill(busy[0], signal.SIGKILL)
            assert wait(futures, LIMIT).not_done == set()
            assert all(isinstance(future.exception(), BrokenProcessPool) for future in futures)
        else:
            assert executor.submit(square, 3).result(LIMIT) == 9
            worker = next(iter(executor._processes.values()))
            worker.kill()
            with pytest.raises(BrokenProcessPool):
                while True:  # until the executor has noticed
                    executor.submit(square, 3).result(LIMIT)
    finally:
        executor.shutdown()
