"""The parts of a thread pool that need Python: it starts threads, creates exceptions, and runs callbacks.

They do not refer to the `Pool` object.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from kettle._callbacks import CommonHooks
from kettle._core import native
from kettle._describe import describe
from kettle._errors import RemoteError, TaskTimeout, text_of, traceback_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Hooks"]


class Hooks(CommonHooks):
    """The native pool calls all methods but `join` and `join_callbacks`."""

    #: Whether the interpreter ends without waiting for the workers; None: the same as for the thread that starts them.
    are_daemons: bool | None = True

    def __init__(self, name: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        super().__init__()
        self._name = name
        self._numbers = itertools.count()
        self._initializer = (initializer, initargs)
        #: The workers, by number; an abandoned one is no longer a worker.
        self.threads: dict[int, threading.Thread] = {}

    def start(self, crew: native.ThreadCrew) -> None:
        """Starts a worker."""
        number = next(self._numbers)
        name = f"{self._name}_{number}"
        thread = threading.Thread(target=self._work, args=(crew, number), name=name, daemon=self.are_daemons)
        self.threads[number] = thread
        try:
            thread.start()
        except BaseException:
            del self.threads[number]
            raise

    def _work(self, crew: native.ThreadCrew, number: int) -> None:
        """Runs a worker."""
        initializer, initargs = self._initializer
        if initializer is not None:
            try:
                initializer(*initargs)
            except BaseException as error:
                crew.refuse(error)
                return
        crew.work()

    def worker_failed(self, error: BaseException) -> BaseException:
        """Returns the error of all calls of a pool, after the given error, which is not a task's, has ended a
        worker."""
        return error

    def watch(self, crew: native.ThreadCrew) -> None:
        """Starts the thread that watches the tasks with a time limit."""
        threading.Thread(target=crew.watch, name=f"{self._name}_watch", daemon=True).start()

    def late(self, thread_id: int, func: Any, args: Any, kwds: Any, is_call: bool, timeout: float) -> TaskTimeout:
        """Returns the error of a task that exceeds its time limit. Its thread is no longer a worker."""
        for number, thread in list(self.threads.items()):
            if thread.native_id == thread_id:
                self.threads.pop(number, None)
        return TaskTimeout(task=describe(func, args if is_call else (args,), kwds), timeout=timeout, goes_on=True)

    def raised(self, error: BaseException) -> BaseException:
        """Returns the error of a task that raised something other than an `Exception`."""
        return RemoteError(type_name=type(error).__qualname__, text=text_of(error), traceback=traceback_of(error))

    def join(self) -> None:
        """Waits for the threads of a pool that has no workers any more, until they have ended."""
        for thread in list(self.threads.values()):
            if thread is not threading.current_thread():
                thread.join()
