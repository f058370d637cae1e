"""Whatever a task raises or returns, its caller gets it, and the worker goes on."""

from __future__ import annotations

import functools
import os
import pickle
import queue
import signal
import sys
import threading
import traceback

import pytest

import kettle
import kettle.multiprocessing as mp
from kettle.multiprocessing.pool import ThreadPool

from .support import LIMIT, fail, note, pass_gate, pid, running, sleep, square


class TwoArguments(Exception):
    """Can be pickled, but not unpickled."""

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


class Unprintable(Exception):
    @property
    def __suppress_context__(self):
        raise RuntimeError("it is not known")


def raise_unprintable():
    raise Unprintable("it cannot be printed")


def test_an_error_whose_traceback_cannot_be_made(fork):
    with running(fork, 1) as pool:
        before = pool.apply(pid)
        with pytest.raises(Unprintable) as caught:
            pool.apply(raise_unprintable)
        assert caught.value.args == ("it cannot be printed",)
        assert "<its traceback cannot be made>" in str(caught.value.__cause__)
        assert pool.apply(pid) == before, "the worker did not go on"
    with ThreadPool(1) as pool:
        with pytest.raises(Unprintable):
            pool.apply(raise_unprintable)
        assert pool.apply(square, (3,)) == 9


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


# ------------------------------------------------------------------------------------- what cannot be sent or received


class Refuses:
    def __reduce__(self):
        raise TypeError("this does not travel")


class FallsApart:
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return fall_apart, ()


def fall_apart():
    raise ArithmeticError("cannot be put together")


class Exits:
    """Ends the program that unpickles it, if that is possible."""

    def __reduce__(self):
        return sys.exit, ("not put together",)


class Interrupts:
    """As if Ctrl-C were pressed while it is unpickled."""

    def __reduce__(self):
        return interrupt, ()


def interrupt():
    raise KeyboardInterrupt("not put together")


class Endless:
    """Unpickling it never ends."""

    def __reduce__(self):
        return sleep, ()


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (9,)


def note_pair(pair):
    diary, n = pair
    return note(diary, n)


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


@pytest.mark.parametrize("kind, name", [(Exits, "SystemExit"), (Interrupts, "KeyboardInterrupt")])
def test_a_result_that_would_end_the_program_is_an_error(fork, kind, name):
    with running(fork, 2) as pool:
        for call in (
            lambda: pool.apply(give_at_3, (kind, 3)),
            lambda: pool.map(functools.partial(give_at_3, kind), range(8), 4),
            lambda: list(pool.imap(functools.partial(give_at_3, kind), range(8))),
        ):
            with pytest.raises(kettle.RemoteError, match="not put together") as caught:
                call()
            assert caught.value.type_name == name
            assert type(caught.value.__cause__).__name__ == name
        # It does not end the pool's own thread either.
        heard = queue.Queue()
        for _ in range(3):
            pool.apply_async(give_at_3, (kind, 3), callback=heard.put, error_callback=heard.put)
            assert heard.get(timeout=LIMIT).type_name == name
        assert pool.map(square, range(10)) == [n * n for n in range(10)]


class EndsWhoRebuildsIt(Exception):
    def __reduce__(self):
        return sys.exit, ("not put together",)


def raise_what_ends():
    raise EndsWhoRebuildsIt("as it was")


def test_an_exception_that_would_end_the_program_comes_as_text(pool):
    with pytest.raises(kettle.RemoteError, match="as it was"):
        pool.apply(raise_what_ends)
    assert pool.apply(square, (2,)) == 4


class InterruptsItsParent:
    """When it is unpickled, Ctrl-C really is pressed."""

    def __reduce__(self):
        return interrupt_in_earnest, ()


def interrupt_in_earnest():
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_a_result_is_rebuilt(pool):
    with pytest.raises(KeyboardInterrupt):
        pool.apply(give_at_3, (InterruptsItsParent, 3))
    assert pool.apply(square, (2,)) == 4


@pytest.mark.parametrize("chunksize", [1, 4, 8])
def test_an_argument_that_cannot_go_is_one_items_error(fork, chunksize):
    items = [Refuses() if n == 3 else n for n in range(8)]
    with running(fork, 2) as pool:
        expected = [n * n if n != 3 else TypeError for n in range(8)]
        assert found(pool.imap(square, items, chunksize)) == expected
        with pytest.raises(TypeError, match="this does not travel"):
            pool.map(square, items, chunksize)


@pytest.mark.parametrize("chunksize", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "kind, error",
    [
        (FallsApart, ArithmeticError),
        (Exits, kettle.RemoteError),
        (Interrupts, kettle.RemoteError),
        (Deadly, kettle.WorkerDied),
    ],
)
def test_an_argument_that_cannot_be_rebuilt_is_one_items_error(fork, diary, chunksize, kind, error):
    """A chunk is unpickled as a whole. If that fails the culprit is unknown, so each item is tried on its own."""
    items = [(diary, kind() if n == 4 else n) for n in range(8)]
    with running(fork, 2) as pool:
        for turn in range(1, 4):
            outcomes = found(pool.imap(note_pair, items, chunksize))
            assert outcomes == [n if n != 4 else error for n in range(8)]
            assert diary.counts() == {n: turn for n in range(8) if n != 4}, "some were begun twice"
        with pytest.raises(error):
            pool.map(note_pair, items, chunksize)


def test_several_arguments_that_cannot_be_rebuilt(fork, diary):
    bad = {3: (FallsApart, ArithmeticError), 4: (Deadly, kettle.WorkerDied), 9: (Deadly, kettle.WorkerDied)}
    items = [(diary, bad[n][0]() if n in bad else n) for n in range(20)]
    with running(fork, 2) as pool:
        expected = [bad[n][1] if n in bad else n for n in range(20)]
        assert found(pool.imap(note_pair, items, 10)) == expected
        statistics = pool.statistics()
        assert (statistics.done, statistics.failed, statistics.died) == (17, 3, 2)


def test_an_argument_that_is_never_rebuilt_takes_the_time_of_one_item(fork, diary):
    items = [(diary, Endless() if n == 1 else n) for n in range(4)]
    with running(fork, 2) as pool:
        outcomes = found(pool.imap(note_pair, items, 4, task_timeout=0.3))
        assert outcomes == [0, kettle.TaskTimeout, 2, 3]


def test_retries_of_an_argument_that_kills_who_rebuilds_it(fork, diary):
    items = [(diary, Deadly() if n == 1 else n) for n in range(4)]
    with running(fork, 1) as pool:
        assert found(pool.imap(note_pair, items, 4, retries=2)) == [0, kettle.WorkerDied, 2, 3]
        statistics = pool.statistics()
        assert (statistics.died, statistics.retried) == (3, 2)


class FailsInTheMiddle:
    """Has a length, and fails while it is iterated. The standard library's `map` hangs with it."""

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
    """With `chunksize=0` the standard library returns a list of None."""
    for chunksize in (0, -1):
        with pytest.raises(ValueError, match=r"[Cc]hunksize"):
            pool.map(square, [1, 2, 3], chunksize)
        with pytest.raises(ValueError, match=r"[Cc]hunksize"):
            pool.map_async(square, [1, 2, 3], chunksize)


def test_a_misspelt_option_is_said(pool):
    for call in (pool.apply, pool.apply_async, pool.map, pool.map_async, pool.imap, pool.imap_unordered):
        with pytest.raises(TypeError):
            call(square, [1], timeout=3)


# ------------------------------------------------------------------------------------------------ difficult tasks


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
    """In the standard library its thread for results ends, and every later call waits forever."""
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


# ------------------------------------------------------------------------------- which error, and of which task


def fail_one_after_the_other(first, second, gate, n):
    """Item `second` fails, and only then item `first`."""
    if n == second:
        try:
            raise KeyError(n)
        finally:
            open(gate, "w").close()
    if n == first:
        pass_gate(gate)
        raise ValueError(n)
    return n


def with_pool(kind):
    return running(mp.get_context("fork"), 2) if kind == "processes" else ThreadPool(2)


KINDS = ["processes", "threads"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", ["map", "starmap", "map_async"])
def test_a_map_raises_the_error_of_the_first_item_in_order(kind, call, gate):
    task = functools.partial(fail_one_after_the_other, 2, 3, gate)
    items = [(n,) for n in range(30)] if call == "starmap" else range(30)
    with with_pool(kind) as pool:
        result = getattr(pool, call)
        with pytest.raises(ValueError, match="2") as caught:
            result(task, items, 1).get() if call == "map_async" else result(task, items, 1)
    assert caught.value.__notes__[-1].endswith(f", item 2 of {call.removesuffix('_async')}")


@pytest.mark.parametrize("kind", KINDS)
def test_all_items_of_a_map_are_done_whichever_fails(kind, diary):
    with with_pool(kind) as pool:
        with pytest.raises(LookupError, match="0"):
            pool.map(functools.partial(note_and_fail, diary), range(20))
    assert sorted(diary.numbers()) == list(range(20))


def note_and_fail(diary, n):
    diary.note(n)
    raise LookupError(n)


class Picture:
    def __repr__(self):
        raise RuntimeError("this is not to be called")


CALLS = {
    "apply": (lambda pool: pool.apply(fail, (7,)), "in fail(7)"),
    "apply_async": (lambda pool: pool.apply_async(fail, (), {"n": 7}).get(), "in fail(n=7)"),
    "map": (lambda pool: pool.map(fail, range(7, 9)), "in fail(7), item 0 of map"),
    "starmap": (lambda pool: pool.starmap(fail, [(7,)]), "in fail(7), item 0 of starmap"),
    "imap": (lambda pool: list(pool.imap(fail, iter([7, 8]))), "in fail(7), item 0 of imap"),
    "imap_unordered": (
        lambda pool: list(pool.imap_unordered(fail, [7], chunksize=3)),
        "in fail(7), item 0 of imap_unordered",
    ),
    "long": (lambda pool: pool.apply(fail, ("x" * 10**6,)), f"in fail('{'x' * 60}'...)"),
    "silent": (lambda pool: pool.map(fail, [Picture()]), "in fail(<Picture object>), item 0 of map"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
def test_an_exception_names_its_task(kind, call):
    do, note = CALLS[call]
    with with_pool(kind) as pool, pytest.raises(LookupError) as caught:
        do(pool)
    assert caught.value.__notes__ == [note]
    assert note in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raised", [lambda: SystemExit("over"), Locked], ids=["exit", "a lock"])
def test_what_cannot_come_as_itself_names_its_task_too(kind, raised):
    with with_pool(kind) as pool:
        error = pool.apply_async(raise_made, (raised,))
        error.wait()
        with pytest.raises(Exception) as caught:
            error.get()
    assert caught.value.__notes__[-1].startswith("in raise_made(")


def raise_made(raised):
    raise raised()


def fail_further_in(n):
    with running(mp.get_context("fork"), 1) as pool:
        pool.map(fail, [n])


def test_an_exception_that_comes_through_several_tasks_names_them_all_and_travels_with_that(pool):
    result = pool.apply_async(fail_further_in, (5,))
    for _ in range(2):  # a second retrieval adds nothing
        with pytest.raises(LookupError) as caught:
            result.get()
    assert caught.value.__notes__ == ["in fail(5), item 0 of map", "in fail_further_in(5)"]
    assert pickle.loads(pickle.dumps(caught.value)).__notes__ == caught.value.__notes__


THE_SAME = LookupError("the same object each time")


def raise_the_same(n):
    raise THE_SAME


def test_an_object_that_many_tasks_raise_does_not_grow():
    with ThreadPool(1) as pool:
        for n in range(100):
            with pytest.raises(LookupError):
                pool.apply(raise_the_same, (n,))
            with pytest.raises(LookupError):
                pool.apply(raise_the_same, (0,))
    assert THE_SAME.__notes__[:2] == ["in raise_the_same(0)", "in raise_the_same(1)"]
    assert len(THE_SAME.__notes__) < 20


class Frozen(Exception):
    def __setattr__(self, name, value):
        raise TypeError("frozen")


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_whose_attributes_cannot_be_set(kind):
    with with_pool(kind) as pool, pytest.raises(Frozen) as caught:
        pool.map(raise_made, [Frozen])
    assert caught.value.__notes__ == ["in raise_made(Frozen), item 0 of map"]


class WithoutNotes(Exception):
    __notes__ = None

    def add_note(self, note):
        raise AssertionError("not to be called")


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_with_its_own_idea_of_notes(kind):
    with with_pool(kind) as pool, pytest.raises(WithoutNotes):
        pool.map(raise_made, [WithoutNotes])
