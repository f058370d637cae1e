"""Nothing is left behind, and loops do not disturb each other."""

import asyncio
import gc
import os
import resource
import threading
from pathlib import Path

from .test_tcp import Echo


async def connections(count):
    """Connects to an echo server, again and again."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for i in range(count):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"%d\n" % i)
        assert await reader.readline() == b"%d\n" % i
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


def test_no_descriptor_is_left(new_loop):
    def work():
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(connections(2))

    work()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        work()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_memory_does_not_grow(run):
    def resident():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    async def main():
        await connections(500)
        before = resident()
        await connections(2000)
        # A loop that keeps the objects of each connection needs more than ten.
        assert resident() - before < 4 * 2**20

    run(main())


def test_two_loops_in_two_threads(new_loop):
    results = []

    def work():
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(connections(50))
        results.append(True)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True, True]
