"""Signals: Ctrl-C wherever the loop is, handlers, and what a program has set itself."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import kettle.asyncio

from .conftest import until

PROGRAM = """
import asyncio, sys, time
import kettle.asyncio

async def idle():
    print("ready", flush=True)
    await asyncio.sleep(600)

async def flooded():
    def again():
        asyncio.get_running_loop().call_soon(again)
    again()
    print("ready", flush=True)
    await asyncio.sleep(600)

async def in_a_callback():
    asyncio.get_running_loop().call_later(0.01, lambda: (print("ready", flush=True), time.sleep(0.5)))
    await asyncio.sleep(600)

async def with_a_thread():
    print("ready", flush=True)
    await asyncio.to_thread(time.sleep, 0.5)
    await asyncio.sleep(600)

try:
    kettle.asyncio.run(globals()[sys.argv[1]]())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("where", ["idle", "flooded", "in_a_callback", "with_a_thread"])
def test_ctrl_c(where):
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, where], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert child.communicate()[0] == "interrupted\n"
        assert child.returncode == 0


def test_a_signal_right_before_the_sleep_is_not_slept_through(loop):
    """Each comes at another moment of a turn; one that was slept through would show itself as a hang."""
    caught = []
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    try:
        stop = threading.Event()

        def send():
            while not stop.is_set():
                os.kill(os.getpid(), signal.SIGUSR1)
                time.sleep(0.0001)

        async def main():
            for _ in range(200):
                seen = len(caught)
                # Nothing but signals ends these turns.
                while len(caught) == seen:
                    await asyncio.sleep(0)

        thread = threading.Thread(target=send)
        thread.start()
        loop.run_until_complete(main())
        stop.set()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_handlers(loop):
    async def main():
        seen = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
        loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: seen == [1])
        os.kill(os.getpid(), signal.SIGUSR2)
        await until(lambda: seen == [1, 2])
        assert loop.remove_signal_handler(signal.SIGUSR2) is True
        assert loop.remove_signal_handler(signal.SIGUSR2) is False
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: seen == [1, 2, 1])
        assert loop.remove_signal_handler(signal.SIGUSR1) is True
        with pytest.raises(ValueError):
            loop.add_signal_handler(1000, print)
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGKILL, print)

    loop.run_until_complete(main())
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_handler_runs_for_what_came_between_two_runs(loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    loop.run_until_complete(asyncio.sleep(0))
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run_until_complete(until(lambda: seen == [1]))
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_only_in_the_main_thread(loop):
    caught = []

    def work():
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as e:
            caught.append(str(e))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught


def test_what_the_program_set_itself_is_left_alone(run):
    read, write = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(write)
    try:

        async def main():
            await asyncio.sleep(0.001)

        run(main())
    finally:
        assert signal.set_wakeup_fd(-1) == write
        os.close(read)
        os.close(write)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_keeps_its_signals_to_itself(loop):
    async def main():
        seen = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.001)
            os._exit(0)
        os.waitpid(pid, 0)
        await asyncio.sleep(0.01)
        assert seen == []
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: seen == [1])

    loop.run_until_complete(main())


def test_closing_a_loop_leaves_a_file_alone_that_has_its_pipes_number(loop):
    loop.run_until_complete(asyncio.sleep(0))
    numbers = [loop._csock.reader, loop._csock.fileno(), loop.fileno()]
    for number in numbers:
        os.close(number)
    ours = [os.open("/dev/null", os.O_RDONLY) for _ in numbers]
    assert sorted(ours) == sorted(numbers)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for number in ours:
        os.close(number)  # still open


def test_nothing_is_left_set(run):
    run(asyncio.sleep(0))
    assert signal.set_wakeup_fd(-1) == -1


def test_the_pipe_closed_by_the_program_is_an_error_and_no_spin(loop):
    async def main():
        os.close(loop._csock.reader)
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0.01))
    os.close(loop._csock.fileno())
    loop.run_until_complete(asyncio.sleep(0.01))
    assert isinstance(loop, kettle.asyncio.EventLoop)
