"""The private parts of the standard library's thread executor, for programs that use them.

They are private, but widely used: programs set a bounded `_work_queue`, ask for its size, or take `_shutdown_lock`.
Kettle's executor has none of them until a program accesses one:

    Kettle's  ──(a part is read or set, or a subclass overrides how threads are started)──►  standard

From then on the standard library's code runs the tasks and creates that part. Tasks that Kettle's threads were given
before are finished by them. One question does not need this switch: the number of waiting tasks is always known.
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
    """An attribute that both executors have; for Kettle's, `tell` returns its value."""

    def __init__(self, tell: Callable[[Any], object]) -> None:
        self._tell = tell

    def __get__(self, executor: Any, owner: type | None = None) -> Any:
        if executor is None:
            return self
        return self._stored(executor) if executor._is_standard else self._tell(executor)


class WorkQueue(Part):
    """The queue of tasks; for Kettle's executor, once it has tasks, what is known about them."""

    def __get__(self, executor: Any, owner: type | None = None) -> Any:
        if executor is not None and executor._is_in_use():
            return Backlog(executor)
        return super().__get__(executor, owner)


class Backlog:
    """The number of tasks that wait for a thread."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def qsize(self) -> int:
        """Returns the number of waiting tasks."""
        return int(self._executor.statistics().queued)

    def empty(self) -> bool:
        """Returns whether there are no waiting tasks."""
        return not self.qsize()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"the tasks of this executor are in no queue, which might have {name!r}: look at _work_queue before the "
            "first task is submitted, and they are",
            name=name,
            obj=self,
        )
