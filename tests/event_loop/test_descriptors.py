"""Readers and writers: level-triggered, and right when descriptors are closed, duplicated or exchanged meanwhile."""

import asyncio
import os
import socket
import tempfile

import pytest

from .conftest import counted_turns, turn, until


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    yield a, b
    a.close()
    b.close()


def test_readers_and_writers(loop, pair):
    a, b = pair
    seen = []
    loop.add_reader(a, seen.append, "r")
    turn(loop)
    assert seen == []
    b.send(b"x")
    turn(loop)
    turn(loop)
    assert seen == ["r", "r"]  # for as long as it is so
    loop.add_writer(a.fileno(), seen.append, "w")
    seen.clear()
    turn(loop)
    assert seen == ["r", "w"]
    loop.add_reader(a, seen.append, "R")
    seen.clear()
    turn(loop)
    assert seen == ["R", "w"]
    assert loop.remove_reader(a) is True
    assert loop.remove_reader(a) is False
    assert loop.remove_writer(a) is True
    assert loop.remove_writer(a) is False
    seen.clear()
    turn(loop)
    assert seen == []


def test_the_end_is_told_to_both(loop, pair):
    a, b = pair
    seen = []
    loop.add_reader(a, seen.append, "r")
    loop.add_writer(a, seen.append, "w")
    b.close()
    turn(loop)
    assert seen == ["r", "w"]
    loop.remove_reader(a)
    loop.remove_writer(a)


def test_a_reader_may_remove_itself_and_others(loop, pair):
    a, b = pair
    seen = []

    def reader():
        seen.append("r")
        loop.remove_reader(a)
        loop.remove_writer(a)

    loop.add_reader(a, reader)
    loop.add_writer(a, seen.append, "w")
    b.send(b"x")
    turn(loop)
    turn(loop)
    assert seen == ["r"]


def test_what_cannot_be_waited_for(loop):
    with tempfile.TemporaryFile() as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
    with pytest.raises(OSError):
        loop.add_reader(987654, print)
    with pytest.raises(ValueError):
        loop.add_reader(-1, print)
    with pytest.raises(ValueError, match="Invalid file object"):
        loop.add_reader("name", print)
    with pytest.raises(ValueError, match="Invalid file object"):
        loop.remove_reader(object())
    assert loop.remove_reader(987654) is False


def test_a_socket_that_was_closed_first_can_be_removed(loop, pair):
    a, _ = pair
    loop.add_reader(a, print)
    a.close()
    assert loop.remove_reader(a) is True
    assert loop.remove_reader(a) is False


def test_a_number_that_leads_to_another_file_by_now(loop, pair):
    a, _ = pair
    number = a.fileno()
    loop.add_reader(number, pytest.fail, "the old one")
    c, d = socket.socketpair()
    os.dup2(c.fileno(), number)
    seen = []
    loop.add_reader(number, seen.append, "new")
    d.send(b"x")
    turn(loop)
    assert seen == ["new"]
    assert loop.remove_reader(number) is True
    c.close()
    d.close()


def test_a_closed_descriptor_with_a_duplicate_neither_calls_nor_spins(loop, pair):
    a, b = pair
    number = a.fileno()
    loop.add_reader(number, pytest.fail, "removed")
    duplicate = os.dup(number)
    a.close()
    assert loop.remove_reader(number) is True
    b.send(b"x")  # from now on the duplicate is ready
    turns = counted_turns(loop)
    loop.run_until_complete(asyncio.sleep(0.1))
    assert len(turns) < 20
    os.close(duplicate)


def test_other_readers_survive_that(loop, pair):
    a, b = pair
    c, d = socket.socketpair()
    seen = []
    loop.add_reader(c, lambda: seen.append(c.recv(1)))
    loop.add_reader(a.fileno(), pytest.fail, "removed")
    duplicate, number = os.dup(a.fileno()), a.fileno()
    a.close()
    loop.remove_reader(number)
    b.send(b"x")
    loop.run_until_complete(asyncio.sleep(0.001))
    d.send(b"y")
    loop.run_until_complete(until(lambda: seen))
    assert seen == [b"y"]
    loop.remove_reader(c)
    os.close(duplicate)
    c.close()
    d.close()


def test_one_that_is_closed_under_the_loop(loop, pair):
    a, _b = pair

    async def main():
        task = loop.create_task(loop.sock_recv(a, 1))
        await asyncio.sleep(0.001)
        a.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())


def test_sock_connect_can_be_cancelled_and_the_number_used_again(loop):
    async def main():
        for _ in range(50):
            sock = socket.socket()
            sock.setblocking(False)
            task = loop.create_task(loop.sock_connect(sock, ("192.0.2.1", 9)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises((asyncio.CancelledError, OSError)):
                await task
            sock.close()
            a, b = socket.socketpair()
            a.setblocking(False)
            b.send(b"x")
            assert await loop.sock_recv(a, 1) == b"x"
            a.close()
            b.close()

    loop.run_until_complete(main())


def test_many_descriptors(loop):
    pairs = [socket.socketpair() for _ in range(300)]
    seen = set()
    for i, (a, _) in enumerate(pairs):
        loop.add_reader(a, lambda i=i, a=a: (a.recv(1), seen.add(i)))
    for _, b in pairs:
        b.send(b"x")
    loop.run_until_complete(until(lambda: len(seen) == len(pairs)))
    for a, b in pairs:
        assert loop.remove_reader(a)
        a.close()
        b.close()
