"""Pools of threads: what is promised beyond the standard library."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading

import pytest

import kettle
from kettle.multiprocessing.pool import ThreadPool

LIMIT = 30


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def pool(gate):
    with ThreadPool(2, name="workers") as pool:
        yield pool
        gate.set()
    pool.join()


def test_a_task_that_takes_too_long_is_given_up_and_another_thread_takes_the_place_of_its_own(pool, gate):
    with pytest.raises(kettle.TaskTimeout, match="goes on") as caught:
        pool.apply(gate.wait, (LIMIT,), task_timeout=0.05)
    assert caught.value.goes_on
    barrier = threading.Barrier(2)
    assert sorted(pool.map(lambda _: barrier.wait(LIMIT), range(2), 1)) == [0, 1]
    assert pool.statistics().timed_out == 1


def test_only_the_late_items_of_a_chunk_are_given_up(pool, gate):
    def work(n):
        return gate.wait(LIMIT) if n == 1 else n

    results = pool.imap(work, range(4), 4, task_timeout=0.5)
    assert next(results) == 0
    with pytest.raises(kettle.TaskTimeout):
        next(results)
    assert list(results) == [2, 3]


def test_what_has_not_begun_is_cancelled_and_what_runs_is_not(pool, gate):
    barrier = threading.Barrier(3)

    def work():
        barrier.wait(LIMIT)
        return gate.wait(LIMIT)

    running = [pool.apply_async(work) for _ in range(2)]
    waiting = pool.apply_async(abs, (-1,))
    barrier.wait(LIMIT)
    assert waiting.cancel()
    assert not running[0].cancel()
    with pytest.raises(kettle.TaskCancelled):
        waiting.get(LIMIT)
    gate.set()
    assert all(result.get(LIMIT) for result in running)


def test_imap_pulls_no_further_ahead_than_it_may(pool):
    pulled = itertools.count()
    source = (next(pulled) for _ in range(100))
    results = pool.imap(abs, source, buffersize=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert next(pulled) <= 7 + 1
    results.close()


def test_results_are_awaited(pool):
    async def main():
        one = await pool.apply_async(abs, (-3,))
        many = await pool.map_async(abs, range(10))
        return one, many, [n async for n in pool.imap(abs, range(10))]

    assert asyncio.run(main()) == (3, list(range(10)), list(range(10)))


def test_a_failing_initializer_is_the_error_of_every_call():
    def fail():
        raise LookupError("no")

    pool = ThreadPool(2, fail)
    try:
        with pytest.raises(LookupError):
            pool.apply_async(abs, (1,)).get(LIMIT)
        with pytest.raises(LookupError):
            pool.apply(abs, (1,))
    finally:
        pool.terminate()
        pool.join()


def test_what_would_end_the_program_arrives_as_an_error(pool):
    with pytest.raises(kettle.RemoteError, match="SystemExit"):
        pool.apply(sys.exit, (3,))
    assert pool.apply(abs, (-1,)) == 1


def test_threads_are_named_and_daemonic(pool):
    thread = pool.apply(threading.current_thread)
    assert thread.name.startswith("workers_")
    assert thread.daemon


@pytest.mark.parametrize("way", ("pool.close()", "pool.terminate()", "pass"))
def test_a_running_task_does_not_keep_the_interpreter_from_exiting(way):
    program = f"""
import threading, time
from kettle.multiprocessing.pool import ThreadPool
begun = threading.Event()
def work():
    begun.set()
    while True:
        time.sleep(0.001)
pool = ThreadPool(2)
pool.apply_async(work)
begun.wait()
{way}
print("end")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT)
    assert (ended.returncode, ended.stdout) == (0, "end\n"), ended.stderr


def test_functions_that_never_let_go_of_the_interpreter_do_not_keep_it(pool):
    result = pool.map_async(abs, [1] * 3_000_000, 1)
    result.wait(0.01)
    assert not result.ready()
    assert result.cancel()
