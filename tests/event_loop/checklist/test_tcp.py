"""Connections by TCP."""

import asyncio
import socket

import pytest

from ..conftest import until
from ..test_connections import Recorder
from .conftest import since


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Side:
    """A server whose connections are in `accepted`, and a way to connect to it."""

    def __init__(self, factory=Recorder):
        self.factory, self.accepted = factory, []

    def _accept(self):
        self.accepted.append(self.factory())
        return self.accepted[-1]

    async def __aenter__(self):
        self.server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0)
        self.address = self.server.sockets[0].getsockname()
        return self

    async def connect(self, factory=Recorder, **options):
        """Returns both protocols."""
        already = len(self.accepted)
        _, client = await asyncio.get_running_loop().create_connection(factory, *self.address, **options)
        await until(lambda: len(self.accepted) > already and self.accepted[-1].transport is not None)
        return client, self.accepted[-1]

    async def __aexit__(self, *_):
        for protocol in self.accepted:
            if protocol.transport is not None:
                protocol.transport.abort()
        self.server.close()
        # The transports let go of the server.
        for _ in range(3):
            await asyncio.sleep(0)


def test_an_echo(loop):
    async def main():
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        transport, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        transport.write(b"hello")
        await until(lambda: protocol.data == b"hello")
        transport.writelines([b" and", b" again"])
        await until(lambda: protocol.data == b"hello and again")
        transport.close()
        await until(lambda: protocol.calls[-1] == "lost")
        assert protocol.exc is None
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_given_socket_and_a_local_address(loop):
    async def main():
        async with Side() as side:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                local = probe.getsockname()
            client, peer = await side.connect(local_addr=local)
            assert peer.transport.get_extra_info("peername") == local
            client.transport.close()
            given = socket.create_connection(side.address)
            given.setblocking(False)
            transport, _ = await loop.create_connection(Recorder, sock=given)
            assert transport.get_extra_info("socket").fileno() == given.fileno()
            transport.close()

    loop.run_until_complete(main())


def test_several_addresses_are_tried(loop):
    async def main():
        async with Side() as side:
            port = side.address[1]
            for options in ({"happy_eyeballs_delay": 0.01}, {"happy_eyeballs_delay": 0.01, "interleave": 1}):
                transport, _ = await loop.create_connection(Recorder, "localhost", port, **options)
                assert transport.get_extra_info("peername") == side.address
                transport.close()
        await side.server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *side.address)

    loop.run_until_complete(main())


@since(3, 12)
def test_all_errors_of_a_connection(loop):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            await loop.create_connection(Recorder, *address, all_errors=True)
        assert [type(e) for e in caught.value.exceptions] == [ConnectionRefusedError]

    loop.run_until_complete(main())


def test_options_of_a_server(loop):
    async def main():
        server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.2"], 0, reuse_port=True, backlog=5)
        assert {listening.getsockname()[0] for listening in server.sockets} == {"127.0.0.1", "127.0.0.2"}
        for listening in server.sockets:
            assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            transport, _ = await loop.create_connection(Recorder, *listening.getsockname())
            transport.close()
        server.close()

    loop.run_until_complete(main())


@since(3, 13)
def test_a_server_keeps_connections_alive(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, keep_alive=True)
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        server.close()

    loop.run_until_complete(main())


def test_one_direction_is_closed(loop):
    class StaysOpen(Recorder):
        def eof_received(self):
            self.note("eof")
            return True

    async def main():
        async with Side(StaysOpen) as side:
            client, peer = await side.connect()
            assert client.transport.can_write_eof()
            client.transport.write(b"question")
            client.transport.write_eof()
            await until(lambda: "eof" in peer.calls)
            assert peer.data == b"question"
            peer.transport.write(b"answer")
            peer.transport.close()
            await until(lambda: client.calls[-1] == "lost")
            assert client.data == b"answer"

    loop.run_until_complete(main())


def test_reading_is_paused(loop):
    async def main():
        async with Side() as side:
            client, peer = await side.connect()
            assert peer.transport.is_reading()
            peer.transport.pause_reading()
            peer.transport.pause_reading()
            assert not peer.transport.is_reading()
            client.transport.write(b"waits")
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert peer.data == b""
            peer.transport.resume_reading()
            peer.transport.resume_reading()
            await until(lambda: peer.data == b"waits")
            assert peer.transport.is_reading()

    loop.run_until_complete(main())


def test_writing_is_paused(loop):
    async def main():
        async with Side() as side:
            client, peer = await side.connect()
            transport = client.transport
            transport.set_write_buffer_limits(high=1000, low=100)
            assert transport.get_write_buffer_limits() == (100, 1000)
            peer.transport.pause_reading()
            sent = 0
            while "pause" not in client.calls:
                transport.write(bytes(100_000))
                sent += 100_000
            assert transport.get_write_buffer_size() > 1000
            peer.transport.resume_reading()
            await until(lambda: "resume" in client.calls and len(peer.data) == sent)
            assert transport.get_write_buffer_size() == 0
            with pytest.raises(ValueError, match="high"):
                transport.set_write_buffer_limits(high=1, low=2)

    loop.run_until_complete(main())


def test_close_sends_what_was_written_and_abort_does_not(loop):
    async def main():
        async with Side() as side:
            client, peer = await side.connect()
            client.transport.write(bytes(3_000_000))
            assert not client.transport.is_closing()
            client.transport.close()
            assert client.transport.is_closing()
            await until(lambda: peer.calls[-1] == "lost")
            assert len(peer.data) == 3_000_000
            client, peer = await side.connect()
            peer.transport.pause_reading()
            client.transport.write(bytes(30_000_000))
            client.transport.abort()
            assert client.transport.is_closing()
            await until(lambda: client.calls[-1] == "lost")
            assert client.transport.get_write_buffer_size() == 0
            peer.transport.resume_reading()
            await until(lambda: peer.calls[-1] == "lost")
            assert len(peer.data) < 30_000_000

    loop.run_until_complete(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_connection_lost_is_not_called_from_inside(loop, end):
    async def main():
        async with Side() as side:
            client, _ = await side.connect()
            getattr(client.transport, end)()
            assert "lost" not in client.calls
            await until(lambda: "lost" in client.calls)

    loop.run_until_complete(main())


def test_the_protocol_is_exchanged(loop):
    async def main():
        async with Side() as side:
            client, peer = await side.connect()
            assert peer.transport.get_protocol() is peer
            second = Recorder()
            peer.transport.set_protocol(second)
            assert peer.transport.get_protocol() is second
            client.transport.write(b"for the second")
            await until(lambda: second.data == b"for the second")
            assert peer.data == b""
            client.transport.close()
            await until(lambda: second.calls[-1] == "lost")
            assert "lost" not in peer.calls

    loop.run_until_complete(main())


def test_what_a_transport_tells(loop):
    async def main():
        async with Side() as side:
            client, _ = await side.connect()
            tells = client.transport.get_extra_info
            assert tells("peername") == side.address
            assert tells("socket").getsockname() == tells("sockname")
            assert tells("socket").family == socket.AF_INET
            assert tells("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert tells("no such thing") is None
            assert tells("no such thing", 5) == 5

    loop.run_until_complete(main())


def test_a_transport_is_asyncios(loop):
    async def main():
        async with Side() as side:
            for protocol in await side.connect():
                assert isinstance(protocol.transport, asyncio.Transport)

    loop.run_until_complete(main())


def test_a_buffer_of_the_programs_own(loop):
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self):
            self.transport, self.buffer, self.data, self.calls = None, bytearray(10), b"", []

        def connection_made(self, transport):
            self.transport = transport

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, count):
            self.data += self.buffer[:count]

        def eof_received(self):
            self.calls.append("eof")

        def connection_lost(self, exc):
            self.calls.append("lost")

    async def main():
        async with Side(Buffered) as side:
            client, peer = await side.connect()
            client.transport.write(bytes(range(100)))
            client.transport.close()
            await until(lambda: peer.calls == ["eof", "lost"])
            assert peer.data == bytes(range(100))

    loop.run_until_complete(main())


def test_streams(loop):
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.writelines([b"one\n", b"two\nthree"])
        await writer.drain()
        assert await reader.readline() == b"ONE\n"
        assert await reader.readexactly(4) == b"TWO\n"
        writer.write_eof()
        assert await reader.readuntil(b"E") == b"THRE"
        assert await reader.read() == b"E"
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(1)
        assert reader.at_eof()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_an_accepted_socket_is_connected(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            other = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
            accepted.setblocking(False)
            transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
            other.sendall(b"hello")
            await until(lambda: protocol.data == b"hello")
            other.close()
            await until(lambda: protocol.calls[-1] == "lost")
            assert transport.is_closing()

    loop.run_until_complete(main())


@pytest.mark.parametrize("fallback", [True, False])
def test_a_file_is_sent(loop, tmp_path, fallback):
    data = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(data)

    async def main():
        async with Side() as side:
            client, peer = await side.connect()
            with open(tmp_path / "file", "rb") as file:
                client.transport.write(b"before")
                assert await loop.sendfile(client.transport, file, 10, fallback=fallback) == len(data) - 10
                client.transport.write(b"after")
                client.transport.close()
            await until(lambda: peer.calls[-1] == "lost")
            assert peer.data == b"before" + data[10:] + b"after"

    loop.run_until_complete(main())
