"""The executors of `concurrent.futures`, over our pools.

All names of `concurrent.futures` are here; `ProcessPoolExecutor` and `ThreadPoolExecutor` are ours. What happens
when is told in docs/pool.md.
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
    TimeoutError,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool

from kettle import _install
from kettle.futures._errors import WorkerDied
from kettle.futures._executor import ProcessPoolExecutor
from kettle.futures._future import PoolFuture
from kettle.futures._threads import ThreadPoolExecutor

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
