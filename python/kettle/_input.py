"""What goes into a job of many items."""

from __future__ import annotations

from collections.abc import Iterator

from kettle import _parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle._core import native

__all__ = ["chunk_size", "feed"]


def chunk_size(chunksize: int) -> int:
    """A `chunksize` that was asked for, if that is possible."""
    chunksize = _parameters.whole("chunksize", chunksize)
    if chunksize < 1:
        raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
    return min(chunksize, 2**22 - 1)


def feed(job: native.PoolJob, iterator: Iterator[Any], wait: bool = True) -> None:
    """Pulls the items of an imap, as far ahead as it may: until the end if it may `wait`, in a thread of its own, since
    an iterator may wait for anything itself; else as many as there is room for now."""
    try:
        while job._has_room(wait=wait):
            try:
                item = next(iterator)
            except StopIteration:
                job._close_input()
                return
            job._push(item)
            del item
    except BaseException as e:
        job._close_input(e)
