"""The thread pool, with the interface of the process pool."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from multiprocessing import pool as _standard
from multiprocessing import util

from kettle import _parameters, _thread_crew
from kettle._session import native
from kettle.multiprocessing._options import worker_count
from kettle.multiprocessing._process_pool import RUN, Pool, _end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ThreadPool"]


class ThreadPool(Pool, _standard.ThreadPool):
    """A pool of threads of this process. Tasks receive and return the objects themselves, never copies.

    processes: the number of threads; by default the number of available processors.
    initializer, initargs: called in each thread before its first task. If the initializer raises, so does every call of
        the pool.
    name: the prefix of the threads' names.

    It has all methods of `Pool`. The differences exist because a thread cannot be ended: `cancel` affects only tasks
    that have not begun, so a running call cannot be cancelled. A task that exceeds its `task_timeout` raises
    TaskTimeout in the caller that waits for it, and goes on; another thread takes the place of its thread. `terminate`
    does not wait for running tasks. `retries` has no effect, because threads do not die. The threads are daemonic: they
    never keep the interpreter from ending.
    """

    __module__ = "kettle.multiprocessing.pool"

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        name: str | None = None,
    ) -> None:
        _parameters.must_be_callable("initializer", initializer)
        initargs = _parameters.arguments("initargs", initargs)
        _parameters.must_be_text("name", name)
        self._processes = worker_count(processes)
        self.name = name
        self._deputy = None
        self._hooks: _thread_crew.Hooks = _thread_crew.Hooks(  # type: ignore[assignment]
            name or f"ThreadPool-{next(_thread_pools)}", initializer, initargs
        )
        self._crew: native.ThreadCrew = native.ThreadCrew(self._hooks)  # type: ignore[assignment]
        self._terminate = util.Finalize(self, _end, args=(self._crew,), exitpriority=15)
        try:
            self._repopulate_pool()
        except BaseException:
            self._terminate()
            raise
        self._state = RUN

    @property
    def _pool(self) -> list[Any]:
        """The threads of the pool."""
        return list(self._hooks.threads.values())

    def _repopulate_pool(self) -> None:
        for _ in range(self._processes - len(self._pool)):
            self._crew.start()

    def join(self) -> None:
        """Waits until all threads have ended, after `close` or `terminate`, except for those whose task was
        abandoned."""
        super().join()
        self._hooks.join()


_thread_pools = itertools.count()
