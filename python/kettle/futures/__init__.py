"""The executors of `concurrent.futures`, with a process pool that survives the death of its workers.

All names of `concurrent.futures` are here; `ProcessPoolExecutor` is ours. What happens when is told in docs/pool.md.
"""

from __future__ import annotations

from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    ThreadPoolExecutor,
    TimeoutError,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool

from kettle import _install
from kettle.futures._errors import WorkerDied
from kettle.futures._executor import ProcessPoolExecutor
from kettle.futures._future import PoolFuture

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenProcessPool",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "PoolFuture",
    "ProcessPoolExecutor",
    "ThreadPoolExecutor",
    "TimeoutError",
    "WorkerDied",
    "as_completed",
    "wait",
]

_install.substitute(__name__)
