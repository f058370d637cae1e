"""Queues between the threads of one process.

    import kettle.queue as queue        # one line changed

`Queue`, `LifoQueue`, `PriorityQueue` and `SimpleQueue` keep all guarantees of the standard library's classes, and are
many times faster, except for `SimpleQueue`, which is level with the standard library's. Their sizes are exact. A `put`
from a signal handler, a finalizer or a comparison never deadlocks, and a comparison that raises loses nothing. Items of
a `PriorityQueue` that compare equal come out in the order in which they were put. Additions are `put_many`, `get_many`,
`aput`, `aget`, `ajoin`, `async for`, `statistics` and `name`; `shutdown` exists on every Python version.

The classes extend the standard library's, so that isinstance checks succeed. The core (`native.ObjectQueue`) keeps the
items as long as no program accesses the internals. A program that accesses `queue`, `mutex`, `not_empty`, `not_full` or
`all_tasks_done`, or overrides `_init`, `_put`, `_get` or `_qsize`, gets the same as in the standard library: a
container, a lock and conditions in Python. The items then move out into that container, and from then on the queue
works like the standard library's, at its speed:

    inside  ──(first access, or a subclass with methods of its own)──►  outside
    put, get, ...: the core                                             _kettle_put, _kettle_get, ...: below
"""

from __future__ import annotations

import copy
import queue as _standard
import threading
import types
from collections import deque
from heapq import heappop, heappush
from queue import Empty, Full
from typing import TYPE_CHECKING, Any, TypeVar, cast

from kettle._copying import Copied
from kettle._core import native
from kettle._later import aio
from kettle._outside import Hook
from kettle._parametrized import Parametrized

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

__all__ = ["Empty", "Full", "LifoQueue", "PriorityQueue", "Queue", "ShutDown", "SimpleQueue"]

T = TypeVar("T")
R = TypeVar("R")

ShutDown = native.ShutDown

_ITEM, _ROOM, _DONE = range(3)  # what can be waited for; the core's numbers


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


class _Base(Parametrized[T], Copied, native.ObjectQueue):
    """The common base of all queues, in addition to the core."""

    #: The name of the queue.
    name: str | None = None

    @classmethod
    def _kettle_keeps_house(cls) -> bool:
        """Returns whether a class overrides methods that handle the container."""
        return False

    @classmethod
    def _kettle_follow(cls) -> type | None:
        """Called when a class was changed: see `_follow`."""
        return None

    async def aput(self, item: T, timeout: float | None = None) -> None:
        """Like `put`, without blocking the event loop. Raises queue.Full after `timeout` seconds."""

        def attempt() -> bool:
            try:
                self.put_nowait(item)
            except Full:
                return aio.PENDING  # type: ignore[no-any-return]
            return True

        if await self._kettle_retry(_ROOM, attempt, timeout) is aio.PENDING:
            raise Full

    async def aget(self, timeout: float | None = None) -> T:
        """Like `get`, without blocking the event loop. Raises queue.Empty after `timeout` seconds.

        Cancelling it loses no item.
        """

        def attempt() -> T:
            try:
                item: T = self.get_nowait()
            except Empty:
                return aio.PENDING  # type: ignore[no-any-return]
            return item

        item = await self._kettle_retry(_ITEM, attempt, timeout)
        if item is aio.PENDING:
            raise Empty
        return item

    async def ajoin(self, timeout: float | None = None) -> bool:
        """Like `join`, without blocking the event loop. Returns False if `timeout` (seconds) passed first."""

        def attempt() -> bool:
            return aio.PENDING if self.unfinished_tasks else True

        return await self._kettle_retry(_DONE, attempt, timeout, together=True) is not aio.PENDING

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yields items as they arrive, until the queue is shut down and empty."""
        while True:
            try:
                item = await self.aget()
            except ShutDown:
                return
            yield item

    def _kettle_retry(
        self, what: int, attempt: Callable[[], R], timeout: float | None, *, together: bool = False
    ) -> Coroutine[Any, Any, R]:
        def source() -> aio.Source:
            turns = aio.Turns(
                lambda: self._kettle_take_ticket(what),
                lambda bits: self._kettle_is_admitted(what, bits),
                lambda ticket, bits: self._kettle_leave_line(what, ticket, bits),
            )
            return aio.Source(
                self._kettle_key(),
                (id(self), what),
                lambda door, ticket, bits: self._kettle_arm(what, door, ticket, bits),
                lambda door: self._kettle_disarm(what, door),
                rings_surely=True,
                turns=turns,
            )

        admitted = None if together else lambda: self._kettle_is_admitted(what)
        return aio.retry(source, attempt, timeout, together=together, is_admitted=admitted)

    _kettle_sibling = "kettle.multiprocessing.Queue"

    def __repr__(self) -> str:
        cls = type(self)
        name = "" if self.name is None else f" {self.name!r}"
        bound = f" of {self.maxsize}" if self.maxsize > 0 else ""
        return f"<{cls.__module__}.{cls.__qualname__}{name} at {id(self):#x}, {self.qsize()}{bound} items>"


def _overrides(cls: type, name: str) -> bool:
    """Returns whether a subclass overrides a method in Python."""
    return not isinstance(getattr(cls, name), types.MethodDescriptorType)


@native.quicken
class SimpleQueue(_Base[T]):
    """An unbounded first-in, first-out queue.

    It has everything that `Queue` has, except `queue`, `mutex`, the conditions, and methods to override.
    """

    def _kettle_facts(self) -> Any:
        raise TypeError("cannot pickle 'SimpleQueue' object: use a Queue")


class _Outside:
    """Holds the items of a queue when they are not in the core: the parts of the standard library's queue."""

    __slots__ = ("all_tasks_done", "filled", "mutex", "not_empty", "not_full", "queue")

    def __init__(self, container: Any) -> None:
        self.queue = container
        self.mutex = threading.Lock()
        self.not_empty = threading.Condition(self.mutex)
        self.not_full = threading.Condition(self.mutex)
        self.all_tasks_done = threading.Condition(self.mutex)
        self.filled = False  # until the items have arrived; the mutex is held during that time


class _Part:
    """An attribute that the standard library's queue has in Python: accessing it makes the items move out."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, queue: Any, owner: type | None = None) -> Any:
        return self if queue is None else getattr(_move_out(queue), self._name)

    def __set__(self, queue: Any, value: Any) -> None:
        setattr(_move_out(queue), self._name, value)


def _move_out(queue: Queue[Any]) -> _Outside:
    """Makes the items move out, if they have not done so yet."""
    outside: _Outside | None = queue._kettle_outside
    if outside is None:
        outside = _Outside(queue._kettle_container())
        with outside.mutex:
            # Threads that put or get from now on come here, and wait for the mutex.
            outside = cast(_Outside, queue._kettle_move_into(outside))
    if not outside.filled:
        # Another thread is moving the items. This thread cannot be the holder of the mutex, which was not accessible
        # before.
        with outside.mutex:
            pass
    return outside


def _await(condition: threading.Condition, ready: Callable[[], object], block: bool, timeout: float | None) -> None:
    """Waits like the standard library's queues, until `ready()` is true or the time is over."""
    if not block:
        return
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    if timeout is None or (time := native.replaced_clock()) is None:
        condition.wait_for(ready, timeout)
        return
    end = time() + timeout
    while not ready() and (left := end - time()) > 0:
        condition.wait(left)


@native.quicken
class Queue(_Base[T], _standard.Queue):  # type: ignore[type-arg]
    """A first-in, first-out queue, bounded if `maxsize` is positive. See the module docstring."""

    _kettle_order = "fifo"
    _kettle_container: Any = deque

    def __init__(self, maxsize: int = 0, *, name: str | None = None) -> None:
        if name is not None:
            from kettle import _parameters  # not imported for queues without a name

            _parameters.must_be_text("name", name)
            self.name = name
        if self._kettle_begin(self._kettle_order, maxsize):
            self._kettle_move_into(_Outside(None))
        if self._kettle_outside is not None:
            self._init(maxsize)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if cls._kettle_keeps_house() and not _overrides(cls, "put") and not _overrides(cls, "get"):
            cls.put = cls._kettle_put  # type: ignore[method-assign, assignment]
            cls.get = cls._kettle_get  # type: ignore[method-assign, assignment]
        super().__init_subclass__(**kwargs)

    @classmethod
    def _kettle_keeps_house(cls) -> bool:
        """Returns whether a class overrides methods that handle the container."""
        methods = (cls._init, cls._put, cls._get, cls._qsize)
        return any(own is not ours for own, ours in zip(methods, cls._kettle_methods, strict=True))

    @classmethod
    def _kettle_follow(cls) -> type | None:
        return _follow(cls)

    def _kettle_move_out(self) -> None:
        """Makes the items move out, if they have not done so yet."""
        _move_out(self)

    queue: Any = _Part()
    mutex: Any = _Part()
    not_empty: Any = _Part()
    not_full: Any = _Part()
    all_tasks_done: Any = _Part()

    # ---------------------------------------------------------- to be overridden; called with the mutex held

    @Hook
    def _init(self, maxsize: int) -> None:
        self.queue = self._kettle_container()

    @Hook
    def _qsize(self) -> int:
        outside = self._kettle_outside
        return self.qsize() if outside is None else len(outside.queue)

    @Hook
    def _put(self, item: T) -> None:
        (self._kettle_outside or _move_out(self)).queue.append(item)

    @Hook
    def _get(self) -> T:
        item: T = (self._kettle_outside or _move_out(self)).queue.popleft()
        return item

    _kettle_methods: Any = (_init.method, _put.method, _get.method, _qsize.method)

    # ---------------------------------------------------------- for copies

    def _kettle_facts(self) -> Any:
        outside = self._kettle_outside
        if outside is None:
            items = self._kettle_items()
        else:
            with _move_out(self).mutex:
                items = copy.copy(outside.queue)
        return outside is not None, items, self.maxsize, self.unfinished_tasks, self.is_shutdown

    def _kettle_fill(self, facts: Any) -> None:
        is_outside, items, maxsize, unfinished, is_shutdown = facts
        self._kettle_begin(self._kettle_order, maxsize)
        if is_outside:
            self._kettle_move_into(_Outside(items))
        else:
            self.maxsize = 0
            self.put_many(items)
            self.maxsize = maxsize
        self.unfinished_tasks, self.is_shutdown = unfinished, is_shutdown

    def _kettle_share(self, original: Any) -> None:
        outside = _move_out(original)
        self._kettle_begin(self._kettle_order, original.maxsize)
        self._kettle_move_into(outside)
        self.unfinished_tasks, self.is_shutdown = original.unfinished_tasks, original.is_shutdown
        vars(self).update(vars(original))

    # ---------------------------------------------------------- what the core calls when the items are outside

    def _kettle_put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        outside = self._kettle_outside or _move_out(self)
        with outside.mutex:
            if self.is_shutdown:
                raise ShutDown
            if self.maxsize > 0:
                _await(outside.not_full, lambda: self.is_shutdown or self._kettle_has_room(), block, timeout)
                if self.is_shutdown:
                    raise ShutDown
                if not self._kettle_has_room():
                    raise Full
            self._put(item)
            self._kettle_note_put()
            outside.not_empty.notify()

    def _kettle_get(self, block: bool = True, timeout: float | None = None) -> T:
        outside = self._kettle_outside or _move_out(self)
        with outside.mutex:
            if timeout is not None or not self._qsize():
                _await(outside.not_empty, lambda: self._qsize() or self.is_shutdown, block, timeout)
                if not self._qsize():
                    raise ShutDown if self.is_shutdown else Empty
            item: T = self._get()
            self._kettle_note_got()
            outside.not_full.notify()
            return item

    def _kettle_has_room(self) -> bool:
        return not 0 < self.maxsize <= self._qsize()

    def _kettle_qsize(self) -> int:
        with _move_out(self).mutex:
            size: int = self._qsize()
            return size

    def _kettle_task_done(self) -> None:
        condition = _move_out(self).all_tasks_done
        with condition:
            self._kettle_one_done()
            if not self.unfinished_tasks:
                condition.notify_all()

    def _kettle_join(self) -> None:
        condition = _move_out(self).all_tasks_done
        with condition:
            while self.unfinished_tasks:
                condition.wait()

    def _kettle_shutdown(self, immediate: bool) -> None:
        outside = self._kettle_outside or _move_out(self)
        with outside.mutex:
            self.is_shutdown = True
            if immediate:
                while self._qsize():
                    self._get()
                    self._kettle_note_got()
                    if self.unfinished_tasks > 0:
                        self._kettle_one_done()
                outside.all_tasks_done.notify_all()
            outside.not_empty.notify_all()
            outside.not_full.notify_all()


@native.quicken
class LifoQueue(Queue[T], _standard.LifoQueue):  # type: ignore[type-arg]
    """A last-in, first-out queue, bounded if `maxsize` is positive."""

    _kettle_order = "lifo"
    _kettle_container = list

    @Hook
    def _get(self) -> T:
        item: T = (self._kettle_outside or _move_out(self)).queue.pop()
        return item

    _kettle_methods = (Queue._init, Queue._put, _get.method, Queue._qsize)


@native.quicken
class PriorityQueue(Queue[T], _standard.PriorityQueue):  # type: ignore[type-arg]
    """A queue that returns the smallest item first, bounded if `maxsize` is positive.

    Items are compared by `<`; usually they are tuples of a number and another object. Items that compare equal come in
    the order in which they were put. If a comparison raises, so does `put` or `get`, and the queue does not change.
    """

    _kettle_order = "priority"
    _kettle_container = list

    @Hook
    def _put(self, item: T) -> None:
        heappush((self._kettle_outside or _move_out(self)).queue, item)

    @Hook
    def _get(self) -> T:
        item: T = heappop((self._kettle_outside or _move_out(self)).queue)
        return item

    _kettle_methods = (Queue._init, _put.method, _get.method, Queue._qsize)


# `put` and `get` of the core are attributes of each of these classes itself, where the interpreter finds them fastest;
# in the standard library `LifoQueue` and `PriorityQueue` inherit them.
_QUICK: Any = {cls: {name: vars(cls)[name] for name in ("put", "get")} for cls in (Queue, LifoQueue, PriorityQueue)}


def _follow(cls: type) -> type | None:
    """A replacement for a method of `Queue` made by a program also applies to the other classes, until it is reverted.

    Returns the base of `cls`, or `cls`, that had a method of its own until now.
    """
    found = None
    for name, ours in _QUICK[Queue].items():
        is_ours = vars(Queue).get(name) is ours
        for other in (LifoQueue, PriorityQueue):
            own = vars(other).get(name)
            if is_ours and own is None:
                setattr(other, name, _QUICK[other][name])
            elif not is_ours and own is _QUICK[other][name]:
                delattr(other, name)
                if issubclass(cls, other):
                    found = other
    return found
