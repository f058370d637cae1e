"""Pools of workers: the standard library's, over this package's processes and queues."""

from collections.abc import Callable, Iterable
from multiprocessing import pool as _standard
from multiprocessing.pool import ThreadPool
from typing import Any

from kettle.multiprocessing.context import _default_context

__all__ = ["Pool", "ThreadPool"]


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


class Pool(_standard.Pool):
    """A pool of worker processes. See the standard library for the parameters."""

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        super().__init__(processes, initializer, initargs, maxtasksperchild, context or _default_context.get_context())
