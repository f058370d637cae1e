"""Impossible values in shared memory: the first call that reads one raises an error, and from then on all calls do."""

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kettle
import kettle.multiprocessing as mp

from .scribbles import KINDS, Arena


def in_a_session_of_its_own(call: str) -> str:
    """Returns what a function of this module prints, called in its own program, because the damage is permanent."""
    program = f"from tests.soundness.test_words_that_cannot_be import *; {call}"
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def data_of(arena: Arena, kind: str) -> int:
    """Returns where the data of the last small object of this kind begin."""
    for at, _ in reversed(arena.objects(large=False)):
        (state,) = struct.unpack_from("<Q", arena.memory, at)
        if KINDS.get(state >> 8 & 0xFFFFFF) == kind:
            return at + 64
    raise AssertionError(f"no {kind}")


def word_of(arena: Arena, kind: str, lock: Any) -> int:
    """Returns where the word of this lock is: the one that names the thread that holds it. It is the last lock of its
    kind."""
    at = data_of(arena, kind)
    free = struct.unpack_from("<32Q", arena.memory, at)
    with lock:
        held = struct.unpack_from("<32Q", arena.memory, at)
    (place,) = (i for i in range(32) if free[i] == 0 and held[i] >> 51)
    return at + place * 8


def damage_a_lock(kind: str, word: int) -> None:
    lock, queue = mp.Lock() if kind == "lock" else mp.RLock(), mp.Queue()
    arena = Arena()
    struct.pack_into("<Q", arena.memory, word_of(arena, kind, lock), word)
    for call in (lock.acquire, lambda: queue.put(1), queue.get):
        try:
            call()
        except kettle.KettleError as error:
            print(type(error).__name__)


@pytest.mark.deadline(30)
@pytest.mark.parametrize(
    "word", [1 << 51, 1 << 5, 1 << 40, 1 << 31], ids=["no thread", "no process", "generation", "flag"]
)
@pytest.mark.parametrize("kind", ["lock", "rlock"])
def test_a_lock_that_names_no_thread_is_damage(kind: str, word: int) -> None:
    said = in_a_session_of_its_own(f"damage_a_lock({kind!r}, {word})")
    assert said.split() == ["SessionDamaged"] * 3


def damage_a_barrier(word: int) -> None:
    barrier, waits = mp.Barrier(3), mp.Event()

    def meet() -> None:
        waits.set()
        try:
            barrier.wait()
        except kettle.KettleError as error:
            print(type(error).__name__, flush=True)

    party = mp.get_context("fork").Process(target=meet)
    party.start()
    waits.wait()
    while not barrier.n_waiting:
        pass
    arena = Arena()
    at = data_of(arena, "barrier")
    # The entry of the waiting party: a participant's name and its count. The next one is free.
    words = struct.unpack_from("<40Q", arena.memory, at)
    entry = next(i for i, w in enumerate(words) if i > 1 and w & 0xFFFFFFFF == 1 and w >> 51)
    assert words[entry + 1] == 0
    struct.pack_into("<Q", arena.memory, at + (entry + 1) * 8, word)
    party.join()


@pytest.mark.deadline(30)
@pytest.mark.parametrize("word", [7, 1 << 40 | 1, 1 << 51], ids=["no process", "row 0", "for no party"])
def test_a_party_that_cannot_be_is_damage(word: int) -> None:
    assert in_a_session_of_its_own(f"damage_a_barrier({word})") == "SessionDamaged"


CONSUMERS = 32  # entries in a queue itself


def damage_a_consumer(index: int, word: int) -> None:
    queue = mp.JoinableQueue()
    queue.put(1)
    assert queue.get() == 1
    arena = Arena()
    at = data_of(arena, "queue")
    # This process's own entry: its name, and one item.
    words = struct.unpack_from("<120Q", arena.memory, at)
    entry = next(i for i, w in enumerate(words) if i > 16 and w & 0xFFFFFFFF == 1 and w >> 51)
    struct.pack_into("<Q", arena.memory, at + (entry + index) * 8, word)
    for call in (queue.join, queue.task_done, lambda: queue.put(2), queue.get):
        try:
            call()
        except kettle.KettleError as error:
            print(type(error).__name__)


@pytest.mark.deadline(30)
@pytest.mark.parametrize("word", [3, 1 << 40 | 2, 1 << 40], ids=["no process", "row 0", "row 0, nothing taken"])
@pytest.mark.parametrize("index", [0, 1, CONSUMERS - 1, -3], ids=["own", "next", "last", "threads"])
def test_a_consumer_that_cannot_be_is_damage(index: int, word: int) -> None:
    said = in_a_session_of_its_own(f"damage_a_consumer({index}, {word})")
    assert said.split() == ["SessionDamaged"] * 4


def damage_under_a_pool() -> None:
    with mp.Pool(2) as pool:
        assert pool.map(abs, range(-3, 3)) == [3, 2, 1, 0, 1, 2]
        lock = mp.Lock()
        arena = Arena()
        struct.pack_into("<Q", arena.memory, word_of(arena, "lock", lock), 1 << 31)
        for call in (lock.acquire, lambda: pool.map(abs, range(9)), lambda: pool.apply(abs, (1,))):
            with pytest.raises(kettle.SessionDamaged):
                call()
    pool.join()
    print("ended")


@pytest.mark.deadline(30)
def test_a_pool_in_a_damaged_session_says_so_and_ends() -> None:
    assert in_a_session_of_its_own("damage_under_a_pool()") == "ended"
