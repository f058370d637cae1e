"""Running, stopping and closing; what ends a run; loops that are dropped."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref

import pytest

import kettle.asyncio


def test_is_a_loop_of_asyncio(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(loop, asyncio.SelectorEventLoop)
    assert weakref.ref(loop)() is loop
    assert not loop.is_running() and not loop.is_closed() and not loop.get_debug()
    assert repr(loop) == "<EventLoop running=False closed=False debug=False>"


def test_runs_what_is_there_when_it_is_stopped(loop):
    ran = []
    loop.call_soon(ran.append, 1)
    loop.stop()
    loop.run_forever()
    assert ran == [1]
    loop.call_soon(loop.stop)
    loop.call_soon(ran.append, 2)
    loop.call_soon(lambda: loop.call_soon(ran.append, 3))
    loop.run_forever()
    assert ran == [1, 2]
    loop.stop()
    loop.run_forever()
    assert ran == [1, 2, 3]


def test_run_until_complete(loop):
    async def give():
        assert loop.is_running()
        assert asyncio.get_running_loop() is loop
        return 5

    async def fail():
        raise ValueError("mine")

    assert loop.run_until_complete(give()) == 5
    with pytest.raises(ValueError, match="mine"):
        loop.run_until_complete(fail())
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="stopped before Future completed"):
        loop.run_until_complete(loop.create_future())
    assert not loop.is_running()


def test_runs_once_at_a_time(loop):
    other = kettle.asyncio.new_event_loop()

    async def main():
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        with pytest.raises(RuntimeError, match="while another loop is running"):
            other.run_forever()
        with pytest.raises(RuntimeError, match="Cannot close a running"):
            loop.close()
        assert asyncio.get_running_loop() is loop
        assert loop.is_running()

    loop.run_until_complete(main())
    other.close()


def test_a_closed_loop_refuses(loop):
    loop.call_soon(print)
    loop.close()
    loop.close()
    assert loop.is_closed()
    calls = [
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.run_forever(),
        lambda: loop.run_in_executor(None, print),
        lambda: loop.add_reader(0, print),
        lambda: loop.add_writer(0, print),
        lambda: loop.fileno(),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="closed"):
            call()
    assert loop.remove_reader(0) is False


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_passes_through_a_callback(loop, exception):
    ran = []

    def end():
        raise exception

    loop.call_soon(end)
    loop.call_soon(ran.append, 1)
    with pytest.raises(exception):
        loop.run_forever()
    assert not loop.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1]


def test_a_loop_runs_in_a_thread_that_did_not_make_it(loop):
    def work():
        loop.run_until_complete(asyncio.sleep(0.001))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    loop.run_until_complete(asyncio.sleep(0.001))


def test_a_loop_that_is_dropped_open_says_so_and_leaves_nothing():
    gc.collect()
    before = os.listdir("/proc/self/fd")
    loop = kettle.asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    dead = weakref.ref(loop)
    # The handles refer to the loop, and it to them.
    loop.call_later(1000, print)
    loop.call_soon(print)
    loop.add_reader(0, print) if os.isatty(0) else None
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()
    assert dead() is None
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_no_descriptor_is_left():
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        kettle.asyncio.run(asyncio.sleep(0.0001))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_run_is_refused_inside_of_another(run):
    async def main():
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
            kettle.asyncio.run(coroutine)
        coroutine.close()

    run(main())


def test_asyncgens_are_finished(run):
    ended = []

    async def numbers():
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    async def main():
        async for _ in numbers():
            break

    run(main())
    assert ended == [True]


def test_a_daemon_threads_loop_does_not_abort_the_program():
    program = """
import asyncio, threading, time
import kettle.asyncio
ready = threading.Event()

async def main():
    ready.set()
    while True:
        await asyncio.sleep(0)
        time.sleep(0.0001)

threading.Thread(target=kettle.asyncio.run, args=(main(),), daemon=True).start()
ready.wait()
"""
    for _ in range(5):
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert (result.returncode, result.stdout) == (0, ""), result.stderr


def test_what_the_program_closed_is_made_again(loop):
    turn = loop.run_until_complete
    turn(asyncio.sleep(0.001))
    os.close(loop.fileno())
    turn(asyncio.sleep(0.001))
    read, write = os.pipe()
    came = loop.create_future()
    loop.add_reader(read, lambda: came.done() or came.set_result(None))
    os.close(loop.fileno())
    os.write(write, b"x")
    turn(came)
    loop.remove_reader(read)
    os.close(read)
    os.close(write)


def test_a_poller_closed_while_it_runs_is_an_error_and_no_spin(loop):
    async def main():
        os.close(loop.fileno())
        await asyncio.sleep(10)

    task = loop.create_task(main())
    with pytest.raises(OSError):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_importing_is_quiet():
    program = "import kettle.asyncio; kettle.asyncio.run(kettle.asyncio.sleep(0))"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_closing_says_nothing(loop):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        del loop
        gc.collect()
