"""Queues between processes.

`put` pickles an item in the caller's thread, and the item is in shared memory when `put` returns: there is no feeder
thread, no pipe, and nothing to join. An object that cannot be pickled raises there; an item that cannot be unpickled
raises in the `get` that took it. `put` on an unbounded queue never blocks. The classes extend the standard library's,
so that isinstance checks succeed, but use none of its methods.
"""

import copyreg
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable
from multiprocessing import queues as _standard
from queue import Empty, Full
from typing import TYPE_CHECKING, Any, TypeVar

from kettle import _parameters
from kettle._later import aio
from kettle._parametrized import Parametrized
from kettle._session import Mirror, look_for_pickler, native
from kettle._shown import Shown
from kettle.multiprocessing._queue_ends import Reader, Writer

if TYPE_CHECKING:
    from kettle.multiprocessing._inside import Count, Finished

__all__ = ["JoinableQueue", "Queue", "ShutDown", "SimpleQueue"]

T = TypeVar("T")

ShutDown = native.ShutDown


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


sys.modules[__name__].__class__ = Mirror
look_for_pickler()


class _Base(Parametrized[T]):
    """The common base of the three classes: the core's queue, and the methods that all of them have."""

    _items: native.Queue

    def _set_items(self, items: native.Queue) -> None:
        look_for_pickler()
        self._items = items
        self._reader = Reader(items)
        self._writer = Writer(items)
        self._poll = self._reader.poll
        self._opid = os.getpid()

    def _use_methods_of(self, items: native.Queue, put: bool, get: bool) -> None:
        """Makes the core's own methods attributes of this object, unless its class overrides them, which saves a call.

        These methods check whether the class still has the original methods, and otherwise call this object's.
        """
        items._kettle_set_front(self)
        if put:
            vars(self)["put"] = items._kettle_put
        if get:
            vars(self)["get"] = items._kettle_get

    def _kettle_methods_changed(self) -> None:
        vars(self).pop("put", None)
        vars(self).pop("get", None)

    def _kettle_put_changed(self, obj: T, block: bool, timeout: float | None) -> None:
        self._kettle_methods_changed()
        self.put(obj, *_without_defaults(block, timeout))  # type: ignore[attr-defined]

    def _kettle_get_changed(self, block: bool, timeout: float | None) -> T:
        self._kettle_methods_changed()
        item: T = self.get(*_without_defaults(block, timeout))  # type: ignore[attr-defined]
        return item

    @Shown
    def name(self) -> str | None:
        """The name of the queue."""
        return self._items.name

    def statistics(self) -> Any:
        """Returns counters and the present state."""
        return self._items.statistics()

    def put_many(self, objs: Iterable[T], block: bool = True, timeout: float | None = None) -> int:
        """Puts all of `objs`, and returns their number.

        Raises queue.Full, with the number that were put as its `done`, if there is no room in time.
        """
        _parameters.must_be_iterable("objs", objs)
        return self._items.put_many(objs, block, timeout)

    def get_many(self, max: int, timeout: float | None = None) -> list[T]:
        """Waits for an item, then takes up to `max` of the available items.

        Raises queue.Empty if none arrives in `timeout` seconds.
        """
        return self._items.get_many(max, timeout)

    def shutdown(self, immediate: bool = False) -> None:
        """Makes `put` raise ShutDown from now on, and `get` too once the queue is empty; waiters wake up.

        With `immediate` the remaining items are dropped, and count as done.
        """
        self._items.shutdown(immediate)

    async def aput(self, obj: T, timeout: float | None = None) -> None:
        """Like `put`, without blocking the event loop. Raises queue.Full after `timeout` seconds."""

        def attempt() -> bool:
            try:
                self._items.put_nowait(obj)
            except Full:
                return aio.PENDING  # type: ignore[no-any-return]
            return True

        def room() -> "aio.Source":
            items = self._items
            turns = aio.Turns(items._take_ticket_space, items._is_admitted_space, items._leave_space)
            return aio.Source(
                items._kettle_key, (id(items), "room"), items._arm_space, items._disarm_space, turns=turns
            )

        if await aio.retry(room, attempt, timeout, is_admitted=self._items._is_admitted_space) is aio.PENDING:
            raise Full

    async def aget(self, timeout: float | None = None) -> T:
        """Like `get`, without blocking the event loop. Raises queue.Empty after `timeout` seconds.

        Cancelling it loses no item.
        """
        items = self._items

        def attempt() -> T:
            try:
                item: T = items.get_nowait()
            except Empty:
                return aio.PENDING  # type: ignore[no-any-return]
            return item

        item = await aio.retry(lambda: aio.Source.of(items), attempt, timeout, is_admitted=items._kettle_is_admitted)
        if item is aio.PENDING:
            raise Empty
        return item

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yields items as they arrive, until the queue is shut down and empty."""
        while True:
            try:
                item = await self.aget()
            except ShutDown:
                return
            yield item

    # As in the standard library, attributes that a subclass adds are not sent, unless it extends these two methods.

    def __getstate__(self) -> Any:
        return (self._opid,)

    def __setstate__(self, state: Any) -> None:
        (self._opid,) = state

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._items._kettle_token(), self._items.name, self.__getstate__())

    @Shown
    def _rlock(self) -> threading.Lock:
        """The standard library guards its pipe with locks, and some programs take them; here they guard nothing."""
        return _unused_lock(self, "_unused_rlock")

    @Shown
    def _wlock(self) -> threading.Lock:
        return _unused_lock(self, "_unused_wlock")


def _without_defaults(block: bool, timeout: float | None) -> tuple[Any, ...]:
    """Returns the arguments in the way programs usually write them."""
    if timeout is not None:
        return block, timeout
    return () if block else (block,)


def _many() -> int:
    """The standard library's bound of a queue that has none."""
    from _multiprocessing import SemLock  # type: ignore[import-not-found, unused-ignore]

    return int(SemLock.SEM_VALUE_MAX)


def _unused_lock(owner: Any, name: str) -> threading.Lock:
    lock: threading.Lock = vars(owner).setdefault(name, threading.Lock())
    return lock


def _reduce_items(items: native.Queue) -> tuple[Any, ...]:
    """For `target=queue.put`, which is the core's own method: see `_Base._use_methods_of`."""
    return native.Queue._kettle_from_token, (items._kettle_token(), items.name)


copyreg.pickle(native.Queue, _reduce_items)  # type: ignore[arg-type, unused-ignore]


def _rebuild(cls: Any, token: bytes, name: str | None, state: Any) -> Any:
    self = cls.__new__(cls)
    self._set_items(native.Queue._kettle_from_token(token, name))
    self.__setstate__(state)
    return self


class Queue(_Base[T], _standard.Queue):  # type: ignore[type-arg]
    """A queue between processes, bounded if `maxsize` is positive.

    Differences from the standard library: `put` pickles immediately and raises the errors of pickling; `qsize`, `empty`
    and `full` are exact; `close` and `join_thread` have nothing to flush and never wait; `shutdown` exists on every
    Python version. Additions are `put_many`, `get_many`, `aput`, `aget`, `async for` and `statistics`.
    """

    _joinable = False
    _ignore_epipe = False  # concurrent.futures sets it

    def __init__(self, maxsize: int = 0, *, ctx: Any = None, name: str | None = None) -> None:
        self._set_items(native.Queue(maxsize, joinable=self._joinable, name=name))

    def _set_items(self, items: native.Queue) -> None:
        super()._set_items(items)
        put, get, hook = _METHODS_OF_QUEUE
        cls = type(self)
        self._use_methods_of(items, cls.put is put and cls._on_queue_feeder_error is hook, cls.get is get)

    @Shown
    def _closed(self) -> bool:
        return self._items._closed

    # The standard library's attributes for its feeder thread, as they are before that starts, which it never does here;
    # and the semaphore that counts the free places.

    _thread = _jointhread = _close = None
    _joincancelled = False

    @Shown
    def _maxsize(self) -> int:
        return self._items.maxsize or _many()

    @Shown
    def _sem(self) -> "Count":
        from kettle.multiprocessing._inside import Count

        return Count(self._maxsize - self._items.qsize())

    @Shown
    def _buffer(self) -> "deque[Any]":
        return deque()

    @Shown
    def _notempty(self) -> threading.Condition:
        lock: threading.Condition = vars(self).setdefault("_unused_condition", threading.Condition())
        return lock

    @Shown
    def _send_bytes(self) -> Any:
        return self._writer.send_bytes

    @Shown
    def _recv_bytes(self) -> Any:
        return self._reader.recv_bytes

    def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
        """Puts `obj`, waiting for room at most `timeout` seconds (None: forever).

        Raises queue.Full if there is no room (in time), ShutDown after `shutdown`, ValueError after `close`, and the
        errors of pickling.
        """
        if self._items._closed:
            raise ValueError(f"Queue {self!r} is closed")
        try:
            self._items.put(obj, block, timeout)
        except (Full, ShutDown):
            raise
        except Exception as error:
            if type(self)._on_queue_feeder_error is Queue._on_queue_feeder_error:
                raise
            # Written for the standard library's queue, where such an error occurs in a thread and goes to this hook.
            self._on_queue_feeder_error(error, obj)

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Returns the next item, waiting for one at most `timeout` seconds (None: forever).

        Raises queue.Empty if there is none (in time), ShutDown after `shutdown` once the queue is empty, ValueError
        after `close`. An item that cannot be unpickled raises the error of unpickling, and is gone.
        """
        if self._items._closed:
            raise ValueError(f"Queue {self!r} is closed")
        item: T = self._items.get(block, timeout)
        return item

    def put_nowait(self, obj: T) -> None:
        """`put(obj, block=False)`."""
        self.put(obj, False)

    def get_nowait(self) -> T:
        """`get(block=False)`."""
        return self.get(False)

    def qsize(self) -> int:
        """Returns the number of items."""
        return self._items.qsize()

    def empty(self) -> bool:
        """Returns whether there is no item. Raises OSError after `close`, unless nothing was ever put."""
        if self._items._closed:
            if self._items.statistics().put == 0:
                return True
            raise OSError(f"Queue {self!r} is closed")
        return self._items.empty()

    def full(self) -> bool:
        """Returns whether there is no room."""
        return self._items.full()

    def close(self) -> None:
        """Ends this process's use of the queue: `put` and `get` raise ValueError from now on. Other processes go on."""
        self._kettle_methods_changed()
        self._items._close()
        self._reader.close()
        self._writer.close()

    def join_thread(self) -> None:
        """Does nothing, because all items are in shared memory. Raises AssertionError before `close`."""
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed: call close() before join_thread()")

    def cancel_join_thread(self) -> None:
        """Does nothing: there is no thread, and no item is lost."""

    def _terminate_broken(self) -> None:
        self.close()

    @staticmethod
    def _on_queue_feeder_error(e: BaseException, obj: Any) -> None:
        import traceback

        traceback.print_exception(e)


_METHODS_OF_QUEUE: Any = (Queue.put, Queue.get, Queue._on_queue_feeder_error)


class JoinableQueue(Queue[T], _standard.JoinableQueue):  # type: ignore[type-arg]
    """A queue whose items are finished by `task_done`; `join` waits until all are finished.

    The core counts the items that each process took and has not finished. If a process dies with such items, `join`
    raises `kettle.ConsumerDied` with their number instead of waiting forever.
    """

    _joinable = True

    @Shown
    def _unfinished_tasks(self) -> "Count":
        from kettle.multiprocessing._inside import Count

        return Count(self._items.statistics().unfinished)

    @Shown
    def _cond(self) -> "Finished":
        from kettle.multiprocessing._inside import Finished

        condition: Finished = vars(self).setdefault("_condition_of_tasks", Finished(self._items))
        return condition

    def task_done(self) -> None:
        """Marks an item that was taken as finished. Raises ValueError if it is called more often than items were
        put."""
        self._items.task_done()

    def join(self) -> None:
        """Waits until every item that was put is finished. Raises `kettle.ConsumerDied`."""
        self._items.join()

    async def ajoin(self, timeout: float | None = None) -> bool:
        """Like `join`, without blocking the event loop. Returns False if `timeout` (seconds) passed first."""
        items = self._items
        ready = items._join_ready

        def finished() -> "aio.Source":
            return aio.Source(items._kettle_key, (id(items), "finished"), items._arm_join, items._disarm_join)

        return await aio.retry(finished, lambda: ready() or aio.PENDING, timeout, together=True) is not aio.PENDING


class SimpleQueue(_Base[T], _standard.SimpleQueue):  # type: ignore[type-arg]
    """An unbounded queue with a smaller interface.

    Differences from the standard library: `put` never blocks and raises the errors of pickling. Additions are
    `shutdown`, `put_many`, `get_many`, `aput`, `aget`, `async for` and `statistics`.
    """

    def __init__(self, *, ctx: Any = None, name: str | None = None) -> None:
        self._set_items(native.Queue(0, joinable=False, name=name))

    def _set_items(self, items: native.Queue) -> None:
        super()._set_items(items)
        put, get = _METHODS_OF_SIMPLE_QUEUE
        self._use_methods_of(items, type(self).put is put, type(self).get is get)

    def put(self, obj: T) -> None:
        """Puts `obj`. Raises ShutDown after `shutdown`, ValueError after `close`, and the errors of pickling."""
        self._items.put(obj)

    def get(self) -> T:
        """Returns the next item, waiting for one. Raises ShutDown after `shutdown`, ValueError after `close`."""
        item: T = self._items.get()
        return item

    def empty(self) -> bool:
        """Returns whether there is no item. Raises OSError after `close`."""
        if self._items._closed:
            raise OSError(f"Queue {self!r} is closed")
        return self._items.empty()

    def close(self) -> None:
        """Ends this process's use of the queue. Other processes go on."""
        self._items._close()
        self._reader.close()
        self._writer.close()


_METHODS_OF_SIMPLE_QUEUE: Any = (SimpleQueue.put, SimpleQueue.get)
