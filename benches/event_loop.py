"""Event loops next to each other: asyncio's, uvloop, rloop (whichever are installed) and Kettle's.

    python -m benches.event_loop [--rounds 7] [--seconds 0.3] [CELL...]

Each measurement runs in its own process, and the loops take turns within a round, so that a busy machine disturbs all
of them alike. A figure is operations per second of CPU time of the process with the loop; ratios are medians over
rounds.

The cells named `busy` have a thread beside the loop that computes, and 16 connections. `busy.echo` is answers per
second of real time, `busy.thread` the speed of that thread in per cent of its speed without the loop.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

LOOPS = ("asyncio", "uvloop", "rloop", "kettle")
CELLS: dict[str, Callable[[Any, int], None]] = {}
BATCH = 1000
KILOBYTE = b"x" * 1024


def new_loop(name: str) -> Any:
    """Creates one of the loops."""
    if name == "asyncio":
        return asyncio.new_event_loop()
    module: Any = importlib.import_module("kettle.asyncio" if name == "kettle" else name)
    return module.new_event_loop()


def cell(name: str) -> Callable:
    """Registers `measure(loop, n)`, which does n operations."""

    def register(measure: Callable[[Any, int], None]) -> Callable[[Any, int], None]:
        CELLS[name] = measure
        return measure

    return register


def coroutine(name: str) -> Callable:
    """The same for a coroutine function."""

    def register(measure: Callable[[Any, int], Awaitable[None]]) -> Callable[[Any, int], Awaitable[None]]:
        CELLS[name] = lambda loop, n: loop.run_until_complete(measure(loop, n))
        return measure

    return register


# ------------------------------------------------------------ callbacks and timers


def in_batches(loop: Any, n: int, schedule: Callable[[], None]) -> None:
    for _ in range(n // BATCH):
        schedule()
        loop.call_soon(loop.stop)
        loop.run_forever()


def callback(*_: object) -> None:
    pass


for count in (0, 1, 3):

    @cell(f"call_soon.{count}")
    def soon(loop: Any, n: int, args: tuple[int, ...] = tuple(range(count))) -> None:
        def schedule() -> None:
            for _ in range(BATCH):
                loop.call_soon(callback, *args)

        in_batches(loop, n, schedule)


@cell("call_soon.chain")
def chain(loop: Any, n: int) -> None:
    left = n

    def again() -> None:
        nonlocal left
        left -= 1
        loop.call_soon(again if left else loop.stop)

    loop.call_soon(again)
    loop.run_forever()


@coroutine("call_soon.threadsafe")
async def threadsafe(loop: Any, n: int) -> None:
    done = loop.create_future()

    def work() -> None:
        for _ in range(n):
            loop.call_soon_threadsafe(callback)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=work)
    thread.start()
    await done
    thread.join()


@cell("timer.cancel")
def cancelled_timers(loop: Any, n: int) -> None:
    def schedule() -> None:
        for timer in [loop.call_later(60.0, callback) for _ in range(BATCH)]:
            timer.cancel()

    in_batches(loop, n, schedule)


@cell("timer.cancel.live")
def cancelled_live_timers(loop: Any, n: int) -> None:
    timers = [loop.call_later(60.0, callback) for _ in range(BATCH)]

    def schedule() -> None:
        for place in range(BATCH):
            timers[place].cancel()
            timers[place] = loop.call_later(60.0, callback)

    in_batches(loop, n, schedule)
    for timer in timers:
        timer.cancel()


@cell("timer.fire")
def fired_timers(loop: Any, n: int) -> None:
    for _ in range(n // BATCH):
        for _ in range(BATCH):
            loop.call_later(0.0001, callback)
        loop.call_later(0.0011, loop.stop)
        loop.run_forever()


@coroutine("timer.timeout")
async def timeouts(loop: Any, n: int) -> None:
    for _ in range(n):
        async with asyncio.timeout(60):
            await asyncio.sleep(0)


# ------------------------------------------------------------ tasks and futures


async def switch(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


@coroutine("task.switch.1")
async def one_task(loop: Any, n: int) -> None:
    await switch(n)


@coroutine("task.switch.100")
async def many_tasks(loop: Any, n: int) -> None:
    await asyncio.gather(*(switch(n // 100) for _ in range(100)))


@coroutine("task.create")
async def create_tasks(loop: Any, n: int) -> None:
    async def nothing() -> None:
        pass

    for _ in range(n):
        await loop.create_task(nothing())


@coroutine("task.group")
async def groups(loop: Any, n: int) -> None:
    for _ in range(n // 100):
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(asyncio.sleep(0))


@coroutine("queue.pingpong")
async def queues(loop: Any, n: int) -> None:
    there: asyncio.Queue[int] = asyncio.Queue(1)
    back: asyncio.Queue[int] = asyncio.Queue(1)

    async def answer() -> None:
        for _ in range(n):
            await back.put(await there.get())

    task = loop.create_task(answer())
    for number in range(n):
        await there.put(number)
        await back.get()
    await task


@coroutine("future.wake")
async def futures(loop: Any, n: int) -> None:
    for _ in range(n):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


@cell("loop.cycle")
def cycles(loop: Any, n: int) -> None:
    async def nothing() -> None:
        pass

    for _ in range(n):
        another = type(loop)()
        another.run_until_complete(nothing())
        another.close()


# ------------------------------------------------------------ descriptors and connections


@cell("reader.churn")
def readers(loop: Any, n: int) -> None:
    here, there = socket.socketpair()
    for _ in range(n):
        loop.add_reader(here.fileno(), callback)
        loop.remove_reader(here.fileno())
    here.close()
    there.close()


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


CLIENT = """
import socket, sys, threading
family, n = int(sys.argv[1]), int(sys.argv[3])
address = sys.argv[2] if family == socket.AF_UNIX else ("127.0.0.1", int(sys.argv[2]))
def work():
    sock = socket.socket(family)
    sock.connect(address)
    for _ in range(n):
        sock.sendall(b"x" * 1024)
        got = 0
        while got < 1024:
            got += len(sock.recv(65536))
    sock.close()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


async def echo(loop: Any, n: int, server: Any, family: int, address: str) -> None:
    command = [sys.executable, "-c", CLIENT, str(int(family)), address, str(n // 4)]
    await loop.run_in_executor(None, subprocess.check_call, command)
    server.close()


@coroutine("tcp.proto.1k")
async def tcp_protocol(loop: Any, n: int) -> None:
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    await echo(loop, n, server, socket.AF_INET, str(server.sockets[0].getsockname()[1]))


@coroutine("unix.proto.1k")
async def unix_protocol(loop: Any, n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        await echo(loop, n, await loop.create_unix_server(Echo, path), socket.AF_UNIX, path)


@coroutine("tcp.streams.1k")
async def tcp_streams(loop: Any, n: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    await echo(loop, n, server, socket.AF_INET, str(server.sockets[0].getsockname()[1]))


# ------------------------------------------------------------ beside a thread that computes

BUSY_CLIENT = """
import selectors, socket, sys, time
selector = selectors.DefaultSelector()
for _ in range(16):
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    selector.register(sock, selectors.EVENT_READ)
    sock.sendall(b"x" * 1024)
answers, end = 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    for key, _ in selector.select(0.1):
        if len(key.fileobj.recv(65536, socket.MSG_PEEK)) == 1024:
            key.fileobj.recv(1024)
            key.fileobj.sendall(b"x" * 1024)
            answers += 1
print(answers)
"""


class Computing:
    """A thread that computes until it is told to stop."""

    def __init__(self) -> None:
        self.rounds = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._work)
        self._begun = time.perf_counter()
        self._thread.start()

    def _work(self) -> None:
        while not self._is_over:
            for _ in range(1000):
                pass
            self.rounds += 1

    def stop(self) -> float:
        """Returns its rounds per second."""
        self._is_over = True
        self._thread.join()
        return self.rounds / (time.perf_counter() - self._begun)


def busy(loop: Any, seconds: float) -> tuple[float, float]:
    """Returns answers per second, and the speed of the thread in per cent."""
    alone = Computing()
    time.sleep(seconds)
    lone_speed = alone.stop()

    async def serve() -> tuple[float, float]:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        thread = Computing()
        command = [sys.executable, "-c", BUSY_CLIENT, str(port), str(seconds)]
        answers = await loop.run_in_executor(None, subprocess.check_output, command)
        speed = thread.stop()
        server.close()
        return int(answers) / seconds, 100 * speed / lone_speed

    return loop.run_until_complete(serve())


#: Cells that are not measured by CPU time.
TIMED: dict[str, Callable[[Any, float], float]] = {
    "busy.echo": lambda loop, seconds: busy(loop, seconds)[0],
    "busy.thread": lambda loop, seconds: busy(loop, seconds)[1],
}

# ------------------------------------------------------------ measuring


def measure(name: str, loop_name: str, seconds: float) -> float:
    """The figure of a cell, in this process."""
    loop = new_loop(loop_name)
    if name in TIMED:
        figure = TIMED[name](loop, seconds)
        loop.close()
        return figure
    n, spent = BATCH, 0.0
    while True:
        begun = time.process_time()
        CELLS[name](loop, n)
        spent = time.process_time() - begun
        if spent >= seconds / 2:
            loop.close()
            return n / spent
        n = max(2 * n, int(n * seconds / max(spent, 1e-6) / BATCH) * BATCH) if spent > 0.001 else 10 * n


def measure_outside(name: str, loop_name: str, seconds: float) -> float:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benches.event_loop", "--one", loop_name, "--seconds", str(seconds), name]
    return float(json.loads(subprocess.check_output(command)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", metavar="CELL", help=", ".join([*CELLS, *TIMED]))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.cells[0], options.one, options.seconds)))
        return
    loops = [name for name in LOOPS if name in ("asyncio", "kettle") or importlib.util.find_spec(name)]
    others = [name for name in loops if name != "asyncio"]
    print(f"{'cell':22}{'asyncio, ops/s':>16}" + "".join(f"{name + ' / asyncio':>18}" for name in others))
    for name in options.cells or [*CELLS, *TIMED]:
        rounds = [{each: measure_outside(name, each, options.seconds) for each in loops} for _ in range(options.rounds)]
        base = statistics.median(figures["asyncio"] for figures in rounds)
        ratios = [statistics.median(figures[each] / figures["asyncio"] for figures in rounds) for each in others]
        print(f"{name:22}{base:16,.0f}" + "".join(f"{ratio:18.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
