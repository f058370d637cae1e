"""The executor of threads, over the same jobs and futures as that of processes."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import thread

from kettle._cpus import usable_cpus
from kettle._session import native
from kettle.futures._executor import Maps
from kettle.futures._future import PoolFuture
from kettle.multiprocessing import _threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ThreadPoolExecutor"]

_LOGGER = logging.getLogger("concurrent.futures")
_numbers = itertools.count()


class ThreadPoolExecutor(Maps, thread.ThreadPoolExecutor):
    """An executor whose tasks are done by threads of this process.

    max_workers: how many threads at most; by default four more than there are processors to use, but not more than 32.
        One is started when a task finds none that is free.
    thread_name_prefix: what the threads are called.
    initializer, initargs: called in each thread before its first task. If it raises, the executor is broken, and
        `BrokenThreadPool` is raised by all its futures and by `submit`.

    A thread cannot be ended: a future's `cancel` and `kill` take back what has not begun, and nothing else. `map` pulls
    its input no further ahead than `buffersize`, if that is given.
    """

    __module__ = "kettle.futures"

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        # The base class is there for those who ask what this is; nothing of it is used.
        if max_workers is None:
            max_workers = min(32, usable_cpus() + 4)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._max_workers = max_workers
        self._thread_name_prefix = thread_name_prefix or f"ThreadPoolExecutor-{next(_numbers)}"
        self._hooks = _Hooks(self._thread_name_prefix, initializer, tuple(initargs))
        self._crew = native.ThreadCrew(self._hooks)
        self._home = os.getpid()
        self._is_shut = False
        self._lazy_maps: weakref.WeakSet[Any] = weakref.WeakSet()
        # An executor that nobody refers to any more does what it was given to do, and goes.
        weakref.finalize(self, self._crew.close).atexit = False

    def _open(self) -> native.ThreadCrew:
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exit.has_begun:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        _exit.serving.setdefault(self._hooks, self._crew)
        crew: native.ThreadCrew = self._crew
        return crew

    def _send(self, job: native.PoolJob, crew: native.ThreadCrew) -> None:
        crew.check()
        for _ in range(1 if isinstance(job, PoolFuture) else self._max_workers):
            crew.hire(self._max_workers)
        try:
            job._submit()
        except ValueError:
            if crew.state == "RUN":
                raise
            raise RuntimeError("cannot schedule new futures after shutdown") from None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> PoolFuture:
        """Has a thread call `fn(*args, **kwargs)`, and gives the future of what it returns."""
        crew = self._open()
        future = PoolFuture(crew, "call", fn, (args, kwargs))
        self._send(future, crew)
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """An iterator over `fn(*args) for args in zip(*iterables)`, done by the threads, in order.

        timeout: in seconds, from now on; when they are over, the iterator raises TimeoutError.
        chunksize: how many items a thread takes together.
        buffersize: how many chunks are pulled from the iterables ahead of what was taken from the iterator, by whoever
            takes from it; None for all, now.
        """
        return self._map(fn, iterables, timeout, chunksize, buffersize, None, 0)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks; the threads leave when those that there are have been done.

        wait: until they have left.
        cancel_futures: tasks that have not begun are cancelled.
        """
        self._is_shut = True
        if self._home != os.getpid():
            return
        for results in list(self._lazy_maps):
            results._end_input()
        if cancel_futures:
            self._crew.withdraw_all()
        self._crew.close()
        if wait:
            _join(self._hooks, self._crew)

    def statistics(self) -> Any:
        """How it is, as of a pool."""
        return self._crew.statistics()

    # What others look at.

    @property
    def _threads(self) -> set[threading.Thread]:  # type: ignore[override]
        return set(self._hooks.threads.values())

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self._is_shut

    @property
    def _broken(self) -> str | bool:  # type: ignore[override]
        try:
            self._crew.check()
        except thread.BrokenThreadPool as error:
            return str(error)
        return False


def _join(hooks: _Hooks, crew: native.ThreadCrew) -> None:
    crew.join()
    hooks.join_callbacks()
    hooks.join()


class _Hooks(_threads.Hooks):
    """What is different in an executor: its errors are those that users of `concurrent.futures` expect, and its
    callbacks run in the worker that has done the task."""

    def __init__(self, name: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        super().__init__(name, initializer, initargs)
        self._here = threading.local()

    def _work(self, crew: native.ThreadCrew, number: int) -> None:
        self._here.works = True
        super()._work(crew, number)
        me = threading.current_thread()
        if not any(other.is_alive() for other in list(self.threads.values()) if other is not me):
            _exit.serving.pop(self, None)

    def call_back(self, callback: Callable[[Any], object], value: Any, job: native.PoolJob) -> None:
        # Whoever waits for a task may be here as well, and hold any lock.
        if hasattr(self._here, "works"):
            callback(value)
            job._finish()
        else:
            super().call_back(callback, value, job)

    def raised(self, error: BaseException) -> BaseException:
        return error

    def broken(self, error: BaseException) -> BaseException:
        _LOGGER.critical("Exception in initializer:", exc_info=error)
        broken = thread.BrokenThreadPool(f"the executor's threads cannot be started: {error}")
        broken.__cause__ = error
        return broken


class _Exit:
    """Who still works when the interpreter leaves: it waits for them."""

    def __init__(self) -> None:
        self.has_begun = False
        self.serving: dict[_Hooks, native.ThreadCrew] = {}
        threading._register_atexit(self._leave)  # type: ignore[attr-defined]
        os.register_at_fork(after_in_child=self.serving.clear)

    def _leave(self) -> None:
        self.has_begun = True
        serving = list(self.serving.items())
        for _, crew in serving:
            crew.close()
        for hooks, crew in serving:
            _join(hooks, crew)


_exit = _Exit()
