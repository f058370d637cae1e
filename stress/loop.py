"""Many connections of the event loop: open at the same time, short, reset, half closed and slow.

    python -m stress loop --open 10000 --short 200000 --seconds 60

A server in its own process echoes, half of the connections through a protocol and half through streams. The clients run
on a loop of this process. Every byte must come back, unless the client or the server ends the connection early; each
protocol is told of the end exactly once; and neither process may keep descriptors or memory of connections that are
over.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import kettle.asyncio

# The ports of a closed connection stay reserved for a minute, for each address.
HOSTS = [f"127.0.0.{n}" for n in range(1, 17)]
#: How long one connection may take, in seconds.
HUNG = 120.0
#: How many clients connect or work at the same time in the parts that do not keep connections open.
AT_ONCE = 100
#: What memory may grow by between a fifth of the short connections and the end: less than 100 bytes for each.
MOST_GROWTH = 12 << 20
#: The same where connections have up to three megabytes under way, which the allocator does not give back whole.
MOST_GROWTH_ROUGH = 100 << 20
# The first byte that a client sends says what the server does.
ECHO, CLOSE, ABORT, FAIL = b"ECAF"


class Deliberate(Exception):
    """What a protocol of the server raises on request."""


def tidy() -> None:
    """Gives back the memory that is free: garbage and what the allocator keeps would count as used."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def transports() -> int:
    """How many transports of connections there are."""
    gc.collect()
    return sum(hasattr(type(one), "_kettle_stream") for one in gc.get_objects())


# ---------------------------------------------------------------------------------------------------------- the server


class Echo(asyncio.Protocol):
    """Echoes, and reads no more than the client takes back."""

    made = lost = 0
    transport: asyncio.Transport
    has_begun = is_lost = False

    def connection_made(self, transport: Any) -> None:
        Echo.made += 1
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert not self.is_lost, "data after the end"
        if not self.has_begun:
            self.has_begun = True
            if data[0] == ABORT:
                self.transport.abort()
            elif data[0] == CLOSE:
                self.transport.write(data)
                self.transport.close()
            elif data[0] == FAIL:
                raise Deliberate
            if data[0] != ECHO:
                return
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def connection_lost(self, exception: BaseException | None) -> None:
        assert not self.is_lost, "lost twice"
        self.is_lost = True
        Echo.lost += 1


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Does the same with streams."""
    try:
        data = await reader.read(1 << 16)
        if data and data[0] == ABORT:
            writer.transport.abort()
        elif data and data[0] == CLOSE:
            writer.write(data)
        elif data and data[0] == FAIL:
            raise Deliberate
        else:
            while data:
                writer.write(data)
                await writer.drain()
                data = await reader.read(1 << 16)
    except (ConnectionError, Deliberate):
        pass
    finally:
        writer.close()


async def serve() -> None:
    """Runs until SIGTERM, and then prints how many connections there were, and what was reported."""
    loop = asyncio.get_running_loop()
    reports: list[str] = []

    def report(_: Any, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), Deliberate):
            reports.append(repr(context))

    loop.set_exception_handler(report)
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_signal_handler(signal.SIGUSR1, tidy)
    servers = [
        await loop.create_server(Echo, HOSTS, 0, backlog=1000),
        await asyncio.start_server(echo, HOSTS, 0, backlog=1000),
    ]
    print(json.dumps([[socket.getsockname() for socket in server.sockets] for server in servers]), flush=True)
    await over.wait()
    for server in servers:
        server.close()
    await asyncio.sleep(0)
    print(json.dumps({"made": Echo.made, "lost": Echo.lost, "left": transports(), "reports": reports}), flush=True)


# --------------------------------------------------------------------------------------------------------- the clients


class Usage:
    """What the server and this process use: descriptors and memory."""

    def __init__(self, server: int) -> None:
        tidy()
        os.kill(server, signal.SIGUSR1)
        pids = (server, os.getpid())
        self.descriptors = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
        self.memory = []
        for pid in pids:
            with open(f"/proc/{pid}/statm") as statm:
                self.memory.append(int(statm.read().split()[1]) * resource.getpagesize())

    def __str__(self) -> str:
        return f"{self.descriptors} descriptors, {[size >> 20 for size in self.memory]} MiB"

    def check(self, later: Usage, most: int) -> None:
        """Whether nothing was kept since, but for `most` bytes of memory."""
        assert all(b <= a for a, b in zip(self.descriptors, later.descriptors, strict=True)), f"{self}, now {later}"
        grown = [b - a for a, b in zip(self.memory, later.memory, strict=True)]
        assert max(grown) <= most, f"{self}, now {later}"


class Clients:
    """All clients of one run."""

    def __init__(self, server: subprocess.Popen[str], seed: int) -> None:
        assert server.stdout is not None
        self.server = server
        self.addresses = json.loads(server.stdout.readline())
        self.seed = seed
        self.done: Counter[str] = Counter()

    def rng(self, *of: object) -> random.Random:
        return random.Random(repr((self.seed, *of)))

    @asynccontextmanager
    async def connected(self, rng: random.Random) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        host, port = rng.choice(rng.choice(self.addresses))
        reader, writer = await asyncio.open_connection(host, port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def settled(self, before: Usage) -> Usage:
        """Waits until the server has closed all that the clients closed."""
        end = time.monotonic() + HUNG
        while True:
            now = Usage(self.server.pid)
            if now.descriptors <= before.descriptors or time.monotonic() > end:
                return now
            await asyncio.sleep(0.05)

    async def each(self, count: int, one: Callable[[int], Coroutine[Any, Any, object]], until: float = 0) -> int:
        """Runs `one` for all numbers, some at a time; or for as many as begin before the time `until`."""
        begun = 0

        async def worker() -> None:
            nonlocal begun
            while begun < count and not (until and time.monotonic() > until):
                begun += 1
                async with asyncio.timeout(HUNG):
                    await one(begun)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker())
        return begun

    # ---- the parts

    async def short(self, count: int) -> None:
        """One message for each connection."""

        async def one(n: int) -> None:
            rng = self.rng("short", n)
            data = b"E" + rng.randbytes(rng.choice((1, 100, 3000, 20_000)))
            async with self.connected(rng) as (reader, writer):
                writer.write(data)
                got = await reader.readexactly(len(data))
                assert got == data, f"connection {n}: wrong bytes"

        empty = Usage(self.server.pid)
        await self.each(count // 5, one)
        early = await self.settled(empty)
        await self.each(count - count // 5, one)
        late = await self.settled(early)
        early.check(late, MOST_GROWTH)
        print(f"short: {count} connections, {early}, at the end {late}", flush=True)

    async def open(self, count: int) -> None:
        """All connections are open at the same time, and each echoes several times."""
        before = Usage(self.server.pid)
        release = asyncio.Event()
        ready: list[Callable[[bytes], Awaitable[None]]] = []

        async def one(n: int) -> None:
            async with self.connected(self.rng("open", n)) as (reader, writer):

                async def exchange(what: bytes) -> None:
                    data = b"E%d %b" % (n, what)
                    writer.write(data)
                    got = await reader.readexactly(len(data))
                    assert got == data, f"connection {n}: {got!r}"

                await exchange(b"hello")
                ready.append(exchange)
                await release.wait()

        async with asyncio.TaskGroup() as group:
            for n in range(count):
                group.create_task(one(n))
                while n - len(ready) > AT_ONCE:
                    await asyncio.sleep(0.001)
            while len(ready) < count:
                await asyncio.sleep(0.001)
            used = Usage(self.server.pid)
            for again in range(5):
                await asyncio.gather(*(exchange(b"round %d" % again) for exchange in ready))
            release.set()
        after = await self.settled(before)
        assert after.descriptors <= before.descriptors, f"{before}, {used} while open, {after} afterwards"
        print(f"open: {count} connections, {used}", flush=True)

    async def rough(self, seconds: float) -> None:
        """Connections that end in every way, at random moments."""
        kinds = (self.whole, self.half_closed, self.slow, self.reset, self.left, self.ended_by_server)

        async def one(n: int) -> None:
            rng = self.rng("rough", n)
            kind = rng.choice(kinds)
            try:
                async with self.connected(rng) as (reader, writer):
                    await kind(rng, reader, writer)
            except Exception as e:
                e.add_note(f"connection {n}, {kind.__name__}")
                raise
            self.done[kind.__name__] += 1

        before = Usage(self.server.pid)
        await self.each(200, one)
        early = await self.settled(before)
        begun = await self.each(sys.maxsize, lambda n: one(200 + n), time.monotonic() + seconds)
        late = await self.settled(early)
        early.check(late, MOST_GROWTH_ROUGH)
        print(f"rough: {begun} connections, {dict(self.done)}, {early}, at the end {late}", flush=True)

    @staticmethod
    def some(rng: random.Random, first: int = ECHO) -> bytes:
        return bytes([first]) + rng.randbytes(rng.choice((10, 1000, 70_000, 1_000_000)))

    async def whole(self, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = self.some(rng)
        middle = rng.randrange(1, len(data))
        writer.write(data[:middle])
        if rng.randrange(2):
            await asyncio.sleep(rng.random() / 100)
        writer.write(data[middle:])
        assert await reader.readexactly(len(data)) == data, "wrong bytes"

    async def half_closed(self, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = self.some(rng)
        writer.write(data)
        writer.write_eof()
        got = await reader.read(-1)
        assert got == data, f"{len(got)} of {len(data)} bytes came back before the end"

    async def slow(self, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = self.some(rng) * 3
        writer.write(data)
        await asyncio.sleep(rng.random() / 10)
        got = bytearray()
        while len(got) < len(data):
            part = await reader.read(rng.choice((100, 10_000, 100_000)))
            assert part, "the end came early"
            got += part
            if rng.randrange(10) == 0:
                await asyncio.sleep(rng.random() / 100)
        assert got == data, "wrong bytes"

    async def reset(self, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.some(rng))
        if rng.randrange(2):
            await reader.read(1)
        if rng.randrange(2):
            await asyncio.sleep(rng.random() / 100)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def left(self, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Closed without reading what comes back."""
        writer.write(self.some(rng))
        if rng.randrange(2):
            await asyncio.sleep(rng.random() / 100)

    async def ended_by_server(
        self, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        data = self.some(rng, rng.choice((CLOSE, ABORT, FAIL)))
        got = b""
        with suppress(ConnectionError):
            writer.write(data)
            got = await reader.read(-1)
        assert data.startswith(got), "wrong bytes"
        assert data[0] == CLOSE or not got, "an answer from a server that gives none"


async def clients(server: subprocess.Popen[str], options: argparse.Namespace) -> None:
    all_ = Clients(server, options.seed)
    await all_.short(options.short)
    await all_.open(options.open)
    await all_.rough(options.seconds)
    await all_.short(1000)
    assert not transports(), "transports are left in the clients"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m stress loop", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--open", type=int, default=10_000, help="connections that are open at the same time")
    parser.add_argument("--short", type=int, default=200_000, help="connections with one message")
    parser.add_argument("--seconds", type=float, default=60.0, help="of connections that end in every way")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", random.randrange(1 << 30))))
    parser.add_argument("--serve", action="store_true", help="be the server")
    options, _ = parser.parse_known_args(arguments)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < options.open + 200:
        print(f"loop: only {most} descriptors are allowed, so {most - 200} connections are open", flush=True)
        options.open = most - 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.serve:
        kettle.asyncio.run(serve())
        return 0
    print(f"loop: seed {options.seed}", flush=True)
    command = [sys.executable, "-m", "stress.loop", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            kettle.asyncio.run(clients(server, options))
        finally:
            server.terminate()
        assert server.stdout is not None
        end = json.loads(server.stdout.readline() or "{}")
    is_right = server.returncode == 0 and end and not end["reports"] and not end["left"] and end["made"] == end["lost"]
    print(f"loop: exit code {server.returncode}, {end}: {'right' if is_right else 'wrong'}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
