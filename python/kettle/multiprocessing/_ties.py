"""The descriptors that tie the standard library's fork server and resource tracker to this process. The standard
library keeps them by number. A program may close them, as daemons close everything, and open its own files under the
same numbers.

The standard library would then mistake such a file for its own: it writes to the resource tracker to see whether it is
alive, closes the descriptor that ties the fork server to this process when it starts another one, and in newer Pythons
(3.14.7, for example) closes that of the resource tracker in each child that a program forks. This module makes it
forget a helper whose descriptor is lost, and start another one.
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
        """Returns whether `fd`, which leads to the helper `pid`, no longer is that pipe. The first observation counts
        as correct if it is a pipe at all."""
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
        """The helper ends by itself and is reaped later."""
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
