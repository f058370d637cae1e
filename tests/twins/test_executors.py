"""The guarantees of the standard library for its process executor."""

from __future__ import annotations

import importlib
import os
import threading
import time

import pytest

from .support import LIMIT

PACKAGES = {"stdlib": ("concurrent.futures", "multiprocessing"), "kettle": ("kettle.futures", "kettle.multiprocessing")}


@pytest.fixture(params=PACKAGES)
def package(request):
    futures, mp = PACKAGES[request.param]
    return importlib.import_module(futures), importlib.import_module(mp).get_context("fork")


@pytest.fixture
def futures(package):
    return package[0]


@pytest.fixture
def context(package):
    return package[1]


@pytest.fixture
def event(context):
    """Workers inherit it: the standard library cannot send one with a task."""
    global EVENT
    EVENT = context.Event()
    return EVENT


@pytest.fixture
def executor(futures, context, event):
    with futures.ProcessPoolExecutor(2, context) as executor:
        yield executor


def square(n):
    return n * n


def fail(n):
    raise LookupError(n)


def wait_for_it():
    return EVENT.wait(LIMIT)


def remember(word):
    global WORD
    WORD = word


def recall():
    return WORD


def refuse():
    raise ValueError("no good")


def test_results_and_errors(executor, futures):
    assert executor.submit(pow, 2, exp=3).result(LIMIT) == 8
    failed = executor.submit(fail, 3)
    assert isinstance(failed.exception(LIMIT), LookupError)
    with pytest.raises(LookupError):
        failed.result()
    assert failed.done() and not failed.running() and not failed.cancelled() and not failed.cancel()
    assert isinstance(failed, futures.Future) and isinstance(executor, futures.Executor)


def test_time_outs(executor, futures, event):
    future = executor.submit(wait_for_it)
    for call in (future.result, future.exception):
        with pytest.raises(futures.TimeoutError):
            call(0.01)
    event.set()
    assert future.result(LIMIT) is True


def test_wait_and_as_completed(executor, futures, event):
    late = executor.submit(wait_for_it)
    early = [executor.submit(square, n) for n in range(4)]
    assert futures.wait(early, LIMIT).not_done == set()
    assert futures.wait([late, early[0]], LIMIT, futures.FIRST_COMPLETED) == ({early[0]}, {late})
    with pytest.raises(futures.TimeoutError):
        list(futures.as_completed([late, *early], 0.01))
    event.set()
    assert set(futures.as_completed([late, *early, late], LIMIT)) == {late, *early}
    bad = executor.submit(fail, 1)
    assert futures.wait([bad, *early], LIMIT, futures.FIRST_EXCEPTION).done >= {bad}


def test_cancelling(executor, futures, event):
    busy = [executor.submit(wait_for_it) for _ in range(8)]
    waiting = executor.submit(square, 2)
    assert waiting.cancel() and waiting.cancelled() and waiting.done() and waiting.cancel()
    with pytest.raises(futures.CancelledError):
        waiting.result(LIMIT)
    event.set()
    assert all(future.result(LIMIT) for future in busy)


def test_callbacks(executor):
    called, done = [], threading.Event()
    future = executor.submit(square, 3)
    future.add_done_callback(lambda f: called.append(f.result()))
    future.add_done_callback(lambda f: called.append(f is future))
    future.add_done_callback(lambda _: done.set())
    assert done.wait(LIMIT)
    assert called == [9, True]
    future.add_done_callback(called.append)
    assert called[2] is future


@pytest.mark.parametrize("how", ["wait", "as_completed", "result", "exception"])
def test_a_waiter_finds_that_the_callbacks_of_earlier_tasks_have_run(executor, futures, how):
    called = []

    def slow(future):
        time.sleep(0.001)
        called.append(future)

    given = [executor.submit(square, n) for n in range(30)]
    for future in given:
        future.add_done_callback(slow)
    if how == "wait":
        futures.wait(given, LIMIT)
    elif how == "as_completed":
        list(futures.as_completed(given, LIMIT))
    else:
        for future in given:
            getattr(future, how)(LIMIT)
    # Those of the last one may be about to run.
    assert len(called) >= len(given) - 1
    executor.shutdown()
    assert set(called) == set(given) and len(called) == len(given)


def test_callbacks_of_a_task_that_was_taken_back(executor, futures, event):
    called = []
    busy = [executor.submit(wait_for_it) for _ in range(2)]
    given = [executor.submit(square, n) for n in range(9)]
    for future in given:
        future.add_done_callback(lambda f: called.append((f, f.cancelled())))
    # The first ones may be on their way to a worker.
    taken = [future for future in given if future.cancel()]
    assert taken and all(future.cancelled() and future.done() for future in taken)
    event.set()
    executor.shutdown()
    assert all(future.result(LIMIT) for future in busy)
    assert dict(called) == {future: future in taken for future in given} and len(called) == len(given)


def test_map(executor, futures):
    assert list(executor.map(pow, range(5), [2] * 4)) == [0, 1, 4, 9]
    assert list(executor.map(square, range(100), chunksize=7, timeout=LIMIT)) == [n * n for n in range(100)]
    results = executor.map(divmod, [1, 1, 1], [2, 0, 3])
    assert next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
    with pytest.raises(ValueError):
        executor.map(square, [1], chunksize=0)


def test_the_end(futures, context):
    executor = futures.ProcessPoolExecutor(2, context)
    waiting = [executor.submit(square, n) for n in range(50)]
    executor.shutdown()
    executor.shutdown()
    assert [future.result(0) for future in waiting] == [n * n for n in range(50)]
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(square, 1)


def test_initializers(futures, context):
    with futures.ProcessPoolExecutor(1, context, remember, ("kept",)) as executor:
        assert executor.submit(recall).result(LIMIT) == "kept"
    with futures.ProcessPoolExecutor(1, context, refuse) as executor:
        with pytest.raises(futures.BrokenExecutor):
            executor.submit(square, 1).result(LIMIT)


def test_a_handler_for_a_death_also_handles_ours(futures, context):
    with futures.ProcessPoolExecutor(1, context) as executor:
        with pytest.raises(futures.BrokenExecutor):
            executor.submit(os._exit, 3).result(LIMIT)


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (ValueError, {"max_workers": 0}),
        (TypeError, {"initializer": 3}),
        (ValueError, {"max_tasks_per_child": 0}),
        (ValueError, {"max_tasks_per_child": 3}),
        (TypeError, {"max_tasks_per_child": "3"}),
    ],
)
def test_bad_arguments(futures, context, error, arguments):
    with pytest.raises(error):
        futures.ProcessPoolExecutor(mp_context=context, **arguments)
