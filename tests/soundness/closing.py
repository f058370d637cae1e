"""Programs for `test_descriptors`: they close descriptors that are not theirs, or run out of descriptors, and write
down the results of everything after that as JSON."""

import asyncio
import ctypes
import fcntl
import json
import os
import resource
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

import kettle
import kettle.multiprocessing as mp
from kettle.multiprocessing.shared_memory import SharedMemory

METHODS = ("fork", "spawn", "forkserver")
BYTES = b"P" * 100_000
results: dict[str, Any] = {}


def attempt(name: str, call: Callable[[], Any]) -> None:
    try:
        results[name] = call()
    except Exception as error:
        results[name] = type(error).__name__


def told(path: str) -> None:
    with open(path + ".new", "w") as file:
        json.dump(results, file)
    os.rename(path + ".new", path)


# ---------------------------------------------------------------- what is used


def put_and_get(queue: Any, item: Any) -> bool:
    queue.put(item)
    return bool(queue.get(timeout=30) == item)


def answer(queue: Any) -> None:
    queue.put("child")


def sleep_for_ever() -> None:
    time.sleep(600)


def start(method: str, queue: Any) -> str:
    process = mp.get_context(method).Process(target=answer, args=(queue,))
    process.start()
    got = queue.get(timeout=60)
    process.join()
    return f"{got} {process.exitcode}"


def end(child: Any) -> str:
    child.terminate()
    child.join()
    return f"{child.is_alive()} {child.exitcode}"


def map_in_pool() -> list[int]:
    with mp.get_context("fork").Pool(2) as pool:
        return list(pool.map_async(abs, [-1, -2]).get(60))


async def get_later(queue: Any) -> Any:
    getting = asyncio.ensure_future(queue.aget())
    await asyncio.sleep(0.01)
    queue.put("later")
    return await asyncio.wait_for(getting, 60)


def through_pipe(ends: Any, item: Any) -> bool:
    ends[0].send(item)
    return bool(ends[1].recv() == item)


def acquire(lock: Any) -> bool:
    with lock:
        return True


def be_set(event: Any) -> bool:
    event.set()
    return bool(event.wait(60))


def give_up_capabilities() -> None:
    """Root may open what it has mapped; other users may not."""
    header, none = (ctypes.c_uint32 * 2)(0x2008_0522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0


# ---------------------------------------------------------------- descriptors of the program's own


def target(fd: int) -> str:
    """Returns what a descriptor leads to."""
    return os.readlink(f"/proc/self/fd/{fd}")


class Occupied:
    """Files or other objects under all low numbers."""

    def __init__(self, kind: str, folder: str) -> None:
        self.kind = kind
        self.there = {}
        for i in range(200) if kind != "free" else ():
            fd = self._open(f"{folder}/{i}")
            self.there[fd] = os.fstat(fd)

    def _open(self, path: str) -> int:
        if self.kind == "socket":
            mine, other = (end.detach() for end in socket.socketpair())
            self.there[other] = os.fstat(other)
            return mine
        if self.kind == "pipe":
            reader, writer = os.pipe()
            self.there[reader] = os.fstat(reader)
            return writer
        with open(path, "wb") as file:
            file.write(BYTES)
        return os.open(path, {"file": os.O_RDWR, "log": os.O_WRONLY | os.O_APPEND, "read": os.O_RDONLY}[self.kind])

    def wrong(self) -> list[str]:
        """Returns what happened to them."""
        found = []
        for fd, before in self.there.items():
            try:
                now = os.fstat(fd)
            except OSError:
                found.append(f"{fd} was closed")
                continue
            if (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino):
                found.append(f"{fd} is another one")
            elif (now.st_size, now.st_blocks, now.st_mtime_ns) != (
                before.st_size,
                before.st_blocks,
                before.st_mtime_ns,
            ):
                found.append(f"{fd} was written to")
            elif self.kind in ("socket", "pipe"):
                there = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
                found += [f"{fd} got something"] * (struct.unpack("i", there)[0] != 0)
        return found


# ---------------------------------------------------------------- programs


def replaced(kind: str, folder: str) -> None:
    """Closes everything after everything was used, and opens its own files."""
    queue, joinable, ends = mp.Queue(), mp.JoinableQueue(), mp.Pipe()
    lock, event = mp.Lock(), mp.Event()
    put_and_get(queue, b"x" * 100_000)
    asyncio.run(get_later(queue))
    through_pipe(ends, 1)
    assert mp.wait([queue], 0) == []
    queue._reader.fileno()
    children = {method: mp.get_context(method).Process(target=sleep_for_ever, daemon=True) for method in METHODS}
    for child in children.values():
        child.start()
    pool = mp.get_context("fork").Pool(2)
    pool.map(abs, range(10))
    number = kettle._native.session_fd()
    assert {number, ends[0].fileno(), children["fork"].sentinel} <= set(kettle.descriptors())

    os.closerange(3, 4096)
    theirs = Occupied(kind, folder)
    # A thread of the pool may have opened a new descriptor for its workers in the meantime, under any number.
    results["named"] = [fd for fd in kettle.descriptors() if fd in theirs.there or "arena" in target(fd)]
    time.sleep(0.05)  # longer than a tick, within which a pipe does not check again
    attempt("small", lambda: put_and_get(queue, 1))
    attempt("large", lambda: put_and_get(queue, b"y" * 10_000))
    attempt("huge", lambda: put_and_get(queue, b"z" * 80_000_000))
    attempt("small again", lambda: put_and_get(queue, 2))
    attempt("joinable", lambda: [joinable.put(1), joinable.get(), joinable.task_done(), joinable.join()])
    attempt("lock", lambda: acquire(lock))
    attempt("event", lambda: be_set(event))
    attempt("new", lambda: put_and_get(mp.Queue(), 1))
    attempt("send", lambda: ends[0].send(1))
    attempt("recv", lambda: ends[1].recv())
    attempt("poll", lambda: ends[1].poll(60))
    attempt("fileno", lambda: ends[1].fileno())
    attempt("close", lambda: [end.close() for end in ends])
    attempt("new pipe", lambda: through_pipe(mp.Pipe(), 1))
    attempt("wait", lambda: mp.wait([queue], 0.01))
    attempt("wait for item", lambda: [queue.put(1), mp.wait([queue], 60) == [queue], queue.get()])
    attempt("aget", lambda: asyncio.run(get_later(queue)))
    for method, child in children.items():
        attempt(f"{method} ends", lambda child=child: end(child))
    for method in METHODS:
        attempt(f"{method} starts", lambda method=method: start(method, queue))
    attempt("pool", lambda: pool.apply_async(abs, (-1,)).get(60))
    attempt("pool ends", lambda: [pool.terminate(), pool.join()])
    attempt("new pool", map_in_pool)
    attempt("reclaim", kettle._native.reclaim)
    forked = os.fork()
    if forked == 0:
        os._exit(len(theirs.wrong()))
    results["wrong in a fork"] = os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
    results["wrong"] = theirs.wrong()


def tracked(kind: str, folder: str) -> None:
    """The same, while the standard library's resource tracker is running."""
    block = SharedMemory(create=True, size=10)
    block.close()
    block.unlink()
    os.closerange(3, 4096)
    theirs = Occupied(kind, folder)
    attempt("tracked", lambda: [(b := SharedMemory(create=True, size=10)).close(), b.unlink()])
    queue = mp.Queue()
    for method in METHODS:
        attempt(f"{method} starts", lambda method=method: start(method, queue))
    results["wrong"] = theirs.wrong()


def daemon(kind: str, folder: str) -> None:
    """Double fork, new session, all descriptors closed except those to keep, and the standard streams redirected."""
    if kind == "close without rights":
        give_up_capabilities()
    queue, lock, event, ends = mp.Queue(), mp.Lock(), mp.Event(), mp.Pipe()
    put_and_get(queue, b"x" * 100_000)
    queue.put("kept")
    kept = kettle.descriptors() if kind == "keep" else []
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    for fd in range(3, 4096):
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:
                pass
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    attempt("kept", lambda: queue.get(timeout=60))
    attempt("large", lambda: put_and_get(queue, b"y" * 50_000_000))
    attempt("lock", lambda: acquire(lock))
    attempt("event", lambda: be_set(event))
    attempt("pipe", lambda: through_pipe(ends, 1))
    attempt("aget", lambda: asyncio.run(get_later(queue)))
    for method in METHODS:
        attempt(f"{method} starts", lambda method=method: start(method, queue))
    attempt("larger", lambda: put_and_get(queue, b"z" * 90_000_000))
    attempt("new pipe", lambda: through_pipe(mp.Pipe(), 1))
    attempt("pool", map_in_pool)


def early(kind: str, folder: str) -> None:
    """Closes everything before the first use."""
    results["kept"] = kettle.descriptors()
    os.closerange(3, 4096)
    queue = mp.Queue()
    attempt("large", lambda: put_and_get(queue, b"y" * 5_000_000))
    attempt("aget", lambda: asyncio.run(get_later(queue)))
    for method in METHODS:
        attempt(f"{method} starts", lambda method=method: start(method, queue))


def exhausted(kind: str, folder: str) -> None:
    """Runs out of descriptors, and later has some again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if kind == "new session":
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        attempt("without: queue", lambda: put_and_get(mp.Queue(), 1))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        attempt("queue", lambda: put_and_get(mp.Queue(), 1))
        return
    queue = mp.Queue()
    queue.put("first")
    assert mp.wait([queue], 60) == [queue]  # imports the modules that are needed for it
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass

    def each(prefix: str) -> None:
        attempt(f"{prefix}large", lambda: [queue.put(b"y" * 20_000_000), len(queue.get()), len(queue.get())])
        queue.put("first")
        attempt(f"{prefix}pipe", lambda: through_pipe(mp.Pipe(), 1))
        for method in METHODS:
            own = mp.Queue()
            attempt(f"{prefix}{method} starts", lambda method=method, own=own: start(method, own))
        attempt(f"{prefix}pool", map_in_pool)

    each("without: ")
    attempt("without: wait", lambda: mp.wait([queue], 60) == [queue])
    for fd in held:
        os.close(fd)
    each("")
    attempt("wait", lambda: mp.wait([queue], 60) == [queue])
    attempt("aget", lambda: asyncio.run(get_later(mp.Queue())))
    attempt("first", queue.get)


def inherited(kind: str, folder: str) -> None:
    """A child of method `kind` reports which descriptors programs would inherit that it starts without closing
    descriptors."""
    before = inheritable()
    queue, (one, _other) = mp.Queue(), mp.Pipe()
    SharedMemory(create=True, size=10).unlink()
    process = mp.get_context(kind).Process(target=say_inheritable, args=(one, queue))
    process.start()
    results["new"] = [entry for entry in queue.get(timeout=60) if entry not in before]
    process.join()


def say_inheritable(_connection: Any, queue: Any) -> None:
    queue.put(inheritable())


def inheritable() -> list[str]:
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            if int(entry) > 2 and os.get_inheritable(int(entry)):
                found.append(target(int(entry)))
        except OSError:
            pass  # the descriptor of this listing itself
    return found


if __name__ == "__main__":
    program, kind, folder = sys.argv[1:]
    globals()[program](kind, folder)
    told(f"{folder}/results")
