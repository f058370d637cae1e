"""The executor of processes, over the pool."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, process

from kettle import _parameters
from kettle._cpus import usable_cpus
from kettle._session import look_for_pickler, native
from kettle.futures._exit import at_exit
from kettle.futures._future import PoolFuture
from kettle.futures._hooks import Hooks
from kettle.futures._maps import Maps, Results
from kettle.multiprocessing._options import context_of, memory_size, retry_count
from kettle.multiprocessing.context import BaseContext, _default_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ProcessPoolExecutor"]


class ProcessPoolExecutor(Maps, process.ProcessPoolExecutor):
    """An executor whose tasks are done by worker processes, any of which may die.

    max_workers: how many processes at most; by default as many as there are processors to use, by affinity and the
        container's quota. They are started with the first task (fork) or when a task finds none that is free.
    mp_context: which start method to use; the default one's if None.
    initializer, initargs: called in each worker before its first task. If it raises, the executor is broken, and
        `BrokenProcessPool` is raised by all its futures and by `submit`.
    max_tasks_per_child: after so many tasks (or chunks of a map) a worker is replaced by a fresh one.
    max_memory_per_worker: in bytes, or as text ("2GB", "512MiB"). A worker that has more resident after a task is
        replaced; one that has half as much again is killed in the middle of it.

    Where this differs from the standard library: when a worker dies, the future of the task that it was running raises
    `WorkerDied`, which is a `BrokenProcessPool` as well, and the executor goes on with another worker. A task may have
    a time limit and be tried again: see `options`. One that runs can be ended: see `PoolFuture.kill`. Leaving the
    `with` statement by Ctrl-C, or in a coroutine that is cancelled, ends the tasks instead of waiting for them.
    """

    __module__ = "kettle.futures"

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
        # The base class is there for those who ask what this is; nothing of it is used.
        if max_workers is None:
            max_workers = usable_cpus()
        if not isinstance(max_workers, (int, float)):
            max_workers = _parameters.whole("max_workers", max_workers)
        if max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, and is {max_workers}")
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
                raise ValueError("max_tasks_per_child is not for the start method 'fork': give another mp_context")
        self._max_workers = max_workers
        self._mp_context = mp_context
        self._max_tasks_per_child = max_tasks_per_child
        self._memory = None if max_memory_per_worker is None else memory_size(max_memory_per_worker)
        self._hooks = Hooks(mp_context.Process, initializer, _parameters.arguments("initargs", initargs))
        self._opening = threading.RLock()  # reentrant: a signal handler may submit, or shut down
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
            crew = native.PoolCrew(self._hooks, at_first, chunks=self._max_tasks_per_child, memory=self._memory)
            try:
                # Before there is a thread: forking is safer then.
                crew.staff()
                self._executor_manager_thread = at_exit.serve(crew, self._hooks)
            except BaseException:
                crew.terminate()
                raise
            self._home = os.getpid()
            # An executor that nobody refers to any more does what it was given to do, and goes.
            weakref.finalize(self, crew.close).atexit = False
            self._crew = crew
            return crew

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
        """Has a worker call `fn(*args, **kwargs)`, and gives the future of what it returns."""
        crew = self._crew or self._open()
        future = PoolFuture(crew, "call", fn, (args, kwargs))
        self._send(future, crew)
        return future

    _own_submit = submit

    def options(self, *, task_timeout: float | None = None, retries: int = 0) -> Executor:
        """A view of this executor whose tasks have a time limit, or are tried again.

        task_timeout: in seconds, of each task (in a map, each item), from when it begins; then its worker is ended and
            its future raises TaskTimeout.
        retries: how often a task is begun again when its worker dies. Then its future raises WorkerDied.

        It can be used wherever an executor can. To shut it down is to shut down the executor.
        """
        return _View(self, task_timeout, retry_count(retries))

    # ------------------------------------------------------------------ the end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks; the workers leave when those that there are have been done.

        wait: until they have left, and all callbacks of futures have been called.
        cancel_futures: tasks that no worker has yet are cancelled.
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
        # False: a signal handler came while this thread was starting a worker, which leaves when it is there.
        if wait and crew.join():
            self._hooks.join_callbacks()
            thread = self._executor_manager_thread
            if thread is not None and thread is not threading.current_thread():
                thread.join()

    def terminate_workers(self) -> None:
        """Ends all workers now (SIGTERM, and SIGKILL a moment later), and cancels all tasks that are not done. The
        executor takes no more."""
        with self._opening:
            self._shutdown_thread = True
        if self._crew is not None:
            self._crew.terminate()

    def kill_workers(self) -> None:
        """As `terminate_workers`, by SIGKILL at once."""
        with self._opening:
            self._shutdown_thread = True
        if self._crew is not None:
            self._crew.terminate(at_once=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and (issubclass(kind, KeyboardInterrupt) or _is_cancellation(kind)):
            self.terminate_workers()
        self.shutdown()

    def statistics(self) -> Any:
        """How it is: `workers`, how many of them are `busy`, `jobs` (calls and maps) that are not over; and of tasks so
        far: `done`, `failed`, and those whose worker `died`, `retried`, `timed_out`, `cancelled`."""
        return (self._crew or self._open()).statistics()

    # ------------------------------------------------------------------ what others look at

    @property
    def _processes(self) -> dict[int | None, Any]:  # type: ignore[override]
        return {worker.pid: worker for worker in list(self._hooks.processes.values())}

    @property
    def _pending_work_items(self) -> dict[int, None]:  # type: ignore[override]
        """As many as there are tasks that are not done."""
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
    """Whether it is by what asyncio cancels a coroutine: also at Ctrl-C, which reaches no coroutine as itself."""
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
