"""Planted deadlocks: threads of one or several processes that wait for each other. One of them gets an error that names
exactly these threads, once; when it releases its locks, all go on.

    member i holds lock i and wants lock i + 1, the last one wants lock 0; if one of them is a plain lock that was not
    taken by `with`, which another thread might release, it is reported only, and a porter releases it then;
    onlookers want one of the locks, hold none, and never get an error
"""

from __future__ import annotations

import os
import random
import threading as standard
import time
from dataclasses import dataclass
from typing import Any

from tests.death.support import LIMIT

import kettle
import kettle.multiprocessing
from kettle import _deadlock, queue, threading
from kettle._core import native

MOST_MEMBERS = 6
MOST_PROCESSES = 3
MOST_ONLOOKERS = 3


@dataclass(frozen=True)
class Plan:
    """The processes of all threads, and the kinds of the locks. Process 0 plants the deadlock."""

    members: list[int]  # the process of each member
    kinds: list[str]  # "Lock" or "RLock", for each lock
    by_with: list[bool]  # whether the member takes it by `with` instead of acquire()
    names: list[str | None]
    on_heap: list[bool]  # some of those whose two members are in one process
    onlookers: list[tuple[int, int]]  # the process of each onlooker, and the lock it wants

    @classmethod
    def at_random(cls, chance: random.Random) -> Plan:
        n = chance.randint(2, MOST_MEMBERS)
        processes = chance.randint(1, MOST_PROCESSES)
        members = [chance.randrange(processes) for _ in range(n)]
        on_heap = [members[i] == members[i - 1] and chance.random() < 0.5 for i in range(n)]
        onlookers = []
        for _ in range(chance.randint(0, MOST_ONLOOKERS)):
            lock = chance.randrange(n)
            onlookers.append((members[lock] if on_heap[lock] else chance.randrange(processes), lock))
        return cls(
            members=members,
            kinds=[chance.choice(["Lock", "RLock"]) for _ in range(n)],
            by_with=[chance.random() < 0.8 for _ in range(n)],
            names=[chance.choice([None, f"lock {i}"]) for i in range(n)],
            on_heap=on_heap,
            onlookers=onlookers,
        )

    def processes(self) -> set[int]:
        return {*self.members, *(process for process, _ in self.onlookers)}

    def is_baton(self, i: int) -> bool:
        return self.kinds[i] == "Lock" and not self.by_with[i]

    def may_open(self) -> bool:
        return any(self.is_baton(i) for i in range(len(self.members)))

    def make(self, i: int, home: Any) -> Any:
        return getattr(home, self.kinds[i])(name=self.names[i])

    def describes(self, i: int, text: str) -> bool:
        """Returns whether `text` describes lock `i`."""
        begins = self.kinds[i] + (" made at " if self.names[i] is None else f" {self.names[i]!r}, made at ")
        return text.startswith(begins + __file__)


@dataclass(frozen=True)
class Shared:
    """What the processes share; sent to each."""

    locks: dict[int, Any]
    all_sit: Any
    reported: Any
    told: Any


def part(plan: Plan, process: int, shared: Shared, threshold: float) -> None:
    """The part of one process: all its members and onlookers, each in a thread, until the end."""
    before, report = native.deadlock_policy(), _deadlock.report
    native.deadlock_policy("raise", threshold)

    def reports(text: str, _: bool) -> None:
        shared.told.put(("report", text))
        shared.reported.set()

    _deadlock.report = reports
    locks = dict(shared.locks)
    for i, on_heap in enumerate(plan.on_heap):
        if on_heap and plan.members[i] == process:
            locks[i] = plan.make(i, threading)

    def sit(i: int) -> None:
        mine, next_one = locks[i], locks[(i + 1) % len(plan.members)]
        error, waited = None, 0.0

        def wants() -> None:
            nonlocal error, waited
            shared.all_sit.wait(LIMIT)
            begun = time.monotonic()
            try:
                with next_one:
                    pass
            except kettle.DeadlockError as e:
                error, waited = e, time.monotonic() - begun

        if plan.by_with[i]:
            with mine:
                wants()
        else:
            mine.acquire()
            wants()
            if not plan.is_baton(i):
                mine.release()
        if error is not None:
            with next_one, mine:  # a thread that holds nothing may wait
                pass
        shared.told.put(("member", i, os.getpid(), standard.get_native_id(), error, waited))

    def carry(batons: list[Any]) -> None:
        shared.reported.wait(LIMIT)
        for baton in batons:
            baton.release()

    def look_on(i: int) -> None:
        shared.all_sit.wait(LIMIT)
        with locks[i]:
            shared.told.put(("onlooker", i))

    inside = [(i, f"member {i}") for i, home in enumerate(plan.members) if home == process]
    people = [standard.Thread(target=sit, args=(i,), name=name) for i, name in inside]
    people += [standard.Thread(target=look_on, args=(i,)) for home, i in plan.onlookers if home == process]
    batons = [locks[i] for i, home in enumerate(plan.members) if home == process and plan.is_baton(i)]
    if batons:
        people.append(standard.Thread(target=carry, args=(batons,)))
    for one in people:
        one.start()
    for one in people:
        one.join()
    native.deadlock_policy(*before)
    _deadlock.report = report


def plant(plan: Plan, method: str, threshold: float) -> float | None:
    """Runs the plan, with processes of the given start method, and checks the report or error. Returns how much longer
    than necessary the thread that got the error had waited; None if no thread was to get one."""
    context = kettle.multiprocessing.get_context(method)
    shared = Shared(
        locks={i: plan.make(i, context) for i, on_heap in enumerate(plan.on_heap) if not on_heap},
        all_sit=context.Barrier(len(plan.members) + len(plan.onlookers)),
        reported=context.Event(),
        told=context.Queue(),
    )
    others = [
        context.Process(target=part, args=(plan, process, shared, threshold), name=f"process {process}")
        for process in plan.processes() - {0}
    ]
    for other in others:
        other.start()
    part(plan, 0, shared, threshold)
    for other in others:
        other.join(LIMIT)
        assert other.exitcode == 0, f"{other.name} ended with {other.exitcode}"

    said = []
    while True:
        try:
            said.append(shared.told.get(block=False))
        except queue.Empty:
            break
    members = {one[1]: one[2:] for one in said if one[0] == "member"}
    onlookers = sorted(one[1] for one in said if one[0] == "onlooker")
    reports = [one[1] for one in said if one[0] == "report"]
    assert len(reports) == plan.may_open(), reports
    assert len(members) == len(plan.members)
    assert onlookers == sorted(lock for _, lock in plan.onlookers)
    assert not any(lock._kettle_owner() for lock in shared.locks.values())
    told = [(i, error, waited) for i, (_, _, error, waited) in members.items() if error is not None]
    assert len(told) == (not plan.may_open()), f"{len(told)} were told: {told}"
    if not told:
        return None
    _check(plan, members, *told[0][:2])
    too_long = told[0][2] - threshold
    assert too_long >= 0
    return too_long


def _check(plan: Plan, members: dict[int, Any], first: int, error: Any) -> None:
    n = len(plan.members)
    assert error.ended is None
    assert len(error.cycle) == n
    for k, one in enumerate(error.cycle):
        i = (first + k) % n
        assert (one.pid, one.tid) == members[i][:2], f"member {i} is another one"
        assert one.thread.split(", ")[-1] == f"member {i}"
        assert plan.describes(i, one.holds), one.holds
        assert plan.describes((i + 1) % n, one.waits_for), one.waits_for
        assert ", in sit\n" in one.stack
