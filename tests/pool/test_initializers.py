"""Initializers that fail: the caller gets an error, and workers are not restarted forever."""

from __future__ import annotations

import os
import sys
import time

import pytest

import kettle
import kettle.multiprocessing as mp

from .support import LIMIT, die, running, square


def fail_to_start(diary):
    diary.note(os.getpid())
    raise LookupError("no database")


def die_at_start(diary, how):
    diary.note(os.getpid())
    die(how)


def die_at_the_first_start(diary):
    diary.note(os.getpid())
    if len(diary.words()) == 1:
        die()


def fail_at_the_third_start(diary):
    diary.note(os.getpid())
    if len(diary.words()) >= 3:
        raise LookupError("no database any more")


def leave():
    sys.exit("not today")


def test_one_that_raises(ctx, diary):
    with running(ctx, 2, fail_to_start, (diary,)) as pool:
        for call in (
            lambda: pool.apply(square, (1,)),
            lambda: pool.map(square, range(10)),
            lambda: list(pool.imap(square, range(10))),
            lambda: pool.apply_async(square, (1,)).get(LIMIT),
        ):
            with pytest.raises(LookupError, match="no database") as caught:
                call()
            assert isinstance(caught.value.__cause__, mp.pool.RemoteTraceback)
            assert "fail_to_start" in str(caught.value.__cause__)
    assert 1 <= len(diary.words()) <= 4  # each worker tried once; none was restarted


def test_work_that_was_handed_in_before_it_raised(fork, diary):
    with running(fork, 2, fail_slowly, (diary,)) as pool:
        results = [pool.apply_async(square, (n,)) for n in range(10)] + [pool.map_async(square, range(100))]
        for result in results:
            with pytest.raises(LookupError, match="no database"):
                result.get(LIMIT)


def fail_slowly(diary):
    time.sleep(0.2)
    fail_to_start(diary)


def test_close_and_join_after_one_that_raised(fork, diary):
    pool = fork.Pool(2, fail_to_start, (diary,))
    result = pool.map_async(square, range(10))
    pool.close()
    pool.join()
    with pytest.raises(LookupError):
        result.get(0)


@pytest.mark.parametrize("how, most", [("exit", 6), ("kill", 8)])
def test_one_that_dies(ctx, diary, how, most):
    """A worker that is killed from outside may have been unlucky, so this is tried a few more times, but not
    forever."""
    with running(ctx, 2, die_at_start, (diary, how)) as pool:
        with pytest.raises(kettle.WorkerDied) as caught:
            pool.apply(square, (1,))
        assert caught.value.reason == "start" and caught.value.pid in diary.numbers()
        with pytest.raises(kettle.WorkerDied):
            pool.map(square, range(10))
    assert 3 <= len(diary.words()) <= most


def test_one_that_dies_once(ctx, diary):
    with running(ctx, 2, die_at_the_first_start, (diary,)) as pool:
        assert pool.map(square, range(20), 1) == [n * n for n in range(20)]


def test_one_that_raises_in_a_replacement(fork, diary):
    with running(fork, 2, fail_at_the_third_start, (diary,)) as pool:
        assert pool.map(square, range(10), 1) == [n * n for n in range(10)]
        with pytest.raises((kettle.WorkerDied, LookupError)):
            pool.apply(die)
        with pytest.raises(LookupError, match="no database any more"):
            while True:
                pool.apply(square, (1,))


def test_one_that_leaves(fork):
    with running(fork, 2, leave) as pool:
        with pytest.raises(kettle.WorkerDied) as caught:
            pool.apply(square, (1,))
        assert (caught.value.reason, caught.value.exitcode) == ("start", 1)


def remember(function):
    global FUNCTION
    FUNCTION = function


def apply_remembered(n):
    return FUNCTION(n)


def test_a_lambda_as_its_argument_and_as_itself(ctx):
    with running(ctx, 1, remember, (lambda n: n + 1,)) as pool:
        assert pool.map(apply_remembered, [1, 2]) == [2, 3]
    marker = "set by a lambda"
    with running(ctx, 1, lambda: os.environ.update(KETTLE_TEST=marker)) as pool:
        assert pool.apply(os.getenv, ("KETTLE_TEST",)) == marker
