"""What crews of processes and of threads need of Python alike: to make an error, to run callbacks."""

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
    """The native crew calls these methods. They know nothing of the pool that it works for."""

    #: Whether its tasks are those of an executor.
    _is_executor = False

    def __init__(self) -> None:
        self._callbacks = _Callbacks()

    def name_task(
        self, error: BaseException, func: Any, args: Any, kwds: Any, is_call: bool, place: tuple[str, int]
    ) -> None:
        """Has what a task raised tell which task it was: of many items, with the name of the method and its number."""
        method, index = place
        if method and self._is_executor:
            method = "map"
        task = describe(func, args if is_call else (args,), kwds)
        name_task(error, f"{task}, item {index} of {method}" if method else task)

    def unasked(self, error: BaseException) -> int:
        """A task has failed that nothing waits for. Gives the number by which `asked` takes that back, or 0."""
        from kettle import _unasked

        return _unasked.add(error) if _unasked.tells_of(self._is_executor) else 0

    def asked(self, entry: int) -> None:
        """The error has been asked for."""
        from kettle import _unasked

        _unasked.remove(entry)

    def broken(self, error: BaseException) -> BaseException:
        """The error of all that a pool is asked for, once its workers cannot begin because of this one."""
        return error

    def cancelled(self, func: Any, args: Any, is_call: bool) -> TaskCancelled:
        """The error of a job that was cancelled."""
        return TaskCancelled(task=describe(func, args if is_call else None))

    def call_back(self, callback: Callable[[Any], object], value: Any, job: native.PoolJob) -> None:
        """Has a job's callback run in the thread for that, and the job finished then."""
        self._callbacks.put(callback, value, job)

    def inherits_for_callbacks(self, daemon: bool | None = None) -> None:
        """Says whether the thread that runs callbacks is a daemon, and so what they start: by default, if the thread is
        that starts it. Unless it is one, `end_callbacks` or `join_callbacks` must be called in the end."""
        self._callbacks.daemon = daemon

    def end_callbacks(self) -> None:
        """Has the thread that runs callbacks end when it has run those that there are."""
        self._callbacks.end()

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
        #: Of the thread.
        self.daemon: bool | None = True
        self._queue: queue.SimpleQueue[tuple[Callable[[Any], object], Any, Any] | None] = queue.SimpleQueue()
        self._lock = threading.RLock()  # reentrant: a signal handler may wait for callbacks
        self._thread: threading.Thread | None = None
        self._has_ended = False

    def put(self, callback: Callable[[Any], object], value: Any, job: Any) -> None:
        # The thread comes first: to wait for its start lets others run, who shall not find the job over before we
        # have let go of what it was given.
        self._provide()
        self._queue.put((callback, value, job))
        # It may have been ended before it came to this entry.
        self._provide()
        if self._has_ended:
            # Nobody else will end it.
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
        """The thread, if there is one, which ends when it has run what it has; the next callback starts another one."""
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
