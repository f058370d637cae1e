"""The parts of a pool that need Python: it starts and reaps workers, creates exceptions, and runs callbacks.

The Rust side calls these methods from the thread that leads. They do not refer to the `Pool` object, so that an
unreferenced pool can be collected.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from kettle import _postmortem
from kettle._callbacks import CommonHooks
from kettle._describe import describe
from kettle._errors import RemoteError, TaskCancelled, TaskTimeout
from kettle._postmortem import PostMortem
from kettle.multiprocessing import _main_guard, _worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from kettle._errors import WorkerDied
    from kettle._session import native
    from kettle.multiprocessing.process import BaseProcess

__all__ = ["Hooks"]

# In seconds: the maximum time to learn how a worker has ended.
_REPORT_TIME = 0.5


class _End:
    """How a worker ended."""

    __slots__ = ("exitcode", "fate", "pid", "trace")

    # Not a dataclass: importing that module takes as long as importing all modules of the pool.
    def __init__(self, pid: int, exitcode: int | None, fate: str, trace: str | None) -> None:
        self.pid = pid
        self.exitcode = exitcode
        self.fate = fate
        self.trace = trace


class Hooks(CommonHooks):
    """See the module. The native pool calls all methods but `join_callbacks`."""

    work = staticmethod(_worker.work)
    unpack = staticmethod(_worker.unpack)
    is_interrupt = staticmethod(_worker.is_interrupt)

    def __init__(
        self,
        make_process: Callable[..., BaseProcess],
        name: str | None,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        super().__init__()
        self._make_process = make_process
        self._name = name
        self._work = (initializer, initargs)
        self.processes: dict[int, BaseProcess] = {}
        self._traces: dict[int, int | None] = {}
        self._post_mortem = PostMortem()
        self._is_told_how_workers_end = True

    def start(self, seat: int, desk: native.PoolDesk) -> tuple[int, int]:
        """Starts a worker at `desk`; returns its process id, and a descriptor that is readable once it has ended."""
        trace = _postmortem.new_trace()
        place = None if trace is None else (os.getpid(), trace)
        process = self._make_process(target=self.work, args=(desk, place, *self._work))
        process.name = f"{self._name}-{seat}" if self._name else process.name.replace("Process", "PoolWorker")
        process.daemon = True
        # Meanwhile another thread waits for results, perhaps with a time limit.
        process._waits_for_server = False
        try:
            process.start()
            pid, sentinel = process.pid, process.sentinel
            assert pid is not None
        except BaseException:
            if getattr(process, "_popen", None) is not None:  # an interrupt came after the process had started
                process.kill()
                process.join()
            _postmortem.close_trace(trace)
            raise
        self.processes[seat] = process
        self._traces[seat] = trace
        return pid, sentinel

    def discard(self, seat: int) -> None:
        """Ends a worker that cannot be watched."""
        _postmortem.close_trace(self._traces.pop(seat, None))
        process = self.processes.pop(seat)
        process.kill()
        process.join()

    def ended(self, seat: int, pid: int, fate: str) -> _End:
        """Reaps a worker that has ended."""
        process = self.processes.pop(seat, None)
        # Read it even if it is not needed: an idle worker's death causes no error, but the descriptor must be closed.
        trace = _postmortem.read_trace(self._traces.pop(seat, None))
        exitcode = None
        if process is not None:
            # If the fork server did not report in time, because it was stopped, do not wait for it a second time.
            process.join(_REPORT_TIME if self._is_told_how_workers_end else 0)
            exitcode = process.exitcode
            self._is_told_how_workers_end = exitcode is not None
        return _End(pid, exitcode, fate, trace)

    def lost(
        self, end: _End, func: Any, args: Any, kwds: Any, is_call: bool, timeout: float | None
    ) -> WorkerDied | TaskTimeout | TaskCancelled:
        """Returns the error of the task that the worker was running when it ended."""
        task = describe(func, args if is_call else (args,), kwds)
        if end.fate == "timeout":
            assert timeout is not None
            return TaskTimeout(task=task, timeout=timeout)
        if end.fate == "cancelled":
            return TaskCancelled(task=task)
        reason: Literal["died", "memory"] = "memory" if end.fate == "memory" else "died"
        return self._post_mortem.worker_died(end.pid, end.exitcode, task, trace=end.trace, reason=reason)

    def unsendable(
        self, error: BaseException, func: Any, args: Any, kwds: Any, item: int | None = None
    ) -> BaseException:
        """Returns the error of a task that could not be sent. For a map, this is the item with this number, `args`."""
        from kettle import _unpicklable

        if not isinstance(error, Exception):
            return error
        if item is not None:
            return _unpicklable.explain(error, {"func": func, f"iterable[{item}]": args})
        owner = f" of {getattr(func, '__name__', None) or type(func).__name__}()"
        return _unpicklable.explain(error, {"func": func, "args": args, "kwds": kwds}, owner)

    def unreadable(self, error: BaseException) -> RemoteError:
        """Returns the error of a task whose result cannot be unpickled here because of an exception that would end this
        program."""
        told = RemoteError(type_name=_worker.name_of(error), text=f"{_worker.text_of(error)} (raised by its result)")
        told.__cause__ = error
        return told

    def false_start(self, end: _End) -> WorkerDied:
        """Returns the error of a pool whose workers die before they are ready."""
        hint = _main_guard.cure() if _main_guard.is_missing() else None
        return self._post_mortem.worker_died(end.pid, end.exitcode, trace=end.trace, reason="start", hint=hint)
