"""The folder of sockets that `util.get_temp_dir` returns, which does not outlive the processes that use it.

The standard library removes the folder when the process that created it ends, but not if that process is killed. So the
users of a folder hold a lock on a file in it, which forked children inherit and which ends with the last of them. A
process that creates a folder removes those whose lock is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from multiprocessing import process

from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["held"]

_LOCK = "kettle.lock"

#: The folder that this process uses, and its lock.
_held: tuple[str, native.Descriptor] | None = None


def held(make: Callable[[], str]) -> str:
    """Returns this process's folder, which exists until the process has ended. `make` is the standard function."""
    global _held
    config = process.current_process()._config  # type: ignore[attr-defined]
    folder: str | None = config.get("tempdir")
    if folder is not None:
        if _held is not None and _held[0] == folder and _held[1].is_ours():
            return folder
        if _share(folder):
            return folder
        config["tempdir"] = None
    folder = make()
    with contextlib.suppress(OSError):  # if files cannot be locked, everything is as in the standard library
        _held = folder, _lock_new(folder)
        _remove_abandoned(os.path.dirname(folder))
    return folder


def _share(folder: str) -> bool:
    """Also holds the folder of another process, whose name this process received; returns False if it is gone with its
    users."""
    global _held
    try:
        _held = folder, _locked(os.path.join(folder, _LOCK), fcntl.LOCK_SH)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return os.path.isdir(folder)  # without a lock: it is never removed
    except OSError:
        pass
    return True


def _lock_new(folder: str) -> native.Descriptor:
    """Creates the lock under its name only once it is held, so that no other process finds it free."""
    path = os.path.join(folder, _LOCK)
    with open(f"{path}.new", "xb"):
        lock = _locked(f"{path}.new", fcntl.LOCK_SH)
    os.rename(f"{path}.new", path)
    return lock


def _locked(path: str, how: int) -> native.Descriptor:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    lock = native.Descriptor(fd, "folder", private=False)
    fcntl.flock(fd, how | fcntl.LOCK_NB)
    return lock


def _remove_abandoned(directory: str) -> None:
    """Removes the folders of this user in `directory` whose users have all ended."""
    with os.scandir(directory) as entries:
        folders = [entry.path for entry in entries if entry.name.startswith("pymp-")]
    for folder in folders:
        try:
            about = os.lstat(folder)
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
                continue
            lock = _locked(os.path.join(folder, _LOCK), fcntl.LOCK_EX)
            # For processes that would share it, it disappears in one step.
            os.rename(folder, removed := f"{folder}.removed")
        except OSError:  # it has no lock, or is in use
            continue
        shutil.rmtree(removed, ignore_errors=True)
        lock.close()
