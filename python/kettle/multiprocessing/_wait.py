"""One wait over a mix of things."""

from __future__ import annotations

from collections.abc import Iterable

from kettle._session import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["wait"]


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Waits until something of `object_list` is ready, and returns all that is, in its order.

    An object may be a lock, semaphore, event or queue of this package (ready when its non-blocking call would succeed),
    a process (ready when it has ended), or anything else with a `fileno` method or that is a descriptor itself:
    sentinels, connections, sockets (ready when they can be read or are at their end).

    Returns an empty list after `timeout` seconds. Raises TypeError for an object that cannot be waited for.
    """
    objects = list(object_list)
    handles = [_handle(obj) for obj in objects]
    primitives = [handle for handle in handles if not isinstance(handle, int)]
    descriptors = [handle for handle in handles if isinstance(handle, int)]
    ready_primitives, ready_descriptors = native.wait_any(primitives, descriptors, timeout)
    ready: set[int | tuple[str, int]] = {("primitive", id(primitive)) for primitive in ready_primitives}
    ready.update(ready_descriptors)
    return [
        obj
        for obj, handle in zip(objects, handles, strict=True)
        if (handle if isinstance(handle, int) else ("primitive", id(handle))) in ready
    ]


def _handle(obj: Any) -> Any:
    primitive = getattr(obj, "_items", obj)  # a queue's handle
    if hasattr(primitive, "_ready"):
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
