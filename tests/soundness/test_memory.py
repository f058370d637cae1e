"""The memory of waiting messages is bounded, so that a getter that never gets harms no other process.

The memory belongs to no single process. Without a bound, the kernel would kill some large, unrelated process when
memory runs out.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

import programs

#: Puts until there is no more room, next to a process that has memory of its own.
FILL = """
import kettle.multiprocessing as mp

def bystander(ready, end):
    own = bytearray(b"x") * (50 << 20)
    ready.set()
    end.wait()

if __name__ == "__main__":
    ctx = mp.get_context("fork")
    ready, end = ctx.Event(), ctx.Event()
    other = ctx.Process(target=bystander, args=(ready, end), daemon=True)
    other.start()
    ready.wait()
    queue, apart = mp.Queue(), mp.Queue()
    apart.put("small")
    number = 0
    try:
        while number < 2000:
            queue.put((number, bytes(1 << 20)))
            number += 1
    except MemoryError as error:
        print(error)
    print(number)
    assert other.is_alive()
    for expected in range(number):
        assert queue.get()[0] == expected
    queue.put(bytes(1 << 20)), queue.get()
    assert apart.get() == "small"
    end.set()
    other.join()
    print(other.exitcode)
"""

MIB = 1 << 20


def run(program, group=None, **environment):
    """Returns the lines that the program prints; it runs in a control group, if one is given."""

    def enter():
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    return programs.run(program, before=enter, **environment).splitlines()


def memory_hierarchy():
    """Returns the directory of this process's control group, and the name of a limit's file in it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/"), "memory.limit_in_bytes"
    return Path("/sys/fs/cgroup") / path.lstrip("/"), "memory.max"


@contextlib.contextmanager
def control_group(limit):
    """A control group below this process's, with the given memory, where it can be created."""
    parent, file = memory_hierarchy()
    group = parent / f"kettle-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        try:
            (group / file).write_text(str(limit))
            inner = group / "inner"
            inner.mkdir()
        except OSError as error:
            pytest.skip(f"no memory limit can be set: {error}")
        try:
            # The limit is the outer group's, as in a container.
            yield inner
        finally:
            inner.rmdir()
    finally:
        group.rmdir()


@pytest.mark.parametrize(("size", "limit"), [(400, None), (400, "none"), (150, None)])
def test_in_a_container(size, limit):
    with control_group(size * MIB) as group:
        environment = {"KETTLE_ARENA_LIMIT": limit or ""}
        why, number, exitcode = run(FILL, group, **environment)
    assert exitcode == "0"
    if limit is None:
        # The limit is half of it, less what the two processes have already used.
        assert 5 <= int(number) <= size // 2
    else:
        assert "container" in why
        assert 50 <= int(number) <= size - 64 - 50


def test_with_a_limit():
    why, number, exitcode = run(FILL, KETTLE_ARENA_LIMIT="60M")
    assert "60.0 MiB" in why
    assert (50 <= int(number) <= 60, exitcode) == (True, "0")


#: Runs `USE` with `ROOM` MiB of address space left.
SHORT_OF_MEMORY = """
import resource
import kettle.multiprocessing as mp
import kettle.queue

def limit():
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (ROOM << 20), resource.RLIM_INFINITY))

def refused(call, *args):
    try:
        call(*args)
    except MemoryError:
        return True
    return False

between = mp.Queue()
USE
between.put("after")
print(between.get())
"""

USES = {
    "a long pickle": """
items = [b"%d" % i * 200 for i in range(100_000)]
limit()
assert refused(between.put, items)
""",
    "long bytes": """
between.put(bytes(80 << 20))
limit()
assert refused(between.get)
""",
    **{
        f"a long {name}": f"""
queue = kettle.queue.{name}()
limit()
number = 0
while not refused(queue.put, 1):
    number += 1
assert queue.qsize() == number > 100_000
taken = 0
while taken < number:
    taken += len(queue.get_many(number))
assert queue.empty()
"""
        for name in ("Queue", "LifoQueue", "PriorityQueue")
    },
}


@pytest.mark.parametrize("room", [4, 40])
@pytest.mark.parametrize("use", USES)
def test_short_of_address_space(use, room):
    """If memory is missing, a MemoryError is raised, no matter how long the message is, and no item is lost."""
    assert run(SHORT_OF_MEMORY.replace("USE", USES[use]).replace("ROOM", str(room))) == ["after"]
