"""Starts a process by asking the fork server for one."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Collection
from multiprocessing import forkserver as _standard

from kettle._session import native
from kettle.multiprocessing import _descriptors, forkserver, popen_fork, popen_spawn_posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Popen"]


# Not an exit code.
_NO_REPORT = _standard.SIGNED_STRUCT.pack(-(2**63))
_LOOK = 0.2  # seconds


def _check_server(is_stopped: bool) -> None:
    if is_stopped:
        raise OSError("the fork server is stopped and cannot start a process: resume it with SIGCONT")


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

    The server reaps it and reports its exit code. Its end is seen through a pidfd, as for all processes, so that
    children do not appear dead when the server dies.
    """

    method = "forkserver"
    tells_when_to_unblock = False
    _waits_for_report = True
    DupFd = _DupFd

    def __init__(self, process_obj: Any) -> None:
        self._is_patient = process_obj._waits_for_server
        self._report = bytearray(_NO_REPORT)
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Returns what `DupFd` needs to find `fd` in the child."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _start(self, mask: Collection[int]) -> native.Descriptor:
        if not self._is_patient and forkserver.is_stopped():
            time.sleep(_LOOK)  # the server may be about to continue, together with this process
            _check_server(forkserver.is_stopped())
        status, data = forkserver.connect_to_new_process(self._fds)
        to_child = native.Descriptor(data, "start", private=False)
        self._status = _descriptors.keep(status, "report")
        try:
            # The server may have much to import first, so this wait can be interrupted.
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._wait_for_server(status)
            self.pid = _standard.read_signed(status)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        except BaseException:
            to_child.close()  # this ends a child that may exist
            self._status.close()
            raise
        return to_child

    def _wait_for_server(self, status: int) -> None:
        """Waits until the server has forked the child, or has ended."""
        was_stopped = False
        while not native.wait_any((), (status,), None if self._is_patient else _LOOK)[1]:
            is_stopped = forkserver.is_stopped()
            _check_server(was_stopped and is_stopped)
            was_stopped = is_stopped

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
            # The child is already over and reaped by the server, so only the report remains to wait for.
            return os.dup(self._status.fileno())

    def _watch_again(self) -> None:
        # The child belongs to the server, so its pid may have been reused, but its place in the session has not. This
        # is checked last: while the child lives, it owns the pid.
        try:
            pidfd = native.open_process(self.pid)
        except ProcessLookupError:
            self._end_of(os.pipe())
            return
        if self._ticket is None or native.child_is_dead(self._ticket):
            os.close(pidfd)
            self._end_of(os.pipe())
        else:
            self._replace(pidfd)

    def _end_of(self, pipe: tuple[int, int]) -> None:
        """Watches something that is over: the end of a pipe without writers."""
        os.close(pipe[1])
        self._replace(pipe[0])

    def _send_signal(self, sig: int) -> None:
        try:
            super()._send_signal(sig)
        except OSError as error:
            # A process that is already over is watched by a descriptor that is not a pidfd.
            if error.errno != errno.EBADF or not self._pidfd.is_ours():
                raise

    def _discard(self) -> None:
        # The child received nothing, and ends when the pipe for that is closed. Its pid may have been reused.
        pass

    def _is_told(self, timeout: float | None) -> bool:
        # The server may be stopped, for example.
        return not self._status.is_ours() or bool(native.wait_any((), (self._status.fileno(),), timeout)[1])

    def _reap(self) -> None:
        # One call that stores what it reads, so that a signal handler that runs after it finds the report here.
        with contextlib.suppress(OSError):
            os.readv(self._status.fileno(), [self._report])
        known = self._report != _NO_REPORT
        self.returncode = _standard.SIGNED_STRUCT.unpack(self._report)[0] if known else popen_fork.UNKNOWN_STATUS
