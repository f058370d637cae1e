"""Connections and servers, in the cases where other fast loops are known to fail. The code is asyncio's, so the
expected behavior is that of the running Python."""

import asyncio
import gc
import os
import resource
import socket
import struct
import sys

import pytest

from .conftest import until


class Recorder(asyncio.Protocol):
    """Records what the transport calls, with whether a call of the program's was under way."""

    def __init__(self):
        self.calls, self.inside, self.data = [], False, b""
        self.transport = None

    def note(self, name):
        assert not self.inside, f"{name} from inside of a call"
        self.calls.append(name)

    def connection_made(self, transport):
        self.note("made")
        self.transport = transport

    def data_received(self, data):
        self.note("data")
        self.data += data

    def eof_received(self):
        self.note("eof")

    def pause_writing(self):
        self.calls.append("pause")  # asyncio's calls it from inside of write()

    def resume_writing(self):
        self.note("resume")

    def connection_lost(self, exc):
        self.note("lost")
        self.exc = exc


class Pair:
    """Two protocols that are connected by TCP or a Unix socket."""

    def __init__(self, kind, tmp_path):
        self.kind, self.path = kind, str(tmp_path / "socket")
        self.server_protocols = []

    def _accepted(self):
        self.server_protocols.append(Recorder())
        return self.server_protocols[-1]

    async def connect(self, factory=Recorder, server_factory=None):
        loop = asyncio.get_running_loop()
        server_factory = server_factory or self._accepted
        if self.kind == "tcp":
            self.server = await loop.create_server(server_factory, "127.0.0.1", 0)
            address = self.server.sockets[0].getsockname()
            _, client = await loop.create_connection(factory, *address)
        else:
            self.server = await loop.create_unix_server(server_factory, self.path)
            _, client = await loop.create_unix_connection(factory, self.path)
        await until(lambda: not self.server_protocols or self.server_protocols[-1].transport is not None)
        return client

    @property
    def peer(self):
        return self.server_protocols[-1]


@pytest.fixture(params=["tcp", "unix"])
def pair(request, tmp_path):
    return Pair(request.param, tmp_path)


def test_echo_and_ends(loop, pair):
    async def main():
        client = await pair.connect()
        await until(lambda: pair.server_protocols)
        client.transport.write(b"hello")
        await until(lambda: pair.peer.data == b"hello")
        assert isinstance(client.transport, asyncio.Transport)
        client.transport.write_eof()
        await until(lambda: "eof" in pair.peer.calls)
        await until(lambda: client.calls[-1] == "lost" and pair.peer.calls[-1] == "lost")
        assert pair.peer.calls == ["made", "data", "eof", "lost"]
        assert client.exc is None and pair.peer.exc is None
        pair.server.close()
        await pair.server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_connection_lost_comes_once_and_never_from_inside(loop, pair, end):
    async def main():
        client = await pair.connect()
        await until(lambda: pair.server_protocols)
        client.inside = True
        getattr(client.transport, end)()
        getattr(client.transport, end)()
        client.inside = False
        await until(lambda: client.calls[-1] == "lost" and pair.peer.calls[-1] == "lost")
        for _ in range(5):
            await asyncio.sleep(0)
        assert client.calls.count("lost") == pair.peer.calls.count("lost") == 1
        # What is written now is dropped.
        for _ in range(3):
            client.transport.write(b"x")
        client.transport.writelines([b"y"])
        assert client.transport.is_closing()
        pair.server.close()

    loop.run_until_complete(main())


def test_close_sends_what_was_written(loop, pair):
    async def main():
        client = await pair.connect()
        await until(lambda: pair.server_protocols)
        data = os.urandom(3_000_000)
        client.transport.write(data)
        client.transport.close()
        await until(lambda: pair.peer.calls[-1] == "lost")
        assert pair.peer.data == data
        pair.server.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("where", ["connection_made", "data_received", "eof_received"])
def test_an_exception_in_a_protocol_is_told_and_closes_the_connection_once(loop, told, pair, where):
    class Failing(Recorder):
        pass

    def fail(self, *args):
        Recorder.__dict__[where](self, *args)
        raise RuntimeError("mine")

    setattr(Failing, where, fail)

    async def main():
        client = await pair.connect(Failing)
        await until(lambda: pair.server_protocols)
        pair.peer.transport.write(b"x")
        if where == "eof_received":
            pair.peer.transport.write_eof()
        if where == "connection_made":
            pair.peer.transport.close()
        await until(lambda: client.calls[-1] == "lost")
        assert client.calls.count("lost") == 1
        pair.peer.transport.close()
        pair.server.close()
        await until(lambda: pair.peer.calls[-1] == "lost")

    loop.run_until_complete(main())
    assert any("mine" in str(context.get("exception")) for context in told)


def test_a_protocol_factory_that_raises_costs_one_connection(loop, pair):
    failures = 0

    def factory():
        nonlocal failures
        if failures < 3:
            failures += 1
            raise RuntimeError("mine")
        return pair._accepted()

    async def main():
        clients = [await pair.connect(server_factory=factory)]
        address = pair.server.sockets[0].getsockname()
        for _ in range(3):
            if pair.kind == "tcp":
                clients.append((await loop.create_connection(Recorder, *address))[1])
            else:
                clients.append((await loop.create_unix_connection(Recorder, pair.path))[1])
        await until(lambda: pair.server_protocols and pair.peer.transport)
        clients[-1].transport.write(b"x")
        await until(lambda: pair.peer.data == b"x")
        for client in clients:
            client.transport.close()
        pair.server.close()
        await until(lambda: all(client.calls[-1] == "lost" for client in clients))

    loop.run_until_complete(main())
    gc.collect()


def test_flow_control(loop, pair):
    async def main():
        client = await pair.connect()
        await until(lambda: pair.server_protocols)
        pair.peer.transport.pause_reading()
        chunk = b"x" * 100_000
        client.transport.set_write_buffer_limits(high=200_000, low=50_000)
        written = 0
        while "pause" not in client.calls:
            client.transport.write(chunk)
            written += len(chunk)
        assert client.transport.get_write_buffer_size() > 200_000
        seen = len(pair.peer.data)
        await asyncio.sleep(0.01)
        assert len(pair.peer.data) == seen
        pair.peer.transport.resume_reading()
        await until(lambda: "resume" in client.calls and len(pair.peer.data) == written)
        assert client.transport.get_write_buffer_size() == 0
        client.transport.close()
        pair.server.close()
        await until(lambda: pair.peer.calls[-1] == "lost")

    loop.run_until_complete(main())


def test_what_changes_after_it_was_written_arrives_as_it_was(loop, pair):
    async def main():
        client = await pair.connect()
        await until(lambda: pair.server_protocols)
        pair.peer.transport.pause_reading()
        block = bytearray(b"a" * 3_000_000)
        client.transport.write(block)
        block[:] = b"b" * len(block)
        pair.peer.transport.resume_reading()
        await until(lambda: len(pair.peer.data) == len(block))
        assert pair.peer.data == b"a" * len(block)
        client.transport.close()
        pair.server.close()
        await until(lambda: pair.peer.calls[-1] == "lost")

    loop.run_until_complete(main())


def test_written_in_parts(loop, pair):
    async def main():
        client = await pair.connect()
        await until(lambda: pair.server_protocols)
        pair.peer.transport.pause_reading()
        parts = [bytearray(b"a" * 100_000), memoryview(b"b" * 100_000), b"c" * 100_000]
        times = 0
        while "pause" not in client.calls:
            client.transport.writelines(parts)
            times += 1
        parts[0][:] = b"x" * len(parts[0])
        pair.peer.transport.resume_reading()
        size = times * 300_000
        await until(lambda: len(pair.peer.data) == size)
        assert pair.peer.data == b"".join(letter * 100_000 for letter in (b"a", b"b", b"c")) * times
        client.transport.write(memoryview(bytes(range(12))).cast("B", (3, 4)))
        await until(lambda: len(pair.peer.data) == size + 12)
        for wrong in (5, "text", [1]):
            with pytest.raises(TypeError):
                client.transport.write(wrong)
        client.transport.close()
        pair.server.close()
        await until(lambda: pair.peer.calls[-1] == "lost")

    loop.run_until_complete(main())


def test_a_reset_reaches_connection_lost(loop, tmp_path):
    pair = Pair("tcp", tmp_path)

    async def main():
        client = await pair.connect()
        await until(lambda: pair.server_protocols)
        sock = client.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.abort()
        await until(lambda: pair.peer.calls[-1] == "lost")
        assert isinstance(pair.peer.exc, ConnectionResetError) or pair.peer.exc is None
        pair.server.close()

    loop.run_until_complete(main())


def test_a_connect_that_is_cancelled_leaves_no_descriptor(loop):
    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        before = len(os.listdir("/proc/self/fd"))
        for turns in range(200):
            task = loop.create_task(loop.create_connection(asyncio.Protocol, *address))
            for _ in range(turns % 10):
                await asyncio.sleep(0)
            task.cancel()
            try:
                transport, _ = await task
            except asyncio.CancelledError:
                continue
            transport.abort()
        server.close()
        if hasattr(server, "abort_clients"):
            server.abort_clients()
        gc.collect()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    loop.run_until_complete(asyncio.wait_for(main(), 50))


def test_a_server_without_descriptors_goes_on_when_there_are_some_again(loop, told):
    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        client = socket.socket()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limits[1]))
            client.connect(address)
            await until(lambda: told)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        client.send(b"x")
        # Accepted in the end: then the server's side closes when the loop does.
        _, writer = await asyncio.open_connection(*address)
        writer.close()
        client.close()
        server.close()

    loop.run_until_complete(main())
    assert len(told) < 120 and "out of system resource" in told[0]["message"]


def test_the_life_of_a_server(loop, pair):
    async def main():
        client = await pair.connect()
        await until(lambda: pair.server_protocols)
        server = pair.server
        assert server.is_serving() and server.get_loop() is loop and server.sockets
        server.close()
        assert not server.is_serving() and not server.sockets
        # Open connections stay.
        client.transport.write(b"x")
        await until(lambda: pair.peer.data == b"x")
        if sys.version_info >= (3, 13):
            server.close_clients()
            await until(lambda: client.calls[-1] == "lost")
        else:
            client.transport.close()
        await asyncio.wait_for(server.wait_closed(), 30)

    loop.run_until_complete(main())


def test_cancelled_serve_forever_leaves_connections_alone(loop, pair):
    async def main():
        client = await pair.connect()
        await until(lambda: pair.server_protocols)
        task = loop.create_task(pair.server.serve_forever())
        await asyncio.sleep(0.001)
        task.cancel()
        if sys.version_info >= (3, 12):
            # It waits for the connections.
            await asyncio.sleep(0.001)
        client.transport.write(b"x")
        await until(lambda: pair.peer.data == b"x")
        client.transport.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(main())


def test_streams(run):
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        async def client(n):
            reader, writer = await asyncio.open_connection(*address)
            for i in range(20):
                writer.write(b"line %d of %d\n" % (i, n))
                assert await reader.readline() == b"LINE %d OF %d\n" % (i, n)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

        await asyncio.gather(*map(client, range(20)))
        server.close()
        await server.wait_closed()

    run(main())


def test_datagrams_pipes_and_subprocesses(run):
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data.upper(), address)

    class Client(asyncio.DatagramProtocol):
        def __init__(self):
            self.got = []

        def datagram_received(self, data, address):
            self.got.append(data)

    async def main():
        loop = asyncio.get_running_loop()
        echo, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        transport, client = await loop.create_datagram_endpoint(Client, remote_addr=echo.get_extra_info("sockname"))
        transport.sendto(b"hello")
        await until(lambda: client.got == [b"HELLO"])
        transport.close()
        echo.close()
        code = "import sys; sys.stdout.write(sys.stdin.read().upper())"
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert await child.communicate(b"text") == (b"TEXT", None)
        assert child.returncode == 0
        child = await asyncio.create_subprocess_exec("sleep", "600")
        child.kill()
        assert await child.wait() == -9

    run(main())


def test_sockets_without_transports(run):
    async def main():
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        client = socket.socket()
        client.setblocking(False)
        accepting = loop.create_task(loop.sock_accept(listener))
        await loop.sock_connect(client, listener.getsockname())
        served, _ = await accepting
        data = os.urandom(2_000_000)
        sending = loop.create_task(loop.sock_sendall(client, data))
        got = bytearray()
        while len(got) < len(data):
            got += await loop.sock_recv(served, 1 << 16)
        await sending
        assert got == data
        for sock in (listener, client, served):
            sock.close()

    run(main())
