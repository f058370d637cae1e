"""The private parts of the standard library's pool, for programs that use them.

They are private, and popular all the same: an `istarmap` is put on the class, which hands a sequence of tasks to
`_taskqueue` and makes an `IMapIterator` of its own; `len(pool._cache)` says how much is not done. Nothing here costs a
pool anything that is not asked for these.
"""

from __future__ import annotations

import threading
import weakref
from functools import partial
from multiprocessing import pool as _standard
from types import SimpleNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Task = tuple[int, int, Callable[..., Any], tuple[Any, ...], dict[str, Any]]

__all__ = ["Cache", "TaskQueue", "standard_iterator", "standard_result"]

# So many tasks of a sequence, for each worker, are handed to the pool ahead.
_AHEAD = 16


def standard_iterator(cls: type[Any], pool: Any) -> Any:
    """The standard library's own iterator of the kind `cls`, for a program that fills it by itself; made of a pool, or
    of its cache, as before Python 3.8."""
    return cls(SimpleNamespace(_cache=pool) if isinstance(pool, dict) else pool)


class Cache(dict):  # type: ignore[type-arg]
    """Results that are not complete, by number: those that the program made itself. The length counts all."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self._crew = pool._crew
        self._queue = pool._taskqueue

    def __len__(self) -> int:
        # The tasks of a sequence are jobs as well, which the program knows as one.
        others: int = self._crew.jobs - self._queue.running
        return super().__len__() + max(0, others)

    def __bool__(self) -> bool:
        return len(self) > 0


class TaskQueue:
    """Takes sequences of tasks, as the standard library describes them, and does them."""

    def __init__(self, pool: Any) -> None:
        self._pool = weakref.ref(pool)
        # Reentrant: a signal handler may hand in a sequence.
        self._lock = threading.RLock()
        self._feeding = 0
        self._when_fed: Callable[[], object] | None = None
        #: How many tasks are handed to the pool and not done.
        self.running = 0

    def put(self, sequence: tuple[Iterable[Task], Callable[[int], object] | None]) -> None:
        """Does the tasks of a sequence, each `(result, number in that, func, args, kwds)`; then `set_length` of the
        result is called with their number, if it is there."""
        tasks, set_length = sequence
        pool = self._pool()
        assert pool is not None
        with self._lock:
            self._feeding += 1
        threading.Thread(target=self._feed, args=(pool, tasks, set_length), name="pool-feeder", daemon=True).start()

    def qsize(self) -> int:
        """How many tasks no worker has begun."""
        pool = self._pool()
        return 0 if pool is None else int(pool.statistics().queued)

    def empty(self) -> bool:
        """Whether there is none."""
        return not self.qsize()

    def close(self, when_fed: Callable[[], object]) -> None:
        """Calls `when_fed` as soon as all that was put has gone to the pool."""
        with self._lock:
            self._when_fed = when_fed
            is_fed = not self._feeding
        if is_fed:
            when_fed()

    def _feed(self, pool: Any, tasks: Iterable[Task], set_length: Callable[[int], object] | None) -> None:
        room = threading.Semaphore(max(64, _AHEAD * pool._processes))
        count = 0
        try:
            for job, number, func, args, kwds in tasks:
                room.acquire()
                self._do(pool, room, job, number, (func, args, kwds))
                count = number + 1
        finally:
            if set_length is not None:
                set_length(count)
            with self._lock:
                self._feeding -= 1
                when_fed = None if self._feeding else self._when_fed
            if when_fed is not None:
                when_fed()

    def _do(self, pool: Any, room: threading.Semaphore, job: int, number: int, call: tuple[Any, Any, Any]) -> None:
        def done(succeeded: bool, value: Any) -> None:
            with self._lock:
                self.running -= 1
            room.release()
            result = cache.get(job)
            if result is not None:
                result._set(number, (succeeded, value))

        func, args, kwds = call
        cache = pool._cache
        with self._lock:
            self.running += 1
        try:
            # Closed for the program, the pool takes what it was given before.
            pool._call(
                func, args, kwds, None, 0, partial(done, True), partial(done, False), waits=False, after_close=True
            )
        except Exception as error:  # it was terminated, say
            done(False, error)


def standard_result(cls: type[Any], pool: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The standard library's own result, of a call or, if `cls` is that, of a map, that a program fills itself."""
    is_map = issubclass(cls, _standard.MapResult)
    return (_standard.MapResult if is_map else _standard.ApplyResult)(pool, *args, **options)
