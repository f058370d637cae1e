"""Running, stopping and closing."""

import asyncio
import subprocess
import sys
import threading

import pytest

from .conftest import since


def test_runs_stops_and_closes(loop):
    async def main():
        return 42

    assert loop.run_until_complete(main()) == 42
    calls = []
    loop.call_soon(calls.append, loop)
    loop.call_soon(loop.stop)
    assert not loop.is_running()
    loop.call_soon(lambda: calls.append(loop.is_running()))
    loop.run_forever()
    assert calls == [loop, True]
    assert not loop.is_running() and not loop.is_closed()
    loop.close()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()


def test_stop_lets_the_turn_end(loop):
    calls = []
    loop.call_soon(calls.append, 1)
    loop.stop()
    loop.call_soon(calls.append, 2)
    loop.call_soon(lambda: loop.call_soon(calls.append, 3))
    loop.run_forever()
    assert calls == [1, 2]
    loop.stop()
    loop.run_forever()
    assert calls == [1, 2, 3]


@pytest.mark.parametrize("exception", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_exception_comes_out_of_a_run(loop, exception):
    async def main():
        raise exception("tea")

    with pytest.raises(exception, match="tea"):
        loop.run_until_complete(main())

    def raises():
        raise exception("cup")

    if not issubclass(exception, Exception):
        loop.call_soon(raises)
        with pytest.raises(exception, match="cup"):
            loop.run_forever()
    assert loop.run_until_complete(asyncio.sleep(0, "goes on")) == "goes on"


PROGRAM = """
import asyncio, sys
import kettle.asyncio
from asyncio import SelectorEventLoop
from kettle.asyncio import EventLoop

async def main():
    print("ready", flush=True)
    try:
        await asyncio.sleep(1000)
    finally:
        print("cleaned up", flush=True)

try:
    with asyncio.Runner(loop_factory=globals()[sys.argv[1]]) as runner:
        runner.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_cancels_what_runs(new_loop):
    command = [sys.executable, "-c", PROGRAM, new_loop.__name__.removeprefix("_Unix")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(2)
        assert process.stdout.read() == "cleaned up\ninterrupted\n"
    assert process.returncode == 0


def test_asynchronous_generators_are_closed(loop):
    done = []

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            done.append(True)

    async def main():
        generator = numbers()
        assert await anext(generator) == 1
        return generator

    generator = loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert done == [True]
    del generator


def test_the_default_executor_is_shut_down(loop):
    assert loop.run_until_complete(loop.run_in_executor(None, int, "7")) == 7
    loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError, match="Executor shutdown"):
        loop.run_in_executor(None, print)


@since(3, 13)  # 3.12 may wait in spite of it
@pytest.mark.filterwarnings("ignore:The executor did not finish:RuntimeWarning")
def test_or_given_up_after_a_time(loop):
    may_end = threading.Event()
    waits = loop.run_in_executor(None, may_end.wait)
    try:
        loop.run_until_complete(loop.shutdown_default_executor(timeout=0.01))
        assert not waits.done()
    finally:
        may_end.set()
    loop.run_until_complete(waits)


def test_is_an_event_loop_of_asyncio(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(loop, asyncio.BaseEventLoop)
