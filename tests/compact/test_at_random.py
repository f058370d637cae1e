"""Random structures, and bytes that are not a message."""

from __future__ import annotations

import collections
import pickle
import random

import pytest

from .structures import Maker, cyclic
from .support import COMPACT, PICKLE, assert_alike, compacting, expected, through_queue


@pytest.mark.deadline(120)
@pytest.mark.parametrize("others", [0.0, 0.02])
def test_structures_at_random(seed, others):
    through = through_queue()
    for n in range(10_000):
        maker = Maker(seed + n, others)
        obj = maker.make()
        if n % 50 == 0:
            cyclic(maker, obj)
        assert_alike(expected(obj), through(obj))


@compacting
def test_the_structures_are_such_that_both_ways_are_taken(wire, seed):
    kinds = collections.Counter()
    size = 0
    for n in range(500):
        obj = Maker(seed + n, 0.02).make()
        if len(pickle.dumps(obj)) < 10_000:
            kind, body = wire.message(obj)
            kinds[kind] += 1
            size += len(body)
    assert kinds[COMPACT] > 50 and kinds[PICKLE] > 50 and size > 50_000


@compacting
@pytest.mark.deadline(120)
def test_torn_messages_raise(wire, seed):
    r = random.Random(seed)
    bodies = []
    while len(bodies) < 100:
        obj = Maker(r.randrange(2**32), 0.0).make()
        if len(pickle.dumps(obj)) < 2000:
            kind, body = wire.message(obj)
            bodies += [body] if kind == COMPACT else []
    for body in bodies:
        for cut in {r.randrange(len(body)) for _ in range(30)}:
            with pytest.raises(ValueError, match="torn"):
                wire.deliver(COMPACT, body[:cut])
        for _ in range(100):
            changed = bytearray(body)
            for _ in range(r.choice((1, 1, 2, 5))):
                changed[r.randrange(len(changed))] = r.randrange(256)
            try:
                wire.deliver(COMPACT, bytes(changed))
            except (ValueError, TypeError):  # truncated, not UTF-8, or an unhashable key
                pass
    for _ in range(2000):
        try:
            wire.deliver(COMPACT, bytes(r.choices(range(24), k=r.randrange(30))))
        except (ValueError, TypeError):
            pass
    assert wire.deliver(*wire.message([1, {"a": 2}])) == [1, {"a": 2}]
