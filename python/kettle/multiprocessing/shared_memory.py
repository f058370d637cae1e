"""Named blocks of shared memory, as in the standard library: files in /dev/shm that unrelated processes can open.

Within a session `RawArray` is the better choice: it has no name that can be left behind.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterable
from multiprocessing import shared_memory as _standard

from kettle import _parameters
from kettle.multiprocessing._helpers import resource_tracker
from kettle.multiprocessing._ties import forget_lost_tracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ShareableList", "SharedMemory"]


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


class SharedMemory(_standard.SharedMemory):
    """A named block of shared memory, created or attached to. See the standard library for the parameters.

    Differences: `track` is accepted on every Python version. The memory of a block is reserved when it is created, so a
    full /dev/shm is a MemoryError here and not a SIGBUS at a later access. `close` while views of `buf` are alive is
    not an error: the memory stays until the last view is gone.
    """

    _name: str
    _fd: int
    _buf: memoryview | None
    _mmap: mmap.mmap | None
    _file: tuple[int, int] | None = None

    def __init__(self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool = True) -> None:
        _parameters.must_be_text("name", name)
        _parameters.whole("size", size)
        forget_lost_tracker()
        if sys.version_info >= (3, 13):
            super().__init__(name, create, size, track=track)
        else:
            super().__init__(name, create, size)
            if not track:
                _untrack(self)
        forget_lost_tracker()  # remembers a tracker that was started now
        self._file = _file_of(self._fd)
        if create:
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError as error:
                self.close()
                self.unlink()
                raise MemoryError(f"cannot reserve {size} bytes of shared memory: {error.strerror}") from None

    def close(self) -> None:
        """Ends this instance's access to the block; the block itself stays."""
        buf, self._buf = self._buf, None
        mapping, self._mmap = self._mmap, None
        try:
            if buf is not None:
                buf.release()
            if mapping is not None:
                mapping.close()
        except BufferError:
            pass  # a view is still alive, and the mapping with it
        if self._file is not None and _file_of(self._fd) != self._file:
            self._fd = -1  # the program closed it, and its number may belong to a file of the program's
        super().close()

    if sys.version_info >= (3, 13):

        def unlink(self) -> None:
            """Removes the block's name; its memory is freed when the last process that uses it closes it."""
            forget_lost_tracker()
            super().unlink()

    else:
        _track = True

        def unlink(self) -> None:
            """Removes the block's name; its memory is freed when the last process that uses it closes it."""
            forget_lost_tracker()
            if self._track:
                super().unlink()
            elif self._name:  # type: ignore[attr-defined, unused-ignore]
                _standard._posixshmem.shm_unlink(self._name)  # type: ignore[attr-defined, unused-ignore]


def _file_of(fd: int) -> tuple[int, int] | None:
    try:
        there = os.fstat(fd)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _untrack(block: Any) -> None:
    block._track = False
    resource_tracker.unregister(block._name, "shared_memory")


class ShareableList(_standard.ShareableList):  # type: ignore[type-arg]
    """A list of numbers, strings, bytes and None of fixed length in a named block of shared memory."""

    shm: SharedMemory

    def __init__(self, sequence: Iterable[Any] | None = None, *, name: str | None = None) -> None:
        _parameters.must_be_text("name", name)
        if sequence is not None:
            _parameters.must_be_iterable("sequence", sequence)
        super().__init__(sequence, name=name)
        self.shm.__class__ = SharedMemory
        self.shm._file = _file_of(self.shm._fd)
