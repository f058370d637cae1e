"""The pool of threads, with the interface of the pool of processes."""

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
