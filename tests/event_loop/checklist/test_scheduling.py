"""Callbacks and timers."""

import asyncio
import contextvars
import gc
import threading
import time
import weakref

import pytest

import kettle.asyncio

from ..conftest import turn
from .conftest import since


def test_call_soon(loop):
    calls = []
    first = loop.call_soon(calls.append, 1)
    loop.call_soon(calls.append, 2)
    assert isinstance(first, asyncio.Handle)
    assert calls == []
    turn(loop)
    assert calls == [1, 2]


def test_call_soon_threadsafe(loop):
    calls = []

    def other():
        for i in range(100):
            loop.call_soon_threadsafe(lambda i=i: calls.append((i, threading.get_ident())))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=other)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    # In the order of the calls, in the loop's thread.
    assert calls == [(i, threading.get_ident()) for i in range(100)]


def test_a_handle_can_be_cancelled(loop):
    calls = []
    handle = loop.call_soon(calls.append, 1)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    timer = loop.call_later(0, calls.append, 2)
    timer.cancel()
    assert timer.cancelled()
    turn(loop)
    turn(loop)
    assert calls == []


@since(3, 12)
def test_a_handle_has_its_context(loop):
    context = contextvars.copy_context()
    assert loop.call_soon(print, context=context).get_context() is context
    assert loop.call_later(9, print, context=context).get_context() is context


def test_timers_run_in_the_order_of_their_times(loop):
    calls, now = [], loop.time()
    later = loop.call_later(0.02, calls.append, "later")
    at = loop.call_at(now + 0.01, calls.append, "at")
    loop.call_at(now + 0.03, loop.stop)
    assert isinstance(later, asyncio.TimerHandle) and isinstance(at, asyncio.TimerHandle)
    assert at.when() == now + 0.01
    assert now + 0.02 <= later.when() <= loop.time() + 0.02
    loop.run_forever()
    assert calls == ["at", "later"]


@pytest.mark.parametrize("delay", [0, -1])
def test_a_timer_without_a_delay_is_a_timer(loop, delay):
    now = loop.time()
    timer = loop.call_later(delay, loop.stop)
    assert isinstance(timer, asyncio.TimerHandle)
    assert now + delay <= timer.when() <= loop.time() + delay
    loop.run_forever()


def test_timers_are_never_early(loop):
    early = []

    def due(when):
        if time.monotonic() < when - slack:
            early.append(when)

    # asyncio's counts what is due within the resolution of its clock as due.
    slack = 0 if isinstance(loop, kettle.asyncio.EventLoop) else loop._clock_resolution
    now = time.monotonic()
    for i in range(180):
        loop.call_at(now + 0.0011 + i * 1e-5, due, now + 0.0011 + i * 1e-5)
    loop.call_at(now + 0.01, loop.stop)
    loop.run_forever()
    assert early == []


def test_timers_may_be_shorter_than_a_millisecond():
    """asyncio's are not."""
    took = []

    async def main():
        for _ in range(200):
            begun = time.monotonic()
            await asyncio.sleep(0.0001)
            took.append(time.monotonic() - begun)

    kettle.asyncio.run(main())
    assert 0.0001 <= min(took) < 0.0009


def test_the_clock_is_fine(loop):
    times, end = set(), time.monotonic() + 0.01
    while time.monotonic() < end:
        times.add(loop.time())
    assert len(times) > 100


def test_the_clock_is_monotonic_time(loop):
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()


def test_cancelled_timers_are_released_early(loop):
    class Callback:
        def __call__(self):
            pass

    alive = weakref.WeakSet()
    handles = weakref.WeakSet()
    for _ in range(10_000):
        callback = Callback()
        alive.add(callback)
        timer = loop.call_later(10_000, callback)
        handles.add(timer)
        timer.cancel()
        del callback, timer
    turn(loop)
    gc.collect()
    assert len(alive) == 0
    assert len(handles) < 200


def test_contexts_are_kept(loop):
    variable = contextvars.ContextVar("variable", default="unset")
    calls = []

    def call():
        calls.append(variable.get())
        variable.set("changed inside")

    variable.set("when it was called")
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    token = variable.set("when it was scheduled")
    loop.call_soon(call)
    loop.call_soon(call, context=context)
    loop.call_later(0, call, context=context)
    loop.call_soon_threadsafe(call)
    variable.reset(token)
    turn(loop)
    turn(loop)
    assert sorted(calls) == ["changed inside", "given", "when it was scheduled", "when it was scheduled"]
    assert variable.get() == "when it was called"
