"""A child of fork has its parent's loop, and does nothing to it."""

import asyncio
import os
import socket
import sys
import threading

import pytest

import kettle.asyncio
import kettle.multiprocessing as mp

from .conftest import counted_turns, until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def in_child(work):
    """Runs `work` in a forked child; says how that ended."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as e:
            sys.__stderr__.write(f"child: {e!r}\n")
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_a_child_closes_is_the_parents_still(loop):
    a, b = socket.socketpair()
    seen = []
    loop.add_reader(a, lambda: seen.append(a.recv(1)))
    loop.run_until_complete(asyncio.sleep(0))

    def child():
        loop.remove_reader(a)
        loop.call_soon_threadsafe(print)
        loop.close()

    assert in_child(child) == 0
    b.send(b"x")
    loop.run_until_complete(until(lambda: seen))
    loop.remove_reader(a)
    a.close()
    b.close()


def test_a_child_does_not_wake_its_parents_loop(loop):
    ran = []

    def forked():
        status.append(in_child(lambda: loop.call_soon_threadsafe(ran.append, 1)))
        loop.call_soon_threadsafe(loop.stop)

    status = []
    turns = counted_turns(loop)
    thread = threading.Timer(0.05, forked)
    thread.start()
    loop.run_forever()
    thread.join()
    assert status == [0] and not ran
    assert len(turns) == 1  # it slept, and was woken once


def test_in_the_middle_of_a_run(run):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        seen = []
        loop.add_reader(a, lambda: seen.append(a.recv(1)))

        def child():
            if sys.version_info >= (3, 12):
                with pytest.raises(RuntimeError):
                    asyncio.get_running_loop()
            asyncio._set_running_loop(None)
            # A loop of the child's own.
            assert kettle.asyncio.run(asyncio.sleep(0.001, 7)) == 7
            loop.remove_reader(a)

        assert in_child(child) == 0
        b.send(b"x")
        await until(lambda: seen)
        loop.remove_reader(a)
        a.close()
        b.close()

    run(main())


def test_a_loop_made_before_the_fork_runs_in_the_child_and_in_the_parent(loop):
    """As servers do it that fork their workers. Each has descriptors of its own in it."""
    a, b = socket.socketpair()
    seen = []
    loop.add_reader(a, lambda: seen.append(a.recv(1)))
    loop.run_until_complete(asyncio.sleep(0))

    def child():
        c, d = socket.socketpair()
        mine = []
        loop.add_reader(c, lambda: mine.append(c.recv(1)))
        d.send(b"y")
        loop.run_until_complete(until(lambda: mine))
        assert not seen

    assert in_child(child) == 0
    b.send(b"x")
    loop.run_until_complete(until(lambda: seen))
    assert seen == [b"x"]
    loop.remove_reader(a)
    a.close()
    b.close()


def double(x):
    return 2 * x


def test_processes_and_pools_are_awaited(run):
    async def main():
        ctx = mp.get_context("fork")
        q = ctx.Queue()
        child = ctx.Process(target=q.put, args=(5,))
        child.start()
        assert await q.aget() == 5
        await child
        child.close()
        with ctx.Pool(2) as pool:
            assert await pool.apply_async(double, (4,)) == 8

    run(main())
