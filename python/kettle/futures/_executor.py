"""The process executor, on the process pool."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, process
from functools import partial

from kettle import _parameters
from kettle._cpus import usable_cpus
from kettle._session import look_for_pickler, native
from kettle.futures._exit import at_exit
from kettle.futures._future import PoolFuture
from kettle.futures._hooks import Hooks
from kettle.futures._maps import Maps, Results
from kettle.futures._workers import worker_count
from kettle.multiprocessing._options import context_of, memory_size, retry_count
from kettle.multiprocessing.context import BaseContext, _default_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ProcessPoolExecutor"]


class ProcessPoolExecutor(Maps, process.ProcessPoolExecutor):
    """An executor whose tasks are run by worker processes, which may die at any time.

    max_workers: the maximum number of processes; by default the number of processors available to this process, by
        affinity and the container's quota. The processes are started with the first task (fork), or when a task finds
        no free worker.
    mp_context: the context whose start method is used; the default one if None.
    initializer, initargs: called in each worker before its first task. If the initializer raises, the executor is
        broken, and all its futures and `submit` raise `BrokenProcessPool`.
    max_tasks_per_child: the number of tasks (or chunks of a map) after which a worker is replaced.
    max_memory_per_worker: in bytes, or as text ("2GB", "512MiB"). A worker whose resident memory exceeds this after a
        task is replaced; a worker that exceeds one and a half times this during a task is killed.

    Differences from the standard library: when a worker dies, the future of the task that it was running raises
    `WorkerDied`, which is also a `BrokenProcessPool`, and the executor goes on with another worker. A task may have a
    time limit and be retried, see `options`. A running task can be ended, see `PoolFuture.kill`. Leaving the `with`
    statement by Ctrl-C, or in a coroutine that is cancelled, ends the tasks instead of waiting for them.
    """

    __module__ = "kettle.futures"

    _hooks_type: type[Hooks] = Hooks

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        max_memory_per_worker: int | str | None = None,
    ) -> None:
        # The base class is for isinstance(); none of its code is used.
        self._max_workers = worker_count(max_workers, usable_cpus())
        if self._max_workers == sys.maxsize:
            raise ValueError(f"max_workers must be a number of processes that the system can start, not {max_workers}")
        _parameters.must_be_callable("initializer", initializer)
        if mp_context is None:
            mp_context = _default_context.get_context(None if max_tasks_per_child is None else "spawn")
        elif not isinstance(mp_context, BaseContext):
            context_of("mp_context", mp_context)
            mp_context = _default_context.get_context(mp_context.get_start_method())
        self._forks = mp_context.get_start_method() == "fork"
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                shown = _parameters.shown(max_tasks_per_child)
                raise TypeError(f"max_tasks_per_child must be an integer, not {shown}")
            if max_tasks_per_child <= 0:
                raise ValueError(f"max_tasks_per_child must be >= 1, not {max_tasks_per_child}")
            if self._forks:
                raise ValueError(
                    "max_tasks_per_child cannot be used with the start method 'fork': pass another mp_context"
                )
        self._mp_context = mp_context
        self._max_tasks_per_child = max_tasks_per_child
        self._memory = None if max_memory_per_worker is None else memory_size(max_memory_per_worker)
        initargs = _parameters.arguments("initargs", initargs)
        self._new_hooks = partial(self._hooks_type, mp_context.Process, initializer, initargs)
        self._hooks: Hooks | None = None
        self._opening = threading.RLock()  # reentrant: a signal handler may call submit() or shutdown()
        self._crew: native.PoolCrew | None = None
        self._grows = not self._forks
        self._shutdown_thread = False
        self._executor_manager_thread: threading.Thread | None = None  # type: ignore[assignment]
        self._lazy_maps: weakref.WeakSet[Results] = weakref.WeakSet()

    def _open(self) -> native.PoolCrew:
        with self._opening:
            if self._crew is not None:
                return self._crew
            if self._shutdown_thread:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if at_exit.has_begun:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            at_first = self._max_workers if self._forks else 0
            look_for_pickler()
            hooks = self._new_hooks()
            crew = native.PoolCrew(hooks, at_first, chunks=self._max_tasks_per_child, memory=self._memory)
            self._home = os.getpid()
            try:
                # Start the workers before there is a thread, because forking is safer then.
                crew.staff()
                thread = at_exit.serve(crew, hooks)
                # An executor without references finishes its tasks and ends.
                weakref.finalize(self, crew.close).atexit = False
            except BaseException:
                crew.terminate()
                raise
            if self._crew is None:
                self._hooks = hooks
                self._crew = crew
                self._executor_manager_thread = thread
            else:  # a signal handler that ran meanwhile has opened it
                crew.terminate()
                crew.join()
            return self._crew

    def _send(self, job: native.PoolJob, crew: native.PoolCrew, tasks: int = 1) -> None:
        if self._grows:
            self._grows = crew.hire(self._max_workers, tasks)
        try:
            job._submit()
        except ValueError:
            if crew.state == "RUN":
                raise
            raise RuntimeError("cannot schedule new futures after shutdown") from None

    # ------------------------------------------------------------------ tasks

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> PoolFuture:
        """Schedules `fn(*args, **kwargs)` to run in a worker, and returns a future for its result."""
        crew = self._crew or self._open()
        future = PoolFuture(crew, "call", fn, (args, kwargs))
        self._send(future, crew)
        return future

    _own_submit = submit

    def options(self, *, task_timeout: float | None = None, retries: int = 0) -> Executor:
        """Returns a view of this executor whose tasks have a time limit, or are retried.

        task_timeout: the time limit of each task (in a map, of each item) in seconds, counted from its start. A task
            that exceeds it is ended together with its worker, and its future raises TaskTimeout.
        retries: how often a task is run again when its worker dies. After that its future raises WorkerDied.

        The view can be used wherever an executor can. Shutting it down shuts down the executor.
        """
        return _View(self, _parameters.seconds("task_timeout", task_timeout), retry_count(retries))

    # ------------------------------------------------------------------ the end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accepts no more tasks; the workers end when all existing tasks are done.

        wait: whether to wait until the workers have ended and all callbacks of futures have been called.
        cancel_futures: whether to cancel tasks that have not been sent to a worker.
        """
        with self._opening:
            self._shutdown_thread = True
        crew = self._crew
        if crew is None or self._home != os.getpid():
            return
        for results in list(self._lazy_maps):
            results._end_input()
        if cancel_futures:
            crew.withdraw_all()
        crew.close()
        # False: a signal handler ran while this thread was starting a worker, which ends once it is started.
        if wait and crew.join():
            assert self._hooks is not None  # set together with the crew
            self._hooks.join_callbacks()
            thread = self._executor_manager_thread
            if thread is not None and thread is not threading.current_thread():
                thread.join()

    def terminate_workers(self) -> None:
        """Ends all workers immediately (by SIGTERM, and by SIGKILL a moment later) and cancels all unfinished tasks.
        The executor accepts no more tasks."""
        with self._opening:
            self._shutdown_thread = True
        if self._crew is not None:
            self._crew.terminate()

    def kill_workers(self) -> None:
        """Like `terminate_workers`, but by SIGKILL from the start."""
        with self._opening:
            self._shutdown_thread = True
        if self._crew is not None:
            self._crew.terminate(at_once=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and (issubclass(kind, KeyboardInterrupt) or _is_cancellation(kind)):
            self.terminate_workers()
        self.shutdown()

    def statistics(self) -> Any:
        """Returns counters: `workers`, how many of them are `busy`, and the number of unfinished `jobs` (calls and
        maps); and the numbers of tasks so far that are `done` or `failed`, or whose worker `died`, and that were
        `retried`, `timed_out` or `cancelled`."""
        return (self._crew or self._open()).statistics()

    # ------------------------------------------------------------------ what programs inspect

    @property
    def _processes(self) -> dict[int | None, Any]:  # type: ignore[override]
        processes = {} if self._hooks is None else self._hooks.processes
        return {worker.pid: worker for worker in list(processes.values())}

    @property
    def _pending_work_items(self) -> dict[int, None]:  # type: ignore[override]
        """A collection with as many elements as there are unfinished tasks."""
        if self._crew is None:
            return {}
        now = self._crew.statistics()
        return dict.fromkeys(range(now.queued + now.busy))

    @property
    def _broken(self) -> str | bool:  # type: ignore[override]
        try:
            if self._crew is not None:
                self._crew.check()
        except process.BrokenProcessPool as error:
            return str(error)
        return False


def _is_cancellation(kind: type[BaseException]) -> bool:
    """Returns whether `error` is the one by which asyncio cancels a coroutine. Ctrl-C arrives in a coroutine as such an
    error, too."""
    exceptions = sys.modules.get("asyncio.exceptions")
    return exceptions is not None and issubclass(kind, exceptions.CancelledError)


class _View(Executor):
    """See `ProcessPoolExecutor.options`."""

    def __init__(self, executor: ProcessPoolExecutor, task_timeout: float | None, retries: int) -> None:
        self._executor = executor
        self._options = (task_timeout, retries)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> PoolFuture:
        executor, (task_timeout, retries) = self._executor, self._options
        crew = executor._crew or executor._open()
        future = PoolFuture(crew, "call", fn, (args, kwargs), timeout=task_timeout, retries=retries)
        executor._send(future, crew)
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        return self._executor._map(fn, iterables, timeout, chunksize, buffersize, *self._options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(self, *exception: Any) -> None:
        self._executor.__exit__(*exception)
