"""TLS, which is asyncio's, over native transports."""

import asyncio
import os
import ssl
from pathlib import Path

import pytest

from .conftest import until

CERTIFICATE = Path(__file__).with_name("localhost.pem")


@pytest.fixture(scope="module")
def contexts():
    """For the server and for the client."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    client = ssl.create_default_context(cafile=str(CERTIFICATE))
    return server, client


async def upper(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


def is_native(transport):
    """Whether the encrypted bytes go through a native transport."""
    return hasattr(transport._ssl_protocol._transport, "_kettle_stream")


def test_both_sides(run, contexts):
    async def main():
        server = await asyncio.start_server(upper, "127.0.0.1", 0, ssl=contexts[0])
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, ssl=contexts[1], server_hostname="localhost")
        assert is_native(writer.transport)
        assert writer.get_extra_info("ssl_object").version().startswith("TLS")
        assert writer.get_extra_info("peername") == address
        for data in (b"x", b"y" * 300_000):
            writer.write(data)
            assert await reader.readexactly(len(data)) == data.upper()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_many_connections_and_much_data(run, contexts):
    async def main():
        server = await asyncio.start_server(upper, "127.0.0.1", 0, ssl=contexts[0])
        address = server.sockets[0].getsockname()

        async def client(n):
            reader, writer = await asyncio.open_connection(*address, ssl=contexts[1], server_hostname="localhost")
            data = os.urandom(10_000 * n).hex().encode()
            writer.write(data)
            assert await reader.readexactly(len(data)) == data.upper()
            writer.close()
            await writer.wait_closed()

        await asyncio.gather(*map(client, range(20)))
        server.close()
        await server.wait_closed()

    run(main())


def test_start_tls_on_both_sides(run, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                assert data == b"STARTTLS"
                self.transport.write(b"GO")
                self.task = loop.create_task(self.start())

            async def start(self):
                reader = asyncio.StreamReader()
                protocol = asyncio.StreamReaderProtocol(reader)
                transport = await loop.start_tls(self.transport, protocol, contexts[0], server_side=True)
                assert is_native(transport)
                reader.set_transport(transport)
                data = await reader.readexactly(5)
                transport.write(data.upper())
                done.set_result(transport)

        server = await loop.create_server(Server, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS")
        assert await reader.readexactly(2) == b"GO"
        await writer.start_tls(contexts[1], server_hostname="localhost")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        (await done).close()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main())


def hello_of(context):
    """A client's side of TLS that has said hello, and its two ends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return tls, incoming, outgoing


def test_a_hello_right_behind_the_command_begins_tls(run, contexts):
    async def main():
        told = []

        async def serve(reader, writer):
            told.append(await reader.readline())
            told.append(bool(reader._buffer))
            await writer.start_tls(contexts[0])
            told.append(await reader.readline())
            writer.write(b"encrypted\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        tls, incoming, outgoing = hello_of(contexts[1])
        writer.write(b"STARTTLS\n" + outgoing.read())

        async def until_done(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    data = await reader.read(1 << 16)
                    assert data, "the connection is over"
                    incoming.write(data)

        await until_done(tls.do_handshake)
        tls.write(b"hello\n")
        writer.write(outgoing.read())
        assert await until_done(tls.read) == b"encrypted\n"
        assert told == [b"STARTTLS\n", True, b"hello\n"]
        writer.close()
        server.close()

    run(main())


def test_a_line_smuggled_in_before_tls_does_not_count_as_encrypted(run, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        told = loop.create_future()

        async def serve(reader, writer):
            await reader.readline()
            try:
                await writer.start_tls(contexts[0])
                told.set_result(await reader.readline())
            except (ssl.SSLError, ConnectionError) as e:
                told.set_exception(e)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\nsmuggled\n" + hello_of(contexts[1])[2].read())
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await told
        writer.close()
        server.close()

    run(main())


def test_a_wrong_certificate_is_refused(run, contexts):
    async def main():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        server = await asyncio.start_server(upper, "127.0.0.1", 0, ssl=contexts[0])
        address = server.sockets[0].getsockname()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(*address, ssl=ssl.create_default_context(), server_hostname="localhost")
        server.close()

    run(main())


def test_a_silent_peer_ends_the_handshake(run, contexts):
    async def main():
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost", ssl_handshake_timeout=30
            )
        server.close()

        def ignore(reader, writer):
            kept.append(writer)

        kept = []
        server = await asyncio.start_server(ignore, "127.0.0.1", 0)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(
                *server.sockets[0].getsockname(),
                ssl=contexts[1],
                server_hostname="localhost",
                ssl_handshake_timeout=0.05,
            )
        await until(lambda: kept)
        kept[0].close()
        server.close()

    run(main())


def test_what_is_paused_is_not_read(run, contexts):
    class Protocol(asyncio.Protocol):
        size = 0

        def data_received(self, data):
            self.size += len(data)

    async def flood(reader, writer):
        for _ in range(100):
            writer.write(b"x" * 100_000)
        await writer.drain()
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(flood, "127.0.0.1", 0, ssl=contexts[0])
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(
            Protocol, *address, ssl=contexts[1], server_hostname="localhost"
        )
        await until(lambda: protocol.size)
        transport.pause_reading()
        await asyncio.sleep(0.01)
        size = protocol.size
        await asyncio.sleep(0.05)
        assert protocol.size == size
        transport.resume_reading()
        await until(lambda: protocol.size == 10_000_000)
        transport.close()
        server.close()

    run(main())
