"""A stray write into shared memory is found where it is read: from then on every call raises SessionDamaged.

Each program runs in its own process, because it damages its session.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Finds the arena, and changes the first word of a message.
PRELUDE = """
import mmap, os, struct, sys, threading, time
import kettle, kettle.multiprocessing as mp
import kettle.threading, kettle.queue
from kettle import SessionDamaged
from kettle import _native as native

def arena():
    fd = os.open(f"/proc/self/fd/{native.session_fd()}", os.O_RDWR)
    return mmap.mmap(fd, os.fstat(fd).st_size)

TEXT = b"0123456789abcdefMARKER"

def change(queue, words):
    queue.put(TEXT)
    memory = arena()
    at = memory.find(TEXT) - 8
    (head,) = struct.unpack_from("<Q", memory, at)
    for offset, word in words(head).items():
        struct.pack_into("<Q", memory, at + offset, word)

def damage():
    queue = mp.Queue()
    change(queue, lambda head: {0: head & ~0xFFFFFFFF | 1000})
    try:
        queue.get(timeout=5)
    except SessionDamaged as error:
        return error
    sys.exit("the damage was not found")
"""


def run(program: str) -> str:
    """Returns what the program printed; it must have ended without error."""
    env = {name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, timeout=50, env=env
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


IN_BLOCK = 1 << 40


@pytest.mark.parametrize(
    "words",
    [
        "{0: head & ~0xFFFFFFFF | 1000}",  # longer than it is
        "{0: head & ~0xFFFFFFFF | 0x7FFFFFFF}",  # 2 GiB
        "{0: head | 0xFFFF << 48}",  # with 65535 parts
        "{0: head | 0x80 << 40}",  # an undefined flag
        "{0: 2**64 - 1}",  # says that nothing follows in its chunk
        f"{{0: {IN_BLOCK}, 8: 0}}",  # a block at no address
        f"{{0: {IN_BLOCK}, 8: 3}}",  # in the header, and not aligned
        f"{{0: {IN_BLOCK}, 8: 1 << 48 | 0x40000000}}",  # beyond the end of its segment
        f"{{0: {IN_BLOCK}, 8: 5000 << 48}}",  # in a segment that cannot exist
        f"{{0: {IN_BLOCK}, 8: 900 << 48 | 4096}}",  # in a segment that does not exist
        f"{{0: {IN_BLOCK}, 8: 1 << 48 | 4096}}",  # at the address of something else
    ],
)
def test_a_message_that_was_written_over(words: str) -> None:
    """It causes no signal and no panic, and reads no memory outside the message."""
    program = f"""
queue = mp.Queue()
change(queue, lambda head: {words})
for attempt in range(2):
    try:
        print("returned", queue.get(timeout=5))
    except SessionDamaged as error:
        print("refused:", error)
"""
    lines = run(program).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("refused: the session's shared memory is damaged: "), line
        assert "End all processes of the program and start it again" in line


def test_every_call_is_refused_and_threads_go_on() -> None:
    run("""
queue, bounded, joinable = mp.Queue(), mp.Queue(1), mp.JoinableQueue()
lock, rlock, event, value = mp.Lock(), mp.RLock(), mp.Event(), mp.Value("i", 3)
semaphore, condition, barrier = mp.Semaphore(2), mp.Condition(), mp.Barrier(2)
ours, theirs = mp.Pipe()
event.set()
held = mp.Lock()
held.acquire()
buffer = bytes(100_000)
theirs.send(buffer)
pool = mp.Pool(1)
assert pool.apply(abs, (-1,)) == 1

damage()

def refused(name, call):
    try:
        call()
    except SessionDamaged:
        return
    except BaseException as error:
        sys.exit(f"{name} raised {error!r}")
    sys.exit(f"{name} went on")

for name, call in {
    "put": lambda: queue.put(1),
    "put a long one": lambda: queue.put(buffer),
    "get": lambda: queue.get(),
    "get_nowait": lambda: queue.get_nowait(),
    "empty": lambda: queue.empty(),
    "qsize": lambda: queue.qsize(),
    "join": lambda: joinable.join(),
    "task_done": lambda: joinable.task_done(),
    "acquire": lambda: lock.acquire(),
    "acquire(False)": lambda: lock.acquire(False),
    "acquire(timeout=)": lambda: lock.acquire(timeout=0.01),
    "with a lock": lambda: lock.__enter__(),
    "RLock": lambda: rlock.acquire(),
    "semaphore": lambda: semaphore.acquire(),
    "semaphore, without a wait": lambda: semaphore.acquire(False),
    "event.wait": lambda: event.wait(),
    "event.is_set": lambda: event.is_set(),
    "event.set": lambda: event.set(),
    "condition": lambda: condition.acquire(),
    "barrier": lambda: barrier.wait(),
    "value": lambda: value.value,
    "value =": lambda: setattr(value, "value", 4),
    "a new queue": lambda: mp.Queue(),
    "a new lock": lambda: mp.Lock(),
    "a new value": lambda: mp.Value("d", 0.5),
    "a new pipe": lambda: mp.Pipe(),
    "recv": lambda: ours.recv(),
    "send": lambda: theirs.send(1),
    "send a long one": lambda: theirs.send(buffer),
    "wait for several things": lambda: mp.wait([queue, event], timeout=1),
    "a pool": lambda: pool.apply(abs, (-1,)),
}.items():
    refused(name, call)

# What was held can be let go of, and a pool can be ended.
held.release()
pool.terminate()
pool.join()

with kettle.threading.Lock():
    items = kettle.queue.Queue()
    items.put("threads")
    assert items.get() == "threads"
""")


def test_those_who_wait_are_told() -> None:
    """Threads and processes, whatever they wait for, and a task of an event loop."""
    run("""
import asyncio

context = mp.get_context("fork")
told, ready = context.SimpleQueue(), context.Semaphore(0)
read, write = os.pipe()

empty, full, held, down, joinable = mp.Queue(), mp.Queue(1), mp.Lock(), mp.Event(), mp.JoinableQueue()
semaphore, condition, barrier = mp.Semaphore(0), mp.Condition(), mp.Barrier(3)
ours, theirs = mp.Pipe()
full.put(0)
held.acquire()
joinable.put(0)

def notified():
    with condition:
        condition.wait()

waits = [
    lambda: empty.get(), lambda: full.put(1), lambda: held.acquire(), lambda: down.wait(), lambda: joinable.join(),
    lambda: semaphore.acquire(), notified, lambda: barrier.wait(), lambda: ours.recv(),
    lambda: mp.wait([empty, down]), lambda: asyncio.run(empty.aget()),
]

def one(number):
    ready.release()
    try:
        waits[number]()
        os.write(write, b"%d went on\\n" % number)
    except SessionDamaged:
        os.write(write, b"%d told\\n" % number)
    except BaseException as error:
        os.write(write, f"{number} {error!r}\\n".encode())

children = []
for number in range(len(waits)):
    if (pid := os.fork()) == 0:
        one(number)
        os._exit(0)
    children.append(pid)
threads = [threading.Thread(target=one, args=(number,)) for number in range(len(waits))]
for thread in threads:
    thread.start()
for _ in range(2 * len(waits)):
    ready.acquire()
damage()
for thread in threads:
    thread.join()
for pid in children:
    os.waitpid(pid, 0)
lines = os.read(read, 65536).decode().splitlines()
assert sorted(lines) == sorted(f"{number} told" for number in [*range(len(waits))] * 2), lines
""")


def test_a_message_that_one_process_cannot_map() -> None:
    """It is a MemoryError there, and the others get it: `ulimit -v`, as in batch systems."""
    run("""
import resource

context = mp.get_context("fork")
queue, ready, go, told, over = context.Queue(), context.Event(), context.Event(), context.Pipe(), context.Event()

def poor():
    size = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (size + (8 << 20),) * 2)
    ready.set()
    go.wait()
    for attempt in range(2):
        try:
            queue.get(timeout=30)
            told[1].send("got it")
        except MemoryError as error:
            told[1].send(str(error))
    over.wait()

process = context.Process(target=poor, daemon=True)
process.start()
ready.wait()
queue.put(bytes(100 << 20))
go.set()
for attempt in range(2):
    said = told[0].recv()
    assert "ulimit -v" in said, said
assert len(queue.get(timeout=30)) == 100 << 20
over.set()
process.join()
""")
