"""A loop beside a thread that computes: when it keeps the GIL, and when it lets the thread have it."""

import socket
import sys
import threading
import time

import pytest

TURNS = 1000

pytestmark = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL there is nothing to share"
)


@pytest.fixture
def no_switches():
    """No thread asks another one for the GIL."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def compete(loop, begin, compute, go, seconds=0.02):
    """Starts a thread that keeps the GIL from the loop for a while, and then computes as soon as it is let to."""

    started = threading.Event()

    def work():
        # The loop sets the event with the GIL, and next lets go of it in order to wait for something to do.
        started.wait()
        loop.call_soon_threadsafe(begin)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        go.wait()
        compute()

    def start():
        thread.start()
        started.set()

    thread = threading.Thread(target=work)
    loop.call_soon(start)
    return thread


def turns_beside_a_thread(loop, seconds):
    """How often the thread had computed in each of the turns in which there was work."""
    here, there = socket.socketpair()
    here.sendall(b"x")
    go, computed, seen = threading.Event(), [], []

    def compute():
        computed.append(None)
        loop.call_soon_threadsafe(loop.stop)

    # It reads nothing, since `recv` would release the GIL, and so is called in each turn.
    def turn():
        go.set()
        seen.append(len(computed))
        if len(seen) == TURNS:
            loop.remove_reader(there)

    thread = compete(loop, lambda: loop.add_reader(there, turn), compute, go, seconds)
    with here, there:
        loop.run_forever()
        thread.join()
        loop.remove_reader(there)
    assert computed == [None]
    return seen


def test_a_loop_that_waited_for_the_gil_keeps_it_while_there_is_work(loop, no_switches):
    # On a busy machine the loop may be woken so late that the thread no longer has the GIL. Then it did not wait.
    attempts = (turns_beside_a_thread(loop, 0.02 * 2**n) for n in range(7))
    assert any(seen == [0] * TURNS for seen in attempts)


def test_a_thread_gets_on_beside_a_loop_that_runs_no_python(loop):
    here, there = socket.socketpair()
    here.sendall(b"x")
    go = threading.Event()
    go.set()

    def compute():
        for _ in range(2_000_000):
            pass
        loop.call_soon_threadsafe(loop.stop)

    # `int` is always called, and has no line of Python in which the loop could be interrupted.
    thread = compete(loop, lambda: loop.add_reader(there, int), compute, go)
    with here, there:
        loop.run_forever()
        thread.join()
        loop.remove_reader(there)
