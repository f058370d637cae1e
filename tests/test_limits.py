"""Running out of memory or descriptors: an error at the call, nothing is lost, and work continues once there is
room."""

from __future__ import annotations

import gc
import os

import pytest

from programs import run

LIMIT = 60

FILL_THE_ARENA = """
import kettle.multiprocessing as mp
q = mp.Queue()
block = bytes(1 << 20)
n = 0
try:
    while n < 1000:
        q.put((n, block))
        n += 1
except MemoryError as error:
    print("MemoryError", error)
    assert f"wait in a queue ({n} messages)" in str(error), error
    assert n << 20 <= q.statistics().bytes < (n << 20) + 100_000
assert 1 <= n < 64, n
assert q.qsize() == n
lock = mp.Lock()                 # small things may still find room, or say that there is none
for i in range(n):
    number, data = q.get()
    assert number == i and data == block
assert q.empty()
for i in range(n):               # there is room again
    q.put((i, block))
    assert q.get() == (i, block)
print("went on")
"""


def test_memory_exhausted_in_put():
    said = run(FILL_THE_ARENA, KETTLE_ARENA_LIMIT="32M")
    assert "MemoryError" in said and "KETTLE_ARENA_LIMIT" in said and said.endswith("went on\n")


TOO_LARGE_AT_ONCE = """
import kettle.multiprocessing as mp, numpy as np
q = mp.Queue()
q.put("before")
for thing in (bytes(64 << 20), np.zeros(64 << 17)):
    try:
        q.put(thing)
    except MemoryError:
        print("MemoryError")
ours, theirs = mp.Pipe()
assert q.get() == "before" and q.empty()
try:
    mp.RawArray("b", 64 << 20)
except MemoryError:
    print("MemoryError")
q.put("after")
print(q.get())
"""


def test_one_thing_larger_than_the_limit():
    pytest.importorskip("numpy")
    assert run(TOO_LARGE_AT_ONCE, KETTLE_ARENA_LIMIT="32M").split() == ["MemoryError"] * 3 + ["after"]


IN_A_CHILD = """
import kettle.multiprocessing as mp

def put(q, results):
    try:
        while True:
            q.put(bytes(1 << 20))
    except MemoryError:
        results.put("MemoryError")

if __name__ == "__main__":
    ctx = mp.get_context("fork")
    q, results = ctx.Queue(), ctx.Queue()
    results.put("room made sure of"), results.get()
    child = ctx.Process(target=put, args=(q, results))
    child.start()
    q.get()
    child.join(30)
    for _ in range(3):
        q.get()
    print(child.exitcode, q.qsize() > 0)
"""


def test_the_limit_is_the_sessions():
    code, full = run(IN_A_CHILD, KETTLE_ARENA_LIMIT="32M").split()
    assert code in ("0", "1") and full == "True"


@pytest.mark.parametrize("limit", ["plenty", "0", "-1", "50%"])
def test_a_limit_that_is_no_size(limit):
    program = "import kettle.multiprocessing as mp\ntry: mp.Lock()\nexcept (ValueError, OSError) as error: print(error)"
    said = run(program, KETTLE_ARENA_LIMIT=limit)
    assert f'KETTLE_ARENA_LIMIT="{limit}"' in said and "none" in said


TELL_THE_LIMIT = """
import kettle.multiprocessing as mp
from kettle import _native
mp.Lock()
print(_native.arena_statistics()["limit"])
"""


def test_half_of_the_memory_unless_something_else_is_said():
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < int(run(TELL_THE_LIMIT, KETTLE_ARENA_LIMIT="")) <= memory // 2
    assert run(TELL_THE_LIMIT, KETTLE_ARENA_LIMIT="3g") == f"{3 << 30}\n"
    assert run(TELL_THE_LIMIT, KETTLE_ARENA_LIMIT="none") == "0\n"


NO_DESCRIPTORS = """
import os, resource
import kettle.multiprocessing as mp
q = mp.Queue()
q.put("before")
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
pipes = []
try:
    while True:
        pipes.append(mp.Pipe())
except OSError as error:
    print(error.errno)
more = [mp.Queue() for _ in range(200)]      # no descriptor each
for i, each in enumerate(more):
    each.put(i)
assert [each.get() for each in more] == list(range(200))
assert q.get() == "before"
try:
    mp.get_context("fork").Process(target=int).start()
except OSError as error:
    print(error.errno)
assert mp.active_children() == []
for ours, theirs in pipes:
    ours.close(), theirs.close()
child = mp.get_context("fork").Process(target=int)
child.start()
child.join(30)
print(child.exitcode)
"""


FEWER_THAN_ARE_OPEN = """
import resource, time
import kettle.multiprocessing as mp
ctx = mp.get_context("fork")
ends, stays = ctx.Process(target=int), ctx.Process(target=time.sleep, args=(1000,), daemon=True)
ours, theirs = mp.Pipe()
ends.start()
stays.start()
mp.wait([ours], 0)  # what it imports needs descriptors
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
ends.join()
assert (ends.exitcode, ends.is_alive(), stays.exitcode, stays.is_alive()) == (0, False, None, True)
assert mp.wait([ours, stays.sentinel], 0) == []
theirs.send(1)
assert mp.wait([ours, stays.sentinel]) == [ours] and ours.recv() == 1
stays.kill()
assert mp.wait([ours, stays.sentinel]) == [stays.sentinel]
print(stays.exitcode)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
"""


def test_fewer_descriptors_than_are_open():
    """A program may lower its limit below what it has open; these descriptors stay usable."""
    assert run(FEWER_THAN_ARE_OPEN) == "-9\n"


def test_no_descriptors_left():
    import errno

    assert run(NO_DESCRIPTORS).split() == [str(errno.EMFILE), str(errno.EMFILE), "0"]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_primitives_hold_no_descriptors():
    import kettle.multiprocessing as mp

    kept = [mp.Lock()]  # the session itself has some
    gc.collect()  # frees what other tests have left, so that nothing of it is closed later
    before = descriptors()
    for make in (mp.Lock, mp.RLock, mp.Semaphore, mp.Event, mp.Condition, mp.Queue, mp.JoinableQueue, mp.SimpleQueue):
        kept += [make() for _ in range(20)]
    kept.append(mp.Value("i", 0))
    assert descriptors() == before


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_give_their_descriptors_back(method):
    import kettle.multiprocessing as mp

    ctx = mp.get_context(method)

    def one():
        child = ctx.Process(target=int)
        child.start()
        child.join(LIMIT)
        assert child.exitcode == 0
        child.close()

    one()
    gc.collect()  # nothing that other tests have left is closed meanwhile
    before = descriptors()
    for _ in range(5):
        one()
    assert descriptors() == before


def test_many_primitives_come_and_go():
    import kettle.multiprocessing as mp
    from kettle import _native

    def some():
        for _ in range(200):
            q = mp.Queue()
            q.put(bytes(10_000))
            mp.Lock(), mp.Event(), mp.Condition(), mp.Semaphore(3), mp.Barrier(2)

    some()
    _native.reclaim()
    before = _native.arena_statistics()["allocated_bytes"]
    for _ in range(5):
        some()
    _native.reclaim()
    assert _native.arena_statistics()["allocated_bytes"] <= before + 100_000
