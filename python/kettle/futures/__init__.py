"""The executors of `concurrent.futures`, on Kettle's pools.

All names of `concurrent.futures` are here; `ProcessPoolExecutor` and `ThreadPoolExecutor` are Kettle's. docs/pool.md
describes their behaviour.

Names that need processes are imported on first access, so that an event loop that calls a function in a thread does not
have to wait for that import.
"""

from __future__ import annotations

import concurrent.futures as _standard
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

from kettle import _install
from kettle.futures._future import PoolFuture
from kettle.futures._threads import ThreadPoolExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool
    from typing import Any

    from kettle.futures._errors import WorkerDied
    from kettle.futures._executor import ProcessPoolExecutor

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

_OF_PROCESSES = {
    "BrokenProcessPool": "concurrent.futures.process",
    "ProcessPoolExecutor": "kettle.futures._executor",
    "WorkerDied": "kettle.futures._errors",
}


def __getattr__(name: str) -> Any:
    home = _OF_PROCESSES.get(name)
    if home is None:
        if name in _standard.__all__ and name not in __all__:
            # names that newer versions have
            return getattr(_standard, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(home), name)
    _install.substitute(__name__)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_install.substitute(__name__)
