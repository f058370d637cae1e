"""Pools of worker processes that survive the death of any of them.

The standard library's interface, and what it lacks: see `Pool`. What happens when is told in docs/pool.md.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from multiprocessing import pool as _standard
from multiprocessing import util
from operator import index

from kettle import _progress, _thread_crew
from kettle._cpus import usable_cpus
from kettle._input import chunk_size, feed
from kettle._session import native
from kettle.multiprocessing import _crew
from kettle.multiprocessing.context import TimeoutError, _default_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Pool", "ThreadPool"]

RUN = _standard.RUN
CLOSE = _standard.CLOSE
TERMINATE = _standard.TERMINATE

# Their iterators cannot block, and run nobody's code: whoever has a moment may pull from them.
_PLAIN = (list, tuple, range, str, bytes, bytearray, dict, set, frozenset)


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


class Pool(_standard.Pool):
    """A pool of worker processes.

    processes: how many; by default as many as there are processors to use, by affinity and the container's quota.
    initializer, initargs: called in each worker before its first task. If it raises, so does every call of the pool.
    maxtasksperchild: after so many tasks (or chunks) a worker is replaced by a fresh one.
    context: which start method to use; the default one's if None.
    max_memory_per_worker: in bytes, or as text ("2GB", "512MiB"). A worker that has more resident after a task is
        replaced; one that has half as much again is killed in the middle of it.
    name: what the workers are called.

    Where this differs from the standard library: when a worker dies, the task that it was running raises `WorkerDied`,
    tasks that had not begun are done by others, and the worker is replaced. `imap` pulls its input only so far ahead.
    Functions that pickle cannot find by name travel by cloudpickle. Workers may have children. A task's arguments are
    read when it is sent, which may be after `apply_async` or `map_async` has returned.
    """

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
        self._state = "INIT"
        if processes is None:
            processes = usable_cpus()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        memory = None if max_memory_per_worker is None else _bytes(max_memory_per_worker)
        self._ctx = context or _default_context.get_context()
        self._processes = processes
        self._maxtasksperchild = maxtasksperchild
        self._initializer = initializer
        self._initargs = initargs
        self.name = name
        self._hooks = _crew.Hooks(self._ctx.Process, name, initializer, tuple(initargs))
        self._crew = native.PoolCrew(self._hooks, processes, chunks=maxtasksperchild, memory=memory)
        try:
            self._crew.staff()
        except BaseException:
            self._crew.terminate()
            raise
        self._deputy: threading.Thread | None = threading.Thread(
            target=self._crew.deputise, name="pool-deputy", daemon=True
        )
        self._terminate = util.Finalize(self, _end, args=(self._crew, self._deputy), exitpriority=15)
        self._deputy.start()
        self._state = RUN

    def __del__(self, _warn: Any = warnings.warn, RUN: str = RUN) -> None:
        if self._state == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={len(self._pool)}>"

    @property
    def _pool(self) -> list[Any]:
        """The worker processes that are there."""
        return list(self._hooks.processes.values())

    def _repopulate_pool(self) -> None:
        self._crew.staff()

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")
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
        """`func(*args, **kwds)`, done by a worker.

        task_timeout: in seconds, from when it begins; then its worker is ended and TaskTimeout raised.
        retries: how often it is begun again when its worker dies. Raises WorkerDied when that is used up.
        """
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
        """As `apply`, at once giving an object that will have the result.

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
    ) -> ApplyResult:
        self._check_running()
        result = ApplyResult(
            self,
            "call",
            func,
            (args, kwds),
            timeout=task_timeout,
            retries=_retries(retries),
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
        progress: bool | str | None = None,
    ) -> list[Any]:
        """`[func(x) for x in iterable]`, done by the workers.

        chunksize: how many items are sent together; by default as many as take some hundred microseconds.
        task_timeout, retries: of each item, as for `apply`.
        progress: True, or a label: shows a bar.
        """
        return self._map(func, iterable, chunksize, False, task_timeout, retries, progress)._get_or_cancel()  # type: ignore[no-any-return]

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
        progress: bool | str | None = None,
    ) -> MapResult:
        """As `map`, at once giving an object that will have the list."""
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
        progress: bool | str | None = None,
    ) -> list[Any]:
        """`[func(*x) for x in iterable]`, done by the workers; see `map`."""
        return self._map(func, iterable, chunksize, True, task_timeout, retries, progress)._get_or_cancel()  # type: ignore[no-any-return]

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
        progress: bool | str | None = None,
    ) -> MapResult:
        """As `starmap`, at once giving an object that will have the list."""
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
        progress: bool | str | None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        waits: bool = True,
    ) -> MapResult:
        self._check_running()
        items = list(iterable)
        result = MapResult(
            self,
            "map",
            func,
            items,
            unpacks=unpacks,
            chunk=None if chunksize is None else chunk_size(chunksize),
            timeout=task_timeout,
            retries=_retries(retries),
            callback=callback,
            error_callback=error_callback,
            bar=_progress.bar(progress, len(items)) if progress else None,
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
        progress: bool | str | None = None,
        buffersize: int | None = None,
    ) -> IMapIterator:
        """An iterator over `func(x) for x in iterable`, done by the workers, in order.

        buffersize: how many items of `iterable` are pulled ahead of what was taken from the iterator; by default 64, or
            four chunks for each worker if that is more. `close` lifts that limit, since whoever joins the pool may be
            the one who would have taken the results. An iterator that was taken from and is then dropped ends the
            pulling.

        For the others see `map`.
        """
        options = (chunksize, task_timeout, retries, progress, buffersize)
        return self._imap(IMapIterator, "ordered", func, iterable, *options)  # type: ignore[no-any-return]

    def imap_unordered(  # type: ignore[override]
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        task_timeout: float | None = None,
        retries: int = 0,
        progress: bool | str | None = None,
        buffersize: int | None = None,
    ) -> IMapUnorderedIterator:
        """As `imap`, with the results in the order in which they come."""
        options = (chunksize, task_timeout, retries, progress, buffersize)
        return self._imap(IMapUnorderedIterator, "unordered", func, iterable, *options)  # type: ignore[no-any-return]

    def _imap(
        self,
        cls: type[Any],
        kind: str,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
        task_timeout: float | None,
        retries: int,
        progress: bool | str | None,
        buffersize: int | None,
    ) -> Any:
        self._check_running()
        chunk = chunk_size(chunksize)
        if buffersize is None:
            buffersize = max(64, 4 * self._processes * chunk)
        elif buffersize < 1:
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
            retries=_retries(retries),
            bar=_progress.bar(progress, total) if progress else None,
            window=max(buffersize, chunk),
            is_builtin=is_plain,
        )
        result._submit()
        if not is_plain:
            threading.Thread(target=feed, args=(result._core, iterator), name="pool-feeder", daemon=True).start()
        return result

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Takes no more tasks; the workers leave when those that there are have been done."""
        if self._state == RUN:
            self._state = CLOSE
            self._crew.close()

    def terminate(self) -> None:
        """Ends all workers now, and with TaskCancelled all tasks that are not done. It takes a moment, not longer."""
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Waits until all workers have left, after `close` or `terminate`."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._crew.join()
        self._hooks.join_callbacks()
        if self._deputy is not None and threading.current_thread() is not self._deputy:
            self._deputy.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def statistics(self) -> Any:
        """How it is: `workers`, how many of them are `busy`, `jobs` that are not over; and of tasks so far: `done`,
        `failed`, and those whose worker `died`, `retried`, `timed_out`, `cancelled`."""
        return self._crew.statistics()


def _end(crew: native.PoolCrew, deputy: threading.Thread) -> None:
    crew.terminate()
    if deputy is not threading.current_thread():
        # It must be gone when the interpreter ends; it will, unless the system does not let a worker go.
        deputy.join(1)


class ThreadPool(Pool, _standard.ThreadPool):
    """A pool of threads of this process. What goes to tasks and comes from them is the object itself, never a copy.

    processes: how many threads; by default as many as there are processors to use.
    initializer, initargs: called in each thread before its first task. If it raises, so does every call of the pool.
    name: what the threads are called.

    It has all that `Pool` has. What is different, because a thread cannot be ended: `cancel` takes back what has not
    begun, and a call that runs not at all. A task that runs longer than its `task_timeout` raises TaskTimeout for
    whoever waits for it, and goes on; another thread takes the place of its own. `terminate` does not wait for tasks
    that run. And `retries` means nothing, because threads do not die. The threads are daemonic: they never keep the
    interpreter from ending.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        name: str | None = None,
    ) -> None:
        self._state = "INIT"
        if processes is None:
            processes = usable_cpus()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self.name = name
        self._deputy = None
        self._hooks: _thread_crew.Hooks = _thread_crew.Hooks(  # type: ignore[assignment]
            name or f"ThreadPool-{next(_thread_pools)}", initializer, tuple(initargs)
        )
        self._crew: native.ThreadCrew = native.ThreadCrew(self._hooks)  # type: ignore[assignment]
        self._terminate = util.Finalize(self, self._crew.terminate, exitpriority=15)
        try:
            self._repopulate_pool()
        except BaseException:
            self._terminate()
            raise
        self._state = RUN

    @property
    def _pool(self) -> list[Any]:
        """The threads that work."""
        return list(self._hooks.threads.values())

    def _repopulate_pool(self) -> None:
        for _ in range(self._processes - len(self._pool)):
            self._crew.start()

    def join(self) -> None:
        """Waits until all threads have left, after `close` or `terminate`: but for those whose task was given up."""
        super().join()
        self._hooks.join()


_thread_pools = itertools.count()


class ApplyResult(native.PoolJob, _standard.ApplyResult):  # type: ignore[type-arg]
    """What a task that was handed to a pool will give. It can be awaited, on any asyncio loop."""

    def __new__(cls, pool: Pool, kind: str, func: Any, items: Any, **options: Any) -> Any:
        return super().__new__(cls, pool._crew, kind, func, items, **options)

    def __init__(self, pool: Pool, *_: object, **__: object) -> None:
        # A pool lives as long as somebody waits for its results.
        self._pool: Pool | None = pool

    def ready(self) -> bool:
        """Whether it is over."""
        return self._is_done

    def successful(self) -> bool:
        """Whether it is over and has not raised. Raises ValueError if it is not over."""
        if not self._is_done:
            raise ValueError(f"{self!r} not ready")
        succeeded: bool = self._outcome()[0]
        return succeeded

    def wait(self, timeout: float | None = None) -> None:
        """Waits until it is over, or `timeout` seconds have passed."""
        self._wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """What the task returned. Raises what it raised; `TimeoutError` (of multiprocessing) after `timeout` seconds;
        WorkerDied, TaskTimeout or TaskCancelled if it could not be done."""
        if not self._wait(timeout):
            raise TimeoutError
        succeeded, value = self._outcome()
        if succeeded:
            return value
        try:
            raise value
        finally:
            # The traceback would hold on to this frame, and this frame to the exception.
            del value, self

    def _get_or_cancel(self) -> Any:
        try:
            return self.get()
        except BaseException:
            # Interrupted: nobody will ever ask for it. If it is over, this does nothing.
            self._cancel()
            raise
        finally:
            del self

    def cancel(self) -> bool:
        """Takes it back: if it has not begun it never will, and if it runs its worker is ended. Then `get` raises
        TaskCancelled. False if it is over already."""
        return self._cancel()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._is_cancelled

    def running(self) -> bool:
        """Whether a worker has it, or some of it, and it is not over."""
        return self._is_running

    def __await__(self) -> Generator[Any, None, Any]:
        return self._await().__await__()

    async def _await(self) -> Any:
        try:
            while not self._is_done:
                await _news(self)
        except BaseException:
            # Whoever awaited it was cancelled.
            self._cancel()
            raise
        return self.get()


AsyncResult = ApplyResult


class MapResult(ApplyResult, _standard.MapResult):  # type: ignore[type-arg]
    """As ApplyResult, of a map."""


class IMapIterator(_standard.IMapIterator):  # type: ignore[type-arg]
    """The results of an imap. It can be iterated by `async for`, too."""

    def __init__(self, pool: Pool, kind: str, func: Any, iterator: Iterator[Any], **options: Any) -> None:
        self._core = native.PoolJob(pool._crew, kind, func, iterator, **options)
        self._pool: Pool | None = pool

    def _submit(self) -> None:
        self._core._submit()

    def __iter__(self) -> IMapIterator:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """The next result. Raises what its task raised, StopIteration at the end, and `TimeoutError` (of
        multiprocessing) after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        core = self._core
        while True:
            fetched = core._fetch()
            if fetched is not None:
                return self._given(fetched)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not core._wait_next(left):
                raise TimeoutError

    def _given(self, fetched: tuple[bool, Any]) -> Any:
        succeeded, value = fetched
        if succeeded:
            return value
        try:
            raise value
        finally:
            del fetched, value, self

    __next__ = next

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while True:
            try:
                fetched = self._core._fetch()
            except StopIteration:
                raise StopAsyncIteration from None
            if fetched is not None:
                return self._given(fetched)
            try:
                await _news(self._core)
            except BaseException:
                # Whoever awaited it was cancelled, which ends an asynchronous generator as well.
                self.close()
                raise

    def close(self) -> None:
        """Ends it: no further input is pulled, what has not begun never will, and workers in the middle of it are
        ended. There is no next result then."""
        self._core._cancel()
        self._core._abandon(is_unwanted=True)

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None:
            core._abandon()


class IMapUnorderedIterator(IMapIterator, _standard.IMapUnorderedIterator):  # type: ignore[type-arg]
    """As IMapIterator, in the order in which the results come."""


async def _news(job: native.PoolJob) -> None:
    """Waits until a job is over or has something to fetch."""
    import asyncio

    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    def tell() -> None:
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            pass  # the loop was closed: nobody waits there any more

    job._listen(tell)
    await future


def _retries(retries: int) -> int:
    retries = index(retries)
    if not 0 <= retries < 2**32:
        raise ValueError(f"retries must not be negative, and not {retries}")
    return retries


_UNITS = {unit: 1000**i for i, unit in enumerate(("", "K", "M", "G", "T"))}
_UNITS |= {f"{unit}I": 1024**i for i, unit in enumerate(("", "K", "M", "G", "T")) if i}


def _bytes(size: int | str) -> int:
    """A size in bytes, or in text with a unit."""
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]I?)?B?\s*", size.upper())
        if match is None:
            raise ValueError(f"max_memory_per_worker must be a size like '2GB' or '512MiB', not {size!r}")
        size = int(float(match[1]) * _UNITS[match[2] or ""])
    size = index(size)
    if size < 1:
        raise ValueError(f"max_memory_per_worker must be positive, not {size}")
    return size
