"""The doorbells of a session are heard by all its processes, and rung by no others.

An abstract socket has no permissions, and /proc/net/unix shows its name to every user of the machine. So a reader of
that file may send anything, or take the names of doorbells that are gone: this must not wake, deafen or stop a loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import kettle.multiprocessing as mp
from kettle import _aio
from kettle._session import native

NEW_NETWORK = 0x40000000

#: What a stranger may send. The kernel reports each as delivered.
JUNK = {
    "nothing": b"",
    "one byte": b"x",
    "eight bytes, as rings once had": bytes(8),
    "sixteen zeros": bytes(16),
    "sixteen bytes of another secret": b"\1" + bytes(7) + b"guessed!",
    "one byte more": bytes(17),
    "much": bytes(100_000),
}

#: Sends all of it to all doorbells of the machine, as another user if possible, until it is ended.
STRANGER = """
import os, socket, sys
junk = [b"", b"x", bytes(8), bytes(16), bytes(8) + b"guessed!", bytes(17), bytes(100_000)]
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.setblocking(False)
sent = 0
while True:
    with open("/proc/net/unix") as sockets:
        names = [line.split()[-1][1:] for line in sockets if "@kettle-" in line]
    for name in names:
        for datagram in junk:
            try:
                sent += sender.sendto(datagram, "\\0" + name) >= 0
            except OSError:
                pass
    if sent > 1000:
        print(flush=True)
        sent = -(1 << 60)
"""


def name_of(bell):
    """Returns the doorbell's name, as all users can see it."""
    inode = str(os.fstat(bell.fileno()).st_ino)
    for line in Path("/proc/net/unix").read_text().splitlines():
        fields = line.split()
        if len(fields) > 7 and fields[6] == inode:
            return "\0" + fields[7][1:]
    raise LookupError("the bell has no name")


def is_readable(bell):
    return bool(select.select([bell], [], [], 0)[0])


@pytest.fixture
def bell():
    bell = native.Doorbell()
    yield bell
    bell.close()


@pytest.fixture
def stranger():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        yield sender


@pytest.mark.parametrize("datagram", JUNK.values(), ids=JUNK)
def test_what_a_stranger_sends_does_not_come_in(bell, stranger, datagram):
    for _ in range(100):
        assert stranger.sendto(datagram, name_of(bell)) == len(datagram)
    assert not is_readable(bell)
    bell.ring()
    assert is_readable(bell)
    assert bell.drain() == [0]
    assert not is_readable(bell)


def test_no_stream_is_connected(bell):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        assert stream.connect_ex(name_of(bell)) != 0
    assert not is_readable(bell)


def test_descriptors_that_a_stranger_passes_do_not_stay(bell, stranger):
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            stranger.connect(name_of(bell))
            socket.send_fds(stranger, [b"x"], [theirs.fileno()])
            socket.send_fds(stranger, [bytes(16)], [theirs.fileno()])
        assert ours.recv(1) == b"", "the other end is closed"


def put(queue):
    queue.put("an item")


def test_the_other_processes_ring(bell, stranger):
    queue = mp.Queue()
    items = queue._items
    items._kettle_arm(bell.door)
    for _ in range(100):
        stranger.sendto(b"x", name_of(bell))
    process = mp.get_context("spawn").Process(target=put, args=(queue,))
    process.start()
    select.select([bell], [], [])
    assert bell.drain() == [items._kettle_key]
    process.join()


def put_from_a_network_of_its_own(queue):
    if ctypes.CDLL(None).unshare(NEW_NETWORK):
        queue.put("not permitted")
    else:
        # The doorbell of this process belongs to the new network.
        own = native.Doorbell()
        own.ring()
        select.select([own], [], [])
        queue.put("an item")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_that_leaves_the_network_still_rings(method):
    """Sandboxes give their children an empty network, and the names of doorbells belong to a network."""
    context = mp.get_context(method)
    queue = context.Queue()
    # Started before any ring: the first ring is that of the child.
    process = context.Process(target=put_from_a_network_of_its_own, args=(queue,))
    process.start()
    select.select([queue._reader], [], [])
    said = queue.get()
    process.join()
    if said == "not permitted":
        pytest.skip("this user may not make a network namespace")
    assert (said, process.exitcode) == ("an item", 0)


def test_the_name_of_a_bell_that_is_gone_is_no_use(bell):
    gone = native.Doorbell()
    door, name = gone.door, name_of(gone)
    gone.close()
    queue = mp.Queue()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as squatter:
        squatter.bind(name)
        queue._items._kettle_arm(door)
        queue._items._kettle_arm(bell.door)
        queue.put("rings the one that is gone, whose loop was killed, say")
        queue.put("rings the other")
        assert bell.drain() == [queue._items._kettle_key]
        heard = squatter.recv(100)
        # It knows the secret of that doorbell, and of no other.
        squatter.sendto(heard, name_of(bell))
        assert not is_readable(bell)
        another = native.Doorbell()
        assert another.door != door
        another.close()


def test_bells_do_not_run_out():
    """Their numbers used to be limited to 4095."""
    names = set()
    for _ in range(5000):
        bell = native.Doorbell()
        names.add(bell.door)
        bell.close()
    assert len(names) == 5000


def put_one_by_one(queue, answers, count):
    for number in range(count):
        queue.put(number)
        answers.get()


def test_a_loop_is_woken_by_its_own_session_alone(monkeypatch):
    """While others send what they can, the loop is woken only by items."""
    count = 50
    woken = 0
    answer = _aio.Hub._rung

    def rung(hub):
        nonlocal woken
        woken += 1
        answer(hub)

    monkeypatch.setattr(_aio.Hub, "_rung", rung)
    queue, answers = mp.Queue(), mp.Queue()

    async def get_all():
        got = []
        for _ in range(count):
            got.append(await queue.aget())
            answers.put(None)
        return got

    async def main():
        getter = asyncio.create_task(get_all())
        await asyncio.sleep(0)
        strangers = [subprocess.Popen([sys.executable, "-c", STRANGER], stdout=subprocess.PIPE) for _ in range(3)]
        try:
            for each in strangers:
                each.stdout.readline()  # it has found the doorbell, and begun
            process = mp.Process(target=put_one_by_one, args=(queue, answers, count))
            process.start()
            got = await getter
            process.join()
            return got
        finally:
            for each in strangers:
                each.kill()
                each.communicate()

    assert asyncio.run(main()) == list(range(count))
    # Twice per item, if the loop waits again before all waiters were notified. Strangers send far more.
    assert woken <= 2 * count
