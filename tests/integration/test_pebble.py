"""Pebble's process pool on Kettle's context."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import TimeoutError

import pytest

pebble = pytest.importorskip("pebble")

LIMIT = 30


def end_with(code):
    os._exit(code)


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def fail(n):
    raise LookupError(n)


def test_results_errors_deaths_and_timeouts(ctx):
    with pebble.ProcessPool(2, context=ctx) as pool:
        assert list(pool.map(abs, range(-20, 0), timeout=LIMIT).result()) == list(range(20, 0, -1))
        assert len(pool.schedule(bytes, args=[3_000_000]).result(LIMIT)) == 3_000_000
        with pytest.raises(LookupError):
            pool.schedule(fail, args=[1]).result(LIMIT)
        with pytest.raises(pebble.ProcessExpired) as caught:
            pool.schedule(end_with, args=[3]).result(LIMIT)
        assert caught.value.exitcode == 3
        with pytest.raises(pebble.ProcessExpired) as caught:
            pool.schedule(kill_myself).result(LIMIT)
        assert caught.value.exitcode == -signal.SIGKILL
        with pytest.raises(TimeoutError):
            pool.schedule(time.sleep, args=[3600], timeout=0.2).result(LIMIT)
        assert pool.schedule(abs, args=[-3]).result(LIMIT) == 3


def tell_and_sleep(queue):
    queue.put("busy")
    time.sleep(3600)


def test_stopping_a_busy_pool(ctx):
    queue = ctx.Queue()
    pool = pebble.ProcessPool(1, context=ctx, initializer=tell_and_sleep, initargs=(queue,))
    pool.schedule(abs, args=[-1])
    assert queue.get(timeout=LIMIT) == "busy"
    pool.stop()
    pool.join(LIMIT)
