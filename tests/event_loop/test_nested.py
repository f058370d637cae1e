"""Programs that make turns of their own, out of the parts that they find in asyncio's loop, work on this one."""

import asyncio
import heapq
import socket
import subprocess
import sys
import threading

import pytest

import kettle.asyncio

from .conftest import turn


class Nesting(kettle.asyncio.EventLoop):
    """A loop whose turns are made in Python."""

    def _run_once(self):
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)
        timeout = None
        if ready or self._stopping:
            timeout = 0
        elif scheduled:
            timeout = max(0, scheduled[0]._when - self.time())
        self._process_events(self._selector.select(timeout))
        now = self.time()
        while scheduled and scheduled[0]._when <= now:
            ready.append(heapq.heappop(scheduled))
        for _ in range(len(ready)):
            if not ready:
                break
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()


@pytest.fixture
def nesting():
    loop = Nesting()
    yield loop
    loop.close()


def test_everything_runs_in_its_order(nesting):
    calls = []
    for i in (3, 1, 2):
        nesting.call_later(i / 1000, calls.append, i)
    nesting.call_later(0.002, calls.append, "cancelled").cancel()
    nesting.call_later(0.004, nesting.stop)
    nesting.call_soon(calls.append, 0)
    nesting.run_forever()
    assert calls == [0, 1, 2, 3]
    assert not nesting._scheduled and not nesting._ready


def test_descriptors_and_threads_wake_it(nesting):
    a, b = socket.socketpair()
    calls = []

    def read():
        calls.append(a.recv(10))
        nesting.stop()

    with a, b:
        nesting.add_reader(a, read)
        thread = threading.Thread(target=b.send, args=(b"x",))
        thread.start()
        nesting.run_forever()
        thread.join()
        nesting.remove_reader(a)
    thread = threading.Thread(target=nesting.call_soon_threadsafe, args=(nesting.stop,))
    thread.start()
    nesting.run_forever()
    thread.join()
    assert calls == [b"x"]


def test_coroutines(nesting):
    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.0001 * i, i)) for i in range(20)]
            tasks += [group.create_task(asyncio.to_thread(pow, i, 2)) for i in range(5)]
        return [task.result() for task in tasks]

    assert nesting.run_until_complete(main()) == [*range(20), *(i**2 for i in range(5))]


def test_what_is_ready_can_be_looked_at(loop):
    assert not loop._ready
    first, second = loop.call_soon(print), loop.call_soon(loop.stop)
    timer = loop.call_later(1000, print)
    assert list(loop._ready) == [first, second] and loop._ready[-1] is second and loop._ready[:1] == [first]
    assert repr(second) in repr(loop._ready)
    loop._ready.append(timer)
    assert len(loop._ready) == 3 and loop._scheduled == []
    loop._ready.clear()
    with pytest.raises(IndexError):
        loop._ready.popleft()
    turn(loop)


def test_a_timer_that_was_moved_runs_once(loop):
    calls = []
    timers = [loop.call_later(0, calls.append, i) for i in range(100)]
    cancelled = loop.call_later(0, calls.append, "cancelled")
    cancelled.cancel()
    for timer in (timers[50], cancelled, timers[3]):
        loop._ready.append(timer)
    turn(loop)
    turn(loop)
    assert sorted(calls) == list(range(100))
    assert calls[:2] == [50, 3]


NESTED = """
import asyncio, kettle.asyncio, nest_asyncio

async def inner(n):
    await asyncio.sleep(0.001)
    return n

async def outer():
    loop = asyncio.get_running_loop()
    assert isinstance(loop, kettle.asyncio.EventLoop)
    nest_asyncio.apply()
    beside = asyncio.create_task(inner(3))
    assert asyncio.run(inner(1)) == 1
    assert loop.run_until_complete(inner(2)) == 2
    assert loop.run_until_complete(beside) == 3
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    reader, writer = loop.run_until_complete(asyncio.open_connection(*server.sockets[0].getsockname()))
    assert loop.run_until_complete(reader.read()) == b""
    writer.close()
    server.close()
    assert loop.run_until_complete(asyncio.to_thread(lambda: 5)) == 5
    return await inner(4)

loop = kettle.asyncio.new_event_loop()
asyncio.set_event_loop(loop)
assert loop.run_until_complete(outer()) == 4
# And on a loop that does not run yet.
nest_asyncio.apply(loop)
assert loop.run_until_complete(outer()) == 4
loop.close()
print("works")
"""


def test_nest_asyncio():
    pytest.importorskip("nest_asyncio")
    result = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "works\n"), result.stderr
