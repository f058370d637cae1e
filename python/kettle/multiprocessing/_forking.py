"""Forks a process that has other threads.

The child inherits everything those threads hold, but not the threads: a lock that one of them holds at that moment is
held forever there. Programs take care of their own locks, and the standard library of many of its own. What remains are
the locks of modules that are being imported, and those of stream buffers. A thread holds a buffer's lock while it waits
for the file, and a child would wait for that lock at its end, if not before, when it flushes its output.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from importlib._bootstrap import _module_locks  # type: ignore[attr-defined]
from io import BufferedRandom, BufferedReader, BufferedWriter, TextIOWrapper

from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["fork", "let_others_import", "renew_locks_of_streams"]

# Not subclasses of these, because subclasses may have other parameters.
_PLAIN = (BufferedRandom, BufferedReader, BufferedWriter)


def let_others_import() -> None:
    """Waits, for at most a second, until no other thread is importing a module. In a child forked now, for example a
    pool's replacement for a dead worker, that module's lock would be held forever."""
    me = threading.get_ident()
    deadline = None
    while any((lock := ref()) is not None and lock.owner not in (None, me) for ref in list(_module_locks.values())):
        now = time.monotonic()
        deadline = deadline or now + 1
        if now > deadline:
            return
        time.sleep(0.001)


def fork() -> tuple[int, int | None]:
    """Like `native.fork`, for a child that shares this process's resource tracker. With a tracker of its own, the child
    would at its end remove the named memory that it attached to. This is for Pythons that must be told (3.14.7, for
    example), on which the tracker's module has a `_fork_intent`."""
    intent = sys.modules["multiprocessing.resource_tracker"]._fork_intent
    intent.preserve_fd = True
    try:
        return native.fork()
    finally:
        intent.preserve_fd = False


def renew_locks_of_streams() -> None:
    """In a child whose parent had other threads: makes the standard streams, and those of `logging` handlers, usable
    even if another thread of the parent was writing to or reading from them during the fork."""
    for stream in _streams():
        # A stream may be an object of the program's own and raise anything.
        with suppress(Exception):
            buffer = stream.buffer if isinstance(stream, TextIOWrapper) else stream
            if type(buffer) in _PLAIN and not buffer.closed:
                # The only way to a new lock. The remaining content of the buffer belongs to the parent, which writes
                # it.
                buffer.__init__(buffer.raw)


def _streams() -> Iterator[Any]:
    yield from (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
    if logging := sys.modules.get("logging"):
        for ref in list(getattr(logging, "_handlerList", ())):
            stream = None
            with suppress(Exception):  # a property of the program's own
                stream = getattr(ref(), "stream", None)
            yield stream
