"""A call or a map that is over keeps none of its arguments, however it ended and even if its handle is kept."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import gc
import os
import threading
import time
import weakref

import pytest

import kettle
from kettle import multiprocessing
from kettle.futures import ProcessPoolExecutor, ThreadPoolExecutor
from kettle.multiprocessing.pool import ThreadPool

LIMIT = 30


class Big(bytearray):
    """An argument, and a function."""

    def __call__(self, *_):
        return len(self)


class Given:
    """The arguments of tasks, and whether they still exist."""

    def __init__(self):
        self._refs = []

    def __call__(self, _=None):
        big = Big(8)
        self._refs.append(weakref.ref(big))
        return big

    def some(self, count=5):
        return [self() for _ in range(count)]

    def alive(self):
        return sum(ref() is not None for ref in self._refs)

    def is_gone(self):
        """Returns whether they are gone once temporary references are dropped."""
        assert self._refs
        deadline = time.monotonic() + LIMIT
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        return not self.alive()


@pytest.fixture
def given():
    return Given()


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


def failing(*_, **__):
    raise LookupError("no")


def die(*_):
    os._exit(1)


def nap(*_):
    time.sleep(LIMIT)


def hold(started, go):
    started.release()
    assert go.acquire(timeout=LIMIT)


def length(big, *_, **__):
    return len(big)


@contextlib.contextmanager
def both_workers_held(submit):
    started, go = multiprocessing.Semaphore(0), multiprocessing.Semaphore(0)
    held = [submit(hold, started, go) for _ in range(2)]
    for _ in held:
        assert started.acquire(timeout=LIMIT)
    yield
    for _ in held:
        go.release()


def submitter(pool):
    return getattr(pool, "submit", None) or (lambda function, *args: pool.apply_async(function, args))


POOLS = {
    "threads": lambda: ThreadPool(2),
    "processes": lambda: multiprocessing.get_context("fork").Pool(2),
}
EXECUTORS = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2, multiprocessing.get_context("fork")),
}
of_pools = pytest.mark.parametrize("make", POOLS.values(), ids=POOLS)
of_executors = pytest.mark.parametrize("make", EXECUTORS.values(), ids=EXECUTORS)


def outcome(handle):
    """Returns the result or the error of a call, without its traceback, which refers to the frames that the error has
    passed."""
    try:
        return handle.get(LIMIT) if hasattr(handle, "get") else handle.result(LIMIT)
    except Exception as error:
        error.__traceback__ = None
        return type(error)


@of_executors
def test_a_future_that_is_over(make, given):
    with make() as executor:
        for _ in range(50):
            future = executor.submit(length, given(), more=given())
            assert future.result(LIMIT) == 8
            # Immediately: the standard library's are gone when `result` returns. (A separate statement, since pytest
            # keeps the values of an assertion until its end.)
            assert given.alive() == 0
        future = executor.submit(given())
        assert future.result(LIMIT) == 8
        assert given.alive() == 0
        failed = executor.submit(failing, given())
        assert outcome(failed) is LookupError
        assert given.is_gone()
        assert future.done() and failed.done()


@of_executors
def test_futures_that_others_look_at(make, given):
    called = []
    with make() as executor:
        futures = [executor.submit(length, big) for big in given.some()]
        assert {future.result() for future in concurrent.futures.as_completed(futures, LIMIT)} == {8}
        assert given.is_gone()
        futures += [executor.submit(length, big) for big in given.some()]
        for future in futures[5:]:
            future.add_done_callback(called.append)
        concurrent.futures.wait(futures, LIMIT)
        assert given.is_gone()
    assert set(called) == set(futures[5:])


@of_executors
def test_futures_that_were_cancelled(make, given):
    with make() as executor, both_workers_held(executor.submit):
        # More than is sent ahead to a worker process.
        futures = [executor.submit(length, big) for big in given.some(20)]
        cancelled = [future for future in futures if future.cancel()]
        assert len(cancelled) == 20
        assert given.alive() == 0
        futures = [executor.submit(given()) for _ in range(20)]
        executor.shutdown(wait=False, cancel_futures=True)
        assert all(future.cancelled() for future in futures)
        assert given.alive() == 0


@of_executors
@pytest.mark.parametrize("lazy", [False, True])
def test_a_map_of_an_executor(make, given, lazy):
    buffersize = 2 if lazy else None
    with make() as executor:
        results = executor.map(length, given.some(), buffersize=buffersize)
        assert list(results) == [8] * 5
        assert given.alive() == 0
        results = executor.map(given(), given.some(), buffersize=buffersize)
        assert list(results) == [8] * 5
        assert given.alive() == 0
        results = executor.map(failing, given.some(), buffersize=buffersize)
        with pytest.raises(LookupError):
            next(results)
        assert given.is_gone()
        results = executor.map(functools.partial(length, given()), given.some(), buffersize=buffersize)
        assert next(results) == 8
        results.close()
        assert given.is_gone()


def test_options_of_an_executor(given):
    with EXECUTORS["processes"]() as executor:
        patient = executor.options(retries=1)
        futures = [patient.submit(length, given()), patient.submit(die, given())]
        assert list(map(outcome, futures)) == [8, kettle.futures.WorkerDied]
        assert given.is_gone()
        late = executor.options(task_timeout=0.1).submit(nap, given())
        assert outcome(late) is kettle.TaskTimeout
        assert given.is_gone()
        killed = executor.submit(nap, given())
        assert killed.kill() and outcome(killed) is kettle.TaskCancelled
        assert given.is_gone()


@of_pools
def test_calls_of_a_pool(make, given):
    called = []
    with make() as pool:
        result = pool.apply_async(length, (given(),), {"more": given()})
        assert outcome(result) == 8
        assert given.alive() == 0
        results = [pool.apply_async(given(), [given()]), pool.apply_async(failing, (given(),))]
        assert list(map(outcome, results)) == [8, LookupError]
        assert given.is_gone()
        results = [
            pool.apply_async(length, (given(),), callback=called.append, error_callback=called.append),
            pool.apply_async(failing, (given(),), callback=called.append, error_callback=called.append),
        ]
        assert list(map(outcome, results)) == [8, LookupError]
        assert given.is_gone()
        pool.apply(length, (given(),))
        assert given.is_gone()
        result = pool.apply_async(nap if make is POOLS["processes"] else time.sleep, (0.2,), task_timeout=0.1)
        assert outcome(result) is kettle.TaskTimeout


@of_pools
def test_the_first_call_with_a_callback(make, given):
    """A thread is started for the callback."""
    for _ in range(10):
        with make() as pool:
            result = pool.apply_async(length, (given(),), callback=print)
            assert outcome(result) == 8
            assert given.alive() == 0


@of_pools
def test_maps_of_a_pool(make, given):
    with make() as pool:
        for chunksize in (None, 1, 3):
            kept = [
                pool.map_async(length, given.some(), chunksize),
                pool.map_async(given(), given.some(), chunksize),
                pool.starmap_async(length, [(big, 0) for big in given.some()], chunksize),
            ]
            assert [outcome(result) for result in kept] == [[8] * 5] * 3
            assert given.alive() == 0
            failed = pool.map_async(failing, given.some(), chunksize)
            assert outcome(failed) is LookupError
            assert given.is_gone()
        for imap in (pool.imap, pool.imap_unordered):
            results = imap(given(), given.some())
            assert list(results) == [8] * 5
            assert given.is_gone()
            results = imap(given(), iter(given.some()))
            assert next(results) == 8
            results.close()
            assert given.is_gone()


@of_pools
def test_what_was_cancelled_in_a_pool(make, given):
    with make() as pool, both_workers_held(submitter(pool)):
        results = [pool.apply_async(length, (big,)) for big in given.some(20)]
        results += [pool.map_async(given(), given.some(20)) for _ in range(2)]
        iterators = [pool.imap(given(), given.some(20)), pool.imap_unordered(given(), iter(given.some(20)))]
        assert all(result.cancel() for result in results)
        for iterator in iterators:
            iterator.close()
        assert given.is_gone()
        results = [
            pool.apply_async(length, (given(),)),
            pool.map_async(given(), given.some(20)),
            pool.imap(len, given.some()),
        ]
        pool.terminate()
        assert given.is_gone() and len(results) == 3


def test_what_a_worker_claimed_and_has_not_begun(given, gate):
    """Short tasks are claimed many at a time; those that follow a long one are released when the map is."""
    begun = threading.Event()

    def work(item):
        if item is None:
            begun.set()
            gate.wait(LIMIT)

    with ThreadPool(1) as pool:
        pool.map(len, [()] * 1000)
        result = pool.map_async(work, [None, *given.some(50)], chunksize=51)
        assert begun.wait(LIMIT)
        assert result.cancel()
        assert given.alive() == 0
        gate.set()
        assert pool.apply(abs, (-1,)) == 1


@pytest.mark.parametrize("end", ["dies", "times out", "is killed"])
def test_tasks_whose_worker_is_lost(given, end):
    with POOLS["processes"]() as pool:
        if end == "dies":
            results = [pool.apply_async(die, (given(),)), pool.apply_async(die, (given(),), retries=1)]
            results += [pool.map_async(die, given.some(3)), pool.map_async(die, given.some(3), retries=1)]
            error = kettle.WorkerDied
        elif end == "times out":
            results = [
                pool.apply_async(nap, (given(),), task_timeout=0.1),
                pool.map_async(nap, given.some(2), task_timeout=0.1),
            ]
            error = kettle.TaskTimeout
        else:
            results = [pool.apply_async(nap, (given(),)), pool.map_async(nap, given.some(2))]
            error = kettle.TaskCancelled
            assert all(result.cancel() for result in results)
        assert {outcome(result) for result in results} == {error}
        assert given.is_gone()


def test_a_task_that_was_given_up_by_its_pool(given, gate):
    with ThreadPool(1) as pool:
        late = pool.apply_async(lambda big: gate.wait(LIMIT), (given(),), task_timeout=0.05)
        assert outcome(late) is kettle.TaskTimeout
        # The task goes on, and keeps its arguments for that time.
        assert given.alive() == 1
        gate.set()
        assert given.is_gone()


@of_executors
def test_what_cannot_be_submitted(make, given):
    executor = make()
    executor.shutdown()
    with contextlib.suppress(RuntimeError):
        executor.submit(length, given())
    gc.collect()
    assert given.alive() == 0


def test_an_idle_thread_keeps_nothing_of_its_last_task(given):
    with ThreadPool(1) as pool, ThreadPoolExecutor(1) as executor:
        for call in (executor.submit, lambda function, *args: pool.apply_async(function, args)):
            outcome(call(given))  # its result
            assert given.is_gone()
            outcome(call(length, given()))
            assert given.is_gone()
            outcome(call(failing, given()))
            assert given.is_gone()
            outcome(call(given()))
            assert given.is_gone()
        for map in (executor.map, pool.map, pool.imap, pool.imap_unordered):
            list(map(given, range(3)))
            assert given.is_gone()
            list(map(given(), given.some()))
            assert given.is_gone()


class InAWorker:
    """A function of a map, as a worker gets it."""

    _made: list[weakref.ref] = []

    def __reduce__(self):
        return InAWorker._make, ()

    @classmethod
    def _make(cls):
        made = cls()
        cls._made.append(weakref.ref(made))
        return made

    def __call__(self, item):
        return os.getpid()

    @classmethod
    def alive(cls, _=None):
        return len(cls._made), sum(ref() is not None for ref in cls._made)


@pytest.mark.parametrize("way", ["map", "imap", "executor"])
def test_a_worker_process_forgets_the_function_of_a_map(way):
    context = multiprocessing.get_context("fork")
    if way == "executor":
        with ProcessPoolExecutor(1, context) as executor:
            list(executor.map(InAWorker(), range(3)))
            assert executor.submit(InAWorker.alive).result(LIMIT) == (1, 0)
    else:
        with context.Pool(1) as pool:
            list(getattr(pool, way)(InAWorker(), range(3)))
            assert pool.apply(InAWorker.alive) == (1, 0)
            # By another map; both need their own.
            first, second = (pool.imap(InAWorker(), range(3)) for _ in range(2))
            assert len({*first, *second}) == 1
            assert list(pool.imap(InAWorker.alive, [0])) == [(3, 0)]


def test_an_idle_worker_process_forgets_the_function_of_a_map(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert len(pool.map(Leaving(str(tmp_path)), range(100), 1)) == 100
        # This can be observed only by its end.
        deadline = time.monotonic() + LIMIT
        while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert {int(path.name) for path in tmp_path.iterdir()} <= {worker.pid for worker in pool._pool}
        assert any(tmp_path.iterdir())


class Leaving:
    def __init__(self, path):
        self._path, self._home = path, os.getpid()

    def __call__(self, item):
        return item

    def __del__(self):
        if os.getpid() != self._home:
            open(f"{self._path}/{os.getpid()}", "w").close()


# ---------------------------------------------------------------------- destructors


class Doing:
    """An argument of a task whose destructor does something."""

    def __init__(self, act):
        self._act = act

    def __call__(self, *_):
        pass

    def __del__(self):
        self._act()


WAYS = {
    "argument": lambda pool, thing: pool.submit(length, [], thing),
    "keyword": lambda pool, thing: pool.submit(length, [], thing=thing),
    "function": lambda pool, thing: pool.submit(thing),
    "in a list": lambda pool, thing: pool.submit(length, [thing]),
    "in a closure": lambda pool, thing: pool.submit(_closure(thing)),
    "in a default": lambda pool, thing: pool.submit(_default(thing)),
    "in a partial": lambda pool, thing: pool.submit(functools.partial(length, [thing])),
    "bound method": lambda pool, thing: pool.submit(thing.__call__),
}


def _closure(thing):
    return lambda: thing and None


def _default(thing):
    def function(thing=thing):
        pass

    return function


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_destructor_may_wait_for_its_own_task(way):
    futures, seen, done = [], [], threading.Event()

    def act():
        seen.append(futures[0].exception(LIMIT))
        done.set()

    start = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        block = executor.submit(start.wait)
        futures.append(way(executor, Doing(act)))
        start.set()
        assert block.result(LIMIT) and futures[0].exception(LIMIT) is None
        assert done.wait(LIMIT) and seen == [None]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_destructor_may_want_a_lock_of_who_waits_for_the_task(way):
    lock, done = threading.Lock(), threading.Event()

    def act():
        with lock:
            done.set()

    with ThreadPoolExecutor(1) as executor:
        for _ in range(10):
            done.clear()
            start = threading.Event()
            executor.submit(start.wait)
            future = way(executor, Doing(act))
            with lock:
                start.set()  # not earlier: this thread must have released the object when the task is done
                future.result(LIMIT)
            assert done.wait(LIMIT)


def test_a_destructor_may_use_its_pool():
    """Even if that takes all other threads."""
    results, called, done = [], threading.Event(), threading.Event()

    def act():
        results.append(executor.submit(abs, -1).result(LIMIT))
        results.append(list(executor.map(abs, [-2, -3])))
        done.set()

    with ThreadPoolExecutor(2) as executor:
        executor.submit(length, [], Doing(act)).result(LIMIT)
        assert done.wait(LIMIT)
        done.clear()
        executor.submit(length, [], Doing(act)).add_done_callback(lambda _: called.set())
        assert called.wait(LIMIT) and done.wait(LIMIT)
    assert results == [1, [2, 3]] * 2


def test_a_callback_may_use_its_executor():
    """The thread that calls it is not free in the meantime."""
    results, start, called = [], threading.Event(), threading.Event()

    def call_back(_):
        results.append(executor.submit(abs, -1).result(LIMIT))
        called.set()

    with ThreadPoolExecutor(2) as executor:
        future = executor.submit(start.wait)
        future.add_done_callback(call_back)
        start.set()
        assert called.wait(LIMIT)
    assert results == [1]


@pytest.mark.parametrize("make", [*POOLS.values(), *EXECUTORS.values()])
def test_a_destructor_may_submit(make):
    submitted = []
    with make() as pool:
        submit = submitter(pool)

        def act():
            submitted.append(submit(abs, -1))

        first = submit(length, [], Sent(act))
        assert outcome(first) == 0
        deadline = time.monotonic() + LIMIT
        while not submitted and time.monotonic() < deadline:
            time.sleep(0.001)
        assert outcome(submitted[0]) == 1


class Sent(Doing):
    """The same, for an object that another process gets a copy of."""

    def __reduce__(self):
        return int, ()


@pytest.mark.parametrize("make", [*POOLS.values(), *EXECUTORS.values()])
def test_a_destructor_of_what_was_cancelled_may_ask_for_the_outcome(make):
    results, seen = [], []
    with make() as pool, both_workers_held(submit := submitter(pool)):
        # Enough that no worker has the last of them.
        results += [submit(length, [], Sent(lambda: seen.append(outcome(results[-1])))) for _ in range(20)]
        assert results[-1].cancel()
        assert seen == [kettle.TaskCancelled]
