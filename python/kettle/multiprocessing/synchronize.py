"""Locks and their kin. The core holds the state, waits and recovers; here are signatures, names and pickling.

Each class extends the standard library's, so that code which tests for that finds it; none of its methods is used.
Handles can be sent to any process of the session through any channel, not only to a child that is being started.

What differs from the standard library, for all of them: a holder that dies is noticed (see `Lock`), a waiter that dies
hangs nobody, `ctx` need not be given, and `name=` is shown in reports.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import process
from multiprocessing import synchronize as _standard
from types import TracebackType

from kettle._awaitable import AwaitAcquire, AwaitAll, AwaitNotify, AwaitSet
from kettle._session import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, TypeVar

    T = TypeVar("T")

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

SEM_VALUE_MAX: int = _standard.SEM_VALUE_MAX  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


def _rebuild(cls: Any, token: bytes, name: str | None) -> Any:
    return cls._kettle_from_token(token, name)


def _rebuild_lock(cls: Any, token: bytes, name: str | None, made: tuple[str, int | None] | None) -> Any:
    lock = cls._kettle_from_token(token, name)
    if made is not None:
        lock._kettle_set_made(made)
    return lock


@native.quicken
class Lock(AwaitAcquire, native.Lock, _standard.Lock):
    """A lock that one thread of one process holds, and that any other may release.

    If the holder's process dies, the lock is broken: `acquire` raises `kettle.OwnerDied` everywhere until `reset()`, or
    until somebody releases it; with `on_owner_death="recover"` the next in line gets it instead.
    """

    def __new__(cls, *_: Any, ctx: Any = None, on_owner_death: str = "raise", name: str | None = None) -> Self:
        return super().__new__(cls, on_owner_death=on_owner_death, name=name)

    def __init__(self, *, ctx: Any = None, on_owner_death: str = "raise", name: str | None = None) -> None:
        pass  # made by __new__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_lock, (type(self), self._kettle_token(), self.name, self._kettle_made())

    @property
    def _semlock(self) -> Self:  # concurrent.futures and others ask it for _is_mine() and _get_value()
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_holder(self)[0]})>"


@native.quicken
class RLock(AwaitAcquire, native.RLock, _standard.RLock):
    """A lock that its holder, a thread, may take again, and must release as often. Only the holder may release it.

    A holder's death is met as by `Lock`. The tasks of one event loop share a thread, and therefore an RLock: between
    tasks use a `Lock`.
    """

    def __new__(cls, *_: Any, ctx: Any = None, on_owner_death: str = "raise", name: str | None = None) -> Self:
        return super().__new__(cls, on_owner_death=on_owner_death, name=name)

    def __init__(self, *, ctx: Any = None, on_owner_death: str = "raise", name: str | None = None) -> None:
        pass  # made by __new__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_lock, (type(self), self._kettle_token(), self.name, self._kettle_made())

    @property
    def _semlock(self) -> Self:
        return self

    def __repr__(self) -> str:
        owner, count = _holder(self)
        return f"<{type(self).__name__}({owner}, {count})>"


def _holder(lock: native.Lock) -> tuple[str, int | str]:
    """Who holds `lock` and how often, in the standard library's words."""
    if lock._is_mine():
        name = process.current_process().name
        thread = threading.current_thread().name
        return (name if thread == "MainThread" else f"{name}|{thread}"), lock._count()
    owner = lock._kettle_owner()
    if owner is None:
        return "None", 0
    return ("SomeOtherThread" if owner[0] == os.getpid() else "SomeOtherProcess"), "nonzero"


@native.quicken
class Semaphore(AwaitAcquire, native.Semaphore, _standard.Semaphore):
    """Permits, `value` of them at first.

    Nobody owns a permit: those that a dead process had taken are gone, unless `robust=True` gives them back.
    """

    def __new__(cls, value: int = 1, *_: Any, ctx: Any = None, robust: bool = False, name: str | None = None) -> Self:
        return super().__new__(cls, value, robust=robust, name=name)

    def __init__(self, value: int = 1, *, ctx: Any = None, robust: bool = False, name: str | None = None) -> None:
        pass  # made by __new__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._kettle_token(), self.name)

    @property
    def _semlock(self) -> Self:
        return self

    def _get_value(self) -> int:
        return self.get_value()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()})>"


@native.quicken
class BoundedSemaphore(Semaphore, _standard.BoundedSemaphore):
    """Permits, `value` of them at first and at most: `release` raises ValueError beyond that."""

    def __new__(cls, value: int = 1, *_: Any, ctx: Any = None, robust: bool = False, name: str | None = None) -> Self:
        return native.Semaphore.__new__(cls, value, bounded=True, robust=robust, name=name)

    @property
    def maxvalue(self) -> int:
        """How many permits there are."""
        return int(self.statistics().limit)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()}, maxvalue={self.maxvalue})>"


class Condition(AwaitNotify, native.Condition, _standard.Condition):
    """A condition variable over `lock`: one of this module's locks, or a new RLock.

    A notification given to a waiter that dies or gives up goes to the next. `wait` raises `kettle.OwnerDied` if a dead
    process holds the lock when it is to be taken again.
    """

    def __new__(cls, lock: Any = None, *_: Any, ctx: Any = None, name: str | None = None) -> Self:
        return super().__new__(cls, name=name)

    def __init__(self, lock: Any = None, *, ctx: Any = None, name: str | None = None) -> None:
        self._set_lock(lock or (RLock() if ctx is None else ctx.RLock()))

    def _set_lock(self, lock: Any) -> None:
        self._lock = lock
        self.acquire: Callable[..., bool] = lock.acquire
        self.release: Callable[[], None] = lock.release

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_condition, (type(self), self._kettle_token(), self.name, self._lock)

    def __enter__(self) -> bool:
        entered: bool = self._lock.__enter__()
        return entered

    def __exit__(self, t: type[BaseException] | None, v: BaseException | None, tb: TracebackType | None, /) -> None:
        if _came_back_without_the_lock(v) and not self._lock._semlock._is_mine():
            return  # `wait` could not take the lock again: it is not ours to release, and may be somebody's by now
        self._lock.__exit__(t, v, tb)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._kettle_waiting()})>"

    def wait(self, timeout: float | None = None) -> bool:
        """Releases the lock, waits to be notified, and takes the lock again.

        Returns False if `timeout` (seconds) passed first. Raises AssertionError if the caller does not hold the lock.
        """
        self._kettle_must_be_held("wait")
        ticket = self._kettle_enroll()
        count = self._kettle_let_go()
        try:
            return self._kettle_await(ticket, timeout)
        finally:
            for _ in range(count):
                self.acquire()

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Waits until `predicate()` is true, or `timeout` seconds have passed; returns what it gave last."""
        deadline = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wakes `n` waiters at most. Raises AssertionError if the caller does not hold the lock."""
        assert self._lock._semlock._is_mine(), "lock is not owned"
        self._kettle_notify(min(n, self._kettle_waiting()))

    def notify_all(self) -> None:
        """Wakes all waiters. Raises AssertionError if the caller does not hold the lock."""
        self.notify(n=sys.maxsize)

    def _kettle_must_be_held(self, caller: str) -> None:
        assert self._lock._semlock._is_mine(), f"must acquire() condition before using {caller}()"

    def _kettle_let_go(self) -> int:
        """Releases the lock as often as it is held; says how often."""
        count: int = self._lock._semlock._count()
        for _ in range(count):
            self.release()
        return count

    # What the standard library counts in semaphores, for those who look there.

    @property
    def _sleeping_count(self) -> _Count:
        return _Count(self._kettle_waiting())

    @property
    def _woken_count(self) -> _Count:
        return _Count(0)

    @property
    def _wait_semaphore(self) -> _Count:
        return _Count(0)


def _came_back_without_the_lock(error: BaseException | None) -> bool:
    if isinstance(error, RuntimeError):
        from kettle._errors import DeadlockError

        return isinstance(error, DeadlockError)
    return isinstance(error, native.OwnerDied)


class _Count:
    def __init__(self, value: int) -> None:
        self._value = value

    def get_value(self) -> int:
        return self._value


def _rebuild_condition(cls: Any, token: bytes, name: str | None, lock: Any) -> Any:
    condition = cls._kettle_from_token(token, name)
    condition._set_lock(lock)
    return condition


class Event(AwaitSet, native.Event, _standard.Event):
    """A flag that is set or not, to wait for."""

    def __new__(cls, *_: Any, ctx: Any = None, name: str | None = None) -> Self:
        return super().__new__(cls, name=name)

    def __init__(self, *, ctx: Any = None, name: str | None = None) -> None:
        pass  # made by __new__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._kettle_token(), self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


class Barrier(AwaitAll, native.Barrier, _standard.Barrier):
    """A point where `parties` wait for each other; the last to come calls `action`.

    `timeout` (seconds) is the default of `wait`. The barrier breaks when a party that waits at it dies, as it does when
    one is late: then all get `threading.BrokenBarrierError`.
    """

    def __new__(
        cls,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *_: Any,
        ctx: Any = None,
        name: str | None = None,
    ) -> Self:
        self = super().__new__(cls, parties, action, timeout, name=name)
        self._kettle_settings = (action, timeout)
        return self

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: Any = None,
        name: str | None = None,
    ) -> None:
        pass  # made by __new__

    _kettle_settings: tuple[Callable[[], object] | None, float | None]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_barrier, (type(self), self._kettle_token(), self.name, self._kettle_settings)

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: {state}>"


def _rebuild_barrier(cls: Any, token: bytes, name: str | None, settings: tuple[Any, Any]) -> Any:
    barrier = cls._kettle_from_token(token, name)
    barrier._kettle_configure(*settings)
    barrier._kettle_settings = settings
    return barrier
