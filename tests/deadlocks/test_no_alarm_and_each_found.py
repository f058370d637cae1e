"""A few seconds of what `python -m stress deadlocks` does for minutes."""

import random

import pytest

from .circles import Plan, plant
from .traffic import traffic

THRESHOLD = 0.05

# Processes are forked while threads of this one run.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def test_traffic_on_ordered_locks_gives_no_alarm(seed):
    for result in traffic(3.0, 60, ["fork", "spawn"], THRESHOLD, seed):
        assert result["alarms"] == []
        assert result["errors"] == []
        assert result["counts"]["long waits"] > 0


@pytest.mark.parametrize(("method", "count"), [("fork", 8), ("forkserver", 2), ("spawn", 2)])
def test_planted_circles_are_found_once_each(method, count, seed):
    chance = random.Random(f"{seed} {method}")
    for _ in range(count):
        plan = Plan.at_random(chance)
        print(plan)
        plant(plan, method, THRESHOLD)
