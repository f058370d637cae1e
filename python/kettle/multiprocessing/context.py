"""Contexts: the same functions for each start method, as in the standard library, creating this package's objects.

The classes extend the standard library's, so that isinstance checks succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from multiprocessing import context as _standard
from multiprocessing.context import AuthenticationError as AuthenticationError
from multiprocessing.context import BufferTooShort as BufferTooShort
from multiprocessing.context import ProcessError as ProcessError
from multiprocessing.context import TimeoutError as TimeoutError
from multiprocessing.context import assert_spawning as assert_spawning
from multiprocessing.context import get_spawning_popen as get_spawning_popen
from multiprocessing.context import set_spawning_popen as set_spawning_popen

from kettle.multiprocessing import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle.multiprocessing import _logging, connection, managers, pool, queues, synchronize

__all__ = ()


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


class BaseContext(_standard.BaseContext):
    """The functions of all contexts. Most keyword-only parameters are additions of this package; see the classes."""

    def Manager(self) -> managers.SyncManager:
        """Returns a started manager: a process that holds objects which others use through proxies."""
        from kettle.multiprocessing.managers import SyncManager

        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pipe(self, duplex: bool = True) -> tuple[connection.Connection, connection.Connection]:
        """Returns two connected ends; with `duplex=False` the first only receives and the second only sends."""
        from kettle.multiprocessing.connection import Pipe

        return Pipe(duplex)

    def Lock(self, *, on_owner_death: str = "raise", name: str | None = None) -> synchronize.Lock:
        """Returns a lock that any process or thread may release.

        on_owner_death: what happens if the holder's process dies. "raise" breaks the lock, and `acquire` raises
            `kettle.OwnerDied` until `reset()` or `release()`; "recover" passes it to the next waiter.
        name: the name of the lock in reports.
        """
        from kettle.multiprocessing.synchronize import Lock

        return Lock(ctx=self.get_context(), on_owner_death=on_owner_death, name=name)

    def RLock(self, *, on_owner_death: str = "raise", name: str | None = None) -> synchronize.RLock:
        """Returns a lock that its holder, a thread, may acquire repeatedly, and must release as often. Only the holder
        may release it.

        on_owner_death: what happens if the holder's process dies. "raise" breaks the lock, and `acquire` raises
            `kettle.OwnerDied` until `reset()` or `release()`; "recover" passes it to the next waiter.
        name: the name of the lock in reports.
        """
        from kettle.multiprocessing.synchronize import RLock

        return RLock(ctx=self.get_context(), on_owner_death=on_owner_death, name=name)

    def Condition(self, lock: Any = None, *, name: str | None = None) -> synchronize.Condition:
        """Returns a condition variable.

        lock: a lock of this module; a new RLock if it is None.
        name: the name of the condition in reports.
        """
        from kettle.multiprocessing.synchronize import Condition

        return Condition(lock, ctx=self.get_context(), name=name)

    def Semaphore(self, value: int = 1, *, robust: bool = False, name: str | None = None) -> synchronize.Semaphore:
        """Returns a semaphore with `value` permits.

        robust: whether the permits that a process acquired and did not release are returned when it dies.
        name: the name of the semaphore in reports.
        """
        from kettle.multiprocessing.synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context(), robust=robust, name=name)

    def BoundedSemaphore(
        self, value: int = 1, *, robust: bool = False, name: str | None = None
    ) -> synchronize.BoundedSemaphore:
        """Returns a semaphore that never has more than `value` permits: `release` raises ValueError beyond that.

        robust: whether the permits that a process acquired and did not release are returned when it dies.
        name: the name of the semaphore in reports.
        """
        from kettle.multiprocessing.synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context(), robust=robust, name=name)

    def Event(self, *, name: str | None = None) -> synchronize.Event:
        """Returns a flag to wait for, which is initially not set.

        name: the name of the event in reports.
        """
        from kettle.multiprocessing.synchronize import Event

        return Event(ctx=self.get_context(), name=name)

    def Barrier(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
    ) -> synchronize.Barrier:
        """Returns a point where `parties` wait for each other.

        action: called by the last party to arrive, before the others go on.
        timeout: the default in seconds of each `wait`; after it the barrier breaks.
        name: the name of the barrier in reports.
        """
        from kettle.multiprocessing.synchronize import Barrier

        return Barrier(parties, action, timeout, ctx=self.get_context(), name=name)

    def Queue(self, maxsize: int = 0, *, name: str | None = None) -> queues.Queue[Any]:
        """Returns a queue between processes.

        maxsize: the maximum number of items; unlimited if it is 0.
        name: the name of the queue in reports.
        """
        from kettle.multiprocessing.queues import Queue

        return Queue(maxsize, ctx=self.get_context(), name=name)

    def JoinableQueue(self, maxsize: int = 0, *, name: str | None = None) -> queues.JoinableQueue[Any]:
        """Returns a queue that counts its unfinished items. `task_done` finishes one, and `join` waits until all are
        finished.

        maxsize: the maximum number of items; unlimited if it is 0.
        name: the name of the queue in reports.
        """
        from kettle.multiprocessing.queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context(), name=name)

    def SimpleQueue(self, *, name: str | None = None) -> queues.SimpleQueue[Any]:
        """Returns an unbounded queue with a smaller interface.

        name: the name of the queue in reports.
        """
        from kettle.multiprocessing.queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context(), name=name)

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        max_memory_per_worker: int | str | None = None,
        name: str | None = None,
    ) -> pool.Pool:
        """Returns a pool of worker processes; see `kettle.multiprocessing.pool.Pool` for its behaviour.

        processes: the number of workers; by default the number of processors available to this process, by affinity and
            the container's quota.
        initializer, initargs: called in each worker before its first task. If the initializer raises, so does every
            call of the pool.
        maxtasksperchild: the number of tasks (or chunks) after which a worker is replaced.
        max_memory_per_worker: in bytes, or as text ("2GB", "512MiB"). A worker whose resident memory exceeds this after
            a task is replaced; a worker that exceeds one and a half times this during a task is killed.
        name: the prefix of the workers' names.
        """
        from kettle.multiprocessing.pool import Pool

        return Pool(
            processes,
            initializer,
            initargs,
            maxtasksperchild,
            context=self.get_context(),
            max_memory_per_worker=max_memory_per_worker,
            name=name,
        )

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """Returns a ctypes object in shared memory, without a lock."""
        from kettle.multiprocessing.sharedctypes import RawValue

        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: int | Sequence[Any]) -> Any:
        """Returns a ctypes array in shared memory, without a lock."""
        from kettle.multiprocessing.sharedctypes import RawArray

        return RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """Returns a ctypes object in shared memory with a lock; the bare object if `lock` is False."""
        from kettle.multiprocessing.sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type: Any, size_or_initializer: int | Sequence[Any], *, lock: Any = True) -> Any:
        """Returns a ctypes array in shared memory with a lock; the bare array if `lock` is False."""
        from kettle.multiprocessing.sharedctypes import Array

        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    def wait(self, object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
        """Returns those of `object_list` (primitives, queues, processes, connections, sockets...) that are ready; see
        `kettle.multiprocessing.wait`."""
        from kettle.multiprocessing._wait import wait

        return wait(object_list, timeout)

    def log_to_parent(self, level: int | str = 0) -> _logging.LogListener:
        """Makes the processes started from now on, including workers of pools, send their `logging` records to this
        process, whose loggers handle them like their own: its levels, filters and handlers apply. Children start with
        its logger levels, but with none of its handlers.

        level: records below it are not sent, whatever the levels of the loggers are.

        Returns an object with `stop()`, which is also a context manager. The end of the program stops it, after the
        children have ended and all their records are handled. Another call returns the same object, and changes the
        level for processes that are started afterwards. Raises ValueError for an unknown level.
        """
        from kettle.multiprocessing._logging import log_to_parent

        return log_to_parent(level)

    def freeze_support(self) -> None:
        """Runs the child's part and exits, if this is a frozen executable started as a child."""
        from kettle.multiprocessing.spawn import freeze_support

        freeze_support()

    def allow_connection_pickling(self) -> None:
        """Makes connections and sockets picklable, which they are as soon as the module is imported."""
        from kettle.multiprocessing import connection  # noqa: F401

    def get_context(self, method: str | None = None) -> Any:
        """Returns the context for `method` ("fork", "spawn" or "forkserver"); this one if it is None. For a method that
        another package registered with the standard library, as loky does, returns that package's context.

        Raises ValueError for another name.
        """
        if method is None:
            return self
        context = _find_context(method)
        if context is None:
            raise ValueError(f"cannot find context for {method!r}: method must be 'fork', 'spawn' or 'forkserver'")
        context._check_available()
        return context


class Process(process.BaseProcess, _standard.Process):
    """A process started by the default start method. See `BaseProcess` for its parameters."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return _default_context.get_context().Process._Popen(process_obj)

    @staticmethod
    def _after_fork() -> None:
        _default_context.get_context().Process._after_fork()


class DefaultContext(_standard.DefaultContext, BaseContext):
    """The context of the package's own functions. Its start method can be set once, and is determined when it is first
    needed."""

    Process = Process

    def __init__(self, context: BaseContext | None = None) -> None:
        """context: the platform's default, if None."""
        if context is not None:
            self._default_context = context
        self._actual_context: BaseContext | None = None

    @cached_property
    def _default_context(self) -> BaseContext:
        # Not earlier: newer Pythons (3.14.10, for example) write a temporary file to find out whether a fork server can
        # run.
        default: Any = _standard._default_context
        return _concrete_contexts[default._default_context._name]

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Sets the start method: "fork", "spawn" or "forkserver".

        force: whether to set it even if it was set before or has been used; None then resets it.

        Raises RuntimeError if it was set before, as it was in a child that imports the program's main module.
        """
        if self._actual_context is not None and not force:
            from kettle.multiprocessing import _main_guard

            _main_guard.forbid_while_importing("sets the start method", "context has already been set: ")
        super().set_start_method(method, force)


class ForkProcess(process.BaseProcess, _standard.ForkProcess):
    """A process started by forking this one."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        from kettle.multiprocessing.popen_fork import Popen

        return Popen(process_obj)


class SpawnProcess(process.BaseProcess, _standard.SpawnProcess):
    """A process started as a fresh interpreter."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        from kettle.multiprocessing.popen_spawn_posix import Popen

        return Popen(process_obj)


class ForkServerProcess(process.BaseProcess, _standard.ForkServerProcess):
    """A process forked by a server that has loaded little and has one thread."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        from kettle.multiprocessing.popen_forkserver import Popen

        return Popen(process_obj)


class ForkContext(BaseContext, _standard.ForkContext):
    """Processes are forked."""

    _name = "fork"
    Process = ForkProcess


class SpawnContext(BaseContext, _standard.SpawnContext):
    """Processes are fresh interpreters."""

    _name = "spawn"
    Process = SpawnProcess


class ForkServerContext(BaseContext, _standard.ForkServerContext):
    """Processes are forked by a server."""

    _name = "forkserver"
    Process = ForkServerProcess


_concrete_contexts: dict[str, BaseContext] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}
_default_context = DefaultContext()


def _find_context(method: str) -> Any:
    """Returns the context for `method`, or None if there is none. Other packages register theirs with the standard
    library."""
    registered: dict[str, Any] = _standard._concrete_contexts  # type: ignore[attr-defined]
    return _concrete_contexts.get(method) or registered.get(method)


def _force_start_method(method: str | None) -> None:
    """In a child, sets the start method by which it was started. None restores the default, until one is set."""
    _default_context._actual_context = None if method is None else _find_context(method)


process.force_start_method = _force_start_method
