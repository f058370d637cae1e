"""The future of a task of a pool.

A future has two states. As long as only the caller of `result()` uses it, it knows no more than the pool's job: it has
no lock of its own, and the thread that waits in `result()` takes the result out of shared memory itself.

    unwatched ──a callback is added, or wait() or as_completed() look at it──► watched

A *watched* future has everything that `concurrent.futures` expects of a future: a condition, waiters, callbacks, and a
state that changes while the condition is held. The pool notifies it when its job is over. If the future has callbacks,
the notification arrives in the thread that runs callbacks, in order, so a thread that waited for this future finds that
the callbacks of earlier futures have run. The callbacks of a cancelled future run in the thread that cancels it, before
`cancel` returns.

The arguments of the task belong to the job, which releases them when it is over: a future keeps only its outcome.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING, RUNNING

from kettle._core import native
from kettle._errors import TaskCancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PoolFuture"]


class PoolFuture(native.PoolJob, Future):  # type: ignore[type-arg]
    """A `concurrent.futures.Future` for the outcome of a task of an executor, which can also be killed."""

    __module__ = "kettle.futures"

    # For a watched future: whether it is watched, its final state, and whether the pool calls `_conclude`.
    _watched = False
    _settled: str | None = None
    _calls_back = False
    # Whether a future of an event loop stands for this one.
    _is_awaited = False

    def __init__(self, *_: object, **__: object) -> None:
        # All state is in the job, see the module docstring.
        pass

    def result(self, timeout: float | None = None) -> Any:
        """Returns the result of the task. Raises the task's exception; `TimeoutError` after `timeout` seconds;
        WorkerDied, TaskTimeout or TaskCancelled (a `CancelledError`) if the task could not be completed."""
        if not self._wait(timeout):
            raise TimeoutError
        if self._watched:
            self._settle()
        succeeded, value = self._outcome()
        if succeeded:
            return value
        try:
            raise value
        finally:
            # Avoid a reference cycle: the traceback refers to this frame, and this frame to the exception.
            del value, self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Returns the exception of the task, or None. Raises like `result` if the outcome is not known in time, and
        TaskCancelled if the task was cancelled."""
        if not self._wait(timeout):
            raise TimeoutError
        if self._watched:
            self._settle()
        if self._was_cancelled():
            return self.result()  # type: ignore[no-any-return]
        succeeded, value = self._outcome()
        return None if succeeded else value

    def cancel(self) -> bool:
        """Cancels the task if no worker has begun it, and calls the callbacks of this future. Returns whether the task
        is cancelled. See also `kill`. If a coroutine waits for the future (`loop.run_in_executor`,
        `asyncio.wrap_future`), the task is killed: asyncio calls this method when the coroutine is cancelled."""
        return self.kill() if self._is_awaited else self._withdraw()

    def kill(self) -> bool:
        """Cancels the task even if it is running; its worker is then ended and replaced. Calls the callbacks of this
        future. Returns whether the task is cancelled."""
        return self._cancel() or self.cancelled()

    def cancelled(self) -> bool:
        """Returns whether the task was cancelled."""
        return self.done() and self._was_cancelled()

    def running(self) -> bool:
        """Returns whether a worker has the task and it is not over."""
        return self._is_running

    def done(self) -> bool:
        """Returns whether the task is over."""
        if self._is_done and self._watched:
            self._settle()
        return self._is_done

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Calls `fn` with this future when it is over: in a thread of this process that only runs callbacks (for a
        thread executor, the thread that ran the task), in the thread that cancels the future, or immediately in this
        thread if the future is already over."""
        if getattr(fn, "__module__", None) == "asyncio.futures":
            self._is_awaited = True
        if not self._is_done:
            with self._condition:
                if self._settled is None:
                    self._done_callbacks.append(fn)
                    # If it ends at this moment, it is notified like a future without callbacks, which are called a
                    # little later.
                    self._calls_back = self._calls_back or self._call_back(self._conclude)
                    return
        try:
            fn(self)
        except Exception:
            LOGGER.exception("exception calling callback for %r", self)

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else self._state.lower()
        if state == "finished":
            error = self._exception
            how = f"raised {type(error).__name__}" if error else f"returned {type(self._result).__name__}"
            state = f"{state} {how}"
        return f"<{type(self).__name__} at {id(self):#x} state={state}>"

    # ------------------------------------------------------------------ what only an executor does

    def set_running_or_notify_cancel(self) -> bool:
        raise InvalidStateError(f"the executor alone changes the state of {self!r}")

    def set_result(self, result: Any) -> None:
        raise InvalidStateError(f"the executor alone sets the result of {self!r}")

    def set_exception(self, exception: BaseException | None) -> None:
        raise InvalidStateError(f"the executor alone sets the exception of {self!r}")

    # ------------------------------------------------------------------ what wait() and as_completed() use

    @property
    def _state(self) -> str:  # type: ignore[override]
        if self._settled is not None:
            return self._settled
        if self._is_done and not self._watched:
            return CANCELLED_AND_NOTIFIED if self._was_cancelled() else FINISHED
        return RUNNING if self._is_running else PENDING

    @property
    def _result(self) -> Any:  # type: ignore[override]
        outcome = self._known_outcome()
        return outcome[1] if outcome is not None and outcome[0] else None

    @property
    def _exception(self) -> BaseException | None:  # type: ignore[override]
        outcome = self._known_outcome()
        return None if outcome is None or outcome[0] else outcome[1]

    def __getattr__(self, name: str) -> Any:
        # The first access makes the future watched.
        if name not in ("_condition", "_waiters", "_done_callbacks"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        fields = vars(self)
        fields.setdefault("_waiters", [])
        fields.setdefault("_done_callbacks", [])
        mine = threading.Condition()
        # If several threads arrive here at once, one of them is the first.
        if fields.setdefault("_condition", mine) is mine:
            self._watched = True
            self._listen(self._settle)
        return fields[name]

    def _was_cancelled(self) -> bool:
        return self._is_cancelled and isinstance(self._exception, TaskCancelled)

    def _conclude(self, _: object) -> None:
        """Ends a future with callbacks; called in the thread that runs them."""
        self._settle()
        self._finish()
        self._invoke_callbacks()

    def _settle(self) -> None:
        """Gives a watched future that is over its final state and notifies its waiters. Callbacks run elsewhere,
        because the calling thread may be any thread that waits for a task, and may hold any lock."""
        with self._condition:
            if self._settled is not None:
                return
            cancelled = self._was_cancelled()
            self._settled = CANCELLED_AND_NOTIFIED if cancelled else FINISHED
            for waiter in self._waiters:
                if cancelled:
                    waiter.add_cancelled(self)
                elif self._exception is None:
                    waiter.add_result(self)
                else:
                    waiter.add_exception(self)
            self._condition.notify_all()
            has_callbacks = bool(self._done_callbacks)
        if has_callbacks and not self._calls_back:
            self._hooks.call_back(Future._invoke_callbacks, self, self)  # type: ignore[attr-defined]
