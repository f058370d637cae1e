"""Servers, by TCP and Unix sockets."""

import asyncio

import pytest

from ..conftest import until
from ..test_connections import Recorder
from .conftest import since


@pytest.fixture
def accepted():
    return []


@pytest.fixture
def factory(accepted):
    def factory():
        accepted.append(Recorder())
        return accepted[-1]

    return factory


async def connected(loop, server, accepted):
    already = len(accepted)
    _, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
    await until(lambda: len(accepted) > already and accepted[-1].transport is not None)
    return protocol


def test_a_server_begins_and_ends(loop, accepted, factory):
    async def main():
        server = await loop.create_server(factory, "127.0.0.1", 0, start_serving=False)
        assert isinstance(server, asyncio.AbstractServer)
        assert not server.is_serving() and server.get_loop() is loop
        await server.start_serving()
        assert server.is_serving()
        (listening,) = server.sockets
        assert listening.getsockname()[0] == "127.0.0.1"
        async with server:
            serves = asyncio.create_task(server.serve_forever())
            client = await connected(loop, server, accepted)
            client.transport.close()
            await until(lambda: accepted[-1].calls[-1] == "lost")
            serves.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serves
        assert not server.is_serving() and server.sockets == ()

    loop.run_until_complete(main())


def test_close_leaves_connections_alone(loop, accepted, factory):
    async def main():
        server = await loop.create_server(factory, "127.0.0.1", 0)
        client = await connected(loop, server, accepted)
        server.close()
        client.transport.write(b"still there")
        await until(lambda: accepted[-1].data == b"still there")
        client.transport.close()
        await until(lambda: accepted[-1].calls[-1] == "lost")

    loop.run_until_complete(main())


@since(3, 12, 1)
def test_wait_closed_waits_for_the_connections(loop, accepted, factory):
    async def main():
        server = await loop.create_server(factory, "127.0.0.1", 0)
        client = await connected(loop, server, accepted)
        server.close()
        waits = asyncio.create_task(server.wait_closed())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waits.done()
        client.transport.close()
        await waits
        assert accepted[-1].calls[-1] == "lost"

    loop.run_until_complete(main())


@since(3, 13)
@pytest.mark.parametrize("end", ["close_clients", "abort_clients"])
def test_a_server_ends_its_connections(loop, accepted, factory, end):
    async def main():
        server = await loop.create_server(factory, "127.0.0.1", 0)
        clients = [await connected(loop, server, accepted) for _ in range(3)]
        server.close()
        getattr(server, end)()
        await until(lambda: all(client.calls[-1] == "lost" for client in clients))
        await server.wait_closed()

    loop.run_until_complete(main())


def test_unix_sockets(loop, accepted, factory, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        server = await loop.create_unix_server(factory, path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        transport.write(b"hello")
        await until(lambda: accepted and accepted[0].data == b"hello")
        accepted[0].transport.write(b"answer")
        await until(lambda: protocol.data == b"answer")
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_extra_info("peername") == path
        transport.close()
        await until(lambda: accepted[0].calls[-1] == "lost")
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@since(3, 13)
@pytest.mark.parametrize("cleans_up", [True, False])
def test_the_file_of_a_unix_socket(loop, factory, tmp_path, cleans_up):
    path = tmp_path / "socket"

    async def main():
        server = await loop.create_unix_server(factory, path, cleanup_socket=cleans_up)
        assert path.exists()
        server.close()
        await server.wait_closed()
        assert path.exists() is not cleans_up

    loop.run_until_complete(main())
