"""What a process still uses while its interpreter ends stays its own until it has ended; after that nothing is left."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading

import pytest

import kettle
import kettle.multiprocessing as mp
from death.support import until
from kettle._session import native
from programs import LIMIT

# One process of a session ends, and uses its objects as late as it is told to. Meanwhile another process takes all free
# memory and fills it with its own bytes. They take turns through two FIFOs, which need nothing of Kettle's.
PROGRAM = """
import atexit, os, pickle, select, sys, weakref

METHOD, WHO, WHEN = sys.argv[1:]
PLACE = os.path.dirname(os.path.abspath(__file__))
SIZE = 1 << 20
OURS, THEIRS = b"\\x11", b"\\xee" * 16


class Late:
    views = lock = value = None
    # When a destructor runs as late as this, all modules may be empty, that of the builtins among them.
    open, read, write = map(staticmethod, (os.open, os.read, os.write))
    late, go, pages, mark = PLACE + "/late", PLACE + "/go", range(0, SIZE, 4096), THEIRS

    def use(self):
        if self.views is None:
            return
        self.write(self.open(self.late, 1), b"x")
        assert self.read(self.open(self.go, 0), 1) == b"x"
        for view in self.views:
            for at in self.pages:
                view[at : at + 16] = self.mark
        with self.lock:
            self.value.value += 1


class Dying(Late):
    __del__ = Late.use


late = Dying() if WHEN == "destructor" else Late()
# Before anything of ours is imported, so that it runs after whatever that registers.
if WHEN == "finalizer":
    weakref.finalize(Late, late.use)
elif WHEN == "atexit":
    atexit.register(late.use)

import kettle.multiprocessing as mp
from kettle import _native as native


def end(queue, lock, value, shared, ready):
    late.views = [memoryview(queue.get()).cast("B"), memoryview(shared).cast("B")]
    late.lock, late.value = lock, value
    sys.kept = late
    if METHOD == "fork" and WHO == "child":  # the handlers of its parent are not its own
        atexit.register(late.use)
    ready.set()


def take_all_room():
    assert os.read(os.open(Late.late, os.O_RDONLY), 1) == b"x"
    native.reclaim()
    taken = [native.SharedBytes(SIZE) for _ in range(8)]
    for one in taken:
        memoryview(one)[:] = OURS * SIZE
    os.write(os.open(Late.go, os.O_WRONLY), b"x")
    return taken


def say(taken, value):
    foreign = sum(SIZE - bytes(memoryview(one)).count(OURS) for one in taken)
    os.write(1, f"{foreign} foreign bytes, value {value.value}".encode())


def outlive(root, value):
    root = os.pidfd_open(root)
    taken = take_all_room()
    select.select([root], [], [])
    say(taken, value)


if __name__ == "__main__":
    context = mp.get_context(METHOD)
    queue, ready, value = context.Queue(), context.Event(), context.Value("i", 0)
    queue.put(pickle.PickleBuffer(bytearray(SIZE)))
    mine = (queue, context.Lock(), value, context.RawArray("B", SIZE), ready)
    if WHO == "child":
        process = context.Process(target=end, args=mine)
        process.start()
        del mine
        ready.wait()
        taken = take_all_room()
        process.join()
        say(taken, value)
    else:
        root = os.getpid()
        if os.fork():
            end(*mine)
            del mine
        else:
            outlive(root, value)
            os._exit(0)
"""


@pytest.mark.parametrize(
    "method, who, when",
    [
        # A forked child runs no destructors when it ends.
        ("fork", "child", "atexit"),
        *[("spawn", who, when) for who in ("child", "root") for when in ("atexit", "finalizer", "destructor")],
    ],
)
def test_what_is_used_while_the_interpreter_ends(tmp_path, method, who, when):
    (tmp_path / "program.py").write_text(PROGRAM)
    os.mkfifo(tmp_path / "late")
    os.mkfifo(tmp_path / "go")
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", method, who, when], capture_output=True, text=True, timeout=LIMIT
    )
    assert (done.stdout, done.stderr, done.returncode) == ("0 foreign bytes, value 1", "", 0)


# ---------------------------------------------------------------- what is left


def normally():
    pass


def by_sys_exit():
    sys.exit(0)


def by_sys_exit_in_a_thread():
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()


def at_once():
    os._exit(0)


def by_sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def with_a_daemon_thread():
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def with_a_leak():
    leaked = native.SharedBytes(100_000)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(leaked))


ENDS = [normally, by_sys_exit, by_sys_exit_in_a_thread, at_once, by_sigterm, with_a_daemon_thread, with_a_leak]


def hold_and_end(end, queue, lock, held):
    sys.kept = [queue.get(), native.SharedBytes(100_000), mp.Queue(), lock]
    sys.kept[2].put(bytes(100_000))
    lock.acquire()
    held.set()
    end()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_nothing_is_left_of_a_process_that_has_ended(method, end):
    context = mp.get_context(method)
    queue, held = context.Queue(), context.Event()
    gc.collect()
    native.reclaim()
    before = native.arena_statistics()
    for _ in range(3):
        lock = context.Lock()
        held.clear()
        queue.put(bytearray(100_000))
        process = context.Process(target=hold_and_end, args=(end, queue, lock, held))
        process.start()
        assert held.wait(LIMIT)
        with pytest.raises(kettle.OwnerDied):
            lock.acquire(timeout=LIMIT)
        process.join(LIMIT)
        del process, lock
    native.reclaim()
    after = native.arena_statistics()
    assert after["participants"] == before["participants"]
    # Queues keep some room for future messages.
    until(lambda: native.reclaim()["objects"] == 0)
    assert native.arena_statistics()["objects"] <= before["objects"] + 2
