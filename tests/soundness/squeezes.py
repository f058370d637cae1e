"""Takes resources from processes at random moments: address space, descriptors, length of files, room in the arena.
Also causes panics in the middle of operations."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import time
from pathlib import Path

from kettle import _native as native

from .slots import ROLES, Board

MIB = 1 << 20
KINDS = {
    "address-space": resource.RLIMIT_AS,
    "descriptors": resource.RLIMIT_NOFILE,
    "file-length": resource.RLIMIT_FSIZE,
}
ARENA = "arena-limit"
PANICS = "panics"
CLASSES = (*KINDS, ARENA)
_CORE = Path(__file__).parents[2] / "crates" / "kettle-core" / "src"


def before(where: str, seed: str) -> None:
    """In the first process of the session, before the session begins."""
    rng = random.Random(f"{seed}/before")
    if where == ARENA:
        os.environ["KETTLE_ARENA_LIMIT"] = f"{rng.choice([1, 2, 3, 5])}M"
    if where == "file-length" and rng.random() < 0.7:  # for all; later each gets more
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (rng.choice([4, 5, 6, 10]) * MIB, hard))


def squeeze(board: Board, name: str, where: str, seed: str) -> None:
    """The squeezing process: waits until all others are at work, then takes and gives back."""
    rng = random.Random(seed)
    slot = board.slots[name]
    slot.pid, slot.stage = os.getpid(), 1
    roles = [role for role in ROLES if role != name]
    at_work = 3 if where == PANICS else 0  # the arena grows at the beginning, and is to be in want then
    while not board.stop and any(s.stage == 0 or s.successes < at_work for s in map(board.slots.get, roles)):
        time.sleep(0.001)
    time.sleep(rng.random() * 0.05)
    for _ in range(rng.choice([2, 4, 8])):
        if where == ARENA:
            native.set_limit(rng.choice([None, 1, MIB, rng.randrange(8 * MIB)]))
            board.log(0, 0, 0, "set_limit")
            time.sleep(rng.random() * 0.05)
        elif where == PANICS:
            role = rng.choice(roles)
            board.arm(role, rng.choice(crash_points()), rng.choice([1, 1, 2, 5, 20]))
            time.sleep(rng.random() * 0.05)
        else:
            _squeeze_one(board, rng, where, rng.choice([*roles, "a worker"]))
    slot.sent = 1
    if where == ARENA:
        native.set_limit(None)
    while not board.stop:
        time.sleep(0.01)


def _squeeze_one(board: Board, rng: random.Random, where: str, role: str) -> None:
    pid = board.slots["root"].pid if role == "a worker" else board.slots[role].pid
    if role == "a worker":
        with contextlib.suppress(OSError):
            children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            known = {slot.pid for slot in board.slots.values()}
            pid = rng.choice([c for c in children if c not in known] or [pid])
    amount = rng.random()
    with contextlib.suppress(OSError):
        if where == "address-space":
            now = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
            limit = now + int(amount * amount * 8 * MIB)
        elif where == "descriptors":
            limit = rng.choice([0, 3, len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/fd")) + 2])
        else:
            limit = rng.choice([0, MIB, 3 * MIB, 4 * MIB, int(amount * 8 * MIB)])
        board.log(pid, 0, limit, f"{where} of {role}")
        # The soft limit only, so that it can be given back.
        _, hard = resource.prlimit(pid, KINDS[where])
        resource.prlimit(pid, KINDS[where], (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
        time.sleep(0.02 + rng.random() * 0.06)
        resource.prlimit(pid, KINDS[where], (hard, hard))


def crash_points() -> list[str]:
    """Returns the crash points of the core and of the pool's scheduler."""
    library = _CORE.parents[1] / "kettle" / "src"
    sources = [path.read_text() for root in (_CORE, library) for path in sorted(root.rglob("*.rs"))]
    return sorted({name for source in sources for name in re.findall(r'crash_point\("([^"]+)"\)', source)})
