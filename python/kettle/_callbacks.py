"""The hooks that pools of processes and of threads share: they create errors and run callbacks."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable

from kettle._describe import describe, name_task
from kettle._errors import TaskCancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle._core import native

__all__ = ["CommonHooks", "call_and_finish"]


class CommonHooks:
    """The native pool calls these methods. They do not refer to the `Pool` object."""

    #: Whether the tasks are those of an executor.
    _is_executor = False

    def __init__(self) -> None:
        self._callbacks = _Callbacks()

    def name_task(
        self, error: BaseException, func: Any, args: Any, kwds: Any, is_call: bool, place: tuple[str, int]
    ) -> None:
        """Adds a note to the exception of a task that names the task; if there are several items, with the name of the
        method and the index of the item."""
        method, index = place
        if method and self._is_executor:
            method = "map"
        task = describe(func, args if is_call else (args,), kwds)
        name_task(error, f"{task}, item {index} of {method}" if method else task)

    def unasked(self, error: BaseException) -> int:
        """A task has failed whose result is not waited for. Returns the number by which `asked` reverts this, or 0."""
        from kettle import _unasked

        return _unasked.add(error) if _unasked.tells_of(self._is_executor) else 0

    def asked(self, entry: int) -> None:
        """The error has been retrieved."""
        from kettle import _unasked

        _unasked.remove(entry)

    def broken(self, error: BaseException) -> BaseException:
        """Returns the error of all calls of a pool whose workers cannot start because of the given error."""
        return error

    def cancelled(self, func: Any, args: Any, is_call: bool) -> TaskCancelled:
        """Returns the error of a job that was cancelled."""
        return TaskCancelled(task=describe(func, args if is_call else None))

    def call_back(self, callback: Callable[[Any], object], value: Any, job: native.PoolJob) -> None:
        """Runs a job's callback in the callback thread, and finishes the job after it."""
        self._callbacks.put(callback, value, job)

    def inherits_for_callbacks(self, daemon: bool | None = None) -> None:
        """Sets whether the callback thread is a daemon, and therefore also threads that callbacks start. By default it
        is a daemon if the thread that starts it is. Unless it is a daemon, `end_callbacks` or `join_callbacks` must be
        called at the end."""
        self._callbacks.daemon = daemon

    def end_callbacks(self) -> None:
        """Ends the callback thread after it has run all existing callbacks."""
        self._callbacks.end()

    def join_callbacks(self) -> None:
        """Waits until all callbacks have run."""
        self._callbacks.join()


def call_and_finish(callback: Callable[[Any], object], value: Any, job: native.PoolJob) -> None:
    """Runs a job's callback and finishes the job, even if the callback fails: its thread has more to do."""
    try:
        callback(value)
    except BaseException:
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
    finally:
        job._finish()


class _Callbacks:
    """The thread that runs callbacks, one after another; it is started with the first one."""

    def __init__(self) -> None:
        #: Whether the thread is a daemon; None: the same as for the thread that starts it.
        self.daemon: bool | None = True
        self._queue: queue.SimpleQueue[tuple[Callable[[Any], object], Any, Any] | None] = queue.SimpleQueue()
        self._lock = threading.RLock()  # reentrant: a signal handler may wait for callbacks
        self._thread: threading.Thread | None = None
        self._has_ended = False

    def put(self, callback: Callable[[Any], object], value: Any, job: Any) -> None:
        # The thread is started first: waiting for its start lets other threads run, which must not find the job over
        # before its arguments have been released.
        self._provide()
        self._queue.put((callback, value, job))
        # The thread may have been ended before it reached this entry.
        self._provide()
        if self._has_ended:
            # No other code will end it.
            self.end()

    def _provide(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="pool-callbacks", daemon=self.daemon)
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            call_and_finish(*entry)
            del entry

    def _take_thread(self) -> threading.Thread | None:
        """Takes the thread, if there is one, to be ended when it has run its callbacks; the next callback starts
        another one."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
        return thread

    def end(self) -> None:
        with self._lock:
            self._has_ended = True
            self._take_thread()

    def join(self) -> None:
        with self._lock:
            thread = self._take_thread()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
