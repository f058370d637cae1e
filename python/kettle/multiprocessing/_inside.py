"""Parts of the standard library's classes that programs look at: semaphores that count, and the condition of a joinable
queue. Here they show what the core knows, and cannot be changed."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from kettle._session import native

__all__ = ["Count", "Finished"]


class Count:
    """The value of a semaphore, as it was when it was asked for."""

    def __init__(self, value: int) -> None:
        self._value = value

    @property
    def _semlock(self) -> Self:
        return self

    def get_value(self) -> int:
        """Returns the value."""
        return self._value

    _get_value = get_value

    def _is_zero(self) -> bool:
        return self._value == 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self._value})>"


class Finished:
    """The condition of a joinable queue: `wait` returns when all items are finished, or after the time limit."""

    def __init__(self, items: native.Queue) -> None:
        self._items = items
        self._lock = threading.RLock()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._lock.__exit__(*raised)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until all items are finished. Returns False if `timeout` (seconds) passed first."""
        return self._items.join(timeout)

    def notify(self, n: int = 1) -> None:
        """Does nothing: the queue itself wakes those that wait."""

    def notify_all(self) -> None:
        """Does nothing: the queue itself wakes those that wait."""
