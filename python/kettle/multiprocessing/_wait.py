"""One wait for a mix of objects."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kettle import _parameters
from kettle._session import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["wait"]

_ITEM = 0  # the core's number for "an item is available"
_SLICE = 0.2  # seconds


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Waits until an object of `object_list` is ready, and returns all that are ready, in the order of the list.

    An object may be a lock, semaphore, event or queue of this package, for processes or for threads (ready when its
    non-blocking call would succeed, for a queue `get`), a process (ready when it has ended), or a descriptor or an
    object with a `fileno` method: sentinels, connections, sockets (ready when they can be read or are at their end).

    Returns an empty list after `timeout` seconds. Raises TypeError for an object that cannot be waited for.
    """
    _parameters.must_be_iterable("object_list", object_list)
    objects = list(object_list)
    queues = [obj for obj in objects if isinstance(obj, native.ObjectQueue)]
    others = [(id(obj), _handle(obj)) for obj in objects if not isinstance(obj, native.ObjectQueue)]
    ready = _wait_for_any(queues, others, timeout) if queues else _ready_of(others, timeout)
    return [obj for obj in objects if id(obj) in ready]


def _ready_of(others: list[tuple[int, Any]], timeout: float | None, bell: int | None = None) -> set[int]:
    """Returns which of the `others`, objects by number and their handles, are ready, once one is or the `bell`
    rings."""
    primitives = [handle for _, handle in others if not isinstance(handle, int)]
    descriptors = [handle for _, handle in others if isinstance(handle, int)]
    ready_primitives, ready_descriptors = native.wait_any(
        primitives, descriptors if bell is None else [*descriptors, bell], timeout
    )
    ready = {id(primitive) for primitive in ready_primitives}
    return {
        number
        for number, handle in others
        if (handle in ready_descriptors if isinstance(handle, int) else id(handle) in ready)
    }


def _wait_for_any(queues: list[Any], others: list[tuple[int, Any]], timeout: float | None) -> set[int]:
    """Like `wait`, with queues between threads, which can be checked only while holding the interpreter: a doorbell
    says when to check."""
    timeout = _parameters.seconds("timeout", timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    bell = native.Doorbell()
    try:
        while True:
            bell.drain()
            # A ring removes the registration, so the doorbell is registered before each check. If there is no room to
            # register it, the check is repeated after a while.
            armed = [queue._kettle_arm(_ITEM, bell.door) for queue in queues]
            ready = {id(queue) for queue in queues if queue.is_shutdown or not queue.empty()}
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            is_last = bool(ready) or left == 0
            can_ring = bell.is_ours()  # False if the program closed it
            if is_last:
                pause: float | None = 0
            else:
                pause = left if can_ring and all(armed) else min(_SLICE, _SLICE if left is None else left)
            ready |= _ready_of(others, pause, bell.fileno() if can_ring else None)
            if ready or is_last:
                return ready
    finally:
        for queue in queues:
            queue._kettle_disarm(_ITEM, bell.door)
        bell.close()


def _handle(obj: Any) -> Any:
    primitive = getattr(obj, "_items", obj)  # the handle of a queue
    if hasattr(primitive, "_kettle_ready"):
        return primitive
    if isinstance(obj, int):
        return obj
    fileno = getattr(obj, "fileno", None)
    if fileno is not None:
        return int(fileno())
    sentinel = getattr(obj, "sentinel", None)
    if sentinel is not None:
        return int(sentinel)
    raise TypeError(f"cannot wait for {obj!r}: it is no primitive, process, connection or descriptor")
