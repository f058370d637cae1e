"""A seeded sample of what `make stress` does ten thousand times."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from .grounds import GROUNDS
from .rounds import random_round

SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
ROUNDS = {"fork": 15, "spawn": 1, "forkserver": 2}


@pytest.mark.parametrize("ground", GROUNDS)
def test_random_instants(ctx, ground):
    method = ctx.get_start_method()
    print(f"SEED={SEED}")  # shown if this fails
    rng = random.Random(f"{SEED} {ground} {method}")
    played = GROUNDS[ground](ctx)
    counts: Counter = Counter()
    for _ in range(ROUNDS[method]):
        counts += random_round(played, ctx, rng)
    print(dict(counts))
