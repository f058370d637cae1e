"""A map over a `range`, which sends its two ends instead of the numbers."""

from __future__ import annotations

import operator

import pytest

from kettle.multiprocessing.pool import ThreadPool

from .support import running

LAST = 2**63 - 1  # the largest number in a word


@pytest.fixture(params=("processes", "threads"))
def any_pool(request, fork):
    if request.param == "threads":
        with ThreadPool(2) as pool:
            yield pool
        pool.join()
    else:
        with running(fork, 2) as pool:
            yield pool


RANGES = [
    range(0),
    range(1),
    range(-5, 5000, 7),
    range(1000, -1000, -3),
    range(LAST - 3, LAST),
    range(-LAST - 1, LAST, LAST // 3),
    range(LAST, -LAST - 1, -LAST),
    # One end, or both, beyond a word.
    range(LAST - 3, LAST + 3),
    range(-(2**70), 2**70, 2**69),
    range(0, 2**80, 2**79),
]


@pytest.mark.parametrize("numbers", RANGES, ids=str)
@pytest.mark.parametrize("chunksize", [None, 1, 3])
def test_each_number_once(any_pool, numbers, chunksize):
    assert any_pool.map(operator.neg, numbers, chunksize) == [-n for n in numbers]
    assert any_pool.map(operator.neg, list(numbers), chunksize) == [-n for n in numbers]


def test_numbers_are_no_tuples_of_arguments(any_pool):
    with pytest.raises(TypeError):
        any_pool.starmap(operator.neg, range(3))


@pytest.mark.parametrize("many", [10**15, 2**62, 2**70])
def test_more_than_there_can_be(any_pool, many):
    with pytest.raises((MemoryError, OverflowError)):
        any_pool.map(operator.neg, range(many))
    assert any_pool.map(operator.neg, range(3)) == [0, -1, -2]
