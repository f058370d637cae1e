"""Whatever a task raises or returns, its call hears of it, and the worker goes on."""

from __future__ import annotations

import functools
import os
import sys
import threading
import traceback

import pytest

import kettle
import kettle.multiprocessing as mp

from .support import LIMIT, fail, pid, running, square


class TwoArguments(Exception):
    """Can be pickled, and not be rebuilt."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Locked(Exception):
    """Cannot be pickled."""

    def __init__(self):
        super().__init__("holds a lock")
        self.lock = threading.Lock()


class OddlyPickled(Exception):
    def __reduce__(self):
        raise RuntimeError("no pickle of me")


class Speechless(Exception):
    def __init__(self):
        self.lock = threading.Lock()

    def __str__(self):
        raise RuntimeError("no words")


class OwnBase(BaseException):
    pass


RAISED = {
    "two arguments": (lambda: TwoArguments("salt", "pepper"), "TwoArguments", "salt and pepper"),
    "a lock": (Locked, "Locked", "holds a lock"),
    "odd": (lambda: OddlyPickled("odd one"), "OddlyPickled", "odd one"),
    "speechless": (Speechless, "Speechless", ""),
    "exit": (lambda: SystemExit("over"), "SystemExit", "over"),
    "exit 0": (lambda: SystemExit(0), "SystemExit", "0"),
    "interrupt": (lambda: KeyboardInterrupt("^C"), "KeyboardInterrupt", "^C"),
    "generator": (lambda: GeneratorExit("shut"), "GeneratorExit", "shut"),
    "own": (lambda: OwnBase("mine"), "OwnBase", "mine"),
}


def raise_it(which):
    raise RAISED[which][0]()  # here it was raised


@pytest.mark.parametrize("which", RAISED)
def test_what_cannot_come_as_itself_comes_as_text(fork, which):
    _, name, text = RAISED[which]
    with running(fork, 1) as pool:
        before = pool.apply(pid)
        for call in (
            lambda: pool.apply(raise_it, (which,)),
            lambda: pool.map(raise_it, [which] * 3),
            lambda: list(pool.imap(raise_it, [which] * 3, 3)),
        ):
            with pytest.raises(kettle.RemoteError) as caught:
                call()
            error = caught.value
            assert error.type_name.endswith(name)
            assert name in str(error) and text in str(error)
            assert "here it was raised" in error.traceback
            assert "here it was raised" in "".join(traceback.format_exception(error))
        assert pool.apply(pid) == before, "the worker did not go on"


def test_with_every_start_method(ctx):
    with running(ctx, 1) as pool:
        for which in ("two arguments", "a lock", "exit"):
            with pytest.raises(kettle.RemoteError, match=RAISED[which][1]):
                pool.apply(raise_it, (which,))
        assert pool.apply(square, (3,)) == 9


def raise_from(n):
    try:
        {}[n]
    except KeyError as error:
        error.add_note("noted on the way")
        raise ValueError("from another") from error


def test_a_chain_of_errors_is_told_whole(pool):
    with pytest.raises(ValueError, match="from another") as caught:
        pool.apply(raise_from, (7,))
    text = "".join(traceback.format_exception(caught.value))
    assert "KeyError: 7" in text and "noted on the way" in text and "direct cause" in text


def raise_group():
    raise ExceptionGroup("several", [ValueError(1), LookupError(2)])


def test_a_group_comes_as_itself(pool):
    with pytest.raises(ExceptionGroup, match="several") as caught:
        pool.apply(raise_group)
    assert [type(error) for error in caught.value.exceptions] == [ValueError, LookupError]


def recurse():
    return recurse()


def want_too_much():
    return bytearray(1 << 60)


@pytest.mark.parametrize("task, error", [(recurse, RecursionError), (want_too_much, MemoryError)])
def test_errors_of_the_interpreter(pool, task, error):
    with pytest.raises(error):
        pool.apply(task)
    assert pool.apply(square, (2,)) == 4


# ---------------------------------------------------------------------------------------- what cannot travel, or arrive


class Refuses:
    def __reduce__(self):
        raise TypeError("this does not travel")


class FallsApart:
    """Travels, and cannot be rebuilt."""

    def __reduce__(self):
        return fall_apart, ()


def fall_apart():
    raise ArithmeticError("cannot be put together")


class Deadly:
    """Ends the process that rebuilds it."""

    def __reduce__(self):
        return os._exit, (9,)


def give_at_3(kind, n):
    return kind() if n == 3 else n


def found(iterator):
    items = []
    while True:
        try:
            items.append(next(iterator))
        except StopIteration:
            return items
        except Exception as error:
            items.append(type(error))


@pytest.mark.parametrize("chunksize", [1, 4, 8])
@pytest.mark.parametrize("kind, error", [(Refuses, mp.pool.MaybeEncodingError), (FallsApart, ArithmeticError)])
def test_a_result_that_cannot_come_is_one_items_error(fork, chunksize, kind, error):
    with running(fork, 2) as pool:
        for _ in range(3):
            expected = [n if n != 3 else error for n in range(8)]
            assert found(pool.imap(functools.partial(give_at_3, kind), range(8), chunksize)) == expected
            with pytest.raises(error):
                pool.map(functools.partial(give_at_3, kind), range(8), chunksize)


@pytest.mark.parametrize("chunksize", [1, 4, 8])
def test_an_argument_that_cannot_go_is_one_items_error(fork, chunksize):
    items = [Refuses() if n == 3 else n for n in range(8)]
    with running(fork, 2) as pool:
        expected = [n * n if n != 3 else TypeError for n in range(8)]
        assert found(pool.imap(square, items, chunksize)) == expected
        with pytest.raises(TypeError, match="this does not travel"):
            pool.map(square, items, chunksize)


@pytest.mark.parametrize("chunksize", [1, 2, 4])
@pytest.mark.parametrize("kind, error", [(FallsApart, ArithmeticError), (Deadly, kettle.WorkerDied)])
def test_an_argument_that_cannot_be_rebuilt_is_an_error_of_its_chunk(fork, chunksize, kind, error):
    """A chunk is rebuilt as a whole, so what stood with it fails with it; and nothing else."""
    items = [kind() if n == 4 else n for n in range(8)]
    with running(fork, 2) as pool:
        for _ in range(3):
            outcomes = found(pool.imap(square, items, chunksize))
            assert len(outcomes) == 8 and outcomes[4] == error
            assert outcomes[:4] == [0, 1, 4, 9] and set(outcomes[4 : 4 + chunksize]) <= {error, 25, 36, 49}
            assert outcomes[4 + chunksize :] == [n * n for n in range(4 + chunksize, 8)]
            with pytest.raises(error):
                pool.map(square, items, chunksize)


class FailsInTheMiddle:
    """Has a length, and fails while it is iterated. With it the standard library's `map` hangs."""

    def __len__(self):
        return 10

    def __iter__(self):
        yield from range(3)
        raise LookupError("the input ended badly")


@pytest.mark.parametrize("chunksize", [None, 1, 2])
def test_an_input_that_is_shorter_than_it_says(pool, chunksize):
    with pytest.raises(LookupError, match="ended badly"):
        pool.map(square, FailsInTheMiddle(), chunksize)
    with pytest.raises(LookupError, match="ended badly"):
        pool.map_async(square, FailsInTheMiddle(), chunksize).get(LIMIT)
    assert pool.map(square, [1, 2]) == [1, 4]


def test_map_never_makes_results_up(pool):
    """`chunksize=0` gives a list of None in the standard library."""
    for chunksize in (0, -1):
        with pytest.raises(ValueError, match=r"[Cc]hunksize"):
            pool.map(square, [1, 2, 3], chunksize)
        with pytest.raises(ValueError, match=r"[Cc]hunksize"):
            pool.map_async(square, [1, 2, 3], chunksize)


def test_a_misspelt_option_is_said(pool):
    for call in (pool.apply, pool.apply_async, pool.map, pool.map_async, pool.imap, pool.imap_unordered):
        with pytest.raises(TypeError):
            call(square, [1], timeout=3)


# ------------------------------------------------------------------------------------------------ tasks that are unkind


def close_every_descriptor():
    os.closerange(3, 4096)


def close_the_standard_streams():
    sys.stdin.close(), sys.stdout.close(), sys.stderr.close()
    os.closerange(0, 3)


@pytest.mark.parametrize("task", [close_every_descriptor, close_the_standard_streams])
def test_a_task_that_closes_what_is_not_its_own(fork, task):
    with running(fork, 2) as pool:
        for _ in range(3):
            try:
                pool.apply(task)
            except kettle.WorkerDied:
                pass
            assert pool.map(square, range(50), 1) == [n * n for n in range(50)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_callback_that_fails_stops_nothing(pool):
    """It does in the standard library: its thread for results ends, and every later call waits for ever."""
    heard = threading.Semaphore(0)

    def fail_loudly(value):
        heard.release()
        raise ArithmeticError("in a callback")

    assert pool.apply_async(square, (3,), callback=fail_loudly).get(LIMIT) == 9
    with pytest.raises(LookupError):
        pool.apply_async(fail, (1,), error_callback=fail_loudly).get(LIMIT)
    assert pool.map_async(square, [1, 2], callback=fail_loudly).get(LIMIT) == [1, 4]
    assert pool.apply(square, (4,)) == 16
    for _ in range(3):
        assert heard.acquire(timeout=LIMIT)
