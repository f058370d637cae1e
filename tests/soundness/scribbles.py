"""Stray writes: which words of the arena are overwritten, and with what."""

from __future__ import annotations

import mmap
import os
import random
import struct
import time
from collections.abc import Callable, Iterator

from kettle import _native as native

from .slots import ROLES, Board

PAGE = 4096
SIZES = (128, 256, 512, 1024, 2048)  # of small objects
KINDS = {0: "sheet", 1: "payload", 2: "chunk", 3: "consumers", 4: "names", 5: "parties"}
KINDS |= {16: "lock", 17: "rlock", 18: "semaphore", 19: "permits", 20: "event"}
KINDS |= {21: "condition", 22: "barrier", 23: "queue", 24: "bytes", 25: "lanes", 26: "event count"}
OBJECT = ("state", "len", "home", "home_pos", "holders", "holders", "holders", "holders.more")
#: Words of a queue, after its object's header.
QUEUE = {0: "tail_lock", 5: "tail", 6: "tail_chunk", 7: "maxsize+state"}

# ------------------------------------------------------------------------------------- what the header consists of

HEADER: list[tuple[str, int, int]] = native.arena_layout()
HEADER_LEN = 2 << 20
_AT = {name: (at, size) for name, at, size in HEADER}
#: The large parts: which bytes are in use in a small session, and how often each range is hit.
_WARM_HEADS, _COLD, _SLABS = 17 * 8, (17 + 1046) * 8, 2 * (17 + 1046) * 8
_USED = {
    "counts": [(0, 32, 4)],
    "damage": [(0, 24, 1)],
    "doorbells": [(0, 32, 2)],
    "segments": [(0, 4 * 16, 3)],
    "bins": [
        (0, 16, 1),
        (_WARM_HEADS, 40 * 8, 2),
        (_COLD, 17 * 8, 2),
        (_COLD + _WARM_HEADS, 1046 * 8, 1),
        (_SLABS, 40, 3),
    ],
    "participants": [(0, 8, 1), (64, 16 * 64, 8)],
    "waiters": [(0, 16, 1), (64, 16 * 64, 2), (64 * 1025, 2 * 4096, 1)],
}
_RANGES = [
    (at + start, length, weight)
    for name, at, size in HEADER
    for start, length, weight in _USED.get(name, [(0, max(size, 8), 1)])
]


def header_word(rng: random.Random) -> int:
    """Returns the offset of a word of the header, mostly of those in use."""
    if rng.random() < 0.05:
        return rng.randrange(HEADER_LEN // 8) * 8
    start, length, _ = rng.choices(_RANGES, [weight for _, _, weight in _RANGES])[0]
    return (start + rng.randrange(length // 8) * 8) // 8 * 8


# ---------------------------------------------------------------------------------------------- what segments hold


class Arena:
    """The arena's file, as seen by a program that knows its layout."""

    def __init__(self) -> None:
        fd = os.open(f"/proc/self/fd/{native.session_fd()}", os.O_RDWR)
        self.memory = mmap.mmap(fd, os.fstat(fd).st_size)
        os.close(fd)
        self.segments = []
        at = _AT["segments"][0] + 16
        for _ in range(1023):
            offset, length = struct.unpack_from("<QQ", self.memory, at)
            if not length:
                break
            self.segments.append((offset, length))
            at += 16

    def runs(self) -> Iterator[tuple[int, int, int, int]]:
        """Yields file offset, kind, class and pages of each run."""
        for offset, length in self.segments:
            page = 0
            while page < length // PAGE:
                (word,) = struct.unpack_from("<Q", self.memory, offset + page * 16)
                pages = word >> 32
                if not pages:
                    break
                yield offset + page * PAGE, word & 255, word >> 8 & 255, pages
                page += pages

    def objects(self, small: bool = True, large: bool = True) -> list[tuple[int, int]]:
        """Yields file offset and length of each object in use, including its header."""
        found = []
        for at, kind, size_class, pages in self.runs():
            if kind == 4 and small:
                size = SIZES[size_class]
                found += [(at + i, size) for i in range(0, PAGE, size) if self.memory[at + i] & 15]
            elif kind == 3 and large:
                found.append((at, pages * PAGE))
        return found

    def name(self, offset: int) -> str:
        """Returns the name of the data at an offset of the file."""
        if offset < HEADER_LEN:
            return _name_in_header(offset)
        for at, size in self.objects():
            if at <= offset < at + size:
                return self._name_of_object(at, offset - at)
        for start, length in self.segments:
            if start <= offset < start + length:
                page = (offset - start) // 16
                if offset - start < length // PAGE * 16:
                    return f"page map {page}.{('run', 'link')[offset // 8 % 2]}"
        return "free"

    def _name_of_object(self, at: int, within: int) -> str:
        (state,) = struct.unpack_from("<Q", self.memory, at)
        kind = state >> 8 & 0xFFFFFF
        name = KINDS.get(kind, f"kind {kind}")
        if within < 64:
            return f"{name}: header.{OBJECT[within // 8]}"
        word = within // 8 - 8
        return f"{name}: word {word}" + (f" ({QUEUE[word]})" if kind == 23 and word in QUEUE else "")


def _name_in_header(offset: int) -> str:
    # Both fields of a word that has two.
    names = []
    for name, at, size in HEADER:
        if at <= offset < at + size or offset <= at < offset + 8:
            rest = offset - at
            if name == "participants" and rest >= 64:
                fields = ("state", "identity", "since", *("unused",) * 5)
                name = f"participants[{rest // 64}].{fields[rest % 64 // 8]}"
            elif name == "waiters" and 64 <= rest < 64 * 1025:
                fields = ("owner", "number", "thread+flags", "since", "holder", "looked", "text", "unused")
                name = f"waiters.rows[{rest // 64 - 1}].{fields[rest % 64 // 8]}"
            elif name == "segments":
                name = f"segments[{rest // 16}].{('offset', 'len')[rest % 16 // 8]}"
            elif size > 8:
                name += f" + {rest:#x}"
            names.append(name)
    return ", ".join(names) or "header (unused)"


def _word_of(rng: random.Random, objects: list[tuple[int, int]]) -> int:
    at, size = objects[int(rng.random() * len(objects))]
    if rng.random() < 0.5:
        size = min(size, 256)  # the first bytes are read most often
    return at + int(rng.random() * (size // 8)) * 8


def small_word(arena: Arena, rng: random.Random) -> int:
    return _word_of(rng, arena.objects(large=False))


def any_word(arena: Arena, rng: random.Random) -> int:
    """Any word of all segments: of objects, small and large, and of the page maps."""
    if rng.random() < 0.2:
        offset, _ = arena.segments[int(rng.random() * len(arena.segments))]
        pages = 40 if rng.random() < 0.7 else 256
        return offset + int(rng.random() * pages * 2) * 8
    return _word_of(rng, arena.objects())


# --------------------------------------------------------------------------------------------- what is written there


def _random_word(arena: Arena, rng: random.Random, at: int, old: int) -> int:
    choice = rng.random()
    if choice < 0.5:
        return rng.getrandbits(64)
    if choice < 0.6:
        return rng.getrandbits(rng.randrange(1, 33))
    if choice < 0.75:  # another address in the arena
        return rng.randrange(4) << 48 | rng.randrange(1 << 14) * 64
    if choice < 0.85:
        return struct.unpack_from("<Q", arena.memory, rng.randrange(HEADER_LEN // 8) * 8)[0]
    if choice < 0.95:  # a half of it
        return (
            old & 0xFFFFFFFF | rng.getrandbits(32) << 32
            if rng.random() < 0.5
            else old >> 32 << 32 | rng.getrandbits(32)
        )
    return 0


def _flipped(arena: Arena, rng: random.Random, at: int, old: int) -> int:
    return old ^ 1 << rng.randrange(64)


def _header_word(arena: Arena, rng: random.Random) -> int:
    return header_word(rng)


CLASSES: dict[str, tuple[Callable[[Arena, random.Random], int], Callable[[Arena, random.Random, int, int], int]]] = {
    "header-words": (_header_word, _random_word),
    "small-words": (small_word, _random_word),
    "all-words": (any_word, _random_word),
    "header-bits": (_header_word, _flipped),
    "small-bits": (small_word, _flipped),
    "all-bits": (any_word, _flipped),
}
CONTROL = "none"  # nothing is written
#: The number of writes: a single one shows best what a field affects, many reach states that a single one never does.
TIMES = (1, 1, 1, 2, 4, 16, 64)


def scribble(board: Board, name: str, where: str, seed: str) -> None:
    """The scribbling process: waits until all others are at work, then writes."""
    rng = random.Random(seed)
    board.slots[name].stage = 1
    board.slots[name].pid = os.getpid()
    arena = Arena()
    while not board.stop and any(board.slots[r].successes < 3 for r in ROLES if r != name):
        time.sleep(0.001)
    for _ in range(rng.choice(TIMES)):
        if board.stop or where == CONTROL:
            break
        place, change = CLASSES[where]
        at = place(arena, rng)
        old = struct.unpack_from("<Q", arena.memory, at)[0]
        new = change(arena, rng, at, old)
        board.log(at, old, new, arena.name(at))
        if (
            new ^ old and (new ^ old) & (new ^ old) - 1 == 0
        ):  # a bit: only its byte, because the others may change in the meantime
            byte = (new ^ old).bit_length() - 1 >> 3
            arena.memory[at + byte] ^= (new ^ old) >> 8 * byte
        else:
            struct.pack_into("<Q", arena.memory, at, new)
        time.sleep(rng.random() * 0.01)
    board.slots[name].sent = 1
    while not board.stop:
        time.sleep(0.01)
