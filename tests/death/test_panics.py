"""A panic of Kettle's is an ordinary exception, and all locks are free again."""

from __future__ import annotations

from concurrent.futures.thread import BrokenThreadPool

import pytest

import kettle
import kettle.futures
import kettle.multiprocessing as mp
from kettle._session import native

from .support import LIMIT

pytestmark = pytest.mark.skipif(not native.crash_points(), reason="needs the build with crash points")


@pytest.fixture
def panic():
    yield lambda point: native.arm_crash_point(f"{point}:1:panic")
    native.arm_crash_point(None)


def test_in_a_method_made_by_hand(panic, capfd):
    lock = mp.Lock()
    for leave in (lock.release, lambda: lock.__exit__(None, None, None)):
        assert lock.acquire()
        panic("lock.release.before")
        with pytest.raises(kettle.InternalError, match=r"fault; please report it: .*lock\.release\.before"):
            leave()
    native.arm_crash_point(None)
    assert "lock.release.before" in capfd.readouterr().err


@pytest.mark.parametrize("point", ["queue.put.before-commit", "queue.put.committed", "queue.put.before-unlock"])
def test_in_another_method(panic, point):
    queue = mp.Queue()
    queue.put("first")
    panic(point)
    with pytest.raises(Exception) as raised:
        queue.put("second")
    assert type(raised.value) is kettle.InternalError and point in str(raised.value)
    queue.put("third")
    got = [queue.get(timeout=LIMIT) for _ in range(queue.qsize())]
    assert got in (["first", "third"], ["first", "second", "third"])


def test_in_a_task(panic):
    queue = mp.Queue()
    with mp.pool.ThreadPool(1) as pool:
        panic("queue.put.before-commit")
        with pytest.raises(kettle.KettleError, match=r"InternalError|fault"):
            pool.apply(queue.put, (1,))
        assert pool.apply(abs, (-1,)) == 1


def test_between_the_tasks_of_a_pool_of_threads(panic):
    with mp.pool.ThreadPool(1) as pool:
        panic("pool.thread.claimed")
        with pytest.raises(kettle.InternalError, match=r"pool\.thread\.claimed"):
            pool.map(abs, range(100))
        with pytest.raises(kettle.InternalError):
            pool.apply(abs, (1,))
        pool.close()
        pool.join()


def test_between_the_tasks_of_an_executor_of_threads(panic, caplog):
    with kettle.futures.ThreadPoolExecutor(1) as executor:
        panic("pool.thread.claimed")
        with pytest.raises(BrokenThreadPool, match=r"has failed: .*pool\.thread\.claimed"):
            executor.submit(abs, 1).result(LIMIT)
        with pytest.raises(BrokenThreadPool):
            executor.submit(abs, 1)
    assert "Exception in worker" in caplog.text
