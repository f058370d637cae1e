"""The fork server. It is CPython's own, one for both packages, and loads this package before it forks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from multiprocessing import forkserver as _standard
from multiprocessing.forkserver import get_inherited_fds

from kettle import _install
from kettle.multiprocessing import _descriptors, _unnamed, spawn
from kettle.multiprocessing._helpers import start_safely, tracker
from kettle.multiprocessing._ties import Tie, forget_lost_tracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    # Never imported here. A freezer reads the names that the server imports from here.
    from kettle.multiprocessing import (  # noqa: F401
        _after_preload,
        _hears_children,
        _hears_interrupts,
        _preload,
        _server,
        popen_forkserver,
        queues,
        synchronize,
    )

__all__ = ["connect_to_new_process", "ensure_running", "get_inherited_fds", "set_forkserver_preload"]

# First the program's modules, then those it chose, then those most children need, and last a check of what these
# imports did.
_BEFORE = ["kettle.multiprocessing._preload"]
_AFTER = [
    "pkgutil",
    "kettle.multiprocessing._server",
    "kettle.multiprocessing.popen_forkserver",
    "kettle.multiprocessing.connection",
    "kettle.multiprocessing.queues",
    "kettle.multiprocessing.synchronize",
    "kettle.multiprocessing._after_preload",
]
_HEARS_INTERRUPTS = "kettle.multiprocessing._hears_interrupts"
_HEARS_CHILDREN = "kettle.multiprocessing._hears_children"
_VARIABLE = "KETTLE_FORKSERVER"  # read by `_preload`, which is for the server only
_forkserver: Any = _standard._forkserver
start_safely(_standard)
_standard.resource_tracker = tracker  # type: ignore[attr-defined]
_tie = Tie()
_channel = _unnamed.Channel(lambda fd: _descriptors.keep(fd, "server"))
_unnamed.put_into(_standard, _channel)
_starting = threading.RLock()  # reentrant: a signal handler may start a process
_forkserver._lock = threading.RLock()  # reentrant for the same reason
os.register_at_fork(after_in_child=_starting._at_fork_reinit)  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


def set_forkserver_preload(modules_names: list[str]) -> None:
    """Names the modules that the server tries to import before it forks. Raises TypeError for entries that are not
    names."""
    _standard.set_forkserver_preload(modules_names)


def ensure_running() -> None:
    """Starts the server if it is not running. Raises RuntimeError if its children would be in another pid namespace."""
    with _starting:
        if _is_running():
            return
        if _numbers_children_apart():
            raise RuntimeError(
                "a fork server cannot be started after unshare(CLONE_NEWPID): the pids of its children would "
                "belong to other processes here; start it before, or use another start method"
            )
        chosen = _forkserver._preload_modules or []
        forget_lost_tracker()
        tracker.ensure_running()  # the server would start it, too; when it starts, it leaves Ctrl-C unblocked
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        last = [] if signal.SIGINT in mask else [_HEARS_INTERRUPTS]
        if signal.SIGCHLD in mask:
            last.append(_HEARS_CHILDREN)
        try:
            with _told_to_new_interpreters() as told:
                # A server that does not learn what `multiprocessing` means here must leave the program to its children.
                with _told_to_server(main=told and "__main__" in chosen), _channel.opened():
                    imported = [name for name in chosen if name != "__main__"]
                    _forkserver._preload_modules = [*_BEFORE, *imported, *_AFTER, *last]
                    _standard.ensure_running()
            forget_lost_tracker()  # remembers a new tracker
            _is_tied()
        finally:
            _forkserver._preload_modules = chosen
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _numbers_children_apart() -> bool:
    """Returns whether the children of this process are in another pid namespace than itself."""
    own, children = "/proc/self/ns/pid", "/proc/self/ns/pid_for_children"
    try:
        return os.stat(children).st_ino != os.stat(own).st_ino
    except OSError:
        # The link is broken if no process has been started in that namespace yet.
        return os.path.lexists(children)


def _is_running() -> bool:
    if _forkserver._forkserver_pid is None:
        return False
    if not _is_tied():
        # The server ends by itself when no process is tied to it.
        _tie.forget(_forkserver._forkserver_pid)
        _forget()
        return False
    try:
        return os.waitid(os.P_PID, _forkserver._forkserver_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        # The server belongs to the process from which this one was forked.
        os.close(_forkserver._forkserver_alive_fd)
        _forget()
        return False


def is_stopped() -> bool:
    """Returns whether the server was stopped, for example by SIGSTOP."""
    try:
        with open(f"/proc/{_forkserver._forkserver_pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False


def _is_tied() -> bool:
    """Returns whether the pipe that ties the server to this process is still there: the program may have closed it."""
    return not _channel.is_lost() and not _tie.is_lost(_forkserver._forkserver_alive_fd, _forkserver._forkserver_pid)


def _forget() -> None:
    _channel.close()
    _forkserver._forkserver_alive_fd = _forkserver._forkserver_address = _forkserver._forkserver_pid = None


@contextlib.contextmanager
def _told_to_new_interpreters() -> Iterator[bool]:
    """In this context, an interpreter that is started learns from the environment what is installed here. Yields False
    if it would not: if kettle was added to the path by hand, or the interpreter ignores its environment."""
    current = _install.state()
    if current is None:
        yield True
        return
    before = os.environ.get(_install.ENVIRONMENT_VARIABLE)
    os.environ[_install.ENVIRONMENT_VARIABLE] = _install.as_text(older=current["older"])
    try:
        yield not sys.flags.ignore_environment and any(
            os.path.exists(os.path.join(directory, "kettle_run.pth")) for directory in sys.path
        )
    finally:
        if before is None:
            del os.environ[_install.ENVIRONMENT_VARIABLE]
        else:
            os.environ[_install.ENVIRONMENT_VARIABLE] = before


@contextlib.contextmanager
def _told_to_server(*, main: bool) -> Iterator[None]:
    """In this context, a server that is started learns this program's path and, if `main`, its main module."""
    data = spawn.get_preparation_data("")
    # The import system ignores entries that are not text. The children receive all of them.
    data["sys_path"] = [str(entry) for entry in data["sys_path"] if isinstance(entry, str)]
    wanted = ["sys_path", "init_main_from_name", "init_main_from_path"] if main else ["sys_path"]
    os.environ[_VARIABLE] = json.dumps({key: data[key] for key in wanted if key in data})
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


def connect_to_new_process(fds: list[int]) -> tuple[int, int]:
    """Makes the server fork a child that gets copies of `fds`.

    Returns a descriptor from which to read the child's pid and exit code, and one to write its start data to. Leaves
    Ctrl-C blocked until the child is known.
    """
    ensure_running()  # first, because the server would inherit the blocked signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    status, data = _standard.connect_to_new_process(fds)
    return status, data
