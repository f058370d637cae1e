"""Death at every named point of the core, as often as the core names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kettle.multiprocessing
from kettle import _native

from .grounds import GROUNDS
from .rounds import named_round

pytestmark = pytest.mark.skipif(not _native.crash_points(), reason="this build has no crash points")

CRATES = Path(__file__).parent.parent.parent / "crates"
POINTS = sorted(
    {
        name
        for source in CRATES.glob("*/src/**/*.rs")
        for name in re.findall(r'crash_point\(\s*"([^"]+)"', source.read_text())
    }
)

#: Who comes to the points whose name begins so.
VISITORS = {
    "arena": ("Makers", "Viewers", "Tokens", "Stream"),
    "barrier": ("Barriers",),
    "condition": ("Conditions",),
    "event": ("Events",),
    "lock": ("Locks", "RLocks", "RecoveringLocks"),
    "pipe.receive": ("Receiver",),
    "pipe.send": ("Sender",),
    "queue.get": ("Tokens", "BoundedTokens", "Unfinished"),
    "queue.put": ("Stream", "BoundedStream", "Tokens"),
    "semaphore": ("Permits",),
}

#: Points that a process comes to only while it tidies up after another, or only once in its life: the core's own death
#: tests, which can stage that, have them.
STAGED_ELSEWHERE: set[str] = set()


def visitors(point: str) -> tuple[str, ...]:
    for prefix in (".".join(point.split(".")[:2]), point.split(".")[0]):
        if prefix in VISITORS:
            return VISITORS[prefix]
    raise LookupError(f"no ground visits {point}: name one in VISITORS")


@pytest.mark.parametrize("point", [p for p in POINTS if p not in STAGED_ELSEWHERE])
def test_named_point(point):
    ctx = kettle.multiprocessing.get_context("fork")
    visited = 0
    for name in visitors(point):
        for visit in (1, 5):
            ground = GROUNDS[name](ctx)
            visited += named_round(ground, ctx, f"{point}:{visit}") is not None
    assert visited, f"nobody came to {point}"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("point", [p for p in POINTS if p.startswith(("queue.", "lock."))][::3])
def test_named_point_in_other_start_methods(method, point):
    ctx = kettle.multiprocessing.get_context(method)
    named_round(GROUNDS[visitors(point)[0]](ctx), ctx, f"{point}:3")
