"""Deadlocks, for people: what is done about them, and what a thread that waits for a lock tells of itself.

The core finds them (`kettle_core::deadlock` says how) and calls `describe` in each of the threads that wait for each
other, and then `report` or `error` in one of them.
"""

from __future__ import annotations

import os
import sys
import threading

from kettle._core import native
from kettle._records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Literal

    from kettle._errors import DeadlockError

    Policy = Literal["raise", "report", "off"]

__all__ = ["deadlock"]

Waiting = record(
    "Waiting",
    ["pid", "tid", "thread", "waits_for", "holds", "stack"],
    module=__name__,
    doc="One of the threads that wait for each other.",
)


def deadlock(policy: Policy | None = None) -> str:
    """Says what is done about threads (of one or several processes) that wait for each other's locks; without an
    argument, only tells what is done now.

    "report": where nobody else could help, since only a holder may release an RLock, one of the waiters gets a
        `DeadlockError`. Else it is written to standard error once, and all go on waiting, for another thread might
        release one of the locks. So it is at first.
    "raise": one of the waiters gets a `DeadlockError` in any case. So it is under `kettle run`. A plain Lock that was
        taken by `acquire()`, not by `with`, may be meant for another thread to release: if there is one among them,
        that is reported first, and the error comes four seconds later.
    "off": nothing.

    This counts for this process and for those that it starts from now on, which learn it from the environment variable
    KETTLE_DEADLOCK. A wait with a time-out is never part of a deadlock: it ends by itself. Nor is one for a plain Lock
    that another thread than its holder has released before: it goes from hand to hand.
    """
    now: str = native.deadlock_policy(policy)[0]
    if policy is not None:
        os.environ["KETTLE_DEADLOCK"] = now
    return now


def describe(lock: Any) -> tuple[str, str, str]:
    """The name of this thread, the lock, and where this thread is."""
    import traceback

    stack = traceback.extract_stack(_caller())
    while stack and stack[0].filename == threading.__file__:
        del stack[0]  # how each thread begins
    return _this_thread(), _named(lock), "".join(traceback.format_list(stack))


def _caller() -> FrameType | None:
    """The frame that wants the lock, without those of this package on top of it."""
    frame: FrameType | None = sys._getframe(1)
    package = os.path.dirname(__file__) + os.sep
    while frame is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return frame


def _this_thread() -> str:
    thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
    name = "a thread" if thread is None else thread.name
    processes = sys.modules.get("multiprocessing.process")
    process = "MainProcess" if processes is None else processes.current_process().name
    return name if process == "MainProcess" else f"{process}, {name}"


def _named(lock: Any) -> str:
    kind = "RLock" if isinstance(lock, (native.RLock, native.HeapRLock)) else "Lock"
    name = getattr(lock, "name", None)
    made = lock._kettle_made()
    where = f", made at {made[0]}:{made[1]}" if made else "" if name is not None else f" at {id(lock):#x}"
    return f"{kind}{where.removeprefix(',')}" if name is None else f"{kind} {name!r}{where}"


_WHAT_MIGHT_COME = 'All of them go on waiting. After kettle.deadlock("raise") one would get a DeadlockError instead.'
_WHAT_COMES = "If none comes soon, one of them gets a DeadlockError."


def report(text: str, has_ended: bool) -> None:
    """Tells people, once, while the threads go on waiting."""
    if not has_ended:
        raises = native.deadlock_policy()[0] == "raise"
        text += "\n\n" + (_WHAT_COMES if raises else _WHAT_MIGHT_COME)
    if sys.stderr is not None:
        print(f"kettle: {text}\n", file=sys.stderr, flush=True)


def error(text: str, ended: tuple[int, int] | None, cycle: list[tuple[Any, ...]]) -> DeadlockError:
    """What is raised in the one that is told."""
    from kettle._errors import DeadlockError

    members = [Waiting(*one) for one in cycle]
    if ended is not None:
        text = text.partition("\n")[0]  # where this thread is stands in the traceback
    elif len(members) == 1:
        text += "\n\nA thread that holds a lock can take it again only if it is an RLock."
    else:
        text += (
            f"\n\nThe others go on when {members[0].thread}, which gets this error, releases what it holds (`with` "
            "does that).\nWhere all take their locks in the same order, none ever wait for each other."
        )
    return DeadlockError(text, cycle=members, ended=ended)
