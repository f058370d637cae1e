"""The private parts of the standard library's pool, for programs that use them.

They are private, but widely used: programs add an `istarmap` to the class, which puts a sequence of tasks into
`_taskqueue` and creates an `IMapIterator` itself; `len(pool._cache)` is the number of unfinished results. A pool pays
for these parts only when they are used.
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

# The number of tasks of a sequence, per worker, that are submitted to the pool ahead of time.
_AHEAD = 16


def standard_iterator(cls: type[Any], pool: Any) -> Any:
    """Returns the standard library's own iterator of the kind `cls`, for a program that fills it itself; created from a
    pool or, as before Python 3.8, from its cache."""
    return cls(SimpleNamespace(_cache=pool) if isinstance(pool, dict) else pool)


class Cache(dict):  # type: ignore[type-arg]
    """Unfinished results by number: those that the program created itself. The length counts all unfinished results."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self._crew = pool._crew
        self._queue = pool._taskqueue

    def __len__(self) -> int:
        # The tasks of a sequence are jobs as well, but count as one for the program.
        others: int = self._crew.jobs - self._queue.running
        return super().__len__() + max(0, others)

    def __bool__(self) -> bool:
        return len(self) > 0


class TaskQueue:
    """Accepts sequences of tasks in the standard library's format, and runs them."""

    def __init__(self, pool: Any) -> None:
        self._pool = weakref.ref(pool)
        # Reentrant: a signal handler may put a sequence.
        self._lock = threading.RLock()
        self._feeding = 0
        self._when_fed: Callable[[], object] | None = None
        #: The number of unfinished tasks that were submitted to the pool.
        self.running = 0

    def put(self, sequence: tuple[Iterable[Task], Callable[[int], object] | None]) -> None:
        """Runs the tasks of a sequence, each of the form `(result, index, func, args, kwds)`. Then, if there is a
        `set_length`, it is called with their number."""
        tasks, set_length = sequence
        pool = self._pool()
        assert pool is not None
        with self._lock:
            self._feeding += 1
        threading.Thread(target=self._feed, args=(pool, tasks, set_length), name="pool-feeder", daemon=True).start()

    def qsize(self) -> int:
        """Returns the number of tasks that no worker has begun."""
        pool = self._pool()
        return 0 if pool is None else int(pool.statistics().queued)

    def empty(self) -> bool:
        """Returns whether there are no such tasks."""
        return not self.qsize()

    def close(self, when_fed: Callable[[], object]) -> None:
        """Calls `when_fed` as soon as everything that was put has been submitted to the pool."""
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
            # The pool is closed for the program, but accepts what was put before.
            pool._call(
                func, args, kwds, None, 0, partial(done, True), partial(done, False), waits=False, after_close=True
            )
        except Exception as error:  # for example because the pool was terminated
            done(False, error)


def standard_result(cls: type[Any], pool: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Returns the standard library's own result, of a call or, depending on `cls`, of a map, for a program that fills
    it itself."""
    is_map = issubclass(cls, _standard.MapResult)
    return (_standard.MapResult if is_map else _standard.ApplyResult)(pool, *args, **options)
