"""The standard library's `Pool`, created on Kettle's context by its own constructor."""

from __future__ import annotations

import multiprocessing.pool

import pytest

import kettle.multiprocessing as mp


def share(queue, value):
    global QUEUE, VALUE
    QUEUE, VALUE = queue, value


def add(n):
    with VALUE.get_lock():
        VALUE.value += n
    QUEUE.put(n)
    return n


def fail(n):
    raise LookupError(n)


def wait_for(event):
    return event.wait()


def test_every_way_to_call(ctx):
    with multiprocessing.pool.Pool(2, context=ctx) as pool:
        assert pool.map(abs, range(-300, 0)) == list(range(300, 0, -1))
        assert list(pool.imap(abs, range(-30, 0))) == list(range(30, 0, -1))
        assert sorted(pool.imap_unordered(abs, range(-30, 0))) == list(range(1, 31))
        assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
        assert pool.apply(len, ([1, 2],)) == 2
        with pytest.raises(LookupError):
            pool.apply(fail, (1,))
        pool.close()
        pool.join()


def test_shared_state_and_workers_that_are_replaced(ctx):
    queue, value = ctx.Queue(), ctx.Value("i", 0)
    with multiprocessing.pool.Pool(2, share, (queue, value), maxtasksperchild=5, context=ctx) as pool:
        assert sum(pool.map(add, range(20), 1)) == 190
        assert value.value == 190
        assert sum(queue.get() for _ in range(20)) == 190
        pool.close()
        pool.join()


def test_a_result_that_is_late():
    ctx = mp.get_context("fork")
    with multiprocessing.pool.Pool(1, share, (None, None), context=ctx) as pool:
        with ctx.Manager() as manager:
            event = manager.Event()
            result = pool.apply_async(wait_for, (event,))
            with pytest.raises(mp.TimeoutError):
                result.get(0.01)
            event.set()
            assert result.get(30) is True
