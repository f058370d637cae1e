"""A fork of a process in which other threads run.

The child has all that those threads hold, and not the threads: a lock that one of them holds at that moment is held for
ever there. A program minds its own locks, and the standard library many of its own. What is left are the locks of
modules that are being imported, and those of the buffers of streams: a thread holds the one while it waits for its file
to take or to give something, and a child would wait for it at its end, if not before, when it flushes what it printed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from importlib._bootstrap import _module_locks  # type: ignore[attr-defined]
from io import BufferedRandom, BufferedReader, BufferedWriter, TextIOWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["fork", "is_alone", "let_others_import", "renew_locks_of_streams"]

# Not subclasses of these, which may have parameters of their own.
_PLAIN = (BufferedRandom, BufferedReader, BufferedWriter)


def let_others_import() -> None:
    """Waits, for a second at most, until no other thread is in the middle of an import. Its lock on that module would
    be held for ever in a child that is forked now: a pool's replacement for a dead worker, say."""
    me = threading.get_ident()
    deadline = None
    while any((lock := ref()) is not None and lock.owner not in (None, me) for ref in list(_module_locks.values())):
        now = time.monotonic()
        deadline = deadline or now + 1
        if now > deadline:
            return
        time.sleep(0.001)


def is_alone() -> bool:
    """Whether the calling thread is the only one."""
    return len(sys._current_frames()) == 1


def fork() -> int:
    """As `os.fork`, for a child that shares this process's resource tracker, if there is one: with its own it would
    remove at its end the named memory that it attached to. Newer Pythons (3.14.7, say) must be told so."""
    intent = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_fork_intent", None)
    if intent is not None:
        intent.preserve_fd = True
    try:
        return os.fork()
    finally:
        if intent is not None:
            intent.preserve_fd = False


def renew_locks_of_streams() -> None:
    """In a child whose parent is not alone: lets it use the standard streams, and those of the handlers of `logging`,
    that another thread of the parent wrote to or read from when it was forked."""
    for stream in _streams():
        # A stream may be an object of the program's own, which raises what it likes.
        with suppress(Exception):
            buffer = stream.buffer if isinstance(stream, TextIOWrapper) else stream
            if type(buffer) in _PLAIN and not buffer.closed:
                # The only way to a new lock. What is left in the buffer is the parent's, which writes it.
                buffer.__init__(buffer.raw)


def _streams() -> Iterator[Any]:
    yield from (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
    if logging := sys.modules.get("logging"):
        for ref in list(getattr(logging, "_handlerList", ())):
            stream = None
            with suppress(Exception):  # a property of the program's own
                stream = getattr(ref(), "stream", None)
            yield stream
