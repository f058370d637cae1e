"""One round: traffic in its own session, something that goes wrong in it, and the result for each process.

The session's first process is forked from this one, which has no session; so a round costs about ten forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import faulthandler
import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .slots import LEAVING, ROLES, RUNNING, Board, Slot
from .traffic import root

LENGTH = 0.35  # seconds from the moment when all are at work
LATE = 1.0  # seconds without progress, when there should be some
HANG = 4.0
STARTS = 10.0
ENDS = 6.0
PARTNERS = {
    "putter": "getter",
    "getter": "putter",
    "sender": "receiver",
    "receiver": "sender",
    "locker-1": "locker-2",
    "locker-2": "locker-1",
}
#: The worst first; a round fails for those before "lost".
KINDS = ("signal", "hang", "panic", "late", "lost", "wrong", "error", "unharmed")
FAILURES = frozenset(("signal", "hang", "panic", "late"))


@dataclasses.dataclass
class Verdict:
    """The results of a round."""

    kinds: dict[str, set[str]]  # by role
    details: list[str]
    writes: list
    text: str
    stacks: str = ""

    @property
    def all_kinds(self) -> set[str]:
        return set().union(*self.kinds.values())

    def fails(self, also: frozenset[str] = frozenset(), but: frozenset[str] = frozenset()) -> bool:
        return bool(self.all_kinds & (FAILURES | also) - but)


def become_reaper() -> None:
    """Orphans of this process's descendants become its children, so that none is missed."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [grandchild for child in found for grandchild in descendants(child)]


def state_of(pid: int) -> tuple[str, int]:
    """Returns the kernel's letter, and how a zombie ended, in the format of `waitpid`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return fields[0], int(fields[49])


def _complaints(slot: Slot) -> int:
    """Returns calls that ended with something other than a result, and that not for all."""
    return slot.errors + slot.panics - slot.damaged


class Round:
    def __init__(self, board: Board, clock: int, output: str, stacks: bool = False) -> None:
        self.board, self.clock, self.output, self.stacks = board, clock, output, stacks
        self.kinds: dict[str, set[str]] = {role: set() for role in ROLES}
        self.details: list[str] = []
        self.signals: dict[str, int] = {}
        self.root = 0
        self.ages: dict[str, tuple[int, int, int, int]] = {}
        self.shown = ""

    def run(
        self, seed: str, disturb: Callable[..., None], prepare: Callable[[], None] = lambda: None
    ) -> Verdict | None:
        """Returns None in the child, which then ends like a program."""
        board = self.board
        board.clear()
        with open(self.output, "wb"):
            pass
        self.root = os.fork()
        if self.root == 0:
            fd = os.open(self.output, os.O_WRONLY | os.O_APPEND)
            os.dup2(fd, 2)
            os.close(fd)
            faulthandler.enable(all_threads=True)
            faulthandler.register(signal.SIGUSR1, all_threads=True)
            prepare()
            root(board, random.Random(seed), disturb)
            return None
        try:
            self._watch()
        finally:
            self._clean_up()
        return self._verdict()

    # ------------------------------------------------------------------------------------------------------ watching

    def _watch(self) -> None:
        board = self.board
        started = self._pass(STARTS, lambda: all(s.stage >= RUNNING for s in board.slots.values()))
        if not started:
            self._note("root", "hang", "not all processes came to their work")
            return
        self._pass(STARTS, lambda: board.slots["scribbler"].sent)
        self._pass(LENGTH, lambda: False)
        # A process that has waited for too long is watched until it is clear what it waits for.
        self._pass(HANG + 1, lambda: not any(self._age(role) > LATE / 4 for role in ROLES if self._should_move(role)))
        board.end_round()
        if not self._pass(ENDS, lambda: self.root == 0):
            slot = board.slots["root"]
            self._note("root", "hang", f"does not end: in {slot.operation} for {self._age('root'):.1f} s")
            self._show_stacks(self.root)

    def _pass(self, seconds: float, until: Callable[[], object]) -> bool:
        """Checks all processes until the given time or condition; returns whether the condition was reached."""
        ticks = self.board.ticks
        while not until():
            if (self.board.ticks - ticks) * 0.01 > seconds or not self.root:
                return False
            self._look()
            time.sleep(0.01)
        return True

    def _look(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            if pid == self.root:
                self.root = 0
                self._ended("root", os.waitstatus_to_exitcode(status))
            elif pid == self.clock:
                raise RuntimeError("the clock has ended")
        for role in ROLES:
            slot = self.board.slots[role]
            if slot.pid and role != "root" and role not in self.signals:
                letter, status = state_of(slot.pid)
                if letter == "Z":
                    self._ended(role, os.waitstatus_to_exitcode(status))
            age = self._age(role)
            if age > LATE and self._should_move(role):
                kind = "hang" if age > HANG else "late"
                if kind not in self.kinds[role]:
                    self._note(role, kind, f"in {slot.operation} for {age:.1f} s; state {state_of(slot.pid)[0]}")
                    if kind == "hang":
                        self._show_stacks(slot.pid)

    def _ended(self, role: str, code: int) -> None:
        self.signals[role] = code
        if code < 0 and not (code == -signal.SIGKILL and self.board.slots[role].ended == 1):
            self._note(role, "signal", signal.Signals(-code).name)
        elif code > 0:
            self._note(role, "error", f"ended with {code}")

    def _age(self, role: str) -> float:
        """Returns how long the process has been in its current call, in ticks of the clock process: on a busy machine
        these are fewer."""
        slot = self.board.slots[role]
        since, ticks = slot.since, self.board.ticks
        if not since or slot.stage < RUNNING or role in self.signals:
            self.ages.pop(role, None)
            return 0.0
        known = self.ages.get(role)
        if known is None or known[0] != since:
            other = self._partner(role)
            known = (since, ticks, other.successes if other else 0, _complaints(other) if other else 0)
            self.ages[role] = known
        return min((ticks - known[1]) * 0.01, (time.monotonic_ns() - since) / 1e9)

    def _partner(self, role: str) -> Slot | None:
        return self.board.slots[PARTNERS[role]] if role in PARTNERS else None

    def _should_move(self, role: str) -> bool:
        """Returns whether a call takes too long. The other side must go on, wait as well, or know of the damage. The
        call may wait for a process that gets errors or is gone."""
        other = self._partner(role)
        if role == "scribbler" or role not in self.ages:
            return False
        if other is None:
            return True
        if any(slot.damaged for slot in self.board.slots.values()):
            return True
        if PARTNERS[role] in self.signals or other.stage == LEAVING:
            return False
        _, _, successes, errors = self.ages[role]
        if other.successes > successes + 2 * 40 or self.board.stop:
            return not self.board.stop
        return _complaints(other) == errors

    def _note(self, role: str, kind: str, text: str) -> None:
        self.kinds[role].add(kind)
        self.details.append(f"{role}: {kind}: {text}")

    def _show_stacks(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)  # makes it write its Python stack
            time.sleep(0.1)
        if self.stacks and len(self.shown) < 30_000:
            self.shown += f"--- native stacks of {pid}\n{native_stacks(['-p', str(pid)])}\n"

    def _clean_up(self) -> None:
        """Ends everything that is left of the round: all of it descends from this process."""
        while left := [pid for pid in children(os.getpid()) if pid != self.clock]:
            for pid in left + [d for p in left for d in descendants(p)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    # ------------------------------------------------------------------------------------------------------- verdict

    def _verdict(self) -> Verdict:
        text = Path(self.output).read_text(errors="replace")
        for role in ROLES:
            slot = self.board.slots[role]
            for kind in ("panics", "errors", "wrong", "lost"):
                if getattr(slot, kind):
                    self.kinds[role].add(kind.removesuffix("s"))
            if slot.ended >= 2 and 0 <= 1000 - slot.ended < 100 and slot.ended != 1000:
                self._note(role, "signal", signal.Signals(1000 - slot.ended).name)
            if slot.text:
                self.details.append(f"{role}: last: {slot.text}")
        if re.search(r"panicked at", text):
            self._note("root", "panic", "\n".join(re.findall(r"panicked at .*\n.*", text)[:4]))
        if fatal := re.findall(r"Fatal Python error: (.*)", text):
            self._note("root", "signal", f"in some process: {fatal}")
        if re.search(r"^(memory allocation of|.*fatal runtime error)", text, re.M):
            self._note("root", "signal", "aborted")
        for role in ROLES:
            if not self.kinds[role]:
                self.kinds[role].add("unharmed")
        return Verdict(self.kinds, self.details, self.board.logged(), text, self.shown)


def native_stacks(arguments: list[str]) -> str:
    """Returns gdb's view of a process or of its core file."""
    command = ["gdb", "-batch", "-nx", "-ex", "thread apply all bt 24", *arguments]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        shown = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
        return "\n".join(
            line for line in shown.splitlines() if line.startswith(("#", "Thread")) and "PyEval" not in line
        )[:8000]
    return "no gdb"


def temporary_output() -> str:
    fd, name = tempfile.mkstemp(prefix="round-")
    os.close(fd)
    return name
