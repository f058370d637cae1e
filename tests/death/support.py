"""Waiting for conditions, killing, and looking for what was left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from . import leftovers

#: Seconds within which a survivor must have a result or a clear error. The promise is for an idle machine.
PROMPT = 3.0
#: Seconds after which a test has definitely failed.
LIMIT = 30.0


def until(fact: Callable[[], object], within: float = LIMIT, meanwhile: Callable[[], object] | None = None) -> float:
    """Waits until `fact()` holds and returns the seconds that took; calls `meanwhile` between two checks."""
    begun = time.monotonic()
    pause = 0.0001
    while not fact():
        waited = time.monotonic() - begun
        assert waited < within, f"not within {within} s: {getattr(fact, '__doc__', None) or fact}"
        if meanwhile is not None:
            meanwhile()
        time.sleep(pause)
        pause = min(pause * 1.5, 0.01)
    return time.monotonic() - begun


def state_of(pid: int) -> str:
    """Returns the kernel's letter for a process's state; "X" if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def runs(pid: int) -> bool:
    """Returns whether the process exists and is not a zombie."""
    return state_of(pid) not in "XZ"


def sleeps(pid: int) -> bool:
    """Returns whether every thread of the process is blocked in the kernel."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return False
    return all(state_of(int(thread)) == "S" for thread in threads)


def kill(process) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join(LIMIT)
    assert process.exitcode == -signal.SIGKILL, f"ended with {process.exitcode} before it was killed"


def prompt(call: Callable[..., object], *arguments: object) -> object:
    """Returns the result of `call`, which must not take long."""
    begun = time.monotonic()
    try:
        return call(*arguments)
    finally:
        took = time.monotonic() - begun
        assert took < PROMPT, f"{call} took {took:.1f} s"


def session_members(session: int) -> set[int]:
    """Returns every living process of a session (in the kernel's sense), including a fork server or a tracker."""
    members = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == session and fields[0] not in b"XZ":
                members.add(int(name))
    return members


# ----------------------------------------------------------------------------------------------- what is left behind


def _children(pid: int) -> set[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return {int(child) for child in children.read().split()}
    except FileNotFoundError:
        return set()


def footprint() -> dict[str, set]:
    """Returns what the processes of this run hold that a test might leave; to be compared before and after."""
    return {
        "files": leftovers.files(),
        "children": _children(os.getpid()),
        "descriptors": _descriptors(),
    }


def _descriptors() -> set[tuple[int, str]]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add((int(fd), os.readlink(f"/proc/self/fd/{fd}")))
        except FileNotFoundError:
            pass  # the descriptor of this listing itself
    return found


def left_behind(before: dict[str, set]) -> dict[str, set]:
    """Returns what exists now and did not exist `before`."""
    now = footprint()
    return {kind: now[kind] - before[kind] for kind in now if now[kind] - before[kind]}
