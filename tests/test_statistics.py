"""Each primitive reports its state."""

from __future__ import annotations

import copy
import gc
import os
import threading

import pytest

import kettle
import kettle.multiprocessing as mp
from kettle._session import native

LIMIT = 30


@pytest.mark.parametrize(
    "make",
    [
        *(mp.Lock, mp.RLock, mp.Semaphore, mp.BoundedSemaphore, mp.Event, mp.Condition, lambda: mp.Barrier(2)),
        *(mp.Queue, mp.JoinableQueue, mp.SimpleQueue, lambda: mp.Pipe()[0]),
    ],
)
def test_a_record_that_cannot_be_changed(make):
    record = make().statistics()
    assert record._fields, "says nothing"
    for name in record._fields:
        assert f"{name}={getattr(record, name)!r}" in repr(record)
        with pytest.raises((AttributeError, TypeError)):
            setattr(record, name, 1)


def test_a_record_is_like_a_named_tuple():
    record = mp.JoinableQueue(5).statistics()
    assert type(record)._make(record) == record == tuple(getattr(record, name) for name in record._fields)
    assert record._asdict()["maxsize"] == 5
    assert record._replace(size=4).size == 4
    assert copy.deepcopy(record) == record
    assert isinstance(record, tuple)
    with pytest.raises(TypeError, match="no field 'colour'"):
        record._replace(colour="red")
    with pytest.raises(TypeError, match="is missing the field"):
        type(record)(1)
    with pytest.raises(TypeError, match="and got 1"):
        type(record)._make([1])


def test_of_a_queue():
    q = mp.JoinableQueue(5)
    for n in range(3):
        q.put(n)
    q.get()
    told = q.statistics()
    assert (told.put, told.got, told.size, told.maxsize, told.unfinished) == (3, 1, 2, 5, 3)


def test_how_many_bytes_wait_in_a_queue():
    q = mp.Queue()
    before = native.arena_statistics()
    assert q.statistics().bytes == 0
    for _ in range(3):
        q.put(bytes(1 << 20))
    q.put("small")
    told = q.statistics()
    assert 3 << 20 < told.bytes < (3 << 20) + 4096
    after = native.arena_statistics()
    assert after["queued_bytes"] - before["queued_bytes"] == told.bytes
    assert after["queued_messages"] - before["queued_messages"] == 4
    q.get()
    assert 2 << 20 < q.statistics().bytes < (2 << 20) + 4096
    for _ in range(3):
        q.get()
    assert q.statistics().bytes == 0


def test_of_a_lock():
    lock = mp.Lock(name="the till")
    assert lock.name == "the till"
    assert not lock.statistics().locked
    with lock:
        told = lock.statistics()
        assert told.locked and told.owner_pid == os.getpid() and not told.broken


def test_of_a_semaphore():
    semaphore = mp.Semaphore(3)
    semaphore.acquire()
    assert semaphore.statistics().value == 2


def test_waiters_are_counted():
    event = mp.Event()
    waiter = threading.Thread(target=event.wait)
    waiter.start()
    while event.statistics().waiting == 0:
        pass
    event.set()
    waiter.join(LIMIT)
    assert event.statistics().is_set and event.statistics().waiting == 0


def test_of_a_barrier_and_a_condition():
    barrier = mp.Barrier(1)
    barrier.wait()
    told = barrier.statistics()
    assert (told.parties, told.waiting, told.broken, told.rounds) == (1, 0, False, 1)
    condition = mp.Condition()
    assert condition.statistics().waiting == 0


@pytest.mark.parametrize("size", [1, 100, 1500, 3000, 20_000, 200_000])
def test_what_a_burst_took_is_given_back(size):
    queue = mp.Queue()
    queue.put(b"first")
    queue.get()
    kettle.reclaim()
    before = native.arena_statistics()
    count = min((16 << 20) // size, 100_000)
    for _ in range(count):
        queue.put(b"x" * size)
    full = native.arena_statistics()["resident_bytes"] - before["resident_bytes"]
    for _ in range(count):
        queue.get()
    assert full >= size * count
    # Less than is worth keeping: it stays until it is requested.
    given_back = kettle.reclaim()
    assert given_back >= size * count
    after = native.arena_statistics()
    assert after["resident_bytes"] - before["resident_bytes"] < 1 << 20
    assert after["objects"] == before["objects"]
    assert kettle.reclaim() <= 1 << 20


def test_connections_that_travelled_leave_nothing():
    requests = mp.Queue()
    inner, outer = mp.Pipe()

    def answer_one(way_in, way_out, duplex):
        mine, theirs = mp.Pipe(duplex)
        way_in(theirs)
        way_out().send("answer")
        assert mine.recv() == "answer"

    def round_trip():
        for duplex in True, False:
            answer_one(requests.put, requests.get, duplex)
            answer_one(inner.send, outer.recv, duplex)

    round_trip()
    gc.collect()
    before = native.arena_statistics()
    for _ in range(20):
        round_trip()
    gc.collect()
    after = native.arena_statistics()
    assert (after["objects"], after["pinned"]) == (before["objects"], before["pinned"])
