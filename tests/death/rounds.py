"""One round in a scenario: start the processes, kill one, wait until the others continue, kill them, check."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .grounds import Ground
from .support import LIMIT, PROMPT, kill, until


def random_round(ground: Ground, ctx: Any, rng: random.Random) -> Counter:
    """Kills at random instants. Raises AssertionError if an invariant does not hold; otherwise returns counts of what
    happened."""
    with _crew(ground, ctx) as crew:
        if rng.random() < 0.8:  # otherwise a process may be hit while it is still starting
            until(lambda: any(ground.moves), meanwhile=ground.nudge)
        busy = rng.random() < 0.5
        end = time.monotonic() + rng.uniform(0, 0.003)
        while time.monotonic() < end:
            if busy:
                ground.nudge()
        order = rng.sample(range(len(crew)), len(crew))
        kill(crew[order[0]])
        return _aftermath(ground, crew, order[0])


def named_round(ground: Ground, ctx: Any, crash_point: str, patience: float = 1.0) -> Counter | None:
    """The first process dies at `crash_point`. Returns None if it did not reach the point in the given number of
    seconds."""
    with _crew(ground, ctx, crash_point) as crew:
        begun = time.monotonic()
        while crew[0].exitcode is None:
            if time.monotonic() - begun > patience:
                return None
            ground.nudge()
            crew[0].join(0.001)
        assert crew[0].exitcode == -signal.SIGKILL, f"ended with {crew[0].exitcode}"
        return _aftermath(ground, crew, 0)


def _aftermath(ground: Ground, crew: list, victim: int) -> Counter:
    survivors = {slot: ground.moves[slot] for slot in range(len(crew)) if slot != victim}
    waited = until(
        lambda: all(ground.moves[slot] > before for slot, before in survivors.items()), LIMIT, meanwhile=ground.nudge
    )
    assert waited < PROMPT, f"the survivors went on only after {waited:.1f} s"
    for slot in survivors:
        kill(crew[slot])
    counts = ground.census(len(crew))
    counts["kills"] = len(crew)
    counts["survivors that waited > 1 s"] = int(waited > 1.0)
    return counts


@contextmanager
def _crew(ground: Ground, ctx: Any, crash_point: str | None = None) -> Iterator[list]:
    for slot in range(ground.crew):
        ground.moves[slot] = 0
    ground.begin()
    crew = [
        ctx.Process(target=ground.run, args=(slot, crash_point if slot == 0 else None), daemon=True)
        for slot in range(ground.crew)
    ]
    for member in crew:
        member.start()
    try:
        yield crew
    finally:
        for member in crew:
            if member.is_alive():
                member.kill()
            member.join()
            member.close()
