"""A thread that takes a lock by `with`, and again inside that block, gets an error, whatever other threads exist."""

import asyncio
import contextlib
import subprocess
import sys
import textwrap

import pytest
from tests.death.support import LIMIT, until

import kettle
import kettle.multiprocessing as multiprocessing
from kettle import threading

from .scene import LONG
from .test_right_programs import BLOCKS

MAKES = [threading.Lock, multiprocessing.Lock, lambda: threading.Condition(threading.Lock())]
IDS = ["Lock", "shared Lock", "Condition"]

both_kinds = pytest.mark.parametrize("make", MAKES[:2], ids=IDS[:2])


def errors_of(scene, part):
    """Returns the errors of a thread that runs this."""
    errors = []

    def told():
        try:
            part()
        except kettle.DeadlockError as error:
            errors.append(error)

    scene.play(told)
    scene.join()
    return errors


@pytest.mark.parametrize("make", MAKES, ids=IDS)
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_inside_of_a_block_is_an_error(block, make, scene):
    lock = make()

    def again():
        with lock:
            pytest.fail("it was got twice")

    (error,) = errors_of(scene, lambda: block(lock, again))
    assert len(error.cycle) == 1
    assert scene.reports == []
    assert lock.acquire(False)


@both_kinds
def test_both_places_are_named(make, scene):
    lock = make()

    def inner():
        with lock:
            pass

    def outer():
        with (
            contextlib.nullcontext(),
            lock,
        ):
            for _ in range(1):
                inner()

    (error,) = errors_of(scene, outer)
    first = outer.__code__.co_firstlineno
    text = str(error)
    # Some versions report the line of the statement, and some the line of the lock.
    places = [f"taken by `with` at {__file__}:{first + n}, in {outer.__qualname__}\n" for n in (1, 3)]
    assert any(place in text for place in places)
    assert f"and again at       {__file__}:{inner.__code__.co_firstlineno + 1}, in {inner.__qualname__}\n" in text
    assert f"make it a {'threading' if make is threading.Lock else 'multiprocessing'}.RLock" in text
    assert "only a release()" not in text


def test_a_coroutine_that_blocks_its_loop(scene):
    lock = threading.Lock()

    async def again():
        with lock:
            pytest.fail("it was got twice")

    async def outer():
        with lock:
            await again()

    assert len(errors_of(scene, lambda: asyncio.run(outer()))) == 1


@both_kinds
def test_who_may_wait_for_another_thread_is_told_by_a_report(make, scene):
    """The end of the block would release what the other thread released to it."""
    lock = make()

    def waits():
        with lock:
            lock.acquire()

    thread = scene.play(waits)
    until(lambda: scene.reports)
    (text,) = scene.reports
    assert "in only one of the two places" in text
    lock.release()
    thread.join()
    assert lock.acquire(False)


@both_kinds
def test_who_took_it_otherwise_is_not_told(make, scene):
    lock = make()

    def waits():
        lock.acquire()
        with lock:
            pass

    def in_a_generator():
        def holds():
            with lock:
                yield

        running = holds()
        next(running)
        with contextlib.suppress(RuntimeError, ValueError), lock:
            pass
        with contextlib.suppress(RuntimeError, ValueError):
            running.close()

    for part in (waits, in_a_generator):
        thread = scene.play(part)
        until(lambda: lock.statistics().waiting)
        scene.linger()
        lock.release()
        thread.join()
    assert scene.reports == []


@both_kinds
def test_a_wait_that_ends_by_itself_is_none_of_this(make, scene):
    lock = make()

    def tries():
        with lock:
            assert not lock.acquire(False)
            assert not lock.acquire(timeout=LONG)

    assert errors_of(scene, tries) == []
    assert scene.reports == []


@both_kinds
def test_an_rlock_may_be_taken_twice(make, scene):
    lock = threading.RLock() if make is threading.Lock else multiprocessing.RLock()

    def twice():
        with lock, lock:
            pass

    assert errors_of(scene, twice) == []


PROGRAM = """
import signal, sys, threading, time
from kettle import _deadlock
from kettle._core import native
import kettle.multiprocessing as multiprocessing
import kettle.threading
native.deadlock_policy({policy!r}, 0.1)
lock = {lock}
def again():
    with lock:
        pass
def leave(*_):
    raise SystemExit(7)
if {handler}:
    signal.signal(signal.SIGTERM, leave)
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
with lock:
    again()
"""


@pytest.mark.parametrize("lock", ["kettle.threading.Lock()", "multiprocessing.Lock()"])
@pytest.mark.parametrize(("policy", "handler"), [("raise", False), ("report", False), ("raise", True)])
def test_the_main_thread(lock, policy, handler):
    """A signal handler might release the lock, or leave the block: if there is one, nothing is certain."""
    program = PROGRAM.format(policy=policy, lock=lock, handler=handler)
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    if policy == "raise" and not handler:
        _, text = process.communicate(timeout=LIMIT)
        assert process.returncode == 1
        assert "kettle.DeadlockError: deadlock: a thread waits for a lock that it holds itself\n" in text
    else:
        lines = []
        while "It goes on waiting" not in "".join(lines):
            line = process.stderr.readline()
            assert line, lines
            lines.append(line)
        text = "".join(lines)
        process.terminate()
        process.communicate(timeout=LIMIT)
        assert process.returncode == (7 if handler else -15)
        assert "DeadlockError: " not in text
    assert "<string>:17, in <module>" in textwrap.dedent(text)
    assert "RLock" in text
