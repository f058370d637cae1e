"""The standard library's `threading`, with locks, semaphores, conditions, events and barriers on the Rust core.

`Lock`, `RLock`, `Semaphore`, `BoundedSemaphore`, `Condition`, `Event` and `Barrier` are Kettle's. All other names are
the interpreter's own: there is one main thread, one registry of threads, one set of hooks. A name that is set here is
also set there (`threading.excepthook = report`), and private names are found, too.

Differences from the standard library: reports show `name=`; each primitive has `statistics()` and awaitable
counterparts of its blocking methods (`async with lock`, `await event.await_set()`), which work on any asyncio loop; and
a waiter that is notified exactly when its time-out expires counts as notified.

The classes extend the standard library's, and get their parts (`semaphore._cond`, `event._flag`, ...) when a program
first accesses one: see `kettle._outside`.
"""

from __future__ import annotations

import importlib
import sys
import threading as _standard
import weakref
from collections import deque
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
from kettle._copying import Copied
from kettle._core import native
from kettle._outside import Hook, Part, moving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [*_standard.__all__]

TIMEOUT_MAX: float = _standard.TIMEOUT_MAX

#: The names that are not in the standard library.
_OURS = ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore")


def __getattr__(name: str) -> Any:
    try:
        return getattr(_standard, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


class _Module(ModuleType):
    """A module on which assignments are meant for the interpreter, which looks in its own module."""

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
        # cloudpickle and dill can send modules; they check for exactly that type.
        return importlib.import_module, (self.__name__,)


@native.quicken
class Lock(Copied, AwaitAcquire, native.HeapLock):
    """A lock that one thread holds, and that any other may release. As in the standard library, it cannot be
    subclassed.

    `name` (keyword-only) is shown in reports.
    """

    name: str | None = None

    acquire_lock = native.HeapLock.acquire
    release_lock = native.HeapLock.release
    locked_lock = native.HeapLock.locked

    def __init_subclass__(cls) -> None:
        raise TypeError("kettle.threading.Lock is not an acceptable base type")

    _kettle_sibling = "kettle.multiprocessing.Lock"

    def _kettle_made_by(self) -> tuple[Any, tuple[Any, ...]]:
        return _make_lock, ()

    def _kettle_facts(self) -> Any:
        return self.locked()

    def _kettle_fill(self, facts: Any) -> None:
        if facts:
            self.acquire()

    def __repr__(self) -> str:
        return f"<{_described(self)} at {id(self):#x}>"


_LockClass = Lock


def _make_lock() -> _LockClass:
    return native.HeapLock.__new__(_LockClass)


if sys.version_info < (3, 13):
    # There the standard library's `Lock` is a function, and the class of its result cannot be called.

    def _refuse(cls: type[_LockClass], *args: object, **kwargs: object) -> _LockClass:
        raise TypeError(f"cannot create '{cls.__module__}.{cls.__qualname__}' instances")

    class _Function(native.LockMaker):
        # As a C function, unlike a Python function, it does not become a method of a class that has it as an attribute.

        __name__ = __qualname__ = "Lock"
        __doc__ = _LockClass.__doc__

        def __reduce__(self) -> str:
            return "Lock"

        def __repr__(self) -> str:
            return f"<function {__name__}.Lock>"

    Lock = _Function(_LockClass)  # type: ignore[assignment, misc]
    _LockClass.__new__ = _refuse  # type: ignore[method-assign, assignment]


@native.quicken
class RLock(Copied, AwaitAcquire, native.HeapRLock):
    """A lock that its holder, a thread, may acquire repeatedly, and must release as often. Only the holder may release
    it.

    The tasks of one event loop share a thread, and therefore an RLock: between tasks use a `Lock`. `name`
    (keyword-only) is shown in reports.
    """

    name: str | None = None

    _kettle_sibling = "kettle.multiprocessing.RLock"

    def _kettle_facts(self) -> Any:
        return self._kettle_held()

    def _kettle_fill(self, facts: Any) -> None:
        for _ in range(facts):
            self.acquire()

    def __repr__(self) -> str:
        told = self.statistics()
        ident = next((t.ident for t in _standard.enumerate() if t.native_id == told.owner_tid), told.owner_tid)
        return f"<{_described(self)} owner={ident} count={self._kettle_held()} at {id(self):#x}>"


def _described(lock: Lock | RLock) -> str:
    """Returns its state, its class, and its name if it has one."""
    kind = type(lock)
    name = "" if lock.name is None else f" {lock.name!r}"
    return f"{'locked' if lock.locked() else 'unlocked'} {kind.__module__}.{kind.__qualname__} object{name}"


def _text(name: str) -> str:
    """Returns the name of a primitive. Raises TypeError if it is not text."""
    if not isinstance(name, str):
        from kettle import _parameters

        _parameters.must_be_text("name", name)
    return name


def _told(primitive: Any, state: str) -> str:
    kind = type(primitive)
    return f"<{kind.__module__}.{kind.__qualname__} at {id(primitive):#x}: {state}>"


def _permits(value: Any) -> Any:
    """Returns the number of permits for a value that is not an int. The standard library accepts a float as well
    (`Semaphore(n / 2)`, `Semaphore(math.inf)`) and counts down from it: a fraction skips zero and never runs out."""
    if not isinstance(value, float):
        return value
    if value < 0:
        return -1
    return min(int(value), sys.maxsize) if value.is_integer() else sys.maxsize


@native.quicken
class Semaphore(Copied, AwaitAcquire, native.HeapSemaphore, _standard.Semaphore):  # type: ignore[misc]
    """A counter of permits, with `value` of them initially. `name` (keyword-only) is shown in reports.

    Raises ValueError if `value` is negative.
    """

    name: str | None = None

    def __init__(self, value: int = 1, *, name: str | None = None) -> None:
        if self._kettle_begin(value if type(value) is int else _permits(value), False):
            self._kettle_forget()
        if name is not None:
            self.name = _text(name)

    def __repr__(self) -> str:
        return _told(self, f"value={self._value}")

    _cond: Any = Part()
    _value: Any = Part(native.HeapSemaphore._kettle_value)

    def _kettle_move_out(self) -> None:
        with moving:
            if self._kettle_is_outside():
                return
            condition = _PermitsCondition(self)
            with condition:
                # Threads that acquire or release from now on come here, and wait for the condition.
                vars(self).update(self._kettle_parts(), _cond=condition)
                self._kettle_leave()
                self._value = self._kettle_drain()
                condition.notify_all()

    def _kettle_parts(self) -> dict[str, Any]:
        return {"_cond": None, "_value": 0}

    def _kettle_forget(self) -> None:
        """Restarts with the state inside the core."""
        for part in self._kettle_parts():
            vars(self).pop(part, None)

    _kettle_sibling = "kettle.multiprocessing.Semaphore"

    def _kettle_part_names(self) -> tuple[str, ...]:
        return tuple(self._kettle_parts())

    def _kettle_facts(self) -> Any:
        return {name: getattr(self, name) for name in self._kettle_parts() if name != "_cond"}

    def _kettle_fill(self, facts: Any) -> None:
        value = _permits(facts["_value"])
        self._kettle_begin(value, False)

    def _kettle_share(self, original: Any) -> None:
        original._kettle_move_out()
        vars(self).update(vars(original))
        self._kettle_leave()
        self._kettle_drain()

    def _kettle_settle(self) -> None:
        """Moves permits that are inside, and that no thread waiting there has taken, to the permits outside."""
        with self._cond:
            left = self._kettle_drain()
            if left:
                self._value += left
                self._cond.notify(left)

    def _kettle_acquire(self, blocking: bool, timeout: float | None) -> bool:
        if self._kettle_value() > self._kettle_inside():
            self._kettle_settle()
        return _standard.Semaphore.acquire(self, blocking, timeout)

    def _kettle_release(self, n: int) -> None:
        _standard.Semaphore.release(self, n)
        self._kettle_ring(n)


@native.quicken
class BoundedSemaphore(Semaphore, _standard.BoundedSemaphore):  # type: ignore[misc]
    """A counter of permits, with `value` of them initially and at most: `release` raises ValueError beyond that."""

    def __init__(self, value: int = 1, *, name: str | None = None) -> None:
        if self._kettle_begin(value if type(value) is int else _permits(value), True):
            self._kettle_forget()
        if name is not None:
            self.name = _text(name)

    def __repr__(self) -> str:
        return _told(self, f"value={self._value}/{self._initial_value}")

    def _kettle_limit(self) -> int:
        return int(self.statistics().limit)

    _initial_value: Any = Part(_kettle_limit)

    def _kettle_parts(self) -> dict[str, Any]:
        return {**super()._kettle_parts(), "_initial_value": self._kettle_limit()}

    def _kettle_fill(self, facts: Any) -> None:
        self._kettle_begin(_permits(facts["_initial_value"]), True)
        if facts["_value"] > facts["_initial_value"]:
            self._kettle_move_out()
            vars(self).update(facts)
            return
        for _ in range(_permits(facts["_initial_value"]) - _permits(facts["_value"])):
            self.acquire(False)

    def _kettle_release(self, n: int) -> None:
        _standard.BoundedSemaphore.release(self, n)
        self._kettle_ring(n)


@native.quicken
class Condition(Copied, AwaitNotify, native.HeapCondition, _standard.Condition):
    """A condition variable over `lock`, which may be any object with `acquire` and `release`; a new RLock if None.

    `await_notify` and `async with` need a lock of this module. `name` (keyword-only) is shown in reports.
    """

    name: str | None = None

    def __init__(self, lock: Any = None, *, name: str | None = None) -> None:
        if lock is None:
            lock = RLock()
        try:
            self.acquire: Callable[..., bool] = lock.acquire
            self.release: Callable[[], None] = lock.release
        except AttributeError as error:
            from kettle import _parameters

            raise _parameters.no_lock("lock", lock, error.name) from None
        self._lock = lock
        if hasattr(lock, "locked"):
            self.locked: Callable[[], bool] = lock.locked
        self._kettle_begin(lock, type(lock) is RLock or type(lock) is _LockClass)
        if name is not None:
            self.name = _text(name)

    @classmethod
    def _kettle_is_different(cls) -> bool:
        """Returns whether a class overrides how the lock is released and acquired."""
        ways = (cls._release_save, cls._acquire_restore, cls._is_owned)
        return any(way is not ours for way, ours in zip(ways, cls._kettle_ways, strict=True))

    def _kettle_must_be_held(self, caller: str) -> None:
        if not self._is_owned():
            raise RuntimeError(f"{caller}() needs the lock: acquire() it first")

    def _kettle_let_go(self) -> int:
        """Releases the lock as often as it is held, and returns how often."""
        lock = self._lock
        if isinstance(lock, native.HeapRLock):
            return lock._release_save()[0]
        if not hasattr(lock, "aacquire"):
            raise TypeError(f"cannot be awaited over {lock!r}: use a lock of kettle.threading")
        lock.release()
        return 1

    # The methods of its lock that the standard library's condition exports.

    @Hook
    def _release_save(self) -> Any:
        return getattr(self._lock, "_release_save", self._lock.release)()

    @Hook
    def _acquire_restore(self, state: Any) -> None:
        if hasattr(self._lock, "_acquire_restore"):
            self._lock._acquire_restore(state)
        else:
            self._lock.acquire()

    @Hook
    def _is_owned(self) -> bool:
        return self._kettle_is_owned()

    _kettle_ways: Any = (_release_save.method, _acquire_restore.method, _is_owned.method)

    _kettle_sibling = "kettle.multiprocessing.Condition"

    def _kettle_part_names(self) -> tuple[str, ...]:
        return "_lock", "acquire", "release", "locked", "_waiters"

    def _kettle_facts(self) -> Any:
        return self._lock

    def _kettle_fill(self, facts: Any) -> None:
        Condition.__init__(self, facts)

    def _kettle_share(self, original: Any) -> None:
        original._kettle_move_out()
        Condition.__init__(self, original._lock)
        vars(self).update(vars(original))
        self._kettle_leave()

    # The methods used when the waiters are outside.

    @property
    def _waiters(self) -> Any:
        outside = vars(self).get("_waiters")
        return _Waiters(self) if outside is None else outside

    @_waiters.setter
    def _waiters(self, waiters: Any) -> None:
        self._kettle_move_out()
        vars(self)["_waiters"] = waiters

    def _kettle_move_out(self) -> None:
        with moving:
            if not self._kettle_is_outside():
                vars(self)["_waiters"] = deque()
                self._kettle_leave()

    def _kettle_take_methods(self) -> None:
        """For a class that overrides methods: as in the standard library, those of the lock take precedence."""
        self._kettle_move_out()
        for name in ("_release_save", "_acquire_restore", "_is_owned"):
            method = getattr(self._lock, name, None)
            if method is not None:
                vars(self)[name] = method

    def _kettle_count(self) -> int:
        return len(self._kettle_all_waiters()) if self._kettle_is_outside() else self._kettle_waiting()

    def _kettle_all_waiters(self) -> Any:
        """Returns all waiters outside, preceded by one entry for each that began to wait inside."""
        waiters = vars(self)["_waiters"]
        missing = self._kettle_waiting() - sum(type(waiter) is _WaitsInside for waiter in waiters)
        for _ in range(missing):
            waiters.insert(0, _WaitsInside(self))
        for _ in range(-missing):
            waiters.remove(next(waiter for waiter in waiters if type(waiter) is _WaitsInside))
        return waiters

    def _at_fork_reinit(self) -> None:
        super()._at_fork_reinit()
        if self._kettle_is_outside():
            vars(self)["_waiters"].clear()

    def _kettle_wait(self, timeout: float | None) -> bool:
        return _standard.Condition.wait(self, timeout)

    def _kettle_notify(self, n: int) -> None:
        self._kettle_all_waiters()
        _standard.Condition.notify(self, n)

    def _kettle_gave_up(self) -> None:
        """A thread that waited inside no longer does."""
        self._kettle_all_waiters()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._kettle_count()})>"


class _Waiters:
    """The waiters of a condition. Their number is known; a program that accesses or changes one makes them move out."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    def __len__(self) -> int:
        return self._condition._kettle_count()

    def _outside(self) -> Any:
        self._condition._kettle_move_out()
        return self._condition._kettle_all_waiters()

    def __iter__(self) -> Any:
        return iter(self._outside())

    def __getitem__(self, index: int) -> Any:
        return self._outside()[index]

    def __delitem__(self, index: int) -> None:
        del self._outside()[index]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outside(), name)


class _WaitsInside:
    """Represents a thread that waits in the core, among the locks on which the standard library's waiters sleep."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    def release(self) -> None:
        if not self._condition._kettle_wake(1):
            raise RuntimeError("release unlocked lock")  # it gave up; `notify` handles this error of a lock and goes on


class _PermitsCondition(Condition):
    """The condition of a semaphore whose permits are outside. Threads that wait inside began to wait earlier, so they
    are served first."""

    def __init__(self, semaphore: Semaphore) -> None:
        super().__init__(Lock())
        self._kettle_semaphore = weakref.ref(semaphore)

    def _kettle_inside(self) -> int:
        semaphore = self._kettle_semaphore()
        return 0 if semaphore is None else semaphore._kettle_inside()

    def _kettle_count(self) -> int:
        return self._kettle_inside() + super()._kettle_count()

    def notify(self, n: int = 1) -> None:
        semaphore = self._kettle_semaphore()
        if semaphore is not None and self._is_owned():
            permits = vars(semaphore)
            inside = int(min(n, semaphore._kettle_inside(), max(permits["_value"], 0)))
            if inside > 0:
                permits["_value"] -= inside
                semaphore._kettle_give(inside)
                n -= inside
        super().notify(n)

    def notify_all(self) -> None:
        self.notify(self._kettle_count())


@native.quicken
class Event(Copied, AwaitSet, native.HeapEvent, _standard.Event):
    """A flag to wait for, which is set or not. `name` (keyword-only) is shown in reports."""

    name: str | None = None

    def __repr__(self) -> str:
        return _told(self, "set" if self.is_set() else "unset")

    _cond: Any = Part()

    @property
    def _flag(self) -> bool:
        return self.is_set()

    @_flag.setter
    def _flag(self, flag: Any) -> None:
        self._kettle_put(bool(flag))

    def _kettle_move_out(self) -> None:
        with moving:
            if not self._kettle_is_outside():
                vars(self)["_cond"] = Condition(Lock())
                self._kettle_leave()

    def _kettle_forget(self) -> None:
        vars(self).pop("_cond", None)

    _kettle_sibling = "kettle.multiprocessing.Event"

    def _kettle_part_names(self) -> tuple[str, ...]:
        return ("_cond",)

    def _kettle_facts(self) -> Any:
        return self.is_set()

    def _kettle_fill(self, facts: Any) -> None:
        self._kettle_put(facts)

    def _kettle_share(self, original: Any) -> None:
        original._kettle_move_out()
        vars(self).update(vars(original))
        self._kettle_leave()
        self._kettle_put(original.is_set())

    def _kettle_set(self) -> None:
        _standard.Event.set(self)

    def _kettle_clear(self) -> None:
        _standard.Event.clear(self)

    def _kettle_wait(self, timeout: float | None) -> bool:
        return _standard.Event.wait(self, timeout)

    def _at_fork_reinit(self) -> None:
        super()._at_fork_reinit()
        if self._kettle_is_outside():
            self._cond._at_fork_reinit()


class Barrier(Copied, AwaitAll, native.HeapBarrier, _standard.Barrier):
    """A point where `parties` wait for each other; the last one to arrive calls `action`.

    `timeout` (seconds) is the default of `wait`. When a party is late, all get `BrokenBarrierError`. `name`
    (keyword-only) is shown in reports.
    """

    name: str | None = None

    @classmethod
    def _kettle_is_different(cls) -> bool:
        """Returns whether a class overrides how parties arrive and leave."""
        return any(getattr(cls, name) is not getattr(_standard.Barrier, name) for name in _BARRIER_METHODS)

    def __repr__(self) -> str:
        return _told(self, "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}")

    def reset(self) -> None:
        """Resets the barrier to its empty state; waiting parties get an error."""
        self._kettle_methods().reset(self)

    def abort(self) -> None:
        """Breaks the barrier: waiting and arriving parties get an error until it is reset."""
        self._kettle_methods().abort(self)

    def _kettle_methods(self) -> Any:
        """Returns the object whose methods know the parties."""
        if not self._kettle_is_outside() and self._kettle_is_different():
            self._kettle_move_out()
        return _standard.Barrier if self._kettle_is_outside() else native.HeapBarrier

    @property
    def parties(self) -> int:
        """The number of parties that must arrive."""
        parties: int = self._parties
        return parties

    @property
    def n_waiting(self) -> int:
        """The number of parties that are waiting."""
        return int(self._count) if self._state == 0 else 0

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return bool(self._state == -2)

    _enter: Any = Hook(_standard.Barrier._enter)  # type: ignore[attr-defined]
    _release: Any = Hook(_standard.Barrier._release)  # type: ignore[attr-defined]
    _wait: Any = Hook(_standard.Barrier._wait)  # type: ignore[attr-defined]
    _exit: Any = Hook(_standard.Barrier._exit)  # type: ignore[attr-defined]
    _break: Any = Hook(_standard.Barrier._break)  # type: ignore[attr-defined]

    _cond: Any = Part()
    _action: Any = Part(lambda self: self._kettle_settings[0])
    _timeout: Any = Part(lambda self: self._kettle_settings[1])
    _parties: Any = Part(lambda self: native.HeapBarrier.parties.__get__(self))
    _count: Any = Part(lambda self: native.HeapBarrier.n_waiting.__get__(self))
    _state: Any = Part(lambda self: -2 if native.HeapBarrier.broken.__get__(self) else 0)

    def _kettle_move_out(self) -> None:
        with moving:
            if self._kettle_is_outside():
                return
            parts = {name: getattr(self, name) for name in ("_action", "_timeout", "_parties", "_state")}
            here = self._count
            vars(self).update(parts, _cond=Condition(Lock()), _count=0)
            self._kettle_leave()
            native.HeapBarrier.abort(self)
        # The parties that were here arrive again outside.
        late = _standard.Event()
        for _ in range(1000):
            if vars(self)["_count"] >= here:
                break
            late.wait(0.001)

    def _kettle_forget(self) -> None:
        for part in self._kettle_part_names():
            vars(self).pop(part, None)

    _kettle_sibling = "kettle.multiprocessing.Barrier"

    def _kettle_part_names(self) -> tuple[str, ...]:
        return "_cond", "_action", "_timeout", "_parties", "_count", "_state"

    def _kettle_facts(self) -> Any:
        return self._parties, self._action, self._timeout, self.broken

    def _kettle_fill(self, facts: Any) -> None:
        *settings, is_broken = facts
        Barrier.__init__(self, *settings)
        if is_broken:
            self.abort()

    def _kettle_share(self, original: Any) -> None:
        original._kettle_move_out()
        vars(self).update(vars(original))
        self._kettle_leave()

    def _kettle_wait(self, timeout: float | None) -> int:
        return _standard.Barrier.wait(self, timeout)


_BARRIER_METHODS = ("_enter", "_release", "_wait", "_exit", "_break")

sys.modules[__name__].__class__ = _Module
