"""The awaitable methods of the queues between threads: coroutines here, threads there."""

from __future__ import annotations

import asyncio

import pytest

import kettle.asyncio
import kettle.queue as kq
from crowds import thread

LIMIT = 30
CLASSES = (kq.Queue, kq.LifoQueue, kq.PriorityQueue, kq.SimpleQueue)


def new_loops():
    yield asyncio.new_event_loop
    yield kettle.asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        return
    yield uvloop.new_event_loop


@pytest.fixture(params=new_loops(), ids=lambda new: new.__module__)
def run(request):
    """Runs a coroutine on a new loop."""

    def run(coroutine):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, LIMIT))

    return run


@pytest.fixture(params=[False, True], ids=["inside", "outside"])
def look(request):
    """Returns whether the items have moved out into Python."""

    def look(q):
        if request.param and hasattr(q, "mutex"):
            assert q._kettle_outside is not None
        return q

    return look


async def some_turns():
    for _ in range(10):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_item_from_a_thread(run, look, cls):
    q = look(cls())

    async def main():
        getter = asyncio.ensure_future(q.aget())
        await some_turns()
        assert not getter.done()
        with thread(q.put, "here"):
            return await getter

    assert run(main()) == "here"


def test_room_from_a_thread(run, look):
    q = look(kq.Queue(1))

    async def main():
        await q.aput(1)
        putter = asyncio.ensure_future(q.aput(2))
        await some_turns()
        assert not putter.done() and q.qsize() == 1
        with thread(q.get):
            await putter

    run(main())
    assert q.get_nowait() == 2


def test_done_from_a_thread(run, look):
    q = look(kq.Queue())

    async def main():
        assert await q.ajoin() is True
        q.put(1)
        assert await q.ajoin(0.01) is False
        joiners = [asyncio.ensure_future(q.ajoin()) for _ in range(3)]
        await some_turns()
        assert not any(joiner.done() for joiner in joiners)
        q.get()
        with thread(q.task_done):
            return await asyncio.gather(*joiners)

    assert run(main()) == [True] * 3


def test_late(run, look):
    q = look(kq.Queue(1))

    async def main():
        for timeout in (0, 0.01, -1):
            with pytest.raises(kq.Empty):
                await q.aget(timeout)
        await q.aput(1)
        for timeout in (0, 0.01, -1):
            with pytest.raises(kq.Full):
                await q.aput(2, timeout)

    run(main())


def test_cancelling_loses_no_item(run):
    q = kq.Queue()

    async def main():
        for n in range(200):
            getter, other = asyncio.ensure_future(q.aget()), asyncio.ensure_future(q.aget())
            await asyncio.sleep(0)
            with thread(q.put, n):
                getter.cancel()
            assert await other == n
            assert getter.cancelled() or (await asyncio.gather(getter, return_exceptions=True))

    run(main())
    assert q.empty()


def test_items_as_they_come(run, look):
    q = look(kq.Queue(3))

    def produce():
        for n in range(1000):
            q.put(n)
        q.shutdown()

    async def main():
        with thread(produce):
            return [n async for n in q]

    assert run(main()) == list(range(1000))


def test_shutdown_wakes_coroutines(run, look):
    q, full = look(kq.Queue()), look(kq.Queue(1))
    full.put(1)

    async def main():
        waiting = [asyncio.ensure_future(c) for c in (q.aget(), q.aget(), full.aput(2))]
        await some_turns()
        with thread(q.shutdown), thread(full.shutdown):
            return await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(e) for e in run(main())] == [kq.ShutDown] * 3


def test_two_loops_and_two_threads_on_one_queue():
    q = kq.Queue(5)
    count = 300
    got = []

    async def consume():
        for _ in range(count):
            got.append(await q.aget())

    async def produce(k):
        for n in range(count):
            await q.aput((k, n))

    def loop(coroutine):
        asyncio.run(asyncio.wait_for(coroutine, LIMIT))

    def put():
        for n in range(count):
            q.put((0, n))

    def get():
        for _ in range(count):
            got.append(q.get())

    with thread(loop, consume()), thread(loop, produce(1)), thread(put), thread(get):
        pass
    assert sorted(got) == [(k, n) for k in range(2) for n in range(count)]


def test_a_queue_under_load_lets_the_loop_run(run):
    q = kq.Queue()
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main():
        counting = asyncio.ensure_future(count())
        for n in range(2000):
            await q.aput(n)
            await q.aget()
        counting.cancel()

    run(main())
    assert turns > 10


def test_a_subclass_that_keeps_house_itself(run):
    class Reversed(kq.Queue):
        def _put(self, item):
            super()._put(item[::-1])

    q = Reversed(1)

    async def main():
        getter = asyncio.ensure_future(q.aget())
        await some_turns()
        with thread(q.put, "abc"):
            assert await getter == "cba"
        await q.aput("x")
        with pytest.raises(kq.Full):
            await q.aput("y", 0.01)

    run(main())
