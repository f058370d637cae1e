"""Locks, semaphores, conditions, events and barriers. The core holds the state, waits and recovers; this module has
signatures, names and pickling.

Each class extends the standard library's, so that isinstance checks succeed, but uses none of its methods. Handles can
be sent to any process of the session through any channel, not only to a child that is being started.

All of them differ from the standard library in these points: the death of a holder is noticed (see `Lock`), the death
of a waiter blocks no other process, `ctx` is optional, and reports show `name=`.
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

from kettle import _parameters
from kettle._awaitable import AwaitAcquire, AwaitAll, AwaitNotify, AwaitSet
from kettle._session import native
from kettle._shown import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, TypeVar

    from kettle.multiprocessing._inside import Count

    T = TypeVar("T")

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

SEM_VALUE_MAX: int = _standard.SEM_VALUE_MAX  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


def _as_init(init: Any) -> Callable[[T], T]:
    """Marks a `__new__` that accepts all arguments, since a subclass may have an `__init__` with other parameters:
    `help` shows those of `init`."""

    def mark(new: T) -> T:
        new.__wrapped__ = init  # type: ignore[attr-defined]
        return new

    return mark


def _text(name: Any) -> str | None:
    """Returns `name` if it is text: a subclass may use the parameter for something else."""
    return name if isinstance(name, str) else None


class _Named:
    @Shown
    def name(self) -> str | None:
        """The name given at creation."""
        return _name(self)


def _name(primitive: Any) -> str | None:
    """Returns the name known to the core, even if a subclass has an attribute `name` of its own."""
    kind: Any
    for kind in type(primitive).__mro__:
        if kind.__module__ == native.__name__:
            name: str | None = kind.name.__get__(primitive)
            return name
    raise TypeError(f"{primitive!r} is not of the core")


def _rebuild(cls: Any, token: bytes, name: str | None) -> Any:
    return cls._kettle_from_token(token, name)


def _rebuild_lock(cls: Any, token: bytes, name: str | None, made: tuple[str, int | None] | None) -> Any:
    lock = cls._kettle_from_token(token, name)
    if made is not None:
        lock._kettle_set_made(made)
    return lock


@native.quicken
class Lock(_Named, AwaitAcquire, native.Lock, _standard.Lock):
    """A lock that one thread of one process holds, and that any other may release.

    If the holder's process dies, the lock is broken: `acquire` raises `kettle.OwnerDied` in all processes until
    `reset()`, or until a process releases it. With `on_owner_death="recover"` the next waiter gets it instead.
    """

    def __init__(self, *, ctx: Any = None, on_owner_death: str = "raise", name: str | None = None) -> None:
        _parameters.must_be_text("name", name)
        self._kettle_begin(on_owner_death)

    @_as_init(__init__)
    def __new__(cls, *_: Any, name: Any = None, **__: Any) -> Self:
        return super().__new__(cls, name=_text(name))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_lock, (type(self), self._kettle_token(), _name(self), self._kettle_made())

    @Shown
    def _semlock(self) -> Self:  # concurrent.futures and others call its _is_mine() and _get_value()
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_holder(self)[0]})>"


@native.quicken
class RLock(_Named, AwaitAcquire, native.RLock, _standard.RLock):
    """A lock that its holder, a thread, may acquire repeatedly, and must release as often. Only the holder may release
    it.

    A holder's death is handled as in `Lock`. The tasks of one event loop share a thread, and therefore an RLock:
    between tasks use a `Lock`.
    """

    def __init__(self, *, ctx: Any = None, on_owner_death: str = "raise", name: str | None = None) -> None:
        _parameters.must_be_text("name", name)
        self._kettle_begin(on_owner_death)

    @_as_init(__init__)
    def __new__(cls, *_: Any, name: Any = None, **__: Any) -> Self:
        return super().__new__(cls, name=_text(name))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_lock, (type(self), self._kettle_token(), _name(self), self._kettle_made())

    @Shown
    def _semlock(self) -> Self:
        return self

    def __repr__(self) -> str:
        owner, count = _holder(self)
        return f"<{type(self).__name__}({owner}, {count})>"


def _holder(lock: native.Lock) -> tuple[str, int | str]:
    """Returns the holder of `lock` and its count, in the standard library's terms."""
    if lock._is_mine():
        name = process.current_process().name
        thread = threading.current_thread().name
        return (name if thread == "MainThread" else f"{name}|{thread}"), lock._count()
    owner = lock._kettle_owner()
    if owner is None:
        return "None", 0
    return ("SomeOtherThread" if owner[0] == os.getpid() else "SomeOtherProcess"), "nonzero"


@native.quicken
class Semaphore(_Named, AwaitAcquire, native.Semaphore, _standard.Semaphore):
    """A counter of permits, with `value` of them initially.

    A permit has no owner: those that a dead process had acquired are lost, unless `robust=True` returns them.
    """

    _kettle_bounded = False

    def __init__(self, value: int = 1, *, ctx: Any = None, robust: bool = False, name: str | None = None) -> None:
        _parameters.must_be_text("name", name)
        self._kettle_begin(value, self._kettle_bounded, bool(robust))

    @_as_init(__init__)
    def __new__(cls, value: Any = 1, *_: Any, robust: Any = False, name: Any = None, **__: Any) -> Self:
        # `__init__` sets the number of permits; those of a robust semaphore are created here.
        return super().__new__(cls, value if robust else 1, robust=bool(robust), name=_text(name))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._kettle_token(), _name(self))

    @Shown
    def _semlock(self) -> Self:
        return self

    def _get_value(self) -> int:
        return self.get_value()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()})>"


@native.quicken
class BoundedSemaphore(Semaphore, _standard.BoundedSemaphore):
    """A counter of permits, with `value` of them initially and at most: `release` raises ValueError beyond that."""

    _kettle_bounded = True

    @Shown
    def maxvalue(self) -> int:
        """The maximum number of permits."""
        return int(self.statistics().limit)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()}, maxvalue={self.maxvalue})>"


class Condition(_Named, AwaitNotify, native.Condition, _standard.Condition):
    """A condition variable over `lock`: one of this module's locks, or a new RLock.

    If a notified waiter dies or gives up, the next waiter is notified. `wait` raises `kettle.OwnerDied` if a dead
    process holds the lock when it is to be acquired again.
    """

    def __init__(self, lock: Any = None, *, ctx: Any = None, name: str | None = None) -> None:
        _parameters.must_be_text("name", name)
        self._set_lock(lock or (RLock() if ctx is None else ctx.RLock()))

    @_as_init(__init__)
    def __new__(cls, *_: Any, name: Any = None, **__: Any) -> Self:
        return super().__new__(cls, name=_text(name))

    def _set_lock(self, lock: Any) -> None:
        try:
            self.acquire: Callable[..., bool] = lock.acquire
            self.release: Callable[[], None] = lock.release
        except AttributeError as error:
            raise _parameters.no_lock("lock", lock, error.name) from None
        self._lock = lock

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_condition, (type(self), self._kettle_token(), _name(self), self._lock)

    def __enter__(self) -> bool:
        entered: bool = self._lock.__enter__()
        return entered

    def __exit__(self, t: type[BaseException] | None, v: BaseException | None, tb: TracebackType | None, /) -> None:
        if _came_back_without_the_lock(v) and not self._lock._semlock._is_mine():
            return  # `wait` could not acquire the lock again: another thread may hold it
        self._lock.__exit__(t, v, tb)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._kettle_waiting()})>"

    def wait(self, timeout: float | None = None) -> bool:
        """Releases the lock, waits to be notified, and acquires the lock again.

        Returns False if `timeout` (seconds) passed first. Raises AssertionError if the caller does not hold the lock.
        """
        self._kettle_must_be_held("wait")
        timeout = _parameters.seconds("timeout", timeout)
        ticket = self._kettle_enroll()
        count = self._kettle_let_go()
        try:
            return self._kettle_await(ticket, timeout)
        finally:
            for _ in range(count):
                self.acquire()

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Waits until `predicate()` is true, or `timeout` seconds have passed; returns its last result."""
        _parameters.must_be_callable("predicate", predicate)
        timeout = _parameters.seconds("timeout", timeout)
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
        """Wakes at most `n` waiters. Raises AssertionError if the caller does not hold the lock."""
        if not self._lock._semlock._is_mine():
            raise AssertionError("lock is not owned: notify() within `with condition:`")
        self._kettle_notify(min(_parameters.whole("n", n), self._kettle_waiting()))

    def notify_all(self) -> None:
        """Wakes all waiters. Raises AssertionError if the caller does not hold the lock."""
        self.notify(n=sys.maxsize)

    def _kettle_must_be_held(self, caller: str) -> None:
        if not self._lock._semlock._is_mine():
            raise AssertionError(f"must acquire() condition before using {caller}(): do it within `with condition:`")

    def _kettle_let_go(self) -> int:
        """Releases the lock as often as it is held, and returns how often."""
        count: int = self._lock._semlock._count()
        for _ in range(count):
            self.release()
        return count

    # The numbers that the standard library keeps in semaphores, for programs that read them.

    @Shown
    def _sleeping_count(self) -> Count:
        return _count(self._kettle_waiting())

    @Shown
    def _woken_count(self) -> Count:
        return _count(0)

    @Shown
    def _wait_semaphore(self) -> Count:
        return _count(0)


def _came_back_without_the_lock(error: BaseException | None) -> bool:
    if isinstance(error, RuntimeError):
        from kettle._errors import DeadlockError

        return isinstance(error, DeadlockError)
    return isinstance(error, native.OwnerDied)


def _count(value: int) -> Count:
    """A count of the standard library's."""
    from kettle.multiprocessing._inside import Count

    return Count(value)


def _rebuild_condition(cls: Any, token: bytes, name: str | None, lock: Any) -> Any:
    condition = cls._kettle_from_token(token, name)
    condition._set_lock(lock)
    return condition


class Event(_Named, AwaitSet, native.Event, _standard.Event):
    """A flag to wait for, which is set or not."""

    def __init__(self, *, ctx: Any = None, name: str | None = None) -> None:
        # Created by __new__.
        _parameters.must_be_text("name", name)

    @_as_init(__init__)
    def __new__(cls, *_: Any, name: Any = None, **__: Any) -> Self:
        return super().__new__(cls, name=_text(name))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._kettle_token(), _name(self))

    @Shown
    def _flag(self) -> Count:
        return _count(int(self.is_set()))

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


class Barrier(_Named, AwaitAll, native.Barrier, _standard.Barrier):
    """A point where `parties` wait for each other; the last one to arrive calls `action`.

    `timeout` (seconds) is the default of `wait`. The barrier breaks when a party that waits at it dies, and when one is
    late: then all parties get `threading.BrokenBarrierError`.
    """

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: Any = None,
        name: str | None = None,
    ) -> None:
        _parameters.must_be_text("name", name)
        self._kettle_begin(parties)
        self._kettle_configure(action, timeout)
        self._kettle_settings = (action, timeout)

    @_as_init(__init__)
    def __new__(cls, parties: Any = 1, *_: Any, name: Any = None, **__: Any) -> Self:
        many = isinstance(parties, int) and parties >= 1
        return super().__new__(cls, parties if many else 1, name=_text(name))

    _kettle_settings: tuple[Callable[[], object] | None, float | None]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_barrier, (type(self), self._kettle_token(), _name(self), self._kettle_settings)

    # As the standard library's attributes, to be looked at.

    @Shown
    def _parties(self) -> int:
        return self.parties

    @Shown
    def _action(self) -> Callable[[], object] | None:
        return self._kettle_settings[0]

    @Shown
    def _timeout(self) -> float | None:
        return self._kettle_settings[1]

    @Shown
    def _count(self) -> int:
        return self.n_waiting

    @Shown
    def _state(self) -> int:
        return -2 if self.broken else 0

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: {state}>"


def _rebuild_barrier(cls: Any, token: bytes, name: str | None, settings: tuple[Any, Any]) -> Any:
    barrier = cls._kettle_from_token(token, name)
    barrier._kettle_configure(*settings)
    barrier._kettle_settings = settings
    return barrier
