"""Private attributes of the standard library's pools, results and executors that programs use."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import weakref
from concurrent.futures import CancelledError
from multiprocessing.managers import all_methods

import pytest

import kettle.multiprocessing as mp
from kettle.futures import ProcessPoolExecutor
from kettle.multiprocessing import pool as mpp

from .support import LIMIT, fail, pass_gate, running, square, until


def istarmap(self, func, iterable, chunksize=1):
    """As in many programs, for Python 3.8 and later."""
    self._check_running()
    if chunksize < 1:
        raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
    task_batches = mpp.Pool._get_tasks(func, iterable, chunksize)
    result = mpp.IMapIterator(self)
    self._taskqueue.put((self._guarded_task_generation(result._job, mpp.starmapstar, task_batches), result._set_length))
    return (item for chunk in result for item in chunk)


def older_istarmap(self, func, iterable, chunksize=1):
    """As in many programs, for earlier versions."""
    if self._state != mpp.RUN:
        raise ValueError("Pool not running")
    task_batches = mpp.Pool._get_tasks(func, iterable, chunksize)
    result = mpp.IMapUnorderedIterator(self._cache)
    self._taskqueue.put((self._guarded_task_generation(result._job, mpp.starmapstar, task_batches), result._set_length))
    return (item for chunk in result for item in chunk)


def add(a, b):
    return a + b


def same(item):
    return item


@pytest.fixture(params=["processes", "threads"])
def pool(request, fork):
    pool = fork.Pool(2) if request.param == "processes" else mpp.ThreadPool(2)
    with pool:
        yield pool
    pool.join()


@pytest.mark.parametrize("chunksize", [1, 7, 1000])
def test_istarmap(pool, monkeypatch, chunksize):
    monkeypatch.setattr(mpp.Pool, "istarmap", istarmap, raising=False)
    assert list(pool.istarmap(add, ((n, n) for n in range(300)), chunksize)) == [2 * n for n in range(300)]
    assert list(pool.istarmap(add, [])) == []
    assert not pool._cache


def test_istarmap_by_the_cache(pool):
    assert sorted(older_istarmap(pool, add, ((n, n) for n in range(100)), 3)) == [2 * n for n in range(100)]


def test_istarmap_gives_what_it_has_before_an_error(pool):
    def items():
        yield 1, 2
        yield 3, 4
        raise LookupError("no more")

    results = istarmap(pool, add, items())
    assert [next(results), next(results)] == [3, 7]
    with pytest.raises(LookupError, match="no more"):
        next(results)
    results = istarmap(pool, fail, [(n,) for n in range(3)])
    with pytest.raises(LookupError):
        next(results)
    assert pool.apply(add, (1, 1)) == 2


def test_a_closed_pool_does_all_of_a_sequence(pool):
    fed = threading.Event()

    def items():
        yield from ((n, n) for n in range(50))
        fed.wait()
        yield from ((n, n) for n in range(50, 100))

    results = istarmap(pool, add, items())
    pool.close()
    with pytest.raises(ValueError):
        istarmap(pool, add, [(1, 1)])
    fed.set()
    assert list(results) == [2 * n for n in range(100)]
    pool.join()


def test_a_pool_that_is_ended_ends_a_sequence(pool, gate):
    def items():
        n = 0
        while pool._state == mpp.RUN or n < 3:
            yield (gate,)
            n += 1

    results = istarmap(pool, pass_gate, items())
    until(lambda: pool.statistics().busy)
    pool.terminate()
    gate.touch()
    with pytest.raises((CancelledError, ValueError)):
        list(results)


def test_results_that_the_program_fills_itself(pool):
    values, errors = [], []
    result = mpp.ApplyResult(pool, values.append, errors.append)
    pool._taskqueue.put(([(result._job, 0, add, (1, 2), {})], None))
    assert result.get(LIMIT) == 3 and values == [3]
    result = mpp.MapResult(pool, 2, 5, values.append, error_callback=errors.append)
    tasks = pool._guarded_task_generation(result._job, mpp.mapstar, mpp.Pool._get_tasks(square, range(5), 2))
    pool._taskqueue.put((tasks, None))
    assert result.get(LIMIT) == [0, 1, 4, 9, 16]
    assert errors == []


def test_how_much_is_left(pool, gate):
    assert len(pool._cache) == 0 and not pool._cache and pool._taskqueue.empty()
    waiting = [pool.apply_async(pass_gate, (gate,)) for _ in range(5)]
    until(lambda: pool.statistics().busy == 2)
    assert len(pool._cache) == 5 and pool._cache and pool._taskqueue.qsize() == 3
    with pytest.raises(AttributeError):
        _ = waiting[0]._success
    assert "get" in all_methods(waiting[0])  # reads all attributes, as a manager does
    mapped = pool.map_async(pass_gate, [gate] * 10, chunksize=3)
    assert (mapped._number_left, mapped._chunksize, mapped._success) == (4, 3, True)
    assert mapped._value == [None] * 10
    unsized = pool.map_async(pass_gate, [gate] * 100)
    assert unsized._number_left * unsized._chunksize >= 100
    gate.touch()
    assert mapped.get(LIMIT) == [None] * 10
    assert unsized.get(LIMIT) and unsized._number_left == mapped._number_left == 0
    failed = pool.map_async(fail, range(2))
    failed.wait(LIMIT)
    assert not failed._success and isinstance(failed._value, LookupError)
    assert waiting[0].get(LIMIT) is None and waiting[0]._success and waiting[0]._value is None
    until(lambda: not pool._cache)


def test_an_executor_says_what_is_pending(fork, gate):
    executor = ProcessPoolExecutor(2, mp_context=fork)
    assert len(executor._pending_work_items) == 0
    futures = [executor.submit(pass_gate, gate) for _ in range(5)]
    assert len(executor._pending_work_items) == 5 and len(executor._processes) == 2
    gate.touch()
    assert [future.result(LIMIT) for future in futures] == [None] * 5
    until(lambda: not executor._pending_work_items)
    executor.shutdown()


# ---------------------------------------------------------------- a pool's own kind of process


class Undaemonic(mp.get_context("fork").Process):
    @property
    def daemon(self):
        return False

    @daemon.setter
    def daemon(self, value):
        pass


class UndaemonicContext(type(mp.get_context("fork"))):
    Process = Undaemonic


class ByContext(mpp.Pool):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, context=UndaemonicContext(), **kwargs)


class ByFunction(mpp.Pool):
    @staticmethod
    def Process(ctx, *args, **kwds):
        return Undaemonic(*args, **kwds)


class ByMethod(mpp.Pool):
    def Process(self, *args, **kwds):
        process = super().Process(*args, **kwds)
        process.__class__ = Undaemonic
        return process


def kind_of_worker(_=None):
    process = multiprocessing.current_process()
    return type(process).__name__, process.daemon


@pytest.mark.parametrize("cls", [ByContext, ByFunction, ByMethod])
def test_a_pool_has_processes_of_its_own_kind(cls, monkeypatch):
    monkeypatch.setattr(mp.context._default_context, "_actual_context", mp.get_context("fork"))
    with cls(2) as pool:
        assert pool.map(kind_of_worker, range(4)) == [("Undaemonic", False)] * 4
        assert {type(worker) for worker in pool._pool} == {Undaemonic}
        os.kill(pool._pool[0].pid, 9)
        until(lambda: pool.statistics().workers == 2 and pool.apply(kind_of_worker)[0] == "Undaemonic")
    pool.join()


def test_a_process_method_does_not_keep_its_pool(monkeypatch):
    monkeypatch.setattr(mp.context._default_context, "_actual_context", mp.get_context("fork"))
    pool = ByMethod(1)
    pool.terminate()
    pool.join()
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None


def test_a_pool_is_given_more_workers(fork):
    with running(fork, 1) as pool:
        pool._processes = 3
        pool._repopulate_pool()
        assert len(pool._pool) == 3
        assert len(set(pool.map(square, range(9), chunksize=1))) == 9


def test_a_subclass_sees_how_its_workers_are_started(fork):
    class Counting(mpp.Pool):
        repopulated = 0

        def _repopulate_pool(self):
            self.repopulated += 1
            super()._repopulate_pool()

    with Counting(2, context=fork) as pool:
        assert pool.repopulated == 1 and len(pool._pool) == 2
    pool.join()
