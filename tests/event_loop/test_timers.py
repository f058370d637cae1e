"""Timers: never early, in order, released early, with any delay."""

import asyncio
import gc
import random
import subprocess
import sys
import time
import weakref
from decimal import Decimal
from fractions import Fraction

import pytest

from .conftest import turn


def test_the_clock_is_monotonic_time(loop):
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()
    assert len({loop.time() for _ in range(1000)}) > 100


def test_a_timer_is_never_early(loop):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    early = []

    async def main():
        for _ in range(300):
            done = loop.create_future()
            delay = rng.choice([0.0, 1e-9, rng.uniform(0, 0.0002), rng.uniform(0.0009, 0.0031)])
            begun = time.monotonic()

            def fire(begun=begun, delay=delay, done=done):
                if time.monotonic() - begun < delay:
                    early.append(delay)
                done.set_result(None)

            loop.call_later(delay, fire)
            await done

    loop.run_until_complete(main())
    assert not early


def test_many_timers_run_in_the_order_of_their_times(loop):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    ran = []
    now = loop.time()
    times = [now + rng.choice([0, 0.001, 0.002, 0.003]) for _ in range(500)]
    timers = [loop.call_at(when, ran.append, (when, i)) for i, when in enumerate(times)]
    cancelled = set(rng.sample(range(500), 200))
    for i in cancelled:
        timers[i].cancel()
    loop.call_at(now + 0.004, loop.stop)
    loop.run_forever()
    assert ran == sorted((when, i) for i, when in enumerate(times) if i not in cancelled)


@pytest.mark.parametrize("delay", [0, 0.0, -1, -1e300, float("nan"), float("-inf"), -5.5, Fraction(0), False])
def test_what_is_due_runs_in_the_next_turn(loop, delay):
    ran = []
    timer = loop.call_later(delay, ran.append, 1)
    assert isinstance(timer, asyncio.TimerHandle)
    turn(loop)
    assert ran == [1]
    # Also if the loop has nothing else to wait for.
    loop.call_later(delay, loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("delay", [float("inf"), 1e300, 1e18, 10**18, Fraction(10**18)])
def test_what_is_never_due_does_not_run(loop, delay):
    timer = loop.call_later(delay, pytest.fail, "ran")
    assert timer.when() > loop.time()
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    # Nor does the loop stumble over it when it has nothing else to wait for.
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()


def test_delays_that_are_no_numbers(loop):
    with pytest.raises(OverflowError):
        loop.call_later(10**400, print)
    with pytest.raises(TypeError):
        loop.call_later(Decimal(1), print)


def test_cancelled_timers_are_released(loop):
    class Thing:
        def __call__(self):
            raise AssertionError("called")

    things = [Thing() for _ in range(1000)]
    dead = [weakref.ref(thing) for thing in things]
    timers = [loop.call_later(3600, thing) for thing in things]
    kept = loop.call_later(3600, print)
    for timer in timers:
        timer.cancel()
    del things, timers
    gc.collect()
    assert not [ref for ref in dead if ref() is not None]
    turn(loop)
    assert loop._scheduled == [kept]
    kept.cancel()


def test_a_timer_may_be_cancelled_after_it_ran(loop):
    for _ in range(200):
        timer = loop.call_later(0, int)
        turn(loop)
        timer.cancel()
    kept = [loop.call_later(3600, print) for _ in range(100)]
    turn(loop)
    assert sorted(loop._scheduled) == sorted(kept)


def test_a_timer_cancelled_in_the_turn_in_which_it_is_due(loop):
    ran = []
    loop.call_later(0, lambda: timer.cancel())
    timer = loop.call_later(0, ran.append, 1)
    turn(loop)
    turn(loop)
    assert ran == []


@pytest.mark.parametrize("variable", [{}, {"KETTLE_EPOLL_PWAIT2": "0"}])
def test_sleeps_shorter_than_a_millisecond(variable):
    """By the kernel's own means, and where those are forbidden. The best of many is not the fault of a busy machine."""
    program = """
import asyncio, time
import kettle.asyncio

async def main():
    took = []
    for _ in range(300):
        begun = time.monotonic()
        await asyncio.sleep(0.0001)
        took.append(time.monotonic() - begun)
    assert 0.0001 <= min(took) < 0.0009, min(took)

kettle.asyncio.run(main())
"""
    import os

    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, **variable})
