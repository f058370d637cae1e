"""Deadlocks: the policy, and what a thread that waits for a lock reports about itself.

The core finds them (`kettle_core::deadlock` describes how). It calls `describe` in each of the threads that wait for
each other, and then `report` or `error` in one of them.
"""

from __future__ import annotations

import os
import sys
import threading

from kettle._core import native
from kettle._records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
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
    """Sets what happens when threads (of one or several processes) wait for each other's locks, and returns the policy
    in force; without an argument only returns it.

    "report": if all locks are RLocks, which only their holders can release, one of the waiters gets a `DeadlockError`.
        Otherwise the deadlock is written to standard error once, and all threads go on waiting, because another thread
        might release one of the locks. This is the default.
    "raise": one of the waiters gets a `DeadlockError` also if each plain Lock was taken by a `with` block that its
        holder, which waits, is inside; and if all threads of the process wait for locks, so that none is left to
        release one. `kettle run` sets this. Any other deadlock is written to standard error once, and all threads go on
        waiting: the lock of a generator, a baton or a gate is released by another thread than the one that took it.
    "off": nothing.

    The policy applies to this process and to those that it starts from now on, which read it from the environment
    variable KETTLE_DEADLOCK. A wait with a time-out is never part of a deadlock: it ends by itself. Neither is a wait
    for a plain Lock that a thread other than its holder has released before: such a lock is passed from thread to
    thread.
    """
    now: str = native.deadlock_policy(policy)[0]
    if policy is not None:
        os.environ["KETTLE_DEADLOCK"] = now
    return now


def describe(lock: Any) -> tuple[str, str, str]:
    """Returns the name of this thread, the lock, and this thread's position."""
    import traceback

    stack = traceback.extract_stack(_caller())
    while stack and stack[0].filename == threading.__file__:
        del stack[0]  # the start of every thread
    return _plain(_this_thread()), _plain(_named(lock)), _plain("".join(traceback.format_list(stack)))


def _plain(text: str) -> str:
    """Returns text that can be sent to other processes: parts of paths that are not UTF-8 are escaped, as in Python's
    own errors."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _caller() -> FrameType | None:
    """Returns the frame that wants the lock, without those of this package on top of it."""
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


def has_handlers() -> bool:
    """Returns whether the main thread may run a signal handler of the program's or an extension's, which may do
    anything."""
    import signal

    harmless = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)
    return any(signal.getsignal(number) not in harmless for number in signal.valid_signals())


def may_be_interrupted() -> bool:
    """Returns whether such a handler may run in this thread."""
    return threading.current_thread() is threading.main_thread() and has_handlers()


def main_thread_waits() -> int | None:
    """If the main thread waits for other threads to end, and can do nothing else before that, returns a number that
    stays the same while it does.

    The main thread can do something else if a signal handler may run in it, or Ctrl-C may be caught.
    """
    main = threading.main_thread()
    frames = sys._current_frames()
    frame = frames.get(main.ident or 0)
    if frame is None or not _joins(frame, frames) or has_handlers() or not _sleeps(main):
        return None
    number = (id(frame) ^ frame.f_lasti << 48) & (1 << 63) - 1
    ours = (os.path.dirname(__file__) + os.sep, threading.__file__, "<frozen runpy>")
    outer: FrameType | None = frame
    while outer is not None:
        code = outer.f_code
        if not code.co_filename.startswith(ours) and native.is_guarded(code, outer.f_lasti):
            return None
        outer = outer.f_back
    return number


def _joins(frame: FrameType, running: dict[int, FrameType]) -> bool:
    """Returns whether a thread that is in `frame` waits, without a time-out, until others that are `running` end."""
    code = frame.f_code
    if code is threading._shutdown.__code__:  # type: ignore[attr-defined]
        main = threading.main_thread()
        return any(not one.daemon and one is not main and one.ident in running for one in threading.enumerate())
    waits = getattr(threading.Thread, "_wait_for_tstate_lock", threading.Thread.join)  # up to 3.12
    if code is not waits.__code__:
        return False
    values = frame.f_locals
    is_untimed = values["timeout"] in (None, -1) and values.get("block", True)
    return is_untimed and values["self"].ident in running


def _sleeps(thread: threading.Thread) -> bool:
    """Returns whether the kernel has nothing to run for it."""
    try:
        with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "S"
    except OSError:
        return False


def cure(lock: Any, outer: tuple[CodeType, int | None] | None) -> str:
    """Returns what a thread should do that takes a lock which it already holds; `outer` is the `with` block that took
    it, if any."""
    kind = f"{'multiprocessing' if isinstance(lock, native.Lock) else 'threading'}.RLock"
    again = f"A thread that holds a lock can take it again only if it is an RLock: make it a {kind}"
    frame = _caller()
    if outer is None or frame is None:
        return f"{again}."
    code, line = outer
    took = f"{code.co_filename}:{line or code.co_firstlineno}, in {code.co_qualname}"
    wants = f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_qualname}"
    places = f"  taken by `with` at {took}\n  and again at       {wants}"
    return f"{_plain(places)}\n{again},\nor take it in only one of the two places."


_WHAT_MIGHT_COME_FOR_ONE = (
    'It goes on waiting. After kettle.deadlock("raise") it would get a DeadlockError instead, if it took the lock by a '
    "`with`\nblock both times."
)
_WHAT_COMES_FOR_ONE = "It goes on waiting: another thread or a signal handler may be about to release the lock."
_WHAT_MIGHT_COME = (
    'All of them go on waiting. After kettle.deadlock("raise") one would get a DeadlockError instead, if each lock was '
    "taken\nby a `with` block that its holder is inside."
)
_WHAT_COMES = (
    "All of them go on waiting: it is not certain that the thread that took each lock is the one that will release it."
)


_ALONE = "deadlock: a thread waits for a lock that it holds itself"


def report(text: str, has_ended: bool) -> None:
    """Writes a report, once, while the threads go on waiting."""
    if not has_ended:
        raises = native.deadlock_policy()[0] == "raise"
        alone = text.startswith(_ALONE)
        if raises:
            text += "\n\n" + (_WHAT_COMES_FOR_ONE if alone else _WHAT_COMES)
        else:
            text += "\n\n" + (_WHAT_MIGHT_COME_FOR_ONE if alone else _WHAT_MIGHT_COME)
    if sys.stderr is not None:
        print(f"kettle: {text}\n", file=sys.stderr, flush=True)


def error(text: str, ended: tuple[int, int] | None, cycle: list[tuple[Any, ...]]) -> DeadlockError:
    """Returns the error for the thread that gets it."""
    from kettle._errors import DeadlockError

    members = [Waiting(*one) for one in cycle]
    if ended is not None:
        text = text.partition("\n")[0]  # this thread's position is in the traceback
    elif len(members) > 1:
        text += (
            f"\n\nThe others go on when {members[0].thread}, which gets this error, releases what it holds (`with` "
            "does that).\nIf all threads take their locks in the same order, they never wait for each other."
        )
    return DeadlockError(text, cycle=members, ended=ended)
