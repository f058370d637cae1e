"""The results of a pool: of a call or a map, and the iterators of an imap.

Each of these is a job of the native pool, or has one, and adds what the standard library's classes of these names
provide.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator, Iterator
from multiprocessing import pool as _standard

from kettle import _parameters
from kettle._session import native
from kettle.multiprocessing._pool_parts import standard_iterator, standard_result
from kettle.multiprocessing.context import TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle.multiprocessing._process_pool import Pool

__all__ = ["ApplyResult", "IMapIterator", "IMapUnorderedIterator", "MapResult"]


class ApplyResult(native.PoolJob, _standard.ApplyResult):  # type: ignore[type-arg]
    """The result of a task of a pool. It can be awaited, on any asyncio loop."""

    __module__ = "kettle.multiprocessing.pool"

    def __new__(cls, pool: Pool, *given: Any, **options: Any) -> Any:
        if given and type(given[0]) is str:  # the kind of the job
            return super().__new__(cls, pool._crew, *given, **options)
        return standard_result(cls, pool, given, options)

    def __init__(self, pool: Pool, *_: object, **__: object) -> None:
        # A pool lives as long as its results are waited for.
        self._pool: Pool | None = pool

    def ready(self) -> bool:
        """Returns whether the task is over."""
        return self._is_done

    def successful(self) -> bool:
        """Returns whether the task is over and has not raised. Raises ValueError if it is not over."""
        if not self._is_done:
            raise ValueError(f"{self!r} not ready: call this after wait() or get()")
        succeeded: bool = self._outcome()[0]
        return succeeded

    def wait(self, timeout: float | None = None) -> None:
        """Waits until the task is over, or `timeout` seconds have passed."""
        self._wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """Returns the result of the task. Raises the task's exception; `TimeoutError` (of multiprocessing) after
        `timeout` seconds; WorkerDied, TaskTimeout or TaskCancelled if the task could not be completed."""
        if not self._wait(timeout):
            raise TimeoutError
        succeeded, value = self._outcome()
        if succeeded:
            return value
        try:
            raise value
        finally:
            # Avoid a reference cycle: the traceback refers to this frame, and this frame to the exception.
            del value, self

    def _get_or_cancel(self) -> Any:
        try:
            return self.get()
        except BaseException:
            # After an interrupt the result will never be retrieved. If the task is over, this does nothing.
            self._cancel()
            raise
        finally:
            del self

    def __getattr__(self, name: str) -> Any:
        # No properties, because `dir` would list them for a call that is not over, which does not have them.
        if name in ("_success", "_value") and self._is_done:
            succeeded, value = self._outcome()
            return succeeded if name == "_success" else value
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def cancel(self) -> bool:
        """Cancels the task: if it has not begun it never will, and if it is running its worker is ended. Then `get`
        raises TaskCancelled. Returns False if the task is already over."""
        return self._cancel()

    def cancelled(self) -> bool:
        """Returns whether the task was cancelled."""
        return self._is_cancelled

    def running(self) -> bool:
        """Returns whether a worker has the task, or a part of it, and it is not over."""
        return self._is_running

    def __await__(self) -> Generator[Any, None, Any]:
        return self._await().__await__()

    async def _await(self) -> Any:
        try:
            while not self._is_done:
                await _news(self)
        except BaseException:
            # The waiting coroutine was cancelled.
            self._cancel()
            raise
        return self.get()


class MapResult(ApplyResult, _standard.MapResult):  # type: ignore[type-arg]
    """Like ApplyResult, for a map."""

    __module__ = "kettle.multiprocessing.pool"

    def __init__(self, pool: Pool, *_: object, chunk: int | None = None, **__: object) -> None:
        super().__init__(pool)
        self._chunk = chunk
        self._workers = pool._processes

    # The parts of the standard library's class, for programs that use them to show progress.

    @property
    def _success(self) -> bool:
        return not self._is_done or self._outcome()[0]

    @property
    def _value(self) -> Any:
        return self._outcome()[1] if self._is_done else self._values

    @property
    def _chunksize(self) -> int:
        return self._chunk or max(1, -(-len(self._values or ()) // (4 * self._workers)))

    @property
    def _number_left(self) -> int:
        return 0 if self._is_done else -(-self._unfinished // self._chunksize)


class IMapIterator(_standard.IMapIterator):  # type: ignore[type-arg]
    """The results of an imap. It also supports `async for`."""

    __module__ = "kettle.multiprocessing.pool"

    def __new__(cls, pool: Pool, kind: str | None = None, *_: object, **__: object) -> Any:
        if kind is None:
            unordered = issubclass(cls, _standard.IMapUnorderedIterator)
            return standard_iterator(_standard.IMapUnorderedIterator if unordered else _standard.IMapIterator, pool)
        return super().__new__(cls)

    def __init__(self, pool: Pool, kind: str, func: Any, iterator: Iterator[Any], **options: Any) -> None:
        self._core = native.PoolJob(pool._crew, kind, func, iterator, **options)
        self._pool: Pool | None = pool

    def _submit(self) -> None:
        self._core._submit()

    def __iter__(self) -> IMapIterator:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Returns the next result. Raises the exception of its task, StopIteration at the end, and `TimeoutError` (of
        multiprocessing) after `timeout` seconds."""
        value = None
        try:
            succeeded, value = self._core._fetch() or self._next(timeout)
            if succeeded:
                return value
            raise value
        finally:
            # Avoid a reference cycle: the traceback refers to this frame, and this frame to the iterator and the
            # exception. With a cycle, the work behind a loop that the exception ends would go on until a garbage
            # collection.
            del value, self

    def _next(self, timeout: float | None) -> tuple[bool, Any]:
        """Waits for the next outcome."""
        core = self._core
        timeout = _parameters.seconds("timeout", timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            fetched = None
            while fetched is None:
                if not core._wait_next(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                fetched = core._fetch()
            return fetched
        except KeyboardInterrupt:
            # As in a map, an interrupt ends the work.
            self.close()
            raise
        finally:
            del core, self

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
                succeeded, value = fetched
                if succeeded:
                    return value
                try:
                    raise value
                finally:
                    del fetched, value, self  # as in `next`
            try:
                await _news(self._core)
            except BaseException:
                # The waiting coroutine was cancelled, which ends an asynchronous generator as well.
                self.close()
                raise

    def close(self) -> None:
        """Ends the iteration: no further input is read, tasks that have not begun never will, and workers that run one
        are ended. There is no next result after this."""
        self._core._cancel()
        self._core._abandon(is_unwanted=True)

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None:
            core._abandon()


class IMapUnorderedIterator(IMapIterator, _standard.IMapUnorderedIterator):  # type: ignore[type-arg]
    """Like IMapIterator, in the order in which the results become available."""

    __module__ = "kettle.multiprocessing.pool"


async def _news(job: native.PoolJob) -> None:
    """Waits until a job is over or has a result to fetch."""
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
            pass  # the loop was closed, so no coroutine waits there any more

    job._listen(tell)
    await future
