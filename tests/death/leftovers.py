"""Finds the files that the processes of a test run leave behind, and tells them from those of other programs.

Temporary files go to a directory of the run's own. The names of files in /dev/shm are shared by all programs of the
machine and do not identify the creator. So the run gets its own /dev/shm, through a mount namespace: root may create
one, and so may other users if the kernel allows them a user namespace. Otherwise the standard library is made to put a
mark into the names that it generates, and only names with the mark count; a fork passes the mark on (for semaphores
every start method does), but some names of a spawned child are missed.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import tempfile
from typing import Any

SHARED_MEMORY = "/dev/shm"

_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_CAPABILITY_VERSION_3 = 0x20080522

_mark = ""  # part of the names of the run's files in /dev/shm; empty if all files there belong to the run


def set_apart(*, namespace: bool = True) -> None:
    """To be called before the run starts a thread or a process. `namespace`: whether to use a mount namespace if
    possible."""
    global _mark
    # Its name is short because the path of a Unix socket has at most 107 bytes. It is removed after the standard
    # library's own clean-up at exit, which runs first because it is registered later.
    directory = tempfile.mkdtemp(prefix="kt")
    os.environ["TMPDIR"] = tempfile.tempdir = directory
    atexit.register(_remove, directory, os.getpid())
    if not (namespace and _mount_own_shared_memory()):
        from multiprocessing import process, shared_memory

        _mark = f"kt{os.getpid()}"
        config: dict[str, Any] = process.current_process()._config  # type: ignore[attr-defined]
        config["semprefix"] = f"/mp-{_mark}"
        library: Any = shared_memory
        library._SHM_NAME_PREFIX = f"/psm_{_mark}_"
        library._SHM_SAFE_NAME_LENGTH = len(library._SHM_NAME_PREFIX) + 8


def files() -> set[str]:
    """Returns the paths of all files of the run."""
    # "pymp-": the folder of the fork server's socket, one for the whole run.
    temporary = {name for name in os.listdir(tempfile.gettempdir()) if not name.startswith("pymp-")}
    shared = {name for name in os.listdir(SHARED_MEMORY) if _mark in name}
    return {f"{tempfile.gettempdir()}/{name}" for name in temporary} | {f"{SHARED_MEMORY}/{name}" for name in shared}


def _remove(directory: str, owner: int) -> None:
    if os.getpid() == owner:  # not at the end of a forked child
        shutil.rmtree(directory, ignore_errors=True)


def _mount_own_shared_memory() -> bool:
    """Returns whether this process and all its descendants now have a /dev/shm that no other program sees."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNS) != 0:
        # Not for root, who would have fewer rights there.
        if user == 0 or libc.unshare(_CLONE_NEWNS | _CLONE_NEWUSER) != 0:
            return False
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    mounted = (
        libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) == 0
        and libc.mount(b"kettle", SHARED_MEMORY.encode(), b"tmpfs", 0, b"mode=1777") == 0
    )
    if user != 0:
        # The rights of the first process in a user namespace would let tests pass that must fail for this user.
        libc.capset((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())
    return mounted


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
