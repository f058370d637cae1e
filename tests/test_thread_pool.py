"""Thread pools: guarantees beyond the standard library."""

from __future__ import annotations

import asyncio
import gc
import itertools
import subprocess
import sys
import threading
import weakref

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


@pytest.mark.parametrize("chunksize", (None, 1, 7))
def test_a_task_that_takes_long_holds_up_none_that_were_claimed_with_it(pool, gate, chunksize):
    done, long = threading.Semaphore(0), 7 * 100 - 1  # the last one of its chunk

    def work(n):
        if n == long:
            assert gate.wait(LIMIT)
        done.release()

    result = pool.map_async(work, range(7 * 300), chunksize)
    for _ in range(7 * 300 - 1):
        assert done.acquire(timeout=LIMIT)
    assert not result.ready()
    gate.set()
    assert result.get(LIMIT) == [None] * (7 * 300)


def test_the_tasks_of_a_chunk_stay_together(pool):
    threads = pool.map(lambda _: threading.get_ident(), range(5 * 500 + 3), 5)
    assert all(len(set(threads[n : n + 5])) == 1 for n in range(0, len(threads), 5))


def test_tasks_that_were_claimed_together_may_wait_for_each_other(pool):
    barrier = threading.Barrier(2)
    assert pool.map(lambda n: n in (500, 501) and barrier.wait(LIMIT) >= 0, range(1000), 1).count(True) == 2


def test_what_is_overdue_comes_before_what_came_later(pool, gate):
    """One thread is stuck in the middle of tasks, and the other is busy with plenty of later ones."""
    begun, occupied, free = threading.Event(), threading.Event(), threading.Event()
    early, seen = [], []

    def occupy():
        occupied.set()
        assert free.wait(LIMIT)

    def first(n):
        if n == 500:
            begun.set()
            assert gate.wait(LIMIT)
        early.append(n)

    def later(n):
        if n == 999_999:
            seen.append(len(early))

    pool.apply_async(occupy)
    assert occupied.wait(LIMIT)
    one = pool.map_async(first, range(1000), 1)
    assert begun.wait(LIMIT)
    many = pool.map_async(later, range(1_000_000), 1)
    free.set()
    many.get(LIMIT)
    assert seen == [999]
    gate.set()
    one.get(LIMIT)


def test_what_is_done_is_counted_while_the_next_task_takes_long(gate):
    begun = threading.Event()

    def work(n):
        if n == 500:
            begun.set()
            assert gate.wait(LIMIT)

    with ThreadPool(1) as pool:
        result = pool.map_async(work, range(1000), 1)
        assert begun.wait(LIMIT)
        statistics = pool.statistics()
        assert (statistics.done, statistics.busy, statistics.queued) == (500, 1, 499)
        gate.set()
        result.get(LIMIT)
        assert pool.statistics().done == 1000


@pytest.mark.parametrize("way", ("imap", "imap_unordered"))
def test_results_are_there_while_the_next_task_takes_long(gate, way):
    def work(n):
        return gate.wait(LIMIT) if n == 500 else n

    with ThreadPool(1) as pool:
        results = getattr(pool, way)(work, range(1000), buffersize=1000)
        assert [next(results) for _ in range(500)] == list(range(500))
        gate.set()
        assert list(results) == [True, *range(501, 1000)]


def test_what_was_claimed_and_has_not_begun_is_cancelled(gate):
    begun, ran = threading.Event(), []

    def work(n):
        ran.append(n)
        if n == 500:
            begun.set()
            assert gate.wait(LIMIT)

    with ThreadPool(1) as pool:
        result = pool.map_async(work, range(1000), 1)
        assert begun.wait(LIMIT)
        assert result.cancel()
        gate.set()
        pool.close()
        pool.join()
    assert ran == list(range(501))


def test_nothing_keeps_what_a_map_was_about(pool):
    class Thing:
        pass

    things = [Thing() for _ in range(1000)]
    gone = [weakref.ref(thing) for thing in things]
    results = pool.map(lambda thing: thing, things, 1)
    assert results == things
    del things, results
    # Whichever worker was the last, it takes the next task in place of the previous one.
    pool.map(abs, range(100), 1)
    gc.collect()
    assert not [thing for thing in gone if thing() is not None]


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
    result = pool.map_async(sum, [range(1000)] * 3_000_000, 1)  # half a minute's work
    result.wait(0.01)
    assert not result.ready()
    assert result.cancel()
