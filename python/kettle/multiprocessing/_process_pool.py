"""The pool of worker processes, which survives the death of any worker. docs/pool.md describes its behaviour."""

from __future__ import annotations

import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from multiprocessing import pool as _standard
from multiprocessing import util

from kettle import _parameters, _progress
from kettle._input import chunk_size, feed
from kettle._session import look_for_pickler, native
from kettle.multiprocessing._crew import Hooks
from kettle.multiprocessing._options import context_of, memory_size, retry_count, worker_count
from kettle.multiprocessing._pool_parts import Cache, TaskQueue
from kettle.multiprocessing._results import ApplyResult, IMapIterator, IMapUnorderedIterator, MapResult
from kettle.multiprocessing.context import _default_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle._progress import Progress

__all__ = ["CLOSE", "RUN", "TERMINATE", "Pool"]

RUN = _standard.RUN
CLOSE = _standard.CLOSE
TERMINATE = _standard.TERMINATE

# Their iterators cannot block and run no user code, so any thread may read from them.
_PLAIN = (list, tuple, range, str, bytes, bytearray, dict, set, frozenset)


def _check_call(func: Any, args: Any, kwds: Any) -> None:
    _check_function(func)
    if not hasattr(args, "__iter__"):
        _parameters.arguments("args", args)
    if not hasattr(kwds, "keys"):
        raise TypeError(f"kwds must be a mapping of names to values, not {_parameters.shown(kwds)}")


def _check_map(func: Any, iterable: Any) -> None:
    _check_function(func)
    if type(iterable) not in _PLAIN:
        _parameters.must_be_iterable("iterable", iterable)


def _check_function(func: Any) -> None:
    if not callable(func):
        called = "" if isinstance(func, (list, tuple, str)) else ": was the function called instead of passed?"
        raise TypeError(f"func must be a function, not {_parameters.shown(func)}{called}")


def _check_callbacks(callback: Any, error_callback: Any) -> None:
    _parameters.must_be_callable("callback", callback)
    _parameters.must_be_callable("error_callback", error_callback)


class Pool(_standard.Pool):
    """A pool of worker processes.

    processes: the number of workers; by default the number of processors available to this process, by affinity and the
        container's quota.
    initializer, initargs: called in each worker before its first task. If the initializer raises, so does every call of
        the pool.
    maxtasksperchild: the number of tasks (or chunks) after which a worker is replaced.
    context: the context whose start method is used; the default one if None.
    max_memory_per_worker: in bytes, or as text ("2GB", "512MiB"). A worker whose resident memory exceeds this after a
        task is replaced; a worker that exceeds one and a half times this during a task is killed.
    name: the prefix of the workers' names.

    Differences from the standard library: when a worker dies, the task that it was running raises `WorkerDied`, other
    workers run the tasks that had not begun, and the worker is replaced. `imap` reads its input only a limited distance
    ahead. Functions that pickle cannot find by name travel by cloudpickle. Workers may have children. The arguments of
    a task are pickled when it is sent, which may be after `apply_async` or `map_async` has returned.
    """

    __module__ = "kettle.multiprocessing.pool"

    _state = "INIT"  # also the state of an unfinished pool, if an interrupt comes before anything else

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        max_memory_per_worker: int | str | None = None,
        name: str | None = None,
    ) -> None:
        processes = worker_count(processes)
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            shown = _parameters.shown(maxtasksperchild)
            raise ValueError(f"maxtasksperchild must be a positive int or None, not {shown}")
        _parameters.must_be_callable("initializer", initializer)
        memory = None if max_memory_per_worker is None else memory_size(max_memory_per_worker)
        initargs = _parameters.arguments("initargs", initargs)
        _parameters.must_be_text("name", name)
        look_for_pickler()
        self._ctx = context_of("context", context) if context else _default_context.get_context()
        self._processes = processes
        self._maxtasksperchild = maxtasksperchild
        self._initializer = initializer
        self._initargs = initargs
        self.name = name
        self._hooks = Hooks(self._process_maker(), name, initializer, initargs)
        self._crew = native.PoolCrew(self._hooks, processes, chunks=maxtasksperchild, memory=memory)
        self._deputy: threading.Thread | None = threading.Thread(
            target=self._crew.deputise, name="pool-deputy", daemon=True
        )
        self._terminate = util.Finalize(self, _end, args=(self._crew, self._deputy), exitpriority=15)
        try:
            self._repopulate_pool()
            self._deputy.start()
        except BaseException:
            self._terminate()
            raise
        self._state = RUN

    def __del__(self, _warn: Any = warnings.warn, RUN: str = RUN) -> None:
        if self._state == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={len(self._pool)}>"

    @property
    def _pool(self) -> list[Any]:
        """The existing worker processes."""
        return list(self._hooks.processes.values())

    def _repopulate_pool(self) -> None:
        # The program may have raised the number of workers.
        self._crew.hire(self._processes, 2 * self._processes)
        self._crew.staff()

    def _process_maker(self) -> Callable[..., Any]:
        """The callable that creates a worker. A subclass may have its own `Process`, which receives the context."""
        own = self.Process
        if own is _standard.Pool.Process:
            return self._ctx.Process  # type: ignore[no-any-return]
        if getattr(own, "__self__", None) is not self:
            return partial(own, self._ctx)
        # The workers of a pool must not keep it alive.
        method, context = weakref.WeakMethod(own), self._ctx

        def make(**options: Any) -> Any:
            bound = method()
            return context.Process(**options) if bound is None else bound(context, **options)

        return make

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self)

    @cached_property
    def _taskqueue(self) -> TaskQueue:
        return TaskQueue(self)

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running: close(), terminate() or the end of its `with` block has ended it")
        self._crew.check()

    # ------------------------------------------------------------------ calls

    def apply(  # type: ignore[override]
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] = {},  # noqa: B006
        *,
        task_timeout: float | None = None,
        retries: int = 0,
    ) -> Any:
        """Runs `func(*args, **kwds)` in a worker and returns its result.

        task_timeout: in seconds, counted from the start of the task; after that its worker is ended and TaskTimeout
            raised.
        retries: how often the task is run again when its worker dies. After that WorkerDied is raised.
        """
        if getattr(self.apply_async, "__func__", None) is not _apply_async:
            # A subclass or a test has replaced it; the standard library would call the replacement.
            given = {"task_timeout": task_timeout, "retries": retries}
            extra: dict[str, Any] = {name: value for name, value in given.items() if value}
            return self.apply_async(func, args, kwds, **extra).get()
        return self._call(func, args, kwds, task_timeout, retries)._get_or_cancel()

    def apply_async(  # type: ignore[override]
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] = {},  # noqa: B006
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        task_timeout: float | None = None,
        retries: int = 0,
    ) -> ApplyResult:
        """Like `apply`, but immediately returns an object for the result.

        callback, error_callback: called with the result or the error, in a thread of this process.
        """
        return self._call(func, args, kwds, task_timeout, retries, callback, error_callback, waits=False)

    def _call(
        self,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwds: dict[str, Any],
        task_timeout: float | None,
        retries: int,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        waits: bool = True,
        after_close: bool = False,
    ) -> ApplyResult:
        if not after_close:
            self._check_running()
        if type(args) is not tuple or type(kwds) is not dict or not callable(func):
            _check_call(func, args, kwds)
        if callback is not None or error_callback is not None:
            _check_callbacks(callback, error_callback)
        result = ApplyResult(
            self,
            "call",
            func,
            (args, kwds),
            timeout=task_timeout,
            retries=retry_count(retries),
            callback=callback,
            error_callback=error_callback,
        )
        result._submit(waits=waits)
        return result

    # ------------------------------------------------------------------ maps

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        task_timeout: float | None = None,
        retries: int = 0,
        progress: Progress | None = None,
    ) -> list[Any]:
        """Returns `[func(x) for x in iterable]`, computed by the workers.

        chunksize: the number of items that are sent together; by default as many as take some hundred microseconds.
        task_timeout, retries: for each item, as in `apply`.
        progress: True or a label shows a bar. A function is called with the number of finished items and the total
            (None if unknown), now and then and at the end.
        """
        result = self._map(func, iterable, chunksize, False, task_timeout, retries, progress)
        values: list[Any] = result._get_or_cancel()
        return values

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        task_timeout: float | None = None,
        retries: int = 0,
        progress: Progress | None = None,
    ) -> MapResult:
        """Like `map`, but immediately returns an object for the list."""
        asynchronous = (callback, error_callback, False)
        return self._map(func, iterable, chunksize, False, task_timeout, retries, progress, *asynchronous)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        task_timeout: float | None = None,
        retries: int = 0,
        progress: Progress | None = None,
    ) -> list[Any]:
        """Returns `[func(*x) for x in iterable]`, computed by the workers; see `map`."""
        result = self._map(func, iterable, chunksize, True, task_timeout, retries, progress)
        values: list[Any] = result._get_or_cancel()
        return values

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        task_timeout: float | None = None,
        retries: int = 0,
        progress: Progress | None = None,
    ) -> MapResult:
        """Like `starmap`, but immediately returns an object for the list."""
        asynchronous = (callback, error_callback, False)
        return self._map(func, iterable, chunksize, True, task_timeout, retries, progress, *asynchronous)

    def _map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        unpacks: bool,
        task_timeout: float | None,
        retries: int,
        progress: Progress | None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        waits: bool = True,
    ) -> MapResult:
        self._check_running()
        _check_map(func, iterable)
        if callback is not None or error_callback is not None:
            _check_callbacks(callback, error_callback)
        items = iterable if type(iterable) is range else list(iterable)
        result = MapResult(
            self,
            "map",
            func,
            items,
            unpacks=unpacks,
            chunk=None if chunksize is None else chunk_size(chunksize),
            timeout=task_timeout,
            retries=retry_count(retries),
            callback=callback,
            error_callback=error_callback,
            bar=_progress.bar(progress, len(items)),
        )
        result._submit(waits=waits)
        return result

    def imap(  # type: ignore[override]
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        task_timeout: float | None = None,
        retries: int = 0,
        progress: Progress | None = None,
        buffersize: int | None = None,
    ) -> IMapIterator:
        """Returns an iterator over `func(x) for x in iterable`, computed by the workers, in order.

        buffersize: how many items of `iterable` are read ahead of the results that were taken from the iterator; by
            default 64, or four chunks for each worker if that is more. `close` lifts this limit, since the thread that
            joins the pool may be the one that would have taken the results. If results were taken from an iterator and
            it is then dropped, no more input is read.

        For the other parameters see `map`.
        """
        options = (chunksize, task_timeout, retries, progress, buffersize)
        results: IMapIterator = self._imap(IMapIterator, "ordered", func, iterable, *options)
        return results

    def imap_unordered(  # type: ignore[override]
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        task_timeout: float | None = None,
        retries: int = 0,
        progress: Progress | None = None,
        buffersize: int | None = None,
    ) -> IMapUnorderedIterator:
        """Like `imap`, with the results in the order in which they become available."""
        options = (chunksize, task_timeout, retries, progress, buffersize)
        results: IMapUnorderedIterator = self._imap(IMapUnorderedIterator, "unordered", func, iterable, *options)
        return results

    def _imap(
        self,
        cls: type[Any],
        kind: str,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
        task_timeout: float | None,
        retries: int,
        progress: Progress | None,
        buffersize: int | None,
    ) -> Any:
        self._check_running()
        _check_map(func, iterable)
        chunk = chunk_size(chunksize)
        if buffersize is None:
            buffersize = max(64, 4 * self._processes * chunk)
        elif _parameters.whole("buffersize", buffersize) < 1:
            raise ValueError(f"buffersize must be at least 1, not {buffersize}")
        is_plain = type(iterable) in _PLAIN
        total = len(iterable) if is_plain else None  # type: ignore[arg-type]
        iterator = iter(iterable)
        result = cls(
            self,
            kind,
            func,
            iterator,
            chunk=chunk,
            timeout=task_timeout,
            retries=retry_count(retries),
            bar=_progress.bar(progress, total),
            window=max(buffersize, chunk),
            is_builtin=is_plain,
        )
        result._submit()
        if not is_plain:
            threading.Thread(target=feed, args=(result._core, iterator), name="pool-feeder", daemon=True).start()
        return result

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Accepts no more tasks; the workers end when all existing tasks are done."""
        if self._state == RUN:
            self._state = CLOSE
            queue = vars(self).get("_taskqueue")
            if queue is None:
                self._crew.close()
            else:
                queue.close(self._crew.close)

    def terminate(self) -> None:
        """Ends all workers immediately, and all unfinished tasks with TaskCancelled. Takes no more than a moment."""
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Waits until all workers have ended, after `close` or `terminate`."""
        if self._state == RUN:
            raise ValueError("Pool is still running: call close() or terminate() before join()")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        if not self._crew.join():
            # A signal handler ran while this thread was starting a worker, which ends once it is started.
            return
        self._hooks.join_callbacks()
        if self._deputy is not None and threading.current_thread() is not self._deputy:
            self._deputy.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def statistics(self) -> Any:
        """Returns counters: `workers`, how many of them are `busy`, and the number of unfinished `jobs`; and the
        numbers of tasks so far that are `done` or `failed`, or whose worker `died`, and that were `retried`,
        `timed_out` or `cancelled`; and `workers_lost`, the number of workers that ended although the pool did not end
        them."""
        return self._crew.statistics()


_apply_async = Pool.apply_async


def _end(crew: native.PoolCrew | native.ThreadCrew, deputy: threading.Thread | None = None) -> None:
    # A program that an error has ended reports that error itself.
    if crew.state != TERMINATE and util.is_exiting() and getattr(sys, "last_type", None) is None:
        from kettle import _unasked

        if _unasked.tells_of(executors=False):
            _unasked.drop(crew.unfinished())
    crew.terminate()
    if deputy is not None and deputy.is_alive() and deputy is not threading.current_thread():
        # The worker must be gone when the interpreter ends; it is, unless the system does not let it end.
        deputy.join(1)
