"""`task_timeout` ends a task, whatever it does, and only that task."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter

import pytest

import kettle
import kettle.multiprocessing as mp

from .support import ENDLESS, LIMIT, fail, note_and_never_end, pass_gate, pid, running, runs, sleep, square, until


@pytest.mark.parametrize("activity", ENDLESS)
def test_whatever_the_task_does(fork, diary, activity):
    with running(fork, 1) as pool:
        worker = pool.apply(pid)
        with pytest.raises(kettle.TaskTimeout) as caught:
            pool.apply(note_and_never_end, (diary, activity), task_timeout=0.2)
        error = caught.value
        assert isinstance(error, TimeoutError) and isinstance(error, mp.TimeoutError)
        assert error.timeout == 0.2 and "note_and_never_end" in error.task and "note_and_never_end" in str(error)
        until(lambda: not runs(worker))  # the task is over, not only abandoned
        assert pool.map(square, range(20), 1) == [n * n for n in range(20)]


def test_with_every_start_method(ctx, diary):
    with running(ctx, 2) as pool:
        with pytest.raises(kettle.TaskTimeout):
            pool.apply(note_and_never_end, (diary, "spin_in_c"), task_timeout=0.2)
        until(lambda: pool.statistics().workers == 2)
        assert pool.statistics().timed_out == 1
        assert pool.apply(square, (3,)) == 9


def test_in_every_call(fork):
    with running(fork, 2) as pool:
        forever = [LIMIT * 10]
        for call in (
            lambda: pool.apply(sleep, forever, task_timeout=0.1),
            lambda: pool.apply_async(sleep, forever, task_timeout=0.1).get(LIMIT),
            lambda: pool.map(sleep, forever, task_timeout=0.1),
            lambda: pool.map_async(sleep, forever, task_timeout=0.1).get(LIMIT),
            lambda: pool.starmap(sleep, [forever], task_timeout=0.1),
            lambda: pool.starmap_async(sleep, [forever], task_timeout=0.1).get(LIMIT),
            lambda: list(pool.imap(sleep, forever, task_timeout=0.1)),
            lambda: list(pool.imap_unordered(sleep, forever, task_timeout=0.1)),
        ):
            with pytest.raises(kettle.TaskTimeout):
                call()


def note_and_stay_at_7(diary, n):
    diary.note(n)
    if n == 7:
        sleep()
    return n * n


@pytest.mark.parametrize("chunksize", [1, 5, 20])
def test_neighbours_have_their_results(ctx, diary, chunksize):
    with running(ctx, 2) as pool:
        it = pool.imap(functools.partial(note_and_stay_at_7, diary), range(20), chunksize, task_timeout=1)
        assert [next(it) for _ in range(7)] == [n * n for n in range(7)]
        with pytest.raises(kettle.TaskTimeout, match="7"):
            next(it)
        assert list(it) == [n * n for n in range(8, 20)]
    assert diary.counts() == Counter(range(20))


def test_other_workers_are_left_alone(fork, diary, gate):
    with running(fork, 2) as pool:
        other = pool.apply_async(note_pid_and_pass_gate, (diary, gate))
        until(diary.words)
        for _ in range(3):
            with pytest.raises(kettle.TaskTimeout):
                pool.apply(sleep, task_timeout=0.05)
        gate.touch()
        assert other.get(LIMIT) == diary.numbers()[0]


def note_pid_and_pass_gate(diary, gate):
    diary.note(pid())
    return pass_gate(gate, pid())


def test_it_counts_for_each_item_of_a_chunk(fork):
    with running(fork, 1) as pool:  # 1.5 seconds in total
        assert pool.map(sleep, [0.05] * 30, 30, task_timeout=1.0) == [None] * 30


def test_it_counts_from_the_begin_of_the_task(fork, diary, gate):
    with running(fork, 1) as pool:
        first = pool.apply_async(note_pid_and_pass_gate, (diary, gate))
        until(diary.words)
        second = pool.apply_async(square, (5,), task_timeout=0.2)
        second.wait(0.5)  # it has been in the queue for longer than its time limit
        assert not second.ready()
        gate.touch()
        assert second.get(LIMIT) == 25 and first.get(LIMIT)


def test_not_before_it_is_over(fork):
    with running(fork, 1) as pool:
        pool.apply(square, (1,))
        begun = time.monotonic()
        with pytest.raises(kettle.TaskTimeout):
            pool.apply(sleep, task_timeout=0.3)
        assert time.monotonic() - begun >= 0.3


def test_soon_after_it_is_over(fork):
    """A task that takes two seconds sees the end of one with a limit of a tenth."""
    with running(fork, 2) as pool:
        slow, endless = pool.apply_async(sleep, (2,)), pool.apply_async(sleep, task_timeout=0.1)
        with pytest.raises(kettle.TaskTimeout):
            endless.get(LIMIT)
        assert not slow.ready()
        slow.get(LIMIT)


def test_without_a_waiter(fork):
    errors, done = [], threading.Event()
    with running(fork, 2) as pool:
        pool.apply_async(
            sleep, task_timeout=0.1, error_callback=lambda error: (errors.append(error), done.set())
        )  # fmt: skip
        assert done.wait(LIMIT) and type(errors[0]) is kettle.TaskTimeout


def test_while_the_pool_is_closed(fork):
    pool = fork.Pool(2)
    results = [pool.apply_async(sleep, task_timeout=0.1) for _ in range(4)]
    pool.close()
    pool.join()
    for result in results:
        with pytest.raises(kettle.TaskTimeout):
            result.get(0)


def test_it_is_no_death_to_try_again_after(fork, diary):
    with running(fork, 1) as pool:
        with pytest.raises(kettle.TaskTimeout):
            pool.apply(note_and_never_end, (diary,), task_timeout=0.1, retries=3)
        assert pool.apply(square, (2,)) == 4
        assert (pool.statistics().timed_out, pool.statistics().retried) == (1, 0)
    assert len(diary.words()) <= 1  # none, if the machine was too busy for it to get that far


def test_a_task_that_fails_in_time(pool):
    with pytest.raises(LookupError):
        pool.apply(fail, (1,), task_timeout=LIMIT)


def test_many_that_end_just_then(fork):
    """Tasks that take as long as their limit: each has a result or was too slow, and the pool is intact."""
    with running(fork, 2) as pool:
        outcomes: Counter = Counter()
        results = [pool.apply_async(sleep, (0.02,), task_timeout=0.0201) for _ in range(100)]
        for result in results:
            try:
                assert result.get(LIMIT) is None
                outcomes["in time"] += 1
            except kettle.TaskTimeout:
                outcomes["late"] += 1
        assert sum(outcomes.values()) == 100
        until(lambda: pool.statistics().workers == 2)
        assert pool.statistics().timed_out == outcomes["late"]
        assert pool.map(square, range(10), 1) == [n * n for n in range(10)]


def have_a_child_and_sleep(diary):
    child = mp.get_context("fork").Process(target=sleep)
    child.start()
    diary.note(child.pid)
    sleep()


def test_what_the_task_has_started_ends_with_it(fork, diary):
    with running(fork, 1) as pool:
        for patience in (0.3, 3, LIMIT):  # a busy machine may take a while to start the child
            with pytest.raises(kettle.TaskTimeout):
                pool.apply(have_a_child_and_sleep, (diary,), task_timeout=patience)
            if diary.words():
                break
        until(lambda: not runs(diary.numbers()[0]))


@pytest.mark.parametrize("limit, error", [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)])
def test_wrong_limits(pool, limit, error):
    for call in (pool.apply, pool.apply_async):
        with pytest.raises(error):
            call(square, (1,), task_timeout=limit)
    for call in (pool.map, pool.map_async, pool.imap, pool.imap_unordered):
        with pytest.raises(error):
            call(square, [1], task_timeout=limit)
