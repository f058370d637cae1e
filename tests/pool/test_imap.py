"""`imap` reads its input only a limited distance ahead, and never gets stuck because of that."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import signal
import threading
import time

import pytest

import kettle
import kettle.multiprocessing as mp
from kettle import _native
from kettle.multiprocessing.pool import ThreadPool

from .support import LIMIT, PROMPT, note, pass_gate, running, square, until


class Input:
    """Numbers; records how many were read, the maximum distance ahead of the consumer, and whether the iterator was
    released.

    A test that waits for the release must check repeatedly: without a GIL, an object that another thread releases is
    freed by the thread that created it, when that one next runs Python code.
    """

    def __init__(self, count=None):
        self.numbers = itertools.count() if count is None else iter(range(count))
        self.pulled = self.taken = self.furthest = 0
        self.let_go = threading.Event()

    def __iter__(self):
        try:
            for number in self.numbers:
                self.pulled += 1
                self.furthest = max(self.furthest, self.pulled - self.taken)
                yield number
        finally:
            self.let_go.set()

    def settled(self):
        """Returns how many were read, once that no longer changes."""
        while True:
            before = self.pulled
            time.sleep(0.2)
            if self.pulled == before:
                return before


CALLS = ["imap", "imap_unordered"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("chunksize", [1, 3])
@pytest.mark.parametrize("buffersize", [1, 7, 50])
def test_not_further_than_so_far_ahead(pool, call, chunksize, buffersize):
    given, most = Input(300), max(buffersize, chunksize)  # a chunk is sent only when complete
    it = getattr(pool, call)(square, given, chunksize, buffersize=buffersize)
    until(lambda: given.pulled > 0)  # it begins before a result is requested
    assert given.settled() <= most
    found = []
    for result in it:
        given.taken += 1
        found.append(result)
    assert sorted(found) == [n * n for n in range(300)]
    # An item that is being passed to the consumer while the next one is read counts as taken.
    assert given.furthest <= most + 1


@pytest.mark.parametrize("call", CALLS)
def test_how_far_ahead_if_nothing_is_said(pool, call):
    given = Input()
    it = getattr(pool, call)(square, given)
    until(lambda: given.pulled >= 64)
    assert given.settled() == 64
    assert next(it) is not None
    wide = Input()
    other = getattr(pool, call)(square, wide, 100)
    until(lambda: wide.pulled >= 4 * 2 * 100)
    assert wide.settled() == 4 * 2 * 100
    it.close(), other.close()


@pytest.mark.parametrize("call", CALLS)
def test_an_input_without_end(ctx, call):
    with running(ctx, 2) as pool:
        given = Input()
        it = getattr(pool, call)(square, given)
        found = list(itertools.islice(it, 2_000))
        assert len(set(found)) == 2_000
        del it
        gc.collect()
        until(given.let_go.is_set)
        pulled = given.pulled
        assert pulled < 2_000 + 200
        pool.close()  # the limit does not keep it open
        pool.join()
        assert given.pulled == pulled


def test_a_consumer_that_is_slow(pool):
    given = Input(60)
    for result in pool.imap(square, given, buffersize=5):
        assert result == given.taken**2
        given.taken += 1
        time.sleep(0.005)
    assert given.furthest <= 6


def test_memory_does_not_grow_while_results_are_not_taken(pool):
    np = pytest.importorskip("numpy")
    _native.reclaim()
    before = _native.arena_statistics()["allocated_bytes"]
    given, most = Input(300), 0
    for array in pool.imap(functools.partial(np.full, 1 << 17), given, buffersize=4):  # a megabyte each
        most = max(most, _native.arena_statistics()["allocated_bytes"] - before)
        assert array[0] == array[-1] == given.taken
        given.taken += 1
    assert given.taken == 300 and most < 40 << 20


@pytest.mark.parametrize("chunksize", [1, 10])
def test_close_lifts_the_throttle(fork, chunksize):
    pool = fork.Pool(2)
    given = Input(1_000)
    it = pool.imap(square, given, chunksize, buffersize=10)
    assert next(it) == 0
    pool.close()
    pool.join()
    assert given.pulled == 1_000
    assert list(it) == [n * n for n in range(1, 1_000)]


def test_terminate_ends_the_throttle(ctx):
    pool = ctx.Pool(2)
    given = Input()
    it = pool.imap(square, given, buffersize=10)
    assert next(it) == 0
    pool.terminate()
    pool.join()
    pulled = given.pulled
    with pytest.raises((kettle.KettleError, StopIteration)):
        for _ in range(pulled + 1):
            it.next(LIMIT)
    assert given.pulled == pulled


def test_terminate_wakes_who_waits_for_the_next(fork, gate):
    pool = fork.Pool(1)
    it = pool.imap(functools.partial(pass_gate, gate), range(3))
    ended = threading.Event()

    def wait():
        try:
            next(it)
        except Exception:
            ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.1)
    pool.terminate()
    pool.join()
    assert ended.wait(LIMIT)
    thread.join(LIMIT)


def test_dropped_before_it_was_asked(fork, diary):
    """As in the standard library, where programs use it to start work whose results they do not need."""
    pool = fork.Pool(2)
    pool.imap(functools.partial(note, diary), range(500), buffersize=4)
    gc.collect()
    pool.close()
    pool.join()
    assert sorted(diary.numbers()) == list(range(500))


def test_dropped_after_it_was_asked(fork, diary):
    with running(fork, 2) as pool:
        given = Input(100_000)
        it = pool.imap(functools.partial(note, diary), given, buffersize=4)
        assert next(it) == 0
        del it
        gc.collect()
        until(given.let_go.is_set)
        assert given.pulled <= 10
        assert len(diary.words()) <= 10
        pool.close()
        pool.join()


@pytest.mark.parametrize("chunksize", [1, 4])
def test_an_error_in_the_input(fork, chunksize):
    def numbers():
        yield from range(10)
        raise LookupError("the input ended badly")

    pool = fork.Pool(2)
    it = pool.imap(square, numbers(), chunksize, buffersize=4)
    whole = 10 // chunksize * chunksize  # an incomplete chunk is not begun
    assert [next(it) for _ in range(whole)] == [n * n for n in range(whole)]
    with pytest.raises(LookupError, match="ended badly"):
        next(it)
    with pytest.raises(StopIteration):
        next(it)
    pool.close()
    pool.join()


def test_an_error_in_the_input_that_is_never_read(fork):
    def numbers():
        yield from range(10)
        raise LookupError("the input ended badly")

    pool = fork.Pool(2)
    it = pool.imap(square, numbers(), buffersize=2)
    assert next(it) == 0
    pool.close()
    pool.join()
    assert it is not None


@pytest.mark.parametrize("call", CALLS)
def test_after_an_error_of_an_item_the_rest_comes(pool, call):
    it, found, errors = getattr(pool, call)(reciprocal, range(-10, 10), 7), [], 0
    while True:
        try:
            found.append(next(it))
        except ZeroDivisionError:
            errors += 1
        except StopIteration:
            break
    assert errors == 1 and sorted(found) == sorted(1 / n for n in range(-10, 10) if n)


def reciprocal(n):
    return 1 / n


def test_an_input_that_is_slow_holds_nothing_up(pool):
    """It delays neither the results computed before, nor other calls."""
    opened = threading.Event()

    def numbers():
        yield 1
        yield 2
        assert opened.wait(LIMIT)
        yield 3

    it = pool.imap(square, numbers())
    assert [it.next(LIMIT), it.next(LIMIT)] == [1, 4]
    assert pool.apply_async(square, (4,)).get(PROMPT) == 16
    with pytest.raises(mp.TimeoutError):
        it.next(0.05)
    assert pool.map_async(square, range(10)).get(PROMPT) == [n * n for n in range(10)]
    opened.set()
    assert list(it) == [9]


def test_an_input_that_uses_the_pool(pool):
    def squares():
        for n in range(20):
            yield pool.apply(square, (n,))

    assert list(pool.imap(square, squares(), buffersize=3)) == [n**4 for n in range(20)]


def test_one_imap_feeds_another(pool):
    first = pool.imap(square, range(200), buffersize=5)
    second = pool.imap(square, first, 7, buffersize=5)
    assert list(second) == [n**4 for n in range(200)]


def test_many_at_once(pool):
    its = [pool.imap(square, range(100), 1 + n % 3, buffersize=1 + n % 4) for n in range(20)]
    assert [next(it) for _ in range(100) for it in its] == [n * n for n in range(100) for _ in its]


def test_a_chunk_that_is_larger_than_the_buffer(pool):
    assert list(pool.imap(square, range(50), 10, buffersize=3)) == [n * n for n in range(50)]


@pytest.mark.parametrize("buffersize, error", [(0, ValueError), (-1, ValueError), ("4", TypeError), (1.5, TypeError)])
def test_wrong_sizes(pool, buffersize, error):
    for call in CALLS:
        with pytest.raises(error):
            getattr(pool, call)(square, [1], buffersize=buffersize)


# ------------------------------------------------------------------------------------------ a loop that is left


def fail_at(place, n):
    if n == place:
        raise LookupError(n)
    return n


class Left(Exception):
    pass


def leave(pool, call, how, **options):
    """A loop over an imap, which ends in one of the ways in which loops end before their input does."""
    task = functools.partial(fail_at, 3 if how == "an error of a task" else None)
    for n in getattr(pool, call)(task, Input(), **options):
        if how == "break" and n > 3:
            break
        if how == "an error in the loop" and n > 3:
            raise Left


WAYS = ["break", "an error in the loop", "an error of a task"]


@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("how", WAYS)
def test_a_loop_that_is_left_is_over_at_once(pool, kind, call, how):
    """Not only at the next garbage collection, and even if the exception is kept."""
    kept = []
    with ThreadPool(2) if kind == "threads" else pool as pool:
        gc.disable()
        try:
            leave(pool, call, how, progress=lambda done, total: told.append(done))
        except (Left, LookupError) as error:
            kept.append(error)
        finally:
            gc.enable()
        assert pool._crew.statistics().queued == 0


told = []


def test_what_was_pulled_does_not_delay_the_next_call(pool, diary, gate):
    loop = pool.imap_unordered(functools.partial(note_and_pass_gate_but_for_the_first, diary, gate), range(64))
    assert next(loop) == 0
    del loop
    open(gate, "w").close()
    assert pool.map(square, [3]) == [9]
    pool.close()
    pool.join()
    assert len(diary.numbers()) <= 6  # what the two workers had, not the 64 that were read


def note_and_pass_gate_but_for_the_first(diary, gate, n):
    diary.note(n)
    return n if n == 0 else pass_gate(gate, n)


@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_ends_an_imap_as_it_ends_a_map(pool, call, diary):
    loop = getattr(pool, call)(functools.partial(note_and_sleep, diary), range(8))
    until(lambda: len(diary.words()) >= 2)
    thread = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        next(loop)
    thread.join()
    assert pool.apply(square, (3,)) == 9  # there are free workers
    assert list(loop) == []


def note_and_sleep(diary, n):
    diary.note(n)
    time.sleep(LIMIT * 10)


@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("is_plain", [True, False])
def test_after_an_error_nothing_is_begun_before_more_is_asked_for(pool, kind, call, is_plain, diary):
    """The iterator may still be referenced although its loop is over."""
    with ThreadPool(2) if kind == "threads" else pool as pool:
        task = functools.partial(note_and_fail_at_first, diary)
        items = list(range(300)) if is_plain else iter(range(300))
        loop = getattr(pool, call)(task, items)
        got = 0
        with pytest.raises(LookupError):
            while True:
                next(loop)
                got += 1
        meet(pool, 2)
        settled = len(diary.numbers())
        meet(pool, 2)
        assert len(diary.numbers()) == settled < 300
        assert got + 1 + len(list(loop)) == 300
        assert sorted(diary.numbers()) == list(range(300))


def meet(pool, workers):
    """Returns when each of so many workers is done with all that it had begun, or was about to begin."""
    barrier = mp.Barrier(workers, timeout=LIMIT)
    pool.map(functools.partial(wait_for_all, barrier), range(workers), 1)


def wait_for_all(barrier, _):
    barrier.wait()


def note_and_fail_at_first(diary, n):
    diary.note(n)
    time.sleep(0.002)
    if n == 0:
        raise LookupError(n)
    return n


def fail_at_all_even(n):
    if n % 2 == 0:
        raise LookupError(n)
    return n


@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.parametrize("call", CALLS)
def test_a_loop_goes_on_after_errors(pool, kind, call):
    with ThreadPool(2) if kind == "threads" else pool as pool:
        loop, good, bad = getattr(pool, call)(fail_at_all_even, iter(range(400)), buffersize=3), [], 0
        while True:
            try:
                good.append(next(loop))
            except LookupError:
                bad += 1
            except StopIteration:
                break
        assert (sorted(good), bad) == (list(range(1, 400, 2)), 200)


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_a_pool_that_is_closed_after_an_error_does_the_rest(pool, kind, diary):
    with ThreadPool(2) if kind == "threads" else pool as pool:
        loop = pool.imap(functools.partial(note_and_fail_at_first, diary), iter(range(200)))
        with pytest.raises(LookupError):
            next(loop)
        pool.close()
        pool.join()
    assert sorted(diary.numbers()) == list(range(200))


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_several_threads_take_from_a_loop_with_errors(pool, kind):
    """A thread that leaves at an error delays none of those that go on."""
    taken = []

    def take(leaves):
        while True:
            try:
                taken.append(next(loop))
            except LookupError as error:
                taken.append(error.args[0])
                if leaves:
                    return
            except StopIteration:
                return

    with ThreadPool(2) if kind == "threads" else pool as pool:
        loop = pool.imap_unordered(fail_at_all_even, iter(range(300)), buffersize=5)
        takers = [threading.Thread(target=take, args=(leaves,)) for leaves in (True, True, False)]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join()
    assert sorted(taken) == list(range(300))


def test_a_coroutine_goes_on_after_errors(pool):
    async def main():
        loop, results = pool.imap(fail_at_all_even, iter(range(100)), buffersize=4), []
        while True:
            try:
                results.append(await anext(loop))
            except LookupError as error:
                results.append(error.args[0])
            except StopAsyncIteration:
                return results

    assert asyncio.run(main()) == list(range(100))
