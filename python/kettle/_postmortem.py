"""Why a worker died: the meaning of its exit code, whether the kernel ran out of memory, and where the worker crashed.

The parent creates a file in memory for each worker (`new_trace`) before it starts the worker, so that no crash comes
too early. The worker opens that file and makes faulthandler write to it (`arm`); the parent reads it after the worker's
death.

    states of a trace     (none) --new_trace, arm--> empty --crash--> written --read_trace--> closed
                                                       └--close_trace, if it is not needed--> closed
"""

from __future__ import annotations

import faulthandler
import os
import re

from kettle._core import native
from kettle.multiprocessing import _descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from kettle._errors import WorkerDied

__all__ = ["PostMortem", "arm", "check", "close_trace", "new_trace", "read_trace"]

_LONGEST = 32 * 1024  # the maximum number of bytes that are read from a trace
# The frames from the one in which a process of Kettle's starts its work, down to the start of the program. Python 3.14
# may be unable to follow them.
_HOW_IT_BEGAN = re.compile(
    r'(\n  File "[^"]*/multiprocessing/process.py", line \d+ in run)?'
    r'\n  File "[^"]*/kettle/multiprocessing/process.py", line \d+ in _run\w+(\n  .+)*'
    r"|\n  <invalid frame>(?=\n\n|\n?$)"
)

# ---------------------------------------------------------------- in the worker


_trace: native.Descriptor | None = None
_to_stderr = False


def arm(place: tuple[int, int] | None) -> bool:
    """Makes faulthandler write the Python stacks of all threads to a file in memory if this process crashes. Returns
    whether it will do so: the system may refuse.

    place: the process that created the file, which is alive, and the descriptor that it got from `new_trace`; None if
        it got none.

    If faulthandler was enabled before (by `-X faulthandler`, or in the parent of a forked worker), its report goes to
    the file instead. If an initializer or a task enables it later, the report goes where that says, and the file stays
    empty.
    """
    global _trace, _to_stderr
    if place is None:
        return False
    maker, number = place
    before = _trace
    try:
        # Checked before it is opened: the creator may have closed it, and opening some other file may block.
        path = f"/proc/{maker}/fd/{number}"
        if not _is_trace(path):
            return False
        trace = native.Descriptor(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "trace", private=False)
        if not _is_trace(f"/proc/self/fd/{trace.fileno()}"):
            return False
        _to_stderr = faulthandler.is_enabled() and (before is None or _to_stderr)
        faulthandler.enable(file=trace.fileno(), all_threads=True)
    except OSError:
        return False
    if before is None:
        os.register_at_fork(after_in_child=_after_fork_in_child)
    else:
        before.close()
    _trace = trace
    return True


def _is_trace(path: str) -> bool:
    """Returns whether it is a file in memory: no other file of the creator's may be written to."""
    return os.readlink(path).startswith("/memfd:")


def check() -> None:
    """If the program closed the file, whose number may by now belong to a file of the program's, no crash is reported.
    To be called after code of the program has run that may have done so."""
    global _trace
    if _trace is not None and not _trace.is_ours():
        _trace = None
        faulthandler.disable()


def _after_fork_in_child() -> None:
    """The file is for the worker, not for its forked children. The report of a child goes where it would go without
    Kettle."""
    check()
    if _trace is not None:
        try:
            target = os.dup(2) if _to_stderr else os.open(os.devnull, os.O_WRONLY)
            os.dup2(target, _trace.fileno(), inheritable=False)
            os.close(target)
        except OSError:
            faulthandler.disable()


# ---------------------------------------------------------------- in the parent


_traces: dict[int, native.Descriptor] = {}


def new_trace() -> int | None:
    """Returns a descriptor of an empty file in memory, to be passed to `arm` in a worker, and then to `read_trace` or
    `close_trace`; None if the system refuses."""
    try:
        trace = native.memory_file("kettle-trace")
    except OSError:
        return None
    _traces[trace] = _descriptors.keep(trace, "trace")
    return trace


def read_trace(trace: int | None) -> str | None:
    """Returns what the worker wrote when it crashed; None if it wrote nothing. Closes the descriptor."""
    kept = None if trace is None else _traces.pop(trace, None)
    if kept is None:
        return None
    try:
        text = os.pread(kept.fileno(), _LONGEST, 0).decode(errors="replace")
    except OSError:
        text = ""  # for example because the program closed it
    kept.close()
    return _HOW_IT_BEGAN.sub("", text).strip() or None


def close_trace(trace: int | None) -> None:
    """Closes the descriptor returned by `new_trace`."""
    kept = None if trace is None else _traces.pop(trace, None)
    if kept is not None:
        kept.close()


class PostMortem:
    """Determines why the workers of a pool died. Created before the first worker starts."""

    def __init__(self) -> None:
        self._kills = _OomKills()

    def worker_died(
        self,
        pid: int,
        exitcode: int | None,
        task: str | None = None,
        *,
        trace: str | None = None,
        reason: Literal["died", "memory", "start"] = "died",
        hint: str | None = None,
    ) -> WorkerDied:
        """Returns the error for the worker `pid`, which ended with `exitcode` (None: unknown) while it ran `task`.

        trace: the result of `read_trace` for it.
        reason: "memory" if the pool killed it. Then the kernel's counter is not consulted.
        hint: what to do, if it is known why the worker never started.
        """
        import signal

        from kettle._errors import WorkerDied

        oom: bool | None = False
        if exitcode is None:
            oom = None
        elif exitcode == -signal.SIGKILL and reason != "memory":
            oom = self._kills.one_more()
        return WorkerDied(pid=pid, exitcode=exitcode, task=task, oom=oom, reason=reason, trace=trace, hint=hint)


class _OomKills:
    """Counts how many processes of this control group the kernel has killed because memory ran out, and how many of
    those are accounted for. Workers are in the group of their parent, and the kernel counts before it kills."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._in_group = self._count(self._group_files())
        self._anywhere = self._count(self._system_files())

    def one_more(self) -> bool | None:
        """Returns whether there was such a kill that is not yet accounted for: a worker that was just killed must have
        been it. Returns None if unknown."""
        if self._in_group is not None:
            known, now = self._in_group, self._count(self._group_files())
            if now is None:
                return None
            self._in_group += now > known
            return now > known
        # The counter of the machine includes other programs. It can only rule out such a kill.
        known_anywhere, self._anywhere = self._anywhere, self._count(self._system_files())
        return False if known_anywhere is not None and self._anywhere == known_anywhere else None

    def _group_files(self) -> list[str]:
        from kettle import _cgroups

        names = ("memory.events.local", "memory.events", "memory.oom_control")
        own = [chain[0] for chain in _cgroups.directories("memory", self._root)]
        return [os.path.join(directory, name) for directory in own for name in names]

    def _system_files(self) -> list[str]:
        return [os.path.join(self._root, "proc/vmstat")]

    @staticmethod
    def _count(files: list[str]) -> int | None:
        from kettle import _cgroups

        for file in files:
            for line in _cgroups.read(file).splitlines():
                words = line.split()
                if len(words) == 2 and words[0] == "oom_kill" and words[1].isdecimal():
                    return int(words[1])
        return None
