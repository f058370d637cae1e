"""Starts a process by forking this one, and watches it through a pidfd.

A wait ends with the process itself, never with a pipe: a grandchild that still holds some descriptor delays no wait.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import sys
import time
from _signal import SIG_BLOCK, SIGINT, pthread_sigmask  # type: ignore[import-not-found]  # see `process`
from _thread import RLock
from functools import cache
from multiprocessing import popen_fork as _standard
from multiprocessing import util

from kettle import _main_names, _parameters
from kettle._session import native
from kettle.multiprocessing import _descriptors, _forking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["Popen"]

# The `exitcode` of a child whose status was taken by another wait(), as in asyncio.
UNKNOWN_STATUS = 255

#: `os.P_PIDFD` is missing from interpreters that were built with the headers of an older kernel.
_P_PIDFD = 3


class Popen(_standard.Popen):
    """A started process."""

    method = "fork"
    #: Whether the exit code comes from another process, which may take its time.
    _waits_for_report = False
    pid: int
    returncode: int | None

    def __init__(self, process_obj: Any) -> None:
        _require_pidfd()
        self._owner = os.getpid()
        # Reentrant: a signal handler may query the process while its own thread reaps it.
        self._reaping = RLock()
        self._ticket: int | None = None
        self._pidfd: native.Descriptor
        self._kept: list[native.Descriptor] = []
        self.returncode = None
        util._flush_std_streams()  # type: ignore[attr-defined]
        self._launch(process_obj)

    def _launch(self, process_obj: Any) -> None:
        life_r, life_w = _descriptors.life_pipe()
        try:
            _main_names.note()
            alone = len(sys._current_frames()) == 1
            if not alone:
                _forking.let_others_import()
            # `process_obj` unblocks Ctrl-C: in the parent when the child is known, in the child when `run` is about to
            # start.
            mask = pthread_sigmask(SIG_BLOCK, {SIGINT})
            tracker = sys.modules.get("multiprocessing.resource_tracker")
            fork = _forking.fork if hasattr(tracker, "_fork_intent") else native.fork
            self.pid, self._ticket = fork()
            if self.pid == 0:
                _run_child(process_obj, life_r, mask, alone)
            self._started(life_w)
        except BaseException:
            # This ends a child that exists, but is perhaps unknown because an interrupt came right then.
            life_w.close()
            raise
        finally:
            life_r.close()

    @property
    def sentinel(self) -> int:  # type: ignore[override]
        """A descriptor that is readable once the process has ended. Raises DescriptorLost if the program closed it and
        the process is not one that it started itself and could watch again."""
        try:
            return self._pidfd.fileno()
        except OSError:  # DescriptorLost
            if self.returncode is None and self._owner == os.getpid():
                self._watch_again()
            return self._pidfd.fileno()

    def _started(self, *to_close: native.Descriptor) -> None:
        """Watches the child, which is running. `to_close` are descriptors to close together with this object. If this
        fails, the child no longer exists, and nothing has been closed."""
        try:
            try:
                self._pidfd = native.Descriptor(self._watch(), "child")
            except ProcessLookupError:
                self._is_over_already()
            else:
                if self._ticket is not None:
                    native.child_started(self._ticket, self.pid)
            self._kept += (*to_close, self._pidfd)
        except BaseException:
            # It could never be waited for.
            self._discard()
            self._gone()
            raise

    def _watch(self) -> int:
        """Returns a descriptor that is readable once the child has ended."""
        return native.open_process(self.pid)

    def _is_over_already(self) -> None:
        """The child has ended, and other code reaped it: SIGCHLD is ignored, or a handler or another thread waits for
        any child. The child did its work, and its status can never be known."""
        self._pidfd = native.Descriptor(_end_of_pipe(), "child")
        self.returncode = UNKNOWN_STATUS
        self._gone()

    def _watch_again(self) -> None:
        """The program closed the descriptor: opens another one, if the pid still belongs to the process."""
        if self._is_unreaped():
            self._replace(native.open_process(self.pid))

    def _is_unreaped(self) -> bool:
        """Returns whether the pid still belongs to the child."""
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _replace(self, pidfd: int) -> None:
        self._pidfd = native.Descriptor(pidfd, "child")
        self._kept.append(self._pidfd)

    def _discard(self) -> None:
        """Ends a child that cannot be watched."""
        if self._is_unreaped():
            os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # other code reaps it
                os.waitpid(self.pid, 0)

    def _gone(self) -> None:
        if self._ticket is not None:
            native.child_gone(self._ticket)
            self._ticket = None

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Returns the exit code, or None while the process is running. Waits for the end if `flag` is 0."""
        return self.returncode if self.returncode is not None else self.wait(0 if flag == os.WNOHANG else None)

    def wait(self, timeout: float | None = None) -> int | None:
        """Returns the exit code, or None if the process is still running after `timeout` seconds."""
        deadline = None
        if timeout is not None and (timeout := _parameters.seconds("timeout", timeout)) is not None:
            deadline = time.monotonic() + timeout
        while self.returncode is None and self._owner == os.getpid():
            try:
                watched = self._pidfd.fileno()
            except OSError:  # DescriptorLost
                watched = self.sentinel
            if not native.wait_any((), (watched,), timeout)[1]:
                break
            if deadline is not None:
                timeout = max(0.0, deadline - time.monotonic())
            if self._pidfd.is_ours():
                if not self._waits_for_report or self._is_told(timeout):
                    self._ended()
                break
            # The program closed the descriptor in the meantime: the file that is ready is another one with this number.
        return self.returncode

    def _is_told(self, timeout: float | None) -> bool:
        """For a process that has ended, waits until its exit code is reported. Returns False if that takes more than
        `timeout` seconds."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the descriptors of a process that has ended."""
        _descriptors.close_all(self._kept)

    def _ended(self) -> None:
        """The process has ended."""
        with self._reaping:
            if self.returncode is None:
                self._reap()
                self._gone()

    def _reap(self) -> None:
        """Sets the exit code of the child, which has ended, and reaps it. This order matters: a signal handler that
        runs in between finds the exit code, or can still reap the child."""
        pidfd = self._pidfd.fileno()
        try:
            ended = os.waitid(_P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
            assert ended is not None
        except ChildProcessError:
            if self.returncode is None:
                self.returncode = UNKNOWN_STATUS
            return
        self.returncode = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        try:  # `contextlib.suppress` would touch more pages, which a parent that forks has to copy
            os.waitid(_P_PIDFD, pidfd, os.WEXITED)
        except ChildProcessError:
            pass

    def _send_signal(self, sig: int) -> None:
        if self.returncode is None and self._owner == os.getpid():
            try:
                native.signal_process(self.sentinel, sig)
            except ProcessLookupError:
                pass


def _end_of_pipe() -> int:
    """Returns a descriptor that is always readable."""
    reader, writer = os.pipe()
    os.close(writer)
    return reader


def _run_child(process_obj: Any, life: native.Descriptor, mask: set[Any], alone: bool) -> NoReturn:
    """Runs the forked child of a parent that was `alone`, or had other threads. If anything fails, the child ends here
    and does not continue its parent's program. As in CPython 3.13, but on every version, handlers that the child itself
    registered with `atexit` run at its end, and its parent's do not."""
    code = 1
    try:
        process_obj._signal_mask, process_obj._life_pipe = mask, life
        if not alone:
            _forking.renew_locks_of_streams()
        atexit._clear()
        atexit.register(util._exit_function)  # type: ignore[attr-defined]
        code = process_obj._bootstrap(parent_sentinel=life.fileno())
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            atexit._run_exitfuncs()
        finally:
            os._exit(code)


@cache
def _require_pidfd() -> None:
    try:
        os.close(native.open_process(os.getpid()))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}: kettle watches processes through pidfd_open(2), which needs Linux 5.3 or later and a "
            "container profile that allows it",
        ) from None
