"""Starts a process by asking the fork server for one."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Collection
from multiprocessing import forkserver as _standard

from kettle._session import native
from kettle.multiprocessing import _descriptors, forkserver, popen_fork, popen_spawn_posix

__all__ = ["Popen"]


class _DupFd:
    """A descriptor that the server passes to the child."""

    def __init__(self, index: int) -> None:
        self.index = index

    def detach(self) -> int:
        fds = forkserver.get_inherited_fds()
        assert fds is not None
        return fds[self.index]


class Popen(popen_spawn_posix.Popen):
    """A process forked by the fork server.

    The server reaps it and reports its exit code; the end itself is seen through a pidfd, as everywhere, so that a
    server that dies does not make its children look dead.
    """

    method = "forkserver"
    DupFd = _DupFd

    def duplicate_for_child(self, fd: int) -> int:
        """What `DupFd` needs to find `fd` in the child."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _start(self, mask: Collection[int]) -> native.Descriptor:
        status, data = forkserver.connect_to_new_process(self._fds)
        to_child = native.Descriptor(data, "start", private=False)
        self._status = _descriptors.keep(status, "report")
        try:
            # The server may have much to import first: this wait can be interrupted.
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self.pid = _standard.read_signed(status)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        except BaseException:
            to_child.close()  # by which a child that there may be leaves
            self._status.close()
            raise
        return to_child

    def _started(self, *to_close: native.Descriptor) -> None:
        try:
            super()._started(*to_close, self._status)
        except BaseException:
            self._status.close()
            raise

    def _watch(self) -> int:
        try:
            return super()._watch()
        except ProcessLookupError:
            # Over already, and reaped by the server: its report is all that is left to wait for.
            return os.dup(self._status.fileno())

    def _watch_again(self) -> None:
        # The server's child is not ours: its number may have gone to another process, but its place in the session has
        # not. Looked at last: while it lives, the number is its.
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._end_of(os.pipe())
            return
        if self._ticket is None or native.child_is_dead(self._ticket):
            os.close(pidfd)
            self._end_of(os.pipe())
        else:
            self._replace(pidfd)

    def _end_of(self, pipe: tuple[int, int]) -> None:
        """Watches what is over: the end of a pipe without writers."""
        os.close(pipe[1])
        self._replace(pipe[0])

    def _send_signal(self, sig: int) -> None:
        try:
            super()._send_signal(sig)
        except OSError as error:
            # What is over already is watched by something that is no pidfd.
            if error.errno != errno.EBADF or not self._pidfd.is_ours():
                raise

    def _discard(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def _reap(self) -> int:
        try:
            return int(_standard.read_signed(self._status.fileno()))
        except (OSError, EOFError):
            return popen_fork.UNKNOWN_STATUS
