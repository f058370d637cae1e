"""The thread executor, with the same jobs and futures as the process executor."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, thread

from kettle import _parameters, _thread_crew
from kettle._callbacks import call_and_finish
from kettle._core import native
from kettle._cpus import usable_cpus
from kettle.futures._future import PoolFuture
from kettle.futures._maps import Maps
from kettle.futures._parts import Known, Part, WorkQueue
from kettle.futures._workers import worker_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ThreadPoolExecutor"]

_LOGGER = logging.getLogger("concurrent.futures")
_numbers = itertools.count()
_standard = thread.ThreadPoolExecutor


class ThreadPoolExecutor(Maps, _standard):
    """An executor whose tasks are run by threads of this process.

    max_workers: the maximum number of threads; by default four more than the number of available processors, but at
        most 32. A thread is started when a task finds no free one.
    thread_name_prefix: the prefix of the names of the threads.
    initializer, initargs: called in each thread before its first task. If the initializer raises, the executor is
        broken, and all its futures and `submit` raise `BrokenThreadPool`.

    A thread cannot be ended: `cancel` and `kill` of a future affect only a task that has not begun. `map` reads its
    input no further ahead than `buffersize`, if that is given.

    The private parts of the standard library's executor are available. When a program accesses one, this executor
    becomes like the standard library's, with its speed and its futures; so does a subclass that overrides how threads
    are started.
    """

    __module__ = "kettle.futures"

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        **context: Any,
    ) -> None:
        if _starts_otherwise(type(self)):
            self._is_standard = True
            _standard.__init__(self, max_workers, thread_name_prefix, initializer, initargs, **context)  # type: ignore[call-overload]
            return
        if context:  # from 3.14 on, for subclasses that prepare more for their threads
            raise TypeError(f"ThreadPoolExecutor() got an unexpected keyword argument {next(iter(context))!r}")
        # None of the base class's code is used until a program accesses its parts.
        self._max_workers = worker_count(max_workers, min(32, usable_cpus() + 4))
        _parameters.must_be_callable("initializer", initializer)
        self._thread_name_prefix: str = thread_name_prefix or f"ThreadPoolExecutor-{next(_numbers)}"
        self._initialize = (initializer, _parameters.arguments("initargs", initargs))
        self._is_shut = False
        self._begin()

    def _begin(self) -> None:
        self._hooks = _Hooks(self._thread_name_prefix, *self._initialize)
        self._crew = native.ThreadCrew(self._hooks)
        self._lazy_maps: weakref.WeakSet[Any] = weakref.WeakSet()
        # An executor without references finishes its tasks and ends.
        weakref.finalize(self, self._crew.close).atexit = False
        self._home = os.getpid()

    def _open(self) -> native.ThreadCrew:
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exit.has_begun:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._home != os.getpid():
            # In a fork of the process that created the executor, its threads do not exist.
            self._begin()
        _exit.serving.setdefault(self._hooks, self._crew)
        crew: native.ThreadCrew = self._crew
        return crew

    def _send(self, job: native.PoolJob, crew: native.ThreadCrew, tasks: int = 1) -> None:
        crew.check()
        crew.hire(self._max_workers, tasks)
        try:
            job._submit()
        except ValueError:
            if crew.state == "RUN":
                raise
            raise RuntimeError("cannot schedule new futures after shutdown") from None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedules `fn(*args, **kwargs)` to run in a thread, and returns a future for its result."""
        if self._is_standard:
            return _standard.submit(self, fn, *args, **kwargs)
        crew = self._open()
        future = PoolFuture(crew, "call", fn, (args, kwargs))
        self._send(future, crew)
        return future

    _own_submit = submit

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accepts no more tasks; the threads end when all existing tasks are done.

        wait: whether to wait until the threads have ended.
        cancel_futures: whether to cancel tasks that have not begun.
        """
        if self._is_standard:
            _standard.shutdown(self, wait, cancel_futures=cancel_futures)
            if not hasattr(self, "_crew"):
                return
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
        """Returns the same counters as a pool."""
        return self._crew.statistics()

    # ------------------------------------------------------------------ what programs inspect

    def _become_standard(self) -> None:
        if not self._is_standard:
            other = _standard(self._max_workers, self._thread_name_prefix, *self._initialize)
            for name, value in vars(other).items():
                # If several threads arrive here at once, one of them is the first.
                vars(self).setdefault(name, value)
            self._is_standard = True
            if self._is_shut:
                vars(self)["_shutdown"] = True

    def _is_in_use(self) -> bool:
        return not self._is_standard and self._home == os.getpid() and bool(self._hooks.threads)

    _work_queue = WorkQueue()
    _idle_semaphore = Part()
    _shutdown_lock = Part()
    _initializer = Part()
    _initargs = Part()
    _threads = Known(lambda executor: set(executor._hooks.threads.values()))
    _shutdown = Known(lambda executor: executor._is_shut)
    _broken = Known(lambda executor: executor._how_broken())

    def _how_broken(self) -> str | bool:
        try:
            self._crew.check()
        except RuntimeError as error:
            return str(error)
        return False


# The methods by which the standard library's executor starts its threads and gives up.
_INNER = [
    name for name in ("_adjust_thread_count", "_initializer_failed", "prepare_context") if hasattr(_standard, name)
]


def _starts_otherwise(cls: type) -> bool:
    """Returns whether a subclass overrides how threads are started, which requires the standard library's code."""
    return any(_function(cls, name) is not _function(_standard, name) for name in _INNER)


def _function(cls: type, name: str) -> object:
    method = getattr(cls, name)
    return getattr(method, "__func__", method)


def _join(hooks: _Hooks, crew: native.ThreadCrew) -> None:
    crew.join()
    hooks.join_callbacks()
    hooks.join()


class _Hooks(_thread_crew.Hooks):
    """The differences between an executor and a pool. An executor raises the errors that users of `concurrent.futures`
    expect. Its callbacks run in the worker that ran the task. A thread is a daemon if the thread that submits the task
    for which it is started is a daemon; the same applies to threads that a task starts. The interpreter waits for the
    executor's own threads in any case."""

    are_daemons = None
    _is_executor = True

    def __init__(self, name: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        super().__init__(name, initializer, initargs)
        self.inherits_for_callbacks()
        self._here = threading.local()

    def _work(self, crew: native.ThreadCrew, number: int) -> None:
        self._here.works = True
        super()._work(crew, number)
        # The counter is decremented before: of several threads that leave together, at least one sees that all have
        # left.
        if crew.statistics().workers == 0:
            _exit.serving.pop(self, None)
            self.end_callbacks()

    def call_back(self, callback: Callable[[Any], object], value: Any, job: native.PoolJob) -> None:
        # The calling thread may be one that waits for a task, and may hold any lock.
        if hasattr(self._here, "works"):
            call_and_finish(callback, value, job)
        else:
            super().call_back(callback, value, job)

    def raised(self, error: BaseException) -> BaseException:
        return error

    def broken(self, error: BaseException) -> BaseException:
        _LOGGER.critical("Exception in initializer:", exc_info=error)
        return _broken(f"the executor's threads cannot be started: {error}", error)

    def worker_failed(self, error: BaseException) -> BaseException:
        _LOGGER.critical("Exception in worker", exc_info=error)
        return _broken(f"a thread of the executor has failed: {error}", error)


def _broken(text: str, cause: BaseException) -> thread.BrokenThreadPool:
    broken = thread.BrokenThreadPool(text)
    broken.__cause__ = cause
    return broken


class _Exit:
    """The executors that still have tasks when the interpreter ends; it waits for them."""

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
