"""The `map` of an executor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor

from kettle import _parameters
from kettle._core import native
from kettle._input import chunk_size, feed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Maps", "Results"]

_IMMUTABLE = (range, tuple, str, bytes, frozenset)


class Maps(Executor):
    """The `map` of an executor, of processes or of threads."""

    _open: Any
    _send: Any
    _lazy_maps: Any
    _own_submit: Any
    #: Whether the standard library's code is in use; see `_parts`.
    _is_standard = False

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Returns an iterator over `fn(*args) for args in zip(*iterables)`, computed by the workers, in order.

        timeout: in seconds from now; after that the iterator raises TimeoutError.
        chunksize: the number of items that a worker takes at once.
        buffersize: how many chunks are read from the iterables ahead of the results that were taken from the iterator.
            The thread that takes results also reads. None reads all items now.
        """
        if self._is_standard or self._submits_otherwise():
            more = {} if buffersize is None else {"buffersize": buffersize}
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize, **more)
        return self._map(fn, iterables, timeout, chunksize, buffersize, None, 0)

    def _submits_otherwise(self) -> bool:
        """Returns whether `submit` is overridden in a subclass or has been replaced. In that case each task of a map
        goes through it, as in the standard library."""
        return type(self).submit is not self._own_submit.__func__ or "submit" in vars(self)

    def _map(
        self,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
        task_timeout: float | None,
        retries: int,
    ) -> Iterator[Any]:
        if _parameters.whole("chunksize", chunksize) < 1:
            raise ValueError(f"chunksize must be >= 1, not {chunksize}")
        if buffersize is not None and _parameters.whole("buffersize", buffersize) < 1:
            raise ValueError(f"buffersize must be None or > 0, not {buffersize}")
        timeout = _parameters.seconds("timeout", timeout)
        for iterable in iterables:
            _parameters.must_be_iterable("iterables", iterable)
        deadline = None if timeout is None else time.monotonic() + timeout
        unpacks = len(iterables) != 1
        items: Iterable[Any] = zip(*iterables) if unpacks else iterables[0]  # noqa: B905
        if buffersize is None and type(items) not in _IMMUTABLE:
            items = list(items)
        iterator = iter(items)
        size = chunk_size(chunksize)
        # The number of items of a lazy map is unknown; as many may be unfinished as may wait.
        chunks = -(-len(items) // size) if buffersize is None else buffersize  # type: ignore[arg-type]
        crew = self._open()
        job = native.PoolJob(
            crew,
            "ordered",
            fn,
            iterator,
            unpacks=unpacks,
            chunk=size,
            timeout=task_timeout,
            retries=retries,
            window=None if buffersize is None else buffersize * size,
            is_builtin=buffersize is None,
        )
        self._send(job, crew, chunks)
        if buffersize is None:
            return Results(job, deadline)
        results = Results(job, deadline, iterator, self)
        self._lazy_maps.add(results)
        feed(job, iterator, wait=False)
        return results


class Results(Iterator):  # type: ignore[type-arg]
    """The iterator that `map` returns. When it ends or is dropped, the map ends: items that were not sent are not
    run."""

    def __init__(
        self,
        job: native.PoolJob,
        deadline: float | None,
        source: Iterator[Any] | None = None,
        executor: object = None,
    ) -> None:
        self._job: native.PoolJob | None = job
        self._deadline = deadline
        #: For a lazy map, the source of its items, while there may be more.
        self._source = source
        #: A lazy map needs its executor.
        self._executor = executor
        self._has_begun = False
        self._was_cut = False

    def __next__(self) -> Any:
        job = self._job
        if job is None:
            raise StopIteration
        self._has_begun = True
        try:
            while (fetched := job._fetch()) is None:
                deadline = self._deadline
                if not job._wait_next(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
            if self._source is not None and not self._was_cut:
                feed(job, self._source, wait=False)
        except StopIteration:
            self.close()
            self._check_cut()
            raise
        except BaseException:
            self.close()
            raise
        succeeded, value = fetched
        if succeeded:
            return value
        self.close()
        try:
            if isinstance(value, StopIteration):
                # StopIteration would look like the end of the iterator.
                raise RuntimeError("a task of the map raised StopIteration") from value
            raise value
        finally:
            # Avoid a reference cycle: the traceback refers to this frame, and this frame to the exception.
            del fetched, value, self

    def _end_input(self) -> None:
        """The executor accepts no more tasks."""
        if self._source is not None and self._job is not None:
            self._was_cut = True
            self._job._close_input()

    def _check_cut(self) -> None:
        source, self._source = self._source, None
        if self._was_cut and source is not None and next(source, self) is not self:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def close(self) -> None:
        """The remaining results are not needed."""
        job, self._job = self._job, None
        if job is not None:
            if self._source is not None:
                job._close_input()
            job._abandon(is_unwanted=self._has_begun)
        # An iterator that is kept does not keep the arguments of the tasks.
        self._executor = None
        if not self._was_cut:
            self._source = None

    def __del__(self) -> None:
        if getattr(self, "_job", None) is not None:
            self.close()
