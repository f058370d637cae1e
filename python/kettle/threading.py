"""The standard library's `threading`, with locks and their kin on the Rust core.

`Lock`, `RLock`, `Semaphore`, `BoundedSemaphore`, `Condition`, `Event` and `Barrier` are ours. All else is the
interpreter's own: there is one main thread, one registry of threads, one set of hooks. A name that is set here is set
there as well (`threading.excepthook = report`), and private names are found, too.

What differs from the standard library: `name=` is shown in reports; each primitive has `statistics()` and an awaitable
twin of what it blocks in (`async with lock`, `await event.await_set()`), which works on any asyncio loop; a waiter that
is notified just when its time is over counts as notified.
"""

from __future__ import annotations

import importlib
import sys
import threading as _standard
from threading import BrokenBarrierError as BrokenBarrierError
from threading import ExceptHookArgs as ExceptHookArgs
from threading import Thread as Thread
from threading import ThreadError as ThreadError
from threading import Timer as Timer
from threading import active_count as active_count
from threading import current_thread as current_thread
from threading import enumerate as enumerate
from threading import get_ident as get_ident
from threading import get_native_id as get_native_id
from threading import getprofile as getprofile
from threading import gettrace as gettrace
from threading import local as local
from threading import main_thread as main_thread
from threading import setprofile as setprofile
from threading import settrace as settrace
from threading import stack_size as stack_size
from types import ModuleType

from kettle._awaitable import AwaitAcquire, AwaitAll, AwaitNotify, AwaitSet
from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [*_standard.__all__]

TIMEOUT_MAX: float = _standard.TIMEOUT_MAX

#: The names that are not the standard library's.
_OURS = ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore")


def __getattr__(name: str) -> Any:
    try:
        return getattr(_standard, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


class _Module(ModuleType):
    """What is set here is meant for the interpreter, which looks in its own module."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__:
            super().__setattr__(name, value)
        if name not in _OURS and not name.startswith("__"):
            setattr(_standard, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            super().__delattr__(name)
        else:
            delattr(_standard, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(_standard)})

    def __reduce__(self) -> tuple[Any, ...]:
        # cloudpickle and dill know how to send a module; they look for exactly that type.
        return importlib.import_module, (self.__name__,)


@native.quicken
class Lock(AwaitAcquire, native.HeapLock):
    """A lock that one thread holds, and that any other may release. As in the standard library it has no subclasses.

    `name` (keyword-only) is shown in reports.
    """

    name: str | None = None

    acquire_lock = native.HeapLock.acquire
    release_lock = native.HeapLock.release
    locked_lock = native.HeapLock.locked

    def __init_subclass__(cls) -> None:
        raise TypeError("kettle.threading.Lock is not an acceptable base type")

    def __repr__(self) -> str:
        return f"<{_described(self)} at {id(self):#x}>"


_LockClass = Lock
if sys.version_info < (3, 13):
    # There the standard library's `Lock` is a function, and the class of what it makes is not to be called.

    def _refuse(cls: type[_LockClass], *args: object, **kwargs: object) -> _LockClass:
        raise TypeError(f"cannot create '{cls.__module__}.{cls.__qualname__}' instances")

    _new = native.HeapLock.__new__

    class _Function:
        # As a function of C, and unlike one of Python, it is no method of a class that has it as an attribute.

        __name__ = __qualname__ = "Lock"
        __doc__ = _LockClass.__doc__

        def __call__(self, *, name: str | None = None) -> _LockClass:
            lock = _new(_LockClass)
            if name is not None:
                lock.name = name
            return lock

        def __reduce__(self) -> str:
            return "Lock"

        def __repr__(self) -> str:
            return f"<function {__name__}.Lock>"

    Lock = _Function()  # type: ignore[assignment, misc]
    _LockClass.__new__ = _refuse  # type: ignore[method-assign, assignment]


@native.quicken
class RLock(AwaitAcquire, native.HeapRLock):
    """A lock that its holder, a thread, may take again, and must release as often. Only the holder may release it.

    The tasks of one event loop share a thread, and therefore an RLock: between tasks use a `Lock`. `name`
    (keyword-only) is shown in reports.
    """

    name: str | None = None

    def __repr__(self) -> str:
        told = self.statistics()
        ident = next((t.ident for t in _standard.enumerate() if t.native_id == told.owner_tid), told.owner_tid)
        return f"<{_described(self)} owner={ident} count={self._kettle_held()} at {id(self):#x}>"


def _described(lock: Lock | RLock) -> str:
    """Its state, its class, and its name if it has one."""
    kind = type(lock)
    name = "" if lock.name is None else f" {lock.name!r}"
    return f"{'locked' if lock.locked() else 'unlocked'} {kind.__module__}.{kind.__qualname__} object{name}"


def _told(primitive: Any, state: str) -> str:
    kind = type(primitive)
    return f"<{kind.__module__}.{kind.__qualname__} at {id(primitive):#x}: {state}>"


def _permits(value: Any) -> Any:
    """How many are meant by what is no plain int. The standard library takes a float as well (`Semaphore(n / 2)`,
    `Semaphore(math.inf)`), and counts down from it: a fraction comes past zero and never to an end."""
    if not isinstance(value, float):
        return value
    if value < 0:
        return -1
    return min(int(value), sys.maxsize) if value.is_integer() else sys.maxsize


@native.quicken
class Semaphore(AwaitAcquire, native.HeapSemaphore, _standard.Semaphore):  # type: ignore[misc, override]
    """Permits, `value` of them at first. `name` (keyword-only) is shown in reports.

    Raises ValueError if `value` is negative.
    """

    name: str | None = None

    def __init__(self, value: int = 1, *, name: str | None = None) -> None:
        self._kettle_begin(value if type(value) is int else _permits(value), False)
        if name is not None:
            self.name = name

    def __repr__(self) -> str:
        return _told(self, f"value={self._value}")


@native.quicken
class BoundedSemaphore(Semaphore, _standard.BoundedSemaphore):  # type: ignore[misc, override]
    """Permits, `value` of them at first and at most: `release` raises ValueError beyond that."""

    def __init__(self, value: int = 1, *, name: str | None = None) -> None:
        self._kettle_begin(value if type(value) is int else _permits(value), True)
        if name is not None:
            self.name = name

    @property
    def _initial_value(self) -> int:
        return int(self.statistics().limit)

    def __repr__(self) -> str:
        return _told(self, f"value={self._value}/{self._initial_value}")


@native.quicken
class Condition(AwaitNotify, native.HeapCondition, _standard.Condition):
    """A condition variable over `lock`, which may be any object with `acquire` and `release`; a new RLock if None.

    `await_notify` and `async with` need a lock of this module. `name` (keyword-only) is shown in reports.
    """

    name: str | None = None

    def __init__(self, lock: Any = None, *, name: str | None = None) -> None:
        if lock is None:
            lock = RLock()
        self._lock = lock
        self.acquire: Callable[..., bool] = lock.acquire
        self.release: Callable[[], None] = lock.release
        if hasattr(lock, "locked"):
            self.locked: Callable[[], bool] = lock.locked
        self._kettle_begin(lock, type(lock) is RLock or type(lock) is _LockClass)
        if name is not None:
            self.name = name

    def _kettle_must_be_held(self, caller: str) -> None:
        if not self._is_owned():
            raise RuntimeError(f"{caller}() needs the lock: acquire() it first")

    def _kettle_let_go(self) -> int:
        """Releases the lock as often as it is held; says how often."""
        lock = self._lock
        if isinstance(lock, native.HeapRLock):
            return lock._release_save()[0]
        if not hasattr(lock, "aacquire"):
            raise TypeError(f"cannot be awaited over {lock!r}: use a lock of kettle.threading")
        lock.release()
        return 1

    # What the standard library's condition exports of its lock, and what some look at to count its waiters.

    def _release_save(self) -> Any:
        return getattr(self._lock, "_release_save", self._lock.release)()

    def _acquire_restore(self, state: Any) -> None:
        if hasattr(self._lock, "_acquire_restore"):
            self._lock._acquire_restore(state)
        else:
            self._lock.acquire()

    @property
    def _waiters(self) -> range:
        return range(self._kettle_waiting())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._kettle_waiting()})>"


@native.quicken
class Event(AwaitSet, native.HeapEvent, _standard.Event):
    """A flag that is set or not, to wait for. `name` (keyword-only) is shown in reports."""

    name: str | None = None

    def __repr__(self) -> str:
        return _told(self, "set" if self.is_set() else "unset")


class Barrier(AwaitAll, native.HeapBarrier, _standard.Barrier):
    """A point where `parties` wait for each other; the last to come calls `action`.

    `timeout` (seconds) is the default of `wait`. When one is late, all get `BrokenBarrierError`. `name`
    (keyword-only) is shown in reports.
    """

    name: str | None = None

    def __repr__(self) -> str:
        return _told(self, "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}")


sys.modules[__name__].__class__ = _Module
