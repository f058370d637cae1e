"""Bytes that are not a message raise an ordinary exception, whatever they are; no memory grows and no process dies."""

from __future__ import annotations

import os
import random
import resource

import pytest

from .mutations import Pipes, Streams

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))


@pytest.mark.parametrize(("kind", "count"), [(Pipes, 60_000), (Streams, 1_500)], ids=["pipes", "streams"])
def test_what_is_no_message_raises(kind, count):
    print(f"SEED={SEED}")
    ground = kind(SEED)
    ground.run(count // 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ground.run(count)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, f"{grown} KiB more"
    assert sum(ground.outcomes.values()) > count
    # The mutations lead to results of all kinds.
    assert len(ground.outcomes) >= 2, ground.outcomes
