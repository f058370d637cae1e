"""Each descriptor has one owner: what the loop closes or stops watching is never another file by then."""

import asyncio
import contextlib
import gc
import os
import random
import socket
import threading

import pytest

import kettle.asyncio

from .test_connections import Recorder


@contextlib.contextmanager
def a_thread_that_opens_files():
    """Opens files, whose numbers are those that were closed last, and checks that each stays what it is."""
    is_over, troubles = threading.Event(), []

    def work():
        while not is_over.is_set():
            read, write = os.pipe()
            try:
                os.write(write, b"mine")
                if os.read(read, 10) != b"mine":
                    troubles.append("foreign bytes")
            except OSError as error:
                troubles.append(error)
            for fd in (read, write):
                try:
                    os.close(fd)
                except OSError as error:
                    troubles.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert troubles == []


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_pipes_are_closed_once():
    """Closed, at their end, or dropped with their loop."""

    async def main():
        loop = asyncio.get_running_loop()
        for i in range(30):
            read, write = os.pipe()
            reading, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(read, "rb"))
            writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(write, "wb"))
            if i % 3 == 0:
                reading.close()
            if i % 3 == 1:
                writing.close()
                writing.close()

    with a_thread_that_opens_files():
        for _ in range(10):
            kettle.asyncio.run(main())
            gc.collect()


def test_a_connect_that_is_cancelled_leaves_the_number_alone(run):
    seed = random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)

    class Talks(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"not for you")
            transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Talks, "127.0.0.1", 0, backlog=1000)
        address = server.sockets[0].getsockname()
        for _ in range(300):
            if moments.random() < 0.5:
                given = socket.socket()
                given.setblocking(False)
                await loop.sock_connect(given, address)
                connects = asyncio.create_task(loop.create_connection(Recorder, sock=given))
            else:
                given = None
                connects = asyncio.create_task(loop.create_connection(Recorder, *address))
            for _ in range(moments.randrange(8)):
                await asyncio.sleep(0)
            connects.cancel()
            try:
                transport, _ = await connects
                transport.abort()
            except asyncio.CancelledError:
                if given is not None:
                    given.close()
            # These get the numbers that are free now.
            mine, other = socket.socketpair()
            with mine, other:
                mine.setblocking(False)
                receives = asyncio.create_task(loop.sock_recv(mine, 100))
                await asyncio.sleep(0)
                other.send(b"mine")
                assert await receives == b"mine"
        server.close()

    with a_thread_that_opens_files():
        run(main())
