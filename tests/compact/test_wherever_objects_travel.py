"""Queues, pipes, other processes, pools: all of them send short messages in this form."""

from __future__ import annotations

import asyncio
import pickle

import pytest

import kettle.multiprocessing as mp

from .structures import Maker
from .support import LIMIT, assert_alike, expected

ROW = {"id": 1, "pair": (1, [2.5, None]), "text": "ä", "raw": b"raw"}


def same(item):
    return item


def same_two(first, second):
    return [first, second]


def kinds(item):
    """Returns what a worker got: types and identity."""
    return [type(item).__name__, item["a"] is item["b"]]


def test_all_queues():
    for q in (mp.Queue(), mp.JoinableQueue(), mp.SimpleQueue()):
        q.put(ROW)
        assert_alike(ROW, q.get())
    q = mp.Queue()
    assert q.put_many([ROW, [ROW, ROW], ()]) == 3
    items = q.get_many(3)
    assert_alike([ROW, [ROW, ROW], ()][1], items[1])
    assert items == [ROW, [ROW, ROW], ()] and items[1][0] is items[1][1]


def test_awaitable_forms():
    async def both():
        q = mp.Queue()
        await q.aput(ROW)
        to, back = mp.Pipe()
        with to, back:
            await to.asend(ROW)
            return await q.aget(), await back.arecv()

    for got in asyncio.run(both()):
        assert_alike(ROW, got)


def test_bytes_of_an_object_that_was_sent_are_a_pickle():
    to, back = mp.Pipe()
    with to, back:
        to.send(ROW)
        assert_alike(ROW, pickle.loads(back.recv_bytes()))
        to.send(ROW)
        room = bytearray(1000)
        assert_alike(ROW, pickle.loads(room[: back.recv_bytes_into(room)]))
        to.send(ROW)
        with pytest.raises(OSError, match="bad message length"):
            back.recv_bytes(10)


def echo(to, back):
    while (item := to.get()) is not None:
        back.put(item)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes(method, seed):
    ctx = mp.get_context(method)
    to, back = ctx.Queue(), ctx.Queue()
    child = ctx.Process(target=echo, args=(to, back))
    child.start()
    for n in range(300):
        obj = Maker(seed + n, 0.05).make()
        to.put([obj])
        assert_alike(expected([obj]), back.get(timeout=LIMIT))
    to.put(None)
    child.join(LIMIT)
    child.close()


def test_pools(seed):
    objects = [Maker(seed + n, 0.05).make() for n in range(100)]
    with mp.Pool(2) as pool:
        for chunksize in (None, 1, 7):
            for got, sent in zip(pool.map(same, objects, chunksize=chunksize), objects, strict=True):
                assert_alike(expected(sent), got)
        assert list(pool.imap(same, [ROW] * 50)) == [ROW] * 50
        assert pool.apply(same, (ROW,)) == ROW
        assert pool.apply(len, kwds={}, args=([1, 2],)) == 2
        assert pool.starmap(same_two, [([n], {"n": n}) for n in range(50)]) == [[[n], {"n": n}] for n in range(50)]
        shared = []
        assert pool.map(kinds, [{"a": shared, "b": shared}, {"a": [], "b": []}], chunksize=2) == [
            ["dict", True],
            ["dict", False],
        ]
