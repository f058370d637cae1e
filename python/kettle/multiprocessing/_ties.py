"""What ties the standard library's fork server and resource tracker to this process: descriptors that it keeps by
number. A program may close these, as daemons close everything, and open files of its own that get the numbers.

The standard library would then take such a file for its own: it writes to the resource tracker to see whether that
lives, closes what ties the fork server to this process when it starts another one, and in newer Pythons (3.14.7, say)
closes what ties the resource tracker to it in each child that a program forks. So it is made to forget a helper whose
descriptor is lost, and starts another.
"""

from __future__ import annotations

import os
import stat
from multiprocessing import resource_tracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Tie", "forget_lost_tracker"]

_tracker: Any = resource_tracker._resource_tracker


class Tie:
    """The pipe whose write end ties a helper to this process."""

    def __init__(self) -> None:
        self._known: tuple[int | None, int | None] = None, None
        self._file: tuple[int, int] | None = None
        self._left: list[int] = []

    def is_lost(self, fd: int | None, pid: int | None) -> bool:
        """Whether `fd`, to the helper `pid`, is that pipe no more. What is seen for the first time is right, if it is a
        pipe at all."""
        if fd is None:
            return False
        try:
            there = os.fstat(fd)
        except OSError:
            return True
        file = there.st_dev, there.st_ino
        if self._known == (fd, pid):
            return file != self._file
        self._known, self._file = (fd, pid), file
        return not stat.S_ISFIFO(there.st_mode)

    def forget(self, pid: int | None) -> None:
        """The helper ends by itself, and is reaped by and by."""
        self._known = None, None
        if pid is not None:
            self._left.append(pid)
        self._left = [pid for pid in self._left if not _is_reaped(pid)]


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


_tie = Tie()


def forget_lost_tracker() -> None:
    """To be called before the standard library uses the resource tracker, and after it may have started one."""
    if _tie.is_lost(_tracker._fd, _tracker._pid):
        _tie.forget(_tracker._pid)
        _tracker._fd = _tracker._pid = None


if hasattr(_tracker, "_after_fork_in_child"):
    os.register_at_fork(before=forget_lost_tracker)
