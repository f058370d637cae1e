"""Connections by UDP."""

import asyncio
import socket

from ..conftest import until


class Recorder(asyncio.DatagramProtocol):
    def __init__(self):
        self.received, self.errors, self.lost = [], [], False

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.received.append((data, address))

    def error_received(self, exc):
        self.errors.append(exc)

    def connection_lost(self, exc):
        self.lost = True


def test_datagrams(loop):
    async def main():
        server, at_server = await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, at_client = await loop.create_datagram_endpoint(Recorder, remote_addr=address)
        client.sendto(b"hello")
        await until(lambda: at_server.received)
        assert at_server.received == [(b"hello", client.get_extra_info("sockname"))]
        server.sendto(b"answer", client.get_extra_info("sockname"))
        await until(lambda: at_client.received)
        assert at_client.received == [(b"answer", address)]
        client.close()
        server.abort()
        await until(lambda: at_client.lost and at_server.lost)

    loop.run_until_complete(main())


def test_that_there_is_no_receiver_is_told(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()

    async def main():
        transport, protocol = await loop.create_datagram_endpoint(Recorder, remote_addr=address)
        transport.sendto(b"hello")
        await until(lambda: protocol.errors)
        assert isinstance(protocol.errors[0], ConnectionRefusedError)
        assert not transport.is_closing()
        transport.close()
        await until(lambda: protocol.lost)

    loop.run_until_complete(main())
