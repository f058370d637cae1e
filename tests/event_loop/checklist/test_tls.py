"""Connections by TLS."""

import asyncio
import ssl

import pytest


async def echo(reader, writer):
    try:
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    writer.close()


def test_an_echo(run, server_tls, client_tls):
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_tls)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_tls)
        data = bytes(range(256)) * 1000
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
        assert writer.get_extra_info("peercert")["subject"] == ((("commonName", "a certificate for tests"),),)
        assert writer.get_extra_info("sslcontext") is client_tls
        assert writer.get_extra_info("cipher")
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main())


def test_a_connection_is_made_safe_later(run, server_tls, client_tls):
    async def serve(reader, writer):
        assert await reader.readline() == b"plain\n"
        writer.write(b"go ahead\n")
        await writer.start_tls(server_tls)
        await echo(reader, writer)

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"plain\n")
        assert await reader.readline() == b"go ahead\n"
        assert writer.get_extra_info("ssl_object") is None
        await writer.start_tls(client_tls, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object") is not None
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main())


def test_a_certificate_that_is_not_trusted(loop, server_tls):
    loop.set_exception_handler(lambda *_: None)  # the server's half of it

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_tls)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
        server.close()

    loop.run_until_complete(main())


def test_a_handshake_that_takes_too_long(run, client_tls):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async def main():
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with pytest.raises(ConnectionAbortedError, match="handshake"):
            await asyncio.open_connection(*address, ssl=client_tls, ssl_handshake_timeout=0.05)
        server.close()

    run(main())
