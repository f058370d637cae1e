"""Python's concurrency toolbox on a Rust core: the standard library's names, without the hangs.

    import kettle.multiprocessing as multiprocessing     # one line changed
    kettle run program.py                                # none changed

Contents:

    kettle.multiprocessing      processes, queues, locks, pipes, shared values: the standard library's module, including
                                its submodules, plus awaitable methods and `wait` for a mix of objects
    kettle.threading            locks, conditions, events and barriers between threads, which report deadlocks and can
                                be awaited
    kettle.queue                queues between threads, which can be awaited and can move many items at once
    kettle.asyncio              asyncio on an event loop with a native core
    kettle.futures              ProcessPoolExecutor, which the death of a worker does not break, and ThreadPoolExecutor
    kettle.joblib               a backend for joblib, and thus for scikit-learn
    kettle.install, uninstall   make `import multiprocessing` return Kettle's module, here and in every child
    kettle.KettleError          the base of the errors below
    kettle.OwnerDied            a lock's holder died (`pid`, `tid`)
    kettle.DeadlockError        this thread and others wait for each other (`cycle`); a RuntimeError
    kettle.deadlock             sets what happens at a deadlock: "raise", "report" or "off"
    kettle.ConsumerDied         a process that took items of a JoinableQueue died before it finished them
                                (`pid`, `unfinished`)
    kettle.WorkerDied           a pool's worker died, and the task that it ran with it (`pid`, `exitcode`, `signal`,
                                `task`, `oom`, `reason`, `trace`)
    kettle.TaskTimeout          a task ran longer than its `task_timeout` (`task`, `timeout`); a TimeoutError
    kettle.TaskCancelled        a task was cancelled (`task`); a concurrent.futures.CancelledError
    kettle.RemoteError          an exception of a task that cannot be raised here itself (`type_name`, `traceback`)
    kettle.InternalError        a fault of Kettle's own ended a call; please report it
    kettle.DescriptorLost       the program closed a descriptor that Kettle needs (`descriptor`); an OSError
    kettle.descriptors          returns the descriptors that a program which closes all others must leave open
    kettle.reclaim              immediately returns unused shared memory to the system
    kettle.SessionDamaged       the memory that the processes share was overwritten; raised by every call that uses it
    kettle.ShutDown             a queue was shut down; `queue.ShutDown` itself where Python has it

Everything is imported on first access.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = [
    "ConsumerDied",
    "DeadlockError",
    "DescriptorLost",
    "InternalError",
    "KettleError",
    "OwnerDied",
    "RemoteError",
    "SessionDamaged",
    "ShutDown",
    "TaskCancelled",
    "TaskTimeout",
    "WorkerDied",
    "deadlock",
    "descriptors",
    "install",
    "reclaim",
    "uninstall",
]

# Type checkers assume that this is true. Importing typing would cost each spawned child some milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle._deadlock import deadlock as deadlock
    from kettle._descriptors import descriptors as descriptors
    from kettle._errors import ConsumerDied as ConsumerDied
    from kettle._errors import DeadlockError as DeadlockError
    from kettle._errors import DescriptorLost as DescriptorLost
    from kettle._errors import InternalError as InternalError
    from kettle._errors import KettleError as KettleError
    from kettle._errors import OwnerDied as OwnerDied
    from kettle._errors import RemoteError as RemoteError
    from kettle._errors import SessionDamaged as SessionDamaged
    from kettle._errors import ShutDown as ShutDown
    from kettle._errors import TaskCancelled as TaskCancelled
    from kettle._errors import TaskTimeout as TaskTimeout
    from kettle._errors import WorkerDied as WorkerDied
    from kettle._install import install as install
    from kettle._install import uninstall as uninstall
    from kettle._reclaim import reclaim as reclaim

_HOME = {
    "ConsumerDied": "kettle._errors",
    "DeadlockError": "kettle._errors",
    "DescriptorLost": "kettle._errors",
    "InternalError": "kettle._errors",
    "KettleError": "kettle._errors",
    "OwnerDied": "kettle._errors",
    "RemoteError": "kettle._errors",
    "SessionDamaged": "kettle._errors",
    "ShutDown": "kettle._errors",
    "TaskCancelled": "kettle._errors",
    "TaskTimeout": "kettle._errors",
    "WorkerDied": "kettle._errors",
    "deadlock": "kettle._deadlock",
    "descriptors": "kettle._descriptors",
    "install": "kettle._install",
    "reclaim": "kettle._reclaim",
    "uninstall": "kettle._install",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'kettle' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
