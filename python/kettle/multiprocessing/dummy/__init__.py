"""The names of `multiprocessing` over threads, as in the standard library's module, with Kettle's locks, queues and
pools."""

import sys
from multiprocessing import dummy as _standard
from multiprocessing.dummy import (
    Array,
    DummyProcess,
    Namespace,
    Process,
    Value,
    active_children,
    current_process,
    freeze_support,
)

from kettle.multiprocessing.dummy.connection import Pipe
from kettle.queue import Queue
from kettle.threading import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any

    from kettle.multiprocessing.pool import ThreadPool

__all__ = [
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "DummyProcess",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Namespace",
    "Pipe",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "Semaphore",
    "Value",
    "active_children",
    "current_process",
    "freeze_support",
]

JoinableQueue = Queue


def Manager() -> "ModuleType":
    """Returns this module: objects shared by threads need no server."""
    return sys.modules[__name__]


def shutdown() -> None:
    """Exists for compatibility with managers; there is nothing to end."""


def Pool(
    processes: "int | None" = None,
    initializer: "Callable[..., object] | None" = None,
    initargs: "Iterable[Any]" = (),
    *,
    name: "str | None" = None,
) -> "ThreadPool":
    """Returns a pool of threads."""
    from kettle.multiprocessing.pool import ThreadPool

    return ThreadPool(processes, initializer, initargs, name=name)


def __getattr__(name: str) -> "Any":
    return getattr(_standard, name)
