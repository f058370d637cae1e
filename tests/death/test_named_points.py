"""Death at every named point of the core, each as often as the core has it."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

import kettle.multiprocessing
from kettle import _native

from .grounds import GROUNDS
from .rounds import named_round
from .support import LIMIT, PROMPT, kill, sleeps, state_of, until

pytestmark = pytest.mark.skipif(not _native.crash_points(), reason="this build has no crash points")

CRATES = Path(__file__).parent.parent.parent / "crates"
POINTS = sorted(
    {
        name
        for source in CRATES.glob("*/src/**/*.rs")
        for name in re.findall(r'crash_point\(\s*"([^"]+)"', source.read_text())
    }
)

#: The scenarios that reach the points whose names begin with these prefixes.
VISITORS = {
    "arena": ("Makers", "Viewers", "Tokens", "Stream"),
    "arena.names": ("Replies",),
    "barrier": ("Barriers",),
    "condition": ("Conditions",),
    "event": ("Events",),
    "lock": ("Locks", "RLocks", "RecoveringLocks"),
    "pipe.backlog": ("BacklogSender", "BacklogReceiver"),
    "pipe.receive": ("Receiver", "PartsReceiver"),
    "pipe.send": ("Sender",),
    "queue.get": ("Tokens", "BoundedTokens", "Unfinished"),
    "queue.put": ("Stream", "BoundedStream", "Tokens"),
    "semaphore": ("Permits",),
}

#: Points that a process reaches only once in its life, only while it recovers after another, or only if it is one of
#: very many. The core's own tests cover them; the last but one have tests of their own below.
STAGED = (
    *("arena.grow.", "arena.holders.", "arena.participants.", "arena.rebuild.", "arena.reclaim."),
    *(
        "barrier.list.",
        "condition.inherit.",
        "condition.withdraw.",
        "deadlock.",
        "pool.",
        "queue.consumers.",
        "queue.done.",
        "rwlock.",
    ),
)
VISITED = [point for point in POINTS if not point.startswith(STAGED)]


def visitors(point: str) -> tuple[str, ...]:
    for prefix in (".".join(point.split(".")[:2]), point.split(".")[0]):
        if prefix in VISITORS:
            return VISITORS[prefix]
    raise LookupError(f"no ground visits {point}: name one in VISITORS")


@pytest.mark.parametrize("point", VISITED)
def test_named_point(point):
    ctx = kettle.multiprocessing.get_context("fork")
    came = []
    for patience in (1.0, 10.0):  # a busy machine takes longer to reach the point
        for name in visitors(point):
            if named_round(GROUNDS[name](ctx), ctx, point, patience):
                came.append(name)
                if point.startswith("arena."):
                    break  # the arena does not depend on the start method
        if came:
            break
    assert came, f"no process reached {point}"
    named_round(GROUNDS[came[0]](ctx), ctx, f"{point}:5")


def wait_inside(condition, results, ready, crash_point=None):
    if crash_point:
        _native.arm_crash_point(crash_point)
    with condition:
        ready.release()
        results.put(condition.wait())


def test_the_heir_of_a_notification_dies_too():
    ctx = kettle.multiprocessing.get_context("fork")
    condition, results, ready = ctx.Condition(), ctx.Queue(), ctx.Semaphore(0)
    crew = []
    for crash_point in (None, "condition.inherit.taken-over", None):
        member = ctx.Process(target=wait_inside, args=(condition, results, ready, crash_point), daemon=True)
        member.start()
        crew.append(member)
        assert ready.acquire(timeout=LIMIT)
        until(lambda pid=member.pid: sleeps(pid))
    first, heir, last = crew
    os.kill(first.pid, signal.SIGSTOP)
    os.kill(last.pid, signal.SIGSTOP)  # the process that checks first takes the lock over
    with condition:
        condition.notify()  # to the first waiter, which cannot react
    kill(first)
    heir.join(PROMPT)
    assert heir.exitcode == -signal.SIGKILL
    os.kill(last.pid, signal.SIGCONT)
    assert results.get(timeout=PROMPT) is True
    last.join(LIMIT)
    for member in crew:
        member.close()


def withdraw_what_was_granted(condition, results, ready):
    _native.arm_crash_point("condition.withdraw.passed-on")
    with condition:
        ticket = condition._kettle_enroll()
        ready.release()
        assert results.get(timeout=LIMIT) == "another waits"
        condition._kettle_notify(1)  # to this process, which is first in line
        condition._kettle_withdraw(ticket)


def test_death_after_passing_a_notification_on():
    ctx = kettle.multiprocessing.get_context("fork")
    condition, results, ready = ctx.Condition(ctx.Lock(on_owner_death="recover")), ctx.Queue(), ctx.Semaphore(0)
    victim = ctx.Process(target=withdraw_what_was_granted, args=(condition, results, ready))
    victim.start()
    assert ready.acquire(timeout=LIMIT)
    ticket = condition._kettle_enroll()
    results.put("another waits")
    victim.join(LIMIT)
    assert victim.exitcode == -signal.SIGKILL
    assert condition._kettle_await(ticket, PROMPT) is True
    victim.close()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("point", [p for p in VISITED if p.startswith(("queue.", "lock."))][::3])
def test_named_point_in_other_start_methods(method, point):
    ctx = kettle.multiprocessing.get_context(method)
    named_round(GROUNDS[visitors(point)[0]](ctx), ctx, f"{point}:3")


def arm_the_first(point, left):
    """In each worker that starts, the first one is to die."""
    with left.get_lock():
        left.value -= 1
        if left.value >= 0:
            _native.arm_crash_point(point)


def echo(number):
    """A short or a long result: these reach the parent in two ways, and so do short and long arguments."""
    if isinstance(number, tuple):
        (number,) = number
    return number if number % 2 else "x" * number


def have_echoed(pool, chunksize):
    """Returns how many of many tasks were lost; the others have their results."""
    results, died = pool.imap(echo, [n if n < 160 else (n,) for n in range(400)], chunksize), 0
    for number in range(400):
        try:
            assert results.next(LIMIT) == echo(number)
        except kettle.WorkerDied:
            died += 1
    with pytest.raises(StopIteration):
        results.next(LIMIT)
    return died


@pytest.mark.parametrize("chunksize", [1, 7])
@pytest.mark.parametrize("visit", ["", ":5"])
@pytest.mark.parametrize("point", [p for p in POINTS if p.startswith("pool.")])
def test_a_worker_dies_at_a_named_point(point, visit, chunksize):
    ctx = kettle.multiprocessing.get_context("fork")
    # A worker that dies with a task that it has not begun, or has reported, loses none.
    to_die = int(point in ("pool.worker.begun", "pool.worker.before-report"))
    with ctx.Pool(2, arm_the_first, (point + visit, ctx.Value("i", 1))) as pool:
        died = have_echoed(pool, chunksize)
        while died < to_die:  # the other worker may do everything
            died += have_echoed(pool, chunksize)
        assert died == to_die
        until(lambda: pool.statistics().workers == 2 and pool.apply(echo, (1,)) == 1)
        assert pool.map(echo, range(100)) == [echo(number) for number in range(100)]


def nap(number):
    time.sleep(0.0005)  # so that two tasks wait at each worker
    return number


@pytest.mark.parametrize("point", ["queue.get.claimed", "queue.get.before-unlock", "pool.worker.taken"])
def test_a_worker_that_is_stopped_while_it_takes_a_task_holds_up_no_other(point):
    ctx = kettle.multiprocessing.get_context("fork")
    with ctx.Pool(3, arm_the_first, (f"{point}:3:stop", ctx.Value("i", 1))) as pool:
        until(
            lambda: any(state_of(worker.pid) == "T" for worker in pool._pool),
            meanwhile=lambda: pool.map_async(nap, range(30), 1),
        )
        begun = time.monotonic()
        for number in range(20):
            assert pool.apply_async(nap, (number,)).get(LIMIT) == number
        assert time.monotonic() - begun < PROMPT


def wait_until_it_asks(lock, ready):
    _native.arm_crash_point("deadlock.entered")
    _native.deadlock_policy(threshold=0.01)
    ready.release()
    lock.acquire()


def test_who_asks_whether_its_wait_will_end_dies():
    ctx = kettle.multiprocessing.get_context("fork")
    lock, ready = ctx.Lock(), ctx.Semaphore(0)
    with lock:
        victim = ctx.Process(target=wait_until_it_asks, args=(lock, ready))
        victim.start()
        assert ready.acquire(timeout=LIMIT)
        victim.join(LIMIT)
        assert victim.exitcode == -signal.SIGKILL
    assert lock.acquire(timeout=PROMPT)
    lock.release()
    victim.close()
