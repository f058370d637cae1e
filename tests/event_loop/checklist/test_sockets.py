"""Sockets without transports, readers and writers, and names."""

import asyncio
import socket

import pytest

from ..conftest import turn, until


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    with a, b:
        yield a, b


def test_names_are_looked_up(loop):
    found = loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    assert found == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    found = loop.run_until_complete(loop.getaddrinfo("localhost", None))
    assert found == socket.getaddrinfo("localhost", None)
    with pytest.raises(socket.gaierror):
        loop.run_until_complete(loop.getaddrinfo("1.2.3.4.5", 80, flags=socket.AI_NUMERICHOST))


def test_addresses_are_looked_up(loop):
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), numeric)) == ("127.0.0.1", "80")


def test_bytes_are_received_and_sent(loop, pair):
    a, b = pair
    data = bytes(range(256)) * 8000

    async def main():
        sends = asyncio.create_task(loop.sock_sendall(a, data))
        received = await loop.sock_recv(b, 100)
        assert received == data[: len(received)] and 0 < len(received) <= 100
        buffer = bytearray(100_000)
        while len(received) < len(data):
            count = await loop.sock_recv_into(b, buffer)
            received += buffer[:count]
        assert received == data
        assert await sends is None
        a.close()
        assert await loop.sock_recv(b, 100) == b""

    loop.run_until_complete(main())


def test_a_cancelled_receive_loses_nothing(loop, pair):
    a, b = pair
    a.send(b"first ")
    received = []

    async def main():
        for i in range(50):
            waits = asyncio.create_task(loop.sock_recv(b, 100))
            await asyncio.sleep(0)
            a.send(b"%d " % i)
            if i % 2:
                await asyncio.sleep(0)
            waits.cancel()
            try:
                received.append(await waits)
            except asyncio.CancelledError:
                pass
        a.send(b"last")
        while not received or not received[-1].endswith(b"last"):
            received.append(await loop.sock_recv(b, 1000))

    loop.run_until_complete(main())
    assert b"".join(received) == b"first " + b"".join(b"%d " % i for i in range(50)) + b"last"


def test_connections_are_made_and_accepted(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
            listening.setblocking(False)
            client.setblocking(False)
            accepts = asyncio.create_task(loop.sock_accept(listening))
            await loop.sock_connect(client, listening.getsockname())
            accepted, address = await accepts
            with accepted:
                assert address == client.getsockname()
                assert not accepted.getblocking()
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(accepted, 100) == b"hello"
        with socket.socket() as refused:
            refused.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(refused, listening_address)

    with socket.create_server(("127.0.0.1", 0)) as closed:
        listening_address = closed.getsockname()
    loop.run_until_complete(main())


def test_readers_and_writers(loop, pair):
    a, b = pair
    calls = []
    assert loop.add_reader(a, calls.append, "read") is None
    assert loop.add_writer(a.fileno(), calls.append, "write") is None
    turn(loop)
    turn(loop)
    assert calls[0] == "write" and "read" not in calls
    assert loop.remove_writer(a) is True
    assert loop.remove_writer(a) is False
    b.send(b"x")
    calls.clear()
    turn(loop)
    turn(loop)
    assert calls[0] == "read"
    loop.add_reader(a, calls.append, "another")
    calls.clear()
    turn(loop)
    turn(loop)
    assert set(calls) == {"another"}
    assert loop.remove_reader(a.fileno()) is True
    assert loop.remove_reader(a) is False


def test_a_reader_is_called_until_everything_was_read(loop, pair):
    a, b = pair
    received = []

    def read():
        received.append(a.recv(1))
        if len(received) == 3:
            loop.stop()

    b.send(b"abc")
    loop.add_reader(a, read)
    loop.run_forever()
    loop.remove_reader(a)
    assert received == [b"a", b"b", b"c"]


def test_datagrams(loop):
    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as a, socket.socket(type=socket.SOCK_DGRAM) as b:
            for one in (a, b):
                one.bind(("127.0.0.1", 0))
                one.setblocking(False)
            receives = asyncio.create_task(loop.sock_recvfrom(b, 100))
            await asyncio.sleep(0)
            assert await loop.sock_sendto(a, b"hello", b.getsockname()) == 5
            assert await receives == (b"hello", a.getsockname())
            buffer = bytearray(10)
            await loop.sock_sendto(a, b"again", b.getsockname())
            assert await loop.sock_recvfrom_into(b, buffer) == (5, a.getsockname())
            assert buffer[:5] == b"again"

    loop.run_until_complete(main())


@pytest.mark.parametrize(("offset", "count", "sent"), [(0, None, slice(None)), (7, 1000, slice(7, 1007))])
def test_a_file_is_sent(loop, pair, tmp_path, offset, count, sent):
    a, b = pair
    data = bytes(range(256)) * 1000
    (tmp_path / "file").write_bytes(data)

    async def main():
        with open(tmp_path / "file", "rb") as file:
            sends = asyncio.create_task(loop.sock_sendfile(a, file, offset, count))
            received = b""
            while len(received) < len(data[sent]):
                received += await loop.sock_recv(b, 100_000)
            assert received == data[sent]
            assert await sends == len(data[sent])
            assert file.tell() == offset + len(data[sent])
            await until(lambda: True)

    loop.run_until_complete(main())
