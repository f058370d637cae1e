"""`kettle.multiprocessing.wait` with primitives between threads and primitives between processes."""

from __future__ import annotations

import socket
import subprocess
import sys
import sysconfig
import threading as standard
import time

import pytest

import kettle.multiprocessing as mp
from kettle import queue, threading

LIMIT = 30


@pytest.fixture
def later():
    """Runs something in a thread once the main thread waits, as far as this is visible."""
    threads = []

    def later(action):
        thread = standard.Timer(0.05, action)
        threads.append(thread)
        thread.start()

    yield later
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("kind", [queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue])
def test_a_queue_is_ready_when_it_has_an_item_or_is_shut_down(kind, later):
    waited_for, other = kind(), kind()
    assert mp.wait([waited_for, other], 0) == [] == mp.wait([waited_for, other], 0.01)
    later(lambda: waited_for.put(1))
    assert mp.wait([waited_for, other], LIMIT) == [waited_for]
    assert waited_for.get() == 1 and mp.wait([waited_for], 0) == []
    later(other.shutdown)
    assert mp.wait([waited_for, other]) == [other]


def test_a_queue_whose_items_are_outside(later):
    class Mine(queue.Queue):
        def _put(self, item):
            super()._put(item)

    for waited_for in (Mine(), queue.Queue()):
        assert not waited_for.queue
        later(lambda q=waited_for: q.put(1))
        assert mp.wait([waited_for], LIMIT) == [waited_for]


def test_everything_together(later):
    process = mp.get_context("fork").Process(target=int)
    process.start()
    here, there = socket.socketpair()
    reader, writer = mp.Pipe(duplex=False)
    between, shared, lock, event = queue.Queue(), mp.Queue(), threading.Lock(), mp.Event()
    lock.acquire()
    everything = [between, here, shared, reader, lock, event]
    with here, there, reader, writer:
        for make_ready, expected in [
            (lambda: between.put(1), between),
            (lambda: there.send(b"x"), here),
            (lambda: shared.put(1), shared),
            (lambda: writer.send(1), reader),
            (lock.release, lock),
            (event.set, event),
        ]:
            later(make_ready)
            assert mp.wait(everything, LIMIT) == [expected]
            everything.remove(expected)
            if everything:
                assert mp.wait(everything, 0) == []
        assert mp.wait([queue.Queue(), process], LIMIT) == [process]
        assert mp.wait([between, here, shared, reader, lock, event]) == [between, here, shared, reader, lock, event]
        process.join()
        shared.get()


def test_many_who_wait_for_one_queue():
    waited_for, seen = queue.Queue(), queue.SimpleQueue()

    def take():
        while True:
            assert mp.wait([waited_for], LIMIT) == [waited_for]
            try:
                seen.put(waited_for.get_nowait())
            except queue.Empty:
                continue
            except queue.ShutDown:
                return

    threads = [standard.Thread(target=take) for _ in range(20)]
    for thread in threads:
        thread.start()
    for n in range(500):
        waited_for.put(n)
    assert sorted(seen.get(timeout=LIMIT) for _ in range(500)) == list(range(500))
    waited_for.shutdown()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()


def test_the_time_is_kept():
    begun = time.monotonic()
    assert mp.wait([queue.Queue(), threading.Event()], 0.1) == []
    assert time.monotonic() - begun >= 0.1


def test_what_cannot_be_waited_for():
    with pytest.raises(TypeError, match="cannot be waited for"):
        mp.wait([queue.Queue(), threading.Barrier(2)], 0)


LOOKS = """
import gc, sys, threading
import kettle.multiprocessing as mp

gate, has_run = threading.Lock(), []
gate.acquire()
end = mp.Event()
process = mp.Process(target=end.wait)
process.start()
other = threading.Thread(target=lambda: (gate.acquire(), has_run.append(True)))
other.start()
gc.disable()
interval = sys.getswitchinterval()
sys.setswitchinterval(1000)  # the other thread runs only if this one lets it
gate.release()
looks = [process.is_alive() for _ in range(2000)]
was_let = bool(has_run)
sys.setswitchinterval(interval)
end.set()
other.join()
process.join()
print(all(looks), was_let)
"""


@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="threads always run side by side")
def test_a_look_at_a_process_does_not_let_another_thread_run():
    """A thread reads a flag that the child clears before it ends, and then asks `is_alive()`: an answer of a later
    moment would be taken for a child that died."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", LOOKS], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True False\n", "")
