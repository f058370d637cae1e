"""The private parts of the standard library's executor of threads, for programs that use them.

They are private, and popular all the same: a bounded `_work_queue` is put in, its size is asked for, `_shutdown_lock`
is taken. An executor of ours has none of them, until somebody asks:

    ours  ──(a part is looked at or set, or a subclass has its own way to start threads)──►  standard

From then on tasks are done by the standard library's code, which made that part. What our threads have been given
before they do to the end. One question does not need that: how many tasks wait is known anyhow.
"""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Known", "Part", "WorkQueue"]


class Part:
    """An attribute that only the standard library's executor has."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, executor: Any, owner: type | None = None) -> Any:
        if executor is None:
            return self
        executor._become_standard()
        return self._stored(executor)

    def __set__(self, executor: Any, value: object) -> None:
        executor._become_standard()
        vars(executor)[self._name] = value

    def _stored(self, executor: Any) -> Any:
        try:
            return vars(executor)[self._name]
        except KeyError:
            message = f"{type(executor).__name__!r} object has no attribute {self._name!r}"
            raise AttributeError(message, name=self._name, obj=executor) from None


class Known(Part):
    """One that both have: of ours, `tell` gives what it would be."""

    def __init__(self, tell: Callable[[Any], object]) -> None:
        self._tell = tell

    def __get__(self, executor: Any, owner: type | None = None) -> Any:
        if executor is None:
            return self
        return self._stored(executor) if executor._is_standard else self._tell(executor)


class WorkQueue(Part):
    """The queue of tasks: of an executor that has some, what there is to know."""

    def __get__(self, executor: Any, owner: type | None = None) -> Any:
        if executor is not None and executor._is_in_use():
            return Backlog(executor)
        return super().__get__(executor, owner)


class Backlog:
    """How many tasks wait for a thread."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def qsize(self) -> int:
        """Their number."""
        return int(self._executor.statistics().queued)

    def empty(self) -> bool:
        """Whether there is none."""
        return not self.qsize()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"the tasks of this executor are in no queue, which might have {name!r}: look at _work_queue before the "
            "first task is submitted, and they are",
            name=name,
            obj=self,
        )
