"""Depth, length and number: both sides of the limits of a short message."""

from __future__ import annotations

import pytest

from .support import Own, assert_alike, expected


def nested(depth, wrap):
    obj = 1
    for _ in range(depth):
        obj = wrap(obj)
    return obj


@pytest.mark.parametrize("depth", [1, 31, 32, 33, 34, 200])
@pytest.mark.parametrize(
    "wrap",
    [lambda o: [o], lambda o: (o,), lambda o: {"a": o}, lambda o: {(o,): 1} if isinstance(o, (int, tuple)) else [o]],
)
def test_depth(through, depth, wrap):
    obj = nested(depth, wrap)
    assert_alike(expected(obj), through(obj))


def test_what_is_nested_deeper_than_pickle_can_go_raises(through):
    with pytest.raises(RecursionError):
        through(nested(100_000, lambda o: [o]))
    assert through([1]) == [1]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "x" * n,
        lambda n: "ä" * (n // 2),
        lambda n: b"x" * n,
        lambda n: [1] * n,
        lambda n: list(range(n)),
        lambda n: [float(i) for i in range(n // 9)],
        lambda n: [str(i) for i in range(n // 8)],
        lambda n: [{i: i} for i in range(n // 8)],
        lambda n: {str(i): [] for i in range(n // 8)},
    ],
)
def test_length(through, make):
    for n in (2000, 2100, 16_300, 16_400, 65_000, 65_520, 65_530, 65_536, 65_540, 140_000):
        obj = [make(n)]
        assert_alike(expected(obj), through(obj))


@pytest.mark.parametrize("n", [127, 128, 129, 1023, 1024, 2046, 2047, 2048, 2049, 5000])
def test_number_of_containers(through, n):
    obj = [[] for _ in range(n)]
    obj += obj[-3:]
    assert_alike(expected(obj), through(obj))


def test_a_message_after_many_that_were_left_to_pickle(through):
    for _ in range(100):
        assert through([Own(1)]) == [Own(1)]
        assert_alike([{"a": [1]}], through([{"a": [1]}]))
