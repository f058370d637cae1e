"""What crews of processes and of threads need of Python alike: to make an error, to run callbacks."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable

from kettle._describe import describe
from kettle._errors import TaskCancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle._core import native

__all__ = ["CommonHooks", "call_and_finish"]


class CommonHooks:
    """The native crew calls these methods. They know nothing of the pool that it works for."""

    def __init__(self) -> None:
        self._callbacks = _Callbacks()

    def broken(self, error: BaseException) -> BaseException:
        """The error of all that a pool is asked for, once its workers cannot begin because of this one."""
        return error

    def cancelled(self, func: Any, args: Any, is_call: bool) -> TaskCancelled:
        """The error of a job that was cancelled."""
        return TaskCancelled(task=describe(func, args if is_call else None))

    def call_back(self, callback: Callable[[Any], object], value: Any, job: native.PoolJob) -> None:
        """Has a job's callback run in the thread for that, and the job finished then."""
        self._callbacks.put(callback, value, job)

    def join_callbacks(self) -> None:
        """Waits until all callbacks have run."""
        self._callbacks.join()


def call_and_finish(callback: Callable[[Any], object], value: Any, job: native.PoolJob) -> None:
    """Runs a job's callback and has the job finished, whatever becomes of the callback: its thread has more to do."""
    try:
        callback(value)
    except BaseException:
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
    finally:
        job._finish()


class _Callbacks:
    """The thread that runs callbacks, one after another, from the first on."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[Any], object], Any, Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, callback: Callable[[Any], object], value: Any, job: Any) -> None:
        self._queue.put((callback, value, job))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pool-callbacks", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            call_and_finish(*entry)
            del entry

    def join(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            self._queue.put(None)
            thread.join()
