"""A seeded sample of what `make stress` does to pools: workers killed, tasks timed out and cancelled, pools terminated
and programs interrupted, at random instants."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from .storms import STORMS

SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
ROUNDS = {"fork": 3, "spawn": 1, "forkserver": 1}


@pytest.mark.deadline(180)  # a dozen workers are started in each round, one after the other
@pytest.mark.parametrize("storm", STORMS)
def test_random_instants(ctx, storm):
    method = ctx.get_start_method()
    print(f"SEED={SEED}")  # shown if this fails
    rng = random.Random(f"{SEED} {storm} {method}")
    weather = STORMS[storm](ctx)
    counts: Counter = Counter()
    for _ in range(ROUNDS[method]):
        counts += weather.round(rng)
    print(dict(counts))
    assert counts["kills"] > 0 or storm in ("TimeOuts", "Cancels")
