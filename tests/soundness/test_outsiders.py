"""A process that cannot take part in the session gets an error from everything it inherited, and changes nothing."""

import pytest

from programs import run

# For each use a child is forked, which reports the result.
PROGRAM = """
import asyncio, ctypes, os, pickle, sys
import kettle.multiprocessing as mp
from kettle import _native as native

NEWPID = 0x20000000
os.environ.pop("RUST_BACKTRACE", None)


async def entered(lock):
    async with lock:
        pass


def through_with(thing):
    with thing:
        pass


def write(value):
    value.value = 1


full, empty, joinable = mp.Queue(1), mp.Queue(), mp.JoinableQueue()
full.put(bytes(100_000))
joinable.put(1)
joinable.get()
lock, rlock, semaphore, robust = mp.Lock(), mp.RLock(), mp.Semaphore(0), mp.Semaphore(1, robust=True)
value, array, raw, event = mp.Value("i"), mp.Array("i", 3), mp.RawArray("b", 10), mp.Event()
condition, barrier, shared = mp.Condition(), mp.Barrier(2), native.SharedBytes(100)
reader, writer = mp.Pipe(duplex=False)
writer.send(bytes(100_000))

USES = {
    "lock": lambda: lock.acquire(),
    "lock, no wait": lambda: lock.acquire(False),
    "lock, in time": lambda: lock.acquire(timeout=0.1),
    "with lock": lambda: through_with(lock),
    "rlock": lambda: rlock.acquire(),
    "with rlock": lambda: through_with(rlock),
    "rlock released": lambda: rlock.release(),
    "async lock": lambda: asyncio.run(entered(lock)),
    "semaphore": lambda: semaphore.acquire(timeout=0.1),
    "robust": lambda: robust.acquire(),
    "robust, no wait": lambda: robust.acquire(False),
    "robust released": lambda: robust.release(),
    "with robust": lambda: through_with(robust),
    "value": lambda: value.value,
    "value set": lambda: write(value),
    "value locked": lambda: through_with(value.get_lock()),
    "array": lambda: array[:],
    "event": lambda: event.wait(0.1),
    "condition": lambda: through_with(condition),
    "barrier": lambda: barrier.wait(0.1),
    "async barrier": lambda: asyncio.run(barrier.await_all(0.1)),
    "put": lambda: empty.put(1),
    "put, no wait": lambda: empty.put_nowait(1),
    "put much": lambda: empty.put(bytes(100_000)),
    "put many": lambda: empty.put_many([1, 2]),
    "put when full": lambda: full.put(1, timeout=0.1),
    "get": lambda: full.get(),
    "get, no wait": lambda: full.get_nowait(),
    "get when empty": lambda: empty.get(timeout=0.1),
    "get many": lambda: full.get_many(3),
    "async put": lambda: asyncio.run(empty.aput(1)),
    "async get": lambda: asyncio.run(full.aget()),
    "put to join": lambda: joinable.put(1),
    "done": lambda: joinable.task_done(),
    "join": lambda: joinable.join(),
    "shut down": lambda: full.shutdown(immediate=True),
    "size": lambda: full.qsize(),
    "send": lambda: writer.send(1),
    "send much": lambda: writer.send(bytes(100_000)),
    "receive": lambda: reader.recv(),
    "shared bytes": lambda: memoryview(shared),
    **{
        f"new {make.__name__}": make
        for make in (mp.Lock, mp.RLock, mp.Semaphore, mp.Event, mp.Condition, mp.Queue, mp.SimpleQueue, mp.Pipe)
    },
    "new value": lambda: mp.Value("i"),
    "new array": lambda: mp.RawArray("i", 3),
    "new barrier": lambda: mp.Barrier(2),
    "new pool": lambda: mp.Pool(1),
    "async event": lambda: asyncio.run(event.await_set(0.1)),
    "async condition": lambda: asyncio.run(entered(condition)),
}


def outcome(use, namespace):
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        if namespace:
            # The namespace is that of the next child.
            if ctypes.CDLL(None).unshare(NEWPID):
                os.write(writes, b"not permitted")
                os._exit(0)
            inner = os.fork()
            if inner:
                status = os.waitpid(inner, 0)[1]
                os._exit(os.waitstatus_to_exitcode(status) & 0x7F)
        try:
            use()
            said = "done"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        except BaseException as error:
            said = f"no Exception: {type(error).__name__}"
        os.write(writes, said.encode())
        os._exit(0)
    os.close(writes)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = os.read(reads, 1000).decode()
    os.close(reads)
    return said if code == 0 else f"ended with {code}"


namespace = sys.argv[1:] == ["namespace"]
tickets = []
if not namespace:
    try:
        while True:
            tickets.append(native.reserve_child())
    except OSError:
        pass
for name, use in USES.items():
    print(f"{name}: {outcome(use, namespace)}")
for ticket in tickets:
    native.release_child(ticket)

# All is as it was.
assert lock.acquire(False) and rlock.acquire(False) and robust.acquire(False) and not semaphore.acquire(False)
assert (value.value, array[:], empty.qsize(), joinable.qsize()) == (0, [0, 0, 0], 0, 0)
assert full.get() == bytes(100_000) == reader.recv()
joinable.task_done()
assert barrier.n_waiting == 0 and not barrier.broken
with mp.Pool(1) as pool:
    assert pool.apply(abs, (-1,)) == 1
print("as it was")
"""


@pytest.mark.parametrize("why", ["full", "namespace"])
def test_every_use_is_an_error(why):
    lines = run(PROGRAM.replace("sys.argv[1:]", repr([why]))).splitlines()
    assert lines.pop() == "as it was"
    if any(line.endswith("not permitted") for line in lines):
        pytest.skip("this user may not make a pid namespace")
    expected = "Error: the session has no room" if why == "full" else "Error: this process is in another pid namespace"
    # A lock that is not held cannot be released: that is a separate error, which needs no part in the session.
    unheld = ("not owned by thread", "released too many times")
    assert [line for line in lines if expected not in line and not line.endswith(unheld)] == []
