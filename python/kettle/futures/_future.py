"""The future of a task that a pool has.

It has two lives. As long as nobody but the caller of `result()` is interested, all it knows is what the pool's job
knows: it has no lock of its own, and the thread that waits in `result()` takes the result out of shared memory itself.

    unwatched ──a callback is added, or wait() or as_completed() look at it──► watched

A *watched* one has what `concurrent.futures` expects of a future: a condition, waiters, callbacks, and a state that
changes while the condition is held. The pool tells it when its job is over; if it has callbacks, that comes in the
thread that runs them, in turn. So whoever has waited for it finds that the callbacks of those before it have run. Those
of one that is cancelled run in the thread that cancels it, before `cancel` returns.

What the task was given is the job's, which lets go of it when it is over: a future keeps its outcome alone.
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
    """What a task that was handed to an executor will give: a `concurrent.futures.Future`, which can be killed."""

    __module__ = "kettle.futures"

    # Of a watched one: whether it is, its final state, and whether the pool calls `_conclude`.
    _watched = False
    _settled: str | None = None
    _calls_back = False
    # Whether a future of an event loop stands for it.
    _is_awaited = False

    def __init__(self, *_: object, **__: object) -> None:
        # The job is all that there is: see the head of this file.
        pass

    def result(self, timeout: float | None = None) -> Any:
        """What the task returned. Raises what it raised; `TimeoutError` after `timeout` seconds; WorkerDied,
        TaskTimeout or TaskCancelled (which is a `CancelledError`) if it could not be done."""
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
            # The traceback would hold on to this frame, and this frame to the exception.
            del value, self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or None. Raises as `result` if there is no telling, and TaskCancelled."""
        if not self._wait(timeout):
            raise TimeoutError
        if self._watched:
            self._settle()
        if self._was_cancelled():
            return self.result()  # type: ignore[no-any-return]
        succeeded, value = self._outcome()
        return None if succeeded else value

    def cancel(self) -> bool:
        """Takes it back, if no worker has begun it, and calls its callbacks; says whether it is cancelled. See also
        `kill`. One that a coroutine waits for (`loop.run_in_executor`, `asyncio.wrap_future`) is killed: so asyncio
        cancels it with the coroutine."""
        return self.kill() if self._is_awaited else self._withdraw()

    def kill(self) -> bool:
        """Takes it back, also if it runs: then its worker is ended, and another one takes its place. Calls its
        callbacks. Says whether it is cancelled."""
        return self._cancel() or self.cancelled()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.done() and self._was_cancelled()

    def running(self) -> bool:
        """Whether a worker has it, and it is not over."""
        return self._is_running

    def done(self) -> bool:
        """Whether it is over."""
        if self._is_done and self._watched:
            self._settle()
        return self._is_done

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Has `fn` called with this future when it is over: in a thread of this process that does nothing else (of an
        executor of threads, the one that did the task), in the one that cancels it, or here and now if it is over
        already."""
        if getattr(fn, "__module__", None) == "asyncio.futures":
            self._is_awaited = True
        if not self._is_done:
            with self._condition:
                if self._settled is None:
                    self._done_callbacks.append(fn)
                    # If it is over just now, it is told as one without callbacks, and they are called a little later.
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

    # ------------------------------------------------------------------ what wait() and as_completed() look at

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
        # Its first use makes it watched.
        if name not in ("_condition", "_waiters", "_done_callbacks"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        fields = vars(self)
        fields.setdefault("_waiters", [])
        fields.setdefault("_done_callbacks", [])
        mine = threading.Condition()
        # Of several threads that come here at once, one is the first.
        if fields.setdefault("_condition", mine) is mine:
            self._watched = True
            self._listen(self._settle)
        return fields[name]

    def _was_cancelled(self) -> bool:
        return self._is_cancelled and isinstance(self._exception, TaskCancelled)

    def _conclude(self, _: object) -> None:
        """Of one with callbacks, when it is over: comes in the thread that runs them."""
        self._settle()
        self._finish()
        self._invoke_callbacks()

    def _settle(self) -> None:
        """Of a watched one that is over: gives it its final state and tells who waits. Callbacks run elsewhere: whoever
        is here may be any thread that waits for a task, and hold any lock."""
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
