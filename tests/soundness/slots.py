"""What the processes of a round report to their watchdog: counters in separate memory, which is never overwritten."""

from __future__ import annotations

import mmap
import os
import struct
import time

#: The roles in a round. The scribbler is part of the session too.
ROLES = ("root", "putter", "getter", "sender", "receiver", "locker-1", "locker-2", "other-1", "other-2", "scribbler")
SIZE = 512
_TEXT = 224  # the offset of the texts of errors
_OPERATION = 128
_ORDER = 160

STARTING, RUNNING, LEAVING = range(3)


class Word:
    """One number of a slot."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __get__(self, slot: Slot, owner: object = None) -> int:
        return slot.words[slot.base + self.at]

    def __set__(self, slot: Slot, value: int) -> None:
        slot.words[slot.base + self.at] = value


class Slot:
    """The slot of one process. Only that process writes to it, except for `ended`, which its parent writes."""

    pid = Word(0)
    successes = Word(1)
    errors = Word(2)  # ordinary ones
    damaged = Word(3)  # SessionDamaged among them
    since = Word(4)  # when the current call began, in nanoseconds of time.monotonic; 0: there is none
    stage = Word(5)
    ended = Word(6)  # 1000 + its exit code
    panics = Word(7)
    wrong = Word(8)  # results that are not what they should be
    last_error = Word(9)  # its time
    lost = Word(10)
    sent = Word(11)
    armed = Word(15)  # a crash point to arm: its text is in the slot of orders

    def __init__(self, board: Board, number: int) -> None:
        self.words = board.words
        self.memory = board.memory
        self.base = number * SIZE // 8

    def begin(self, operation: str) -> None:
        at = self.base * 8 + _OPERATION
        self.memory[at : at + 32] = operation.encode()[:32].ljust(32, b"\0")
        self.since = time.monotonic_ns()

    def end(self) -> None:
        self.since = 0

    @property
    def operation(self) -> str:
        at = self.base * 8 + _OPERATION
        return self.memory[at : at + 32].rstrip(b"\0").decode(errors="replace")

    def tell(self, text: str) -> None:
        at, room = self.base * 8 + _TEXT, SIZE - _TEXT
        self.memory[at : at + room] = text.encode(errors="replace")[:room].ljust(room, b"\0")

    def order(self, text: str) -> None:
        at = self.base * 8 + _ORDER
        self.memory[at : at + 64] = text.encode()[:64].ljust(64, b"\0")
        self.armed = 1

    def take_order(self) -> str:
        self.armed = 0
        at = self.base * 8 + _ORDER
        return self.memory[at : at + 64].rstrip(b"\0").decode()

    @property
    def text(self) -> str:
        at = self.base * 8 + _TEXT
        return self.memory[at : at + SIZE - _TEXT].rstrip(b"\0").decode(errors="replace")


class Board:
    """All slots, a flag for the end of the round, and a log of the writes."""

    LOG = 128  # entries
    ENTRY = 96

    def __init__(self) -> None:
        first = (len(ROLES) + 1) * SIZE
        self.memory = mmap.mmap(-1, first + self.LOG * self.ENTRY)
        self.words = memoryview(self.memory).cast("Q")
        self.slots = {role: Slot(self, n) for n, role in enumerate(ROLES)}
        self._own = len(ROLES) * SIZE // 8
        self._log = first

    def clear(self) -> None:
        self.memory[:] = bytes(len(self.memory))

    @property
    def stop(self) -> bool:
        return self.words[self._own] != 0

    def end_round(self) -> None:
        self.words[self._own] = 1

    def enter_lock(self, which: int, who: int) -> None:
        self.words[self._own + 4 + which] = who

    def is_in_lock(self, which: int) -> int:
        """The process that is inside the section that a lock guards."""
        return self.words[self._own + 4 + which]

    def log(self, offset: int, old: int, new: int, name: str) -> None:
        n = self.words[self._own + 2]
        if n < self.LOG:
            struct.pack_into("<QQQ72s", self.memory, self._log + n * self.ENTRY, offset, old, new, name.encode()[:72])
            self.words[self._own + 2] = n + 1

    def logged(self) -> list[tuple[int, int, int, str]]:
        """Yields file offset, old and new value, and the name of the data."""
        entries = []
        for n in range(self.words[self._own + 2]):
            *numbers, name = struct.unpack_from("<QQQ72s", self.memory, self._log + n * self.ENTRY)
            entries.append((*numbers, name.rstrip(b"\0").decode()))
        return entries

    def arm(self, role: str, point: str, visits: int) -> None:
        """Makes a process panic at the given visit of a crash point."""
        self.log(0, 0, 0, f"{role} panics at {point}:{visits}")
        self.slots[role].order(f"{point}:{visits}:panic")

    @property
    def ticks(self) -> int:
        """The ticks of the clock process, which only sleeps for ten milliseconds and counts."""
        return self.words[self._own + 3]

    def start_clock(self) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        while os.getppid() == parent:
            time.sleep(0.01)
            self.words[self._own + 3] += 1
        os._exit(0)
