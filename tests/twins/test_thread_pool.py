"""The guarantees of the standard library for thread pools and thread executors."""

from __future__ import annotations

import asyncio
import importlib
import threading
from concurrent.futures import CancelledError

import pytest

from .support import LIMIT

FUTURES = {"stdlib": "concurrent.futures", "kettle": "kettle.futures"}


@pytest.fixture
def pool(mp):
    with importlib.import_module(mp.__name__ + ".pool").ThreadPool(2) as pool:
        yield pool
    pool.join()


@pytest.fixture(params=FUTURES)
def executor(request):
    with importlib.import_module(FUTURES[request.param]).ThreadPoolExecutor(2) as executor:
        yield executor


def square(n):
    return n * n


def fail_at_3(n):
    if n == 3:
        raise LookupError(n)
    return n


def test_calls(pool):
    assert pool.apply(square, (3,)) == 9
    assert pool.apply(dict, kwds={"a": 1}) == {"a": 1}
    assert pool.apply_async(square, [4]).get(LIMIT) == 16
    with pytest.raises(LookupError):
        pool.apply(fail_at_3, (3,))


@pytest.mark.parametrize("chunksize", (None, 1, 7))
def test_maps(pool, chunksize):
    expected = [n * n for n in range(100)]
    assert pool.map(square, range(100), chunksize) == expected
    assert pool.starmap(pow, [(n, 2) for n in range(100)], chunksize) == expected
    assert pool.map(square, []) == []
    assert list(pool.imap(square, iter(range(100)), chunksize or 1)) == expected
    assert sorted(pool.imap_unordered(square, range(100), chunksize or 1)) == expected


def test_objects_are_handed_over_themselves(pool):
    thing = object()
    assert pool.apply(lambda x: x, (thing,)) is thing
    assert pool.map(lambda x: x, [thing])[0] is thing


def test_all_threads_work_at_once(pool):
    barrier = threading.Barrier(2)
    assert sorted(pool.map(lambda _: barrier.wait(LIMIT), range(2), 1)) == [0, 1]


def test_callbacks(pool):
    told = []
    pool.apply_async(square, (3,), callback=told.append).wait(LIMIT)
    pool.map_async(fail_at_3, range(5), error_callback=told.append).wait(LIMIT)
    pool.close()
    pool.join()
    assert told[0] == 9
    assert isinstance(told[1], LookupError)


def test_initializer(mp):
    local = threading.local()

    def begin(word):
        local.word = word

    with importlib.import_module(mp.__name__ + ".pool").ThreadPool(2, begin, ("kept",)) as pool:
        assert pool.map(lambda _: local.word, range(4)) == ["kept"] * 4


def test_dummy(mp):
    dummy = importlib.import_module(mp.__name__ + ".dummy")
    queue = dummy.Queue()
    process = dummy.Process(target=queue.put, args=(1,))
    process.start()
    process.join(LIMIT)
    assert process.exitcode == 0
    assert queue.get(timeout=LIMIT) == 1
    with dummy.Pool(2) as pool:
        assert pool.map(square, range(3)) == [0, 1, 4]
    with dummy.Lock(), dummy.Manager().RLock():
        pass


def test_futures(executor):
    assert executor.submit(square, 3).result(LIMIT) == 9
    assert isinstance(executor.submit(fail_at_3, 3).exception(LIMIT), LookupError)
    assert list(executor.map(pow, range(10), [2] * 10)) == [n * n for n in range(10)]


def test_a_future_is_cancelled_before_it_begins(executor):
    gate = threading.Event()
    running = [executor.submit(gate.wait, LIMIT) for _ in range(2)]
    waiting = executor.submit(square, 3)
    assert waiting.cancel()
    gate.set()
    with pytest.raises(CancelledError):
        waiting.result(LIMIT)
    assert all(future.result(LIMIT) for future in running)


def test_done_callbacks_run_in_the_worker(executor):
    seen, gate = [], threading.Event()
    future = executor.submit(gate.wait, LIMIT)
    done = threading.Event()

    def tell(_):
        seen.append(threading.current_thread())
        done.set()

    future.add_done_callback(tell)
    gate.set()
    assert done.wait(LIMIT)
    assert seen[0] in executor._threads


def test_executors_serve_event_loops(executor):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor)
        return await asyncio.gather(asyncio.to_thread(square, 3), loop.run_in_executor(None, square, 4))

    assert asyncio.run(main()) == [9, 16]
