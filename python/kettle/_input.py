"""The input of a job with many items."""

from __future__ import annotations

from collections.abc import Iterator

from kettle import _parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle._core import native

__all__ = ["chunk_size", "feed"]


def chunk_size(chunksize: int) -> int:
    """Checks and returns a requested `chunksize`."""
    chunksize = _parameters.whole("chunksize", chunksize)
    if chunksize < 1:
        raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
    return min(chunksize, 2**22 - 1)


def feed(job: native.PoolJob, iterator: Iterator[Any], wait: bool = True) -> None:
    """Reads the items of an imap as far ahead as allowed. If it may `wait`, it reads to the end, in a separate thread,
    since an iterator itself may wait for anything; otherwise it reads as many items as there is room for now."""
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
