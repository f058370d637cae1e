"""The errors of this package. The core creates those of locks and queues, this module those of the pool; users catch
them as `kettle.OwnerDied`, `kettle.WorkerDied` and so on.

The pool's errors are constructed from keyword fields, which are attributes, and write their own text. They can be
pickled and copied without loss.
"""

from __future__ import annotations

import errno
import signal as _signals
from concurrent.futures import CancelledError as _StandardCancelledError
from multiprocessing import TimeoutError as _StandardTimeoutError

from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

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
]

KettleError = native.KettleError
InternalError = native.InternalError
OwnerDied = native.OwnerDied
ConsumerDied = native.ConsumerDied
SessionDamaged = native.SessionDamaged
ShutDown = native.ShutDown

# Signals by which a process ends itself. Any other signal was sent by another process.
_CRASHES = {_signals.SIGSEGV, _signals.SIGBUS, _signals.SIGFPE, _signals.SIGILL, _signals.SIGABRT, _signals.SIGSYS}


class _OfFields(KettleError):
    """An error that is constructed from keyword fields. It is pickled as its text and attributes, independent of its
    constructor."""

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, vars(self))


def rebuild(cls: type[_OfFields], args: tuple[Any, ...], fields: dict[str, Any]) -> _OfFields:
    """Returns an error with this text and these attributes."""
    error = cls.__new__(cls)
    error.args = args
    vars(error).update(fields)
    return error


class DeadlockError(_OfFields, RuntimeError):
    """Threads wait for each other, and this one got this error instead of waiting forever. It did not get its lock. If
    it releases what it holds, the others can go on.

    cycle: the threads, of any process: each waits for a lock that the next one holds, and the last for one that the
        first one holds. Each has `pid`, `tid`, `thread` (its name), `waits_for`, `holds` (the locks, by their names or
        where they were created) and `stack` (as text).
    ended: (pid, tid) of a thread that ended while holding the lock that the only thread in `cycle` waits for; otherwise
        None.
    """

    __module__ = "kettle"

    def __init__(self, text: str, *, cycle: list[Any], ended: tuple[int, int] | None = None) -> None:
        super().__init__(text)
        self.cycle = cycle
        self.ended = ended


class DescriptorLost(KettleError, OSError):
    """This program closed a descriptor that Kettle needs, as daemons do that close all. No file of the program was
    touched, even if it has the number now. `kettle.descriptors()` lists the descriptors to leave open.

    descriptor: its number.
    """

    __module__ = "kettle"

    def __init__(self, text: str, descriptor: int) -> None:
        super().__init__(errno.EBADF, text)
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.strerror, self.descriptor)


class WorkerDied(_OfFields):
    """A worker process died, together with the task that it was running; other tasks are not affected.

    pid: the worker's process id.
    exitcode: its exit code, negative if a signal ended it; None if unknown.
    signal: the number of that signal, or None.
    task: the call that it was running, as short text; None if it ran none.
    oom: whether the kernel killed it because memory ran out; None if unknown.
    reason: "died" if it died by itself or was killed from outside; "memory" if the pool ended it because it exceeded
        `max_memory_per_worker`; "start" if it died before it took a task, like several before it.
    trace: the Python stacks at the crash, as written by faulthandler, or None.
    hint: for reason "start", what is known to have ended it and what to do; otherwise None.
    """

    __module__ = "kettle"

    def __init__(
        self,
        *,
        pid: int,
        exitcode: int | None = None,
        signal: int | None = None,
        task: str | None = None,
        oom: bool | None = None,
        reason: Literal["died", "memory", "start"] = "died",
        trace: str | None = None,
        hint: str | None = None,
    ) -> None:
        if signal is None and exitcode is not None and exitcode < 0:
            signal = -exitcode
        self.pid = pid
        self.exitcode = exitcode
        self.signal = signal
        self.task = task
        self.oom = oom
        self.reason = reason
        self.trace = trace
        self.hint = hint
        super().__init__(f"worker {pid} {self._end()}{self._where()}{self._advice()}")
        if trace:
            self.add_note(f"The worker's stacks when it died:\n{trace.rstrip()}")

    def _end(self) -> str:
        if self.reason == "memory":
            return "was ended because it exceeded max_memory_per_worker"
        if self.signal is None:
            return "died" if self.exitcode is None else f"exited with code {self.exitcode}"
        name = _signal_name(self.signal)
        if self.signal in _CRASHES:
            return f"crashed with {name}"
        if self.oom:
            return f"was killed by the kernel ({name}: out of memory)"
        if self.oom is None and self.signal == _signals.SIGKILL:
            return f"was killed by {name} (perhaps by the kernel: out of memory)"
        return f"was killed by {name}"

    def _where(self) -> str:
        if self.reason == "start":
            return " before it was ready" if self.hint else " before it was ready, as others did before it"
        return f" while it ran {self.task}" if self.task else ""

    def _advice(self) -> str:
        if self.hint:
            return f": {self.hint}"
        if self.reason == "start":
            return "; the pool has given up. Do its imports and its initializer work in the parent?"
        if self.reason == "memory":
            return "; raise the limit, or give each task less"
        if self.oom:
            return "; use fewer workers, or max_memory_per_worker= to end one that grows before the kernel does"
        return "; use retries= to run such tasks again" if self.task else ""


class TaskTimeout(_OfFields, TimeoutError, _StandardTimeoutError):
    """A task ran longer than its `task_timeout` and was ended. Other tasks are not affected.

    task: the call, as short text.
    timeout: the limit, in seconds.
    goes_on: whether the task could not be ended, because a thread runs it: then it goes on, and its result is dropped.
    """

    __module__ = "kettle"

    def __init__(self, *, task: str, timeout: float, goes_on: bool = False) -> None:
        self.task = task
        self.timeout = timeout
        self.goes_on = goes_on
        end = "; it goes on, since a thread cannot be ended" if goes_on else " and was ended"
        super().__init__(f"{task} ran longer than its task_timeout of {timeout:g} s{end}")


class TaskCancelled(_OfFields, _StandardCancelledError):
    """A task was cancelled, before it began or while it was running.

    task: the call, as short text.
    """

    __module__ = "kettle"

    def __init__(self, *, task: str) -> None:
        self.task = task
        super().__init__(f"{task} was cancelled")


class RemoteError(_OfFields):
    """A task ended with an exception that cannot be raised here itself, because it cannot be pickled or unpickled, or
    because it would end this process (SystemExit, KeyboardInterrupt).

    type_name: the name of the exception's class, with its module unless it is a builtin.
    text: the `str()` of the exception.
    traceback: its traceback in the worker, as text; printed along with this error.
    """

    __module__ = "kettle"

    def __init__(self, *, type_name: str, text: str = "", traceback: str = "") -> None:
        self.type_name = type_name
        self.text = text
        self.traceback = traceback
        super().__init__(f"{type_name}: {text}" if text else type_name)
        if traceback:
            self.add_note(f"In the worker:\n{traceback.rstrip()}")


def _signal_name(number: int) -> str:
    try:
        return _signals.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def text_of(error: BaseException) -> str:
    """Returns `str` of an exception."""
    try:
        return str(error)
    except Exception:  # user-defined classes may raise anything
        return "<its text cannot be made>"


def traceback_of(error: BaseException) -> str:
    """Returns the traceback of an exception, as Python prints it."""
    import traceback

    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # attributes of user-defined classes may raise anything, and so do frames that Nuitka compiled
        return f"{type(error).__qualname__}: {text_of(error)}\n  <its traceback cannot be made>\n"
