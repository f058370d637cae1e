"""The guarantees of the standard library for pools."""

from __future__ import annotations

import functools
import gc
import importlib
import operator
import os
import pathlib
import pickle
import re
import subprocess
import sys
import threading
import time
import warnings

import pytest

from pool.support import running

from .support import LIMIT


@pytest.fixture
def pool(fork):
    with running(fork, 2) as pool:
        yield pool


@pytest.fixture
def gate(tmp_path):
    """A path: tasks wait until it exists."""
    return tmp_path / "gate"


def module_of(mp):
    return importlib.import_module(mp.__name__ + ".pool")


def square(n):
    return n * n


def add(a, b=0, *, c=0):
    return a + b + c


def pid(_=None):
    return os.getpid()


def pass_gate(path, result=None):
    """Waits in a worker, for an event that survives whatever happens to the pool."""
    while not os.path.exists(path):
        time.sleep(0.001)
    return result


def through_gate(item):
    path, result = item
    return pass_gate(path, result) if path else result


def fail(n):
    raise LookupError(n)  # the line that fails


def fail_at_3(n):
    if n == 3:
        raise LookupError(n)
    return n


class Refuses:
    def __reduce__(self):
        raise TypeError("this does not travel")


def give_what_cannot_travel():
    return Refuses()


def numbers_then_error(n):
    yield from range(n)
    raise LookupError("the input ended badly")


class Sized:
    """Has a length, and fails where its last item should be. (Earlier, the standard library hangs.)"""

    def __len__(self):
        return 4

    def __iter__(self):
        return numbers_then_error(3)


# ---------------------------------------------------------------------------------------- every way to call, everywhere


def test_every_way_to_call(ctx):
    with running(ctx, 2) as pool:
        assert pool.apply(add, (1, 2), {"c": 3}) == 6
        assert pool.apply_async(add, (1,), {"c": 3}).get(LIMIT) == 4
        assert pool.map(square, range(300)) == [n * n for n in range(300)]
        assert pool.map_async(square, range(300)).get(LIMIT) == [n * n for n in range(300)]
        assert pool.starmap(add, [(1, 2), (3, 4)]) == [3, 7]
        assert pool.starmap_async(pow, [(n, n) for n in range(50)]).get(LIMIT) == [n**n for n in range(50)]
        assert list(pool.imap(square, range(50))) == [n * n for n in range(50)]
        assert sorted(pool.imap_unordered(square, range(50))) == [n * n for n in range(50)]


def test_by_keyword(pool):
    assert pool.apply(func=add, args=(1,), kwds={"b": 2}) == 3
    result = pool.apply_async(func=add, args=(1,), kwds={}, callback=None, error_callback=None)
    assert result.get(timeout=LIMIT) == 1
    assert pool.map(func=square, iterable=[2], chunksize=1) == [4]
    assert pool.map_async(
        func=square, iterable=[2], chunksize=1, callback=None, error_callback=None
    ).get(LIMIT) == [4]  # fmt: skip
    assert pool.starmap(func=add, iterable=[(1, 2)], chunksize=1) == [3]
    assert pool.starmap_async(
        func=add, iterable=[(1, 2)], chunksize=1, callback=None, error_callback=None
    ).get(LIMIT) == [3]  # fmt: skip
    assert list(pool.imap(func=square, iterable=[2], chunksize=1)) == [4]
    assert list(pool.imap_unordered(func=square, iterable=[2], chunksize=1)) == [4]


@pytest.mark.parametrize("chunksize", [None, 1, 2, 7, 1_000])
def test_chunk_sizes(pool, chunksize):
    expected = [n * n for n in range(20)]
    assert pool.map(square, range(20), chunksize) == expected
    assert pool.map_async(square, range(20), chunksize=chunksize).get(LIMIT) == expected
    assert pool.starmap(operator.mul, [(n, n) for n in range(20)], chunksize) == expected
    if chunksize is not None:
        assert list(pool.imap(square, range(20), chunksize)) == expected
        assert sorted(pool.imap_unordered(square, range(20), chunksize)) == expected


@pytest.mark.parametrize("chunksize", [0, -1])
def test_wrong_chunk_sizes(pool, chunksize):
    for call in (pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match="Chunksize must be 1"):
            call(square, [1], chunksize)


@pytest.mark.parametrize("chunksize", [None, 1, 3])
def test_nothing_to_do(pool, chunksize):
    assert pool.map(square, [], chunksize) == []
    assert pool.map(square, iter([]), chunksize) == []
    assert pool.starmap(square, [], chunksize) == []
    result = pool.map_async(square, [], chunksize)
    assert result.get(LIMIT) == [] and result.ready() and result.successful()
    assert list(pool.imap(square, [], chunksize or 1)) == []
    assert list(pool.imap_unordered(square, iter([]), chunksize or 1)) == []


@pytest.mark.parametrize("kind", [list, tuple, iter, dict.fromkeys, set], ids=lambda kind: kind.__name__)
def test_any_iterable(pool, kind):
    assert sorted(pool.map(square, kind(range(10)))) == [n * n for n in range(10)]
    assert sorted(pool.imap(square, kind(range(10)))) == [n * n for n in range(10)]


def test_text_is_an_iterable_too(pool):
    assert pool.map(ord, "abc") == [97, 98, 99]


def test_any_callable(pool):
    assert pool.map(str.upper, ["a", "b"]) == ["A", "B"]
    assert pool.map("{:>3}".format, [1, 2]) == ["  1", "  2"]
    assert pool.map(functools.partial(add, 10, c=1), [1, 2]) == [12, 13]
    assert pool.map(pathlib.PurePath, ["a"]) == [pathlib.PurePath("a")]


def test_many_items_and_large_ones(ctx):
    with running(ctx, 2) as pool:
        assert pool.map(abs, range(-100_000, 0)) == list(range(100_000, 0, -1))
        data = b"x" * 3_000_000
        assert pool.apply(bytes.upper, (data,)) == data.upper()
        assert pool.map(bytes.upper, [data, b"", data], 1) == [data.upper(), b"", data.upper()]
        assert list(map(len, pool.imap(bytes.upper, [data] * 4, 2))) == [len(data)] * 4


def test_calls_nest_and_interleave(pool):
    first = pool.imap(square, range(100))
    second = pool.imap_unordered(square, range(100))
    third = pool.map_async(square, range(100))
    assert pool.apply(square, (11,)) == 121
    assert [next(first), third.get(LIMIT)[5], *list(first)[:2]] == [0, 25, 1, 4]
    assert sorted(second) == [n * n for n in range(100)]


def test_one_pool_in_many_threads(pool):
    wrong = []

    def use(seed):
        for n in range(seed, seed + 20):
            if pool.apply(square, (n,)) != n * n or pool.map(square, range(n, n + 5)) != [
                m * m for m in range(n, n + 5)
            ]:
                wrong.append(n)

    threads = [threading.Thread(target=use, args=(i * 100,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert wrong == []


def make_a_pool_and_use_it(context, results):
    with running(context, 2) as pool:
        results.append(pool.map(square, range(10)))


def test_a_pool_made_in_a_thread(ctx):
    results = []
    thread = threading.Thread(target=make_a_pool_and_use_it, args=(ctx, results))
    thread.start()
    thread.join(LIMIT)
    assert results == [[n * n for n in range(10)]]


# --------------------------------------------------------------------------------------------------------- the result


def test_a_result_that_is_late(mp, pool, gate):
    result = pool.apply_async(pass_gate, (gate, "here"))
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    for patience in (0, 0.01):
        with pytest.raises(mp.TimeoutError):
            result.get(patience)
        assert result.wait(patience) is None
    gate.touch()
    assert result.wait() is None
    assert result.ready() and result.successful()
    assert [result.get(), result.get(0), result.get(timeout=None)] == ["here"] * 3


def test_a_map_that_is_late(mp, pool, gate):
    result = pool.map_async(through_gate, [(None, 1), (gate, 2), (None, 3)], 1)
    with pytest.raises(mp.TimeoutError):
        result.get(0.05)
    assert not result.ready()
    gate.touch()
    assert result.get(LIMIT) == [1, 2, 3] and result.successful()


def test_kinds_of_results(mp, pool):
    names = module_of(mp)
    assert names.AsyncResult is names.ApplyResult
    assert isinstance(pool.apply_async(square, (1,)), names.AsyncResult)
    assert isinstance(pool.map_async(square, [1]), names.MapResult)
    assert isinstance(pool.starmap_async(add, [(1,)]), names.MapResult)
    assert issubclass(names.MapResult, names.ApplyResult)
    assert isinstance(pool.imap(square, [1]), names.IMapIterator)
    assert isinstance(pool.imap_unordered(square, [1]), names.IMapUnorderedIterator)
    assert issubclass(names.IMapUnorderedIterator, names.IMapIterator)


def test_iterators_of_imap(mp, pool, gate):
    it = pool.imap(through_gate, [(None, 1), (gate, 2), (None, 3)])
    assert iter(it) is it
    assert it.next() == 1
    for patience in (0, 0.01):
        with pytest.raises(mp.TimeoutError):
            it.next(patience)
    with pytest.raises(mp.TimeoutError):
        it.next(timeout=0.01)
    gate.touch()
    assert [it.next(LIMIT), next(it)] == [2, 3]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(it)
        with pytest.raises(StopIteration):
            it.next(0)


def test_imap_keeps_the_order(mp, pool, gate):
    it = pool.imap(through_gate, [(gate, "first"), (None, "second")])
    with pytest.raises(mp.TimeoutError):
        it.next(0.05)
    gate.touch()
    assert list(it) == ["first", "second"]


def test_unordered_gives_what_is_ready(pool, gate):
    it = pool.imap_unordered(through_gate, [(gate, "held"), (None, "free"), (None, "free")])
    assert [next(it), next(it)] == ["free", "free"]
    gate.touch()
    assert list(it) == ["held"]


# ---------------------------------------------------------------------------------------------------------- callbacks


def test_callbacks_come_before_the_result_in_a_thread_of_the_parent(pool):
    called = []

    def note(value):
        called.append((value, os.getpid(), threading.current_thread() is threading.main_thread()))

    assert pool.apply_async(square, (3,), callback=note).get(LIMIT) == 9
    assert pool.map_async(square, [1, 2], callback=note).get(LIMIT) == [1, 4]
    assert pool.starmap_async(add, [(1, 2)], callback=note).get(LIMIT) == [3]
    assert pool.map_async(square, [], callback=note).get(LIMIT) == []
    here = os.getpid()
    assert called[:3] == [(9, here, False), ([1, 4], here, False), ([3], here, False)]


def test_error_callbacks(pool):
    results, errors = [], []
    for call, arguments in ((pool.apply_async, (1,)), (pool.map_async, [2]), (pool.starmap_async, [(3,)])):
        result = call(fail, arguments, callback=results.append, error_callback=errors.append)
        with pytest.raises(LookupError):
            result.get(LIMIT)
        assert not result.successful()
    assert results == [] and [error.args for error in errors] == [(1,), (2,), (3,)]
    assert all(type(error) is LookupError for error in errors)


def test_callbacks_without_a_waiter(pool):
    called = threading.Semaphore(0)
    for _ in range(50):
        pool.apply_async(square, (1,), callback=lambda _: called.release())
    for _ in range(50):
        assert called.acquire(timeout=LIMIT)


def test_a_callback_that_hands_in_more_work(pool):
    done = threading.Event()

    def again(n):
        if n == 0:
            done.set()
        else:
            pool.apply_async(operator.sub, (n, 1), callback=again)

    pool.apply_async(operator.sub, (30, 1), callback=again)
    assert done.wait(LIMIT)


# ------------------------------------------------------------------------------------------------------------- errors


def test_an_error_brings_its_traceback(mp, ctx):
    with running(ctx, 1) as pool:
        with pytest.raises(LookupError) as caught:
            pool.apply(fail, (7,))
    error = caught.value
    assert type(error) is LookupError and error.args == (7,)
    cause = error.__cause__
    assert type(cause) is module_of(mp).RemoteTraceback
    assert "raise LookupError(n)  # the line that fails" in cause.tb
    assert "LookupError: 7" in str(cause) and "Traceback (most recent call last)" in str(cause)


class Noted(Exception):
    def __init__(self, number, text):
        super().__init__(number, text)
        self.number = number


def fail_with_more():
    error = Noted(5, "five")
    error.detail = [1, 2]
    raise error


def test_an_error_keeps_its_arguments_and_attributes(pool):
    with pytest.raises(Noted) as caught:
        pool.apply(fail_with_more)
    assert (caught.value.number, caught.value.args, caught.value.detail) == (5, (5, "five"), [1, 2])


def test_every_way_to_fail(pool):
    for call in (
        lambda: pool.apply(fail, (1,)),
        lambda: pool.apply_async(fail, (1,)).get(LIMIT),
        lambda: pool.map(fail_at_3, range(10)),
        lambda: pool.map(fail_at_3, range(10), 1),
        lambda: pool.starmap(fail_at_3, [(3,)]),
        lambda: pool.map_async(fail_at_3, range(10)).get(LIMIT),
        lambda: list(pool.imap(fail_at_3, range(10))),
        lambda: list(pool.imap(fail_at_3, range(10), 4)),
        lambda: list(pool.imap_unordered(fail_at_3, range(10))),
        lambda: list(pool.imap_unordered(fail_at_3, range(10), 4)),
    ):
        with pytest.raises(LookupError):
            call()
    assert pool.apply(square, (3,)) == 9


def test_imap_goes_on_after_an_error(pool):
    it = pool.imap(fail_at_3, range(6))
    assert [next(it) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError):
        next(it)
    assert list(it) == [4, 5]


def note_and_maybe_fail(item):
    path, n = item
    with open(path, "a") as diary:
        diary.write(f"{n}\n")
    if n == 0:
        raise LookupError(n)


def test_map_ends_only_when_all_is_done(pool, tmp_path):
    with pytest.raises(LookupError):
        pool.map(note_and_maybe_fail, [(tmp_path / "diary", n) for n in range(20)], 1)
    assert sorted(map(int, (tmp_path / "diary").read_text().split())) == list(range(20))


def test_a_result_that_cannot_travel(mp, ctx):
    error_type = module_of(mp).MaybeEncodingError
    with running(ctx, 1) as pool:
        errors = []
        for _ in range(5):
            with pytest.raises(error_type) as caught:
                pool.apply_async(give_what_cannot_travel, error_callback=errors.append).get(LIMIT)
        error = caught.value
        assert "this does not travel" in error.exc and "Refuses" in error.value
        assert str(error).startswith("Error sending result: ") and "Reason: " in str(error)
        assert repr(error).startswith("<MaybeEncodingError: Error sending result")
        assert len(errors) == 5
        assert pool.apply(square, (2,)) == 4


def test_arguments_that_cannot_travel(pool):
    for call in (
        lambda: pool.apply(square, (Refuses(),)),
        lambda: pool.apply_async(square, (Refuses(),)).get(LIMIT),
        lambda: pool.map(square, [Refuses()]),
        lambda: pool.map_async(square, [1, 2, Refuses()], 1).get(LIMIT),
        lambda: list(pool.imap(square, [Refuses()])),
        lambda: list(pool.imap_unordered(square, [Refuses()])),
    ):
        with pytest.raises(TypeError, match="this does not travel"):
            call()
    assert pool.map(square, [3]) == [9]


def test_imap_goes_on_after_an_argument_that_cannot_travel(pool):
    it = pool.imap(square, [1, Refuses(), 3])
    assert next(it) == 1
    with pytest.raises(TypeError, match="this does not travel"):
        next(it)
    assert list(it) == [9]


def test_an_error_in_the_input(pool):
    with pytest.raises(LookupError, match="ended badly"):
        pool.map(square, numbers_then_error(3))
    for sized_call in (pool.map, lambda *args: pool.map_async(*args).get(LIMIT)):
        with pytest.raises(LookupError, match="ended badly") as caught:
            sized_call(square, Sized(), 1)
        assert caught.value.__cause__ is None  # it is not from another process
    it = pool.imap(square, numbers_then_error(3))
    assert [next(it) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(LookupError, match="ended badly") as caught:
        next(it)
    assert caught.value.__cause__ is None
    unordered, got = pool.imap_unordered(square, numbers_then_error(3)), []
    with pytest.raises(LookupError, match="ended badly"):
        for result in unordered:
            got.append(result)
    assert sorted(got) == sorted(set(got)) and set(got) <= {0, 1, 4}
    assert pool.apply(square, (4,)) == 16


def test_an_input_that_is_no_iterable(pool):
    for call in (pool.map, pool.starmap, pool.map_async):
        with pytest.raises(TypeError, match="not iterable"):
            call(square, 7)


def test_wrong_arguments(mp, fork):
    for count in (0, -1):
        with pytest.raises(ValueError, match="Number of processes must be at least 1"):
            fork.Pool(count)
    for tasks in (0, -1, 0.5, "12"):
        with pytest.raises(ValueError, match="maxtasksperchild must be a positive int or None"):
            fork.Pool(1, maxtasksperchild=tasks)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        fork.Pool(1, initializer=7)
    assert mp.active_children() == []


# ------------------------------------------------------------------------------------------------------------ the end


def calls(pool):
    return (
        lambda: pool.apply(square, (1,)),
        lambda: pool.apply_async(square, (1,)),
        lambda: pool.map(square, [1]),
        lambda: pool.map_async(square, [1]),
        lambda: pool.starmap(add, [(1,)]),
        lambda: pool.starmap_async(add, [(1,)]),
        lambda: pool.imap(square, [1]),
        lambda: pool.imap(square, [1], 3),
        lambda: pool.imap_unordered(square, [1]),
        pool.__enter__,
    )


def test_close_lets_everything_finish(ctx, gate):
    with running(ctx, 2) as pool:
        waiting = [pool.apply_async(pass_gate, (gate, n)) for n in range(5)]
        mapped, iterated = pool.map_async(square, range(100)), pool.imap(square, range(100))
        pool.close()
        for call in calls(pool):
            with pytest.raises(ValueError, match="Pool not running"):
                call()
        gate.touch()
        pool.join()
        assert [result.get(0) for result in waiting] == list(range(5))
        assert mapped.get(0) == list(iterated) == [n * n for n in range(100)]


def test_terminate_waits_for_nothing(mp, ctx, gate):
    pool = ctx.Pool(2)
    pool.map_async(through_gate, [(gate, 0)] * 1_000, 1)
    pool.imap(through_gate, [(gate, 0)] * 10)
    pool.terminate()
    pool.join()
    for call in calls(pool):
        with pytest.raises(ValueError, match="Pool not running"):
            call()
    assert mp.active_children() == []


def test_with_terminates(mp, fork, gate):
    with fork.Pool(2) as pool:
        pool.apply_async(pass_gate, (gate,))
    pool.join()
    with pytest.raises(ValueError, match="Pool not running"):
        pool.apply(square, (1,))
    with pytest.raises(ValueError, match="Pool not running"):
        with pool:
            pass
    assert mp.active_children() == []


def test_join_needs_an_end(pool):
    with pytest.raises(ValueError, match="Pool is still running"):
        pool.join()


def test_every_end_may_come_twice(fork):
    pool = fork.Pool(1)
    assert pool.close() is None
    pool.close()
    assert pool.join() is None
    pool.join()
    assert pool.terminate() is None
    pool.terminate()
    pool.join()
    pool.close()


def test_a_pool_that_ended_does_not_warn(fork):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for end in ("close", "terminate"):
            pool = fork.Pool(1)
            pool.map(square, range(3))
            getattr(pool, end)()
            pool.join()
            del pool
            gc.collect()


def test_arguments_and_results_are_let_go(pool):
    import weakref

    items = [Thing() for _ in range(10)]
    seen = [weakref.ref(item) for item in items]
    assert len(pool.map(type, items)) == 10
    del items
    deadline = time.monotonic() + LIMIT
    while any(ref() is not None for ref in seen):
        assert time.monotonic() < deadline, "arguments are kept after the call"
        gc.collect()
        time.sleep(0.01)


class Thing:
    pass


# ------------------------------------------------------------------------------------------------------------ workers


def remember(word, more):
    global WORD
    WORD = word + more


def recall(_=None):
    return WORD


def test_an_initializer_sets_globals(ctx):
    with running(ctx, 2, remember, ("kept", "!")) as pool:
        assert set(pool.map(recall, range(20), 1)) == {"kept!"}
    with running(ctx, processes=1, initializer=remember, initargs=["a", "b"], maxtasksperchild=1) as pool:
        assert {pool.apply(recall) for _ in range(3)} == {"ab"}


def test_workers_are_replaced_after_so_many_tasks(ctx):
    with running(ctx, 1, maxtasksperchild=3) as pool:
        pids = [pool.apply(pid) for _ in range(9)]
        assert len(set(pids)) == 3
        assert [pids.count(p) for p in dict.fromkeys(pids)] == [3, 3, 3]


def test_workers_that_are_replaced_lose_nothing(fork):
    with running(fork, 3, maxtasksperchild=2) as pool:
        assert pool.map(square, range(60), 1) == [n * n for n in range(60)]
        assert list(pool.imap(square, range(40))) == [n * n for n in range(40)]
        results = [pool.apply_async(square, (n,)) for n in range(40)]
        pool.close()
        pool.join()
        assert [result.get(0) for result in results] == [n * n for n in range(40)]


def describe_worker(package, _=None):
    process = importlib.import_module(package).current_process()
    return process.name, process.daemon, os.getppid()


def test_who_the_workers_are(mp, ctx):
    with running(ctx, 2) as pool:
        seen = set(pool.map(functools.partial(describe_worker, mp.__name__), range(20), 1))
        for name, daemon, _ in seen:
            assert re.fullmatch(r"\w+PoolWorker-[\d:]+", name) and daemon is True
        if ctx.get_start_method() != "forkserver":
            assert {parent for _, _, parent in seen} == {os.getpid()}
        assert len(mp.active_children()) == 2


def test_repr(mp, fork):
    pool = fork.Pool(2)
    name = mp.__name__.replace(".", r"\.")
    assert re.fullmatch(rf"<{name}\.pool\.Pool state=RUN pool_size=2>", repr(pool))
    pool.close()
    assert "state=CLOSE" in repr(pool)
    pool.terminate()
    assert "state=TERMINATE" in repr(pool)
    pool.join()


def test_the_default_number_of_workers(fork):
    with running(fork) as pool:
        count = int(re.search(r"pool_size=(\d+)", repr(pool))[1])
        assert 1 <= count <= os.cpu_count()


def test_a_pool_does_not_travel(pool):
    with pytest.raises(NotImplementedError, match="pool objects cannot be passed between processes or pickled"):
        pickle.dumps(pool)


def test_names(mp):
    names = module_of(mp)
    assert {"Pool", "ThreadPool"} <= set(names.__all__)
    assert (names.INIT, names.RUN, names.CLOSE, names.TERMINATE) == ("INIT", "RUN", "CLOSE", "TERMINATE")
    for name in ("MaybeEncodingError", "RemoteTraceback", "ExceptionWithTraceback"):
        assert isinstance(getattr(names, name), type)


def test_where_pools_come_from(mp, fork):
    for make in (mp.Pool, fork.Pool, module_of(mp).Pool):
        with make(1) as pool:
            assert isinstance(pool, module_of(mp).Pool)
            assert pool.apply(square, (2,)) == 4
        pool.join()


def test_a_pool_takes_a_context(mp, ctx):
    with module_of(mp).Pool(1, context=ctx) as pool:
        assert pool.apply(start_method, (mp.__name__,)) == ctx.get_start_method()
    pool.join()


def start_method(package):
    return importlib.import_module(package).get_start_method()


def test_a_subclass_of_pool(mp):
    class Own(module_of(mp).Pool):
        def twice(self, function, items):
            return self.map(function, self.map(function, items))

    with Own(1, context=mp.get_context("fork")) as pool:
        assert pool.twice(square, [1, 2, 3]) == [1, 16, 81]
    pool.join()


def have_a_child(package):
    context = importlib.import_module(package).get_context("fork")
    child = context.Process(target=square, args=(1,))
    child.start()
    child.join()
    return child.exitcode


def test_the_recipe_for_workers_that_may_have_children(mp, fork):
    """The recipe that has circulated for years: a context whose processes deny being daemonic."""

    class NoDaemon(fork.Process):
        @property
        def daemon(self):
            return False

        @daemon.setter
        def daemon(self, value):
            pass

    class NoDaemonContext(type(fork)):
        Process = NoDaemon

    with module_of(mp).Pool(1, context=NoDaemonContext()) as pool:
        assert pool.apply(have_a_child, (mp.__name__,)) == 0
        pool.close()
        pool.join()


def test_a_pool_in_a_child(fork, mp):
    ours, theirs = fork.Pipe()
    child = fork.Process(target=use_a_pool_and_tell, args=(theirs, mp.__name__))
    child.start()
    assert ours.poll(LIMIT) and ours.recv() == [0, 1, 4]
    child.join(LIMIT)
    assert child.exitcode == 0
    for thing in (child, ours, theirs):
        thing.close()


def use_a_pool_and_tell(connection, package):
    with running(importlib.import_module(package).get_context("fork"), 2) as pool:
        connection.send(pool.map(square, range(3)))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_program(mp, method, tmp_path):
    """Functions of the program itself, a guard at its end, and a global variable that an initializer sets."""
    program = tmp_path / "program.py"
    program.write_text(f"""
import {mp.__name__} as mp

def start(word):
    global WORD
    WORD = word

def shout(n):
    return WORD * n

if __name__ == "__main__":
    mp.set_start_method({method!r})
    with mp.Pool(2, start, ("ho",)) as pool:
        print(pool.map(shout, range(3)), list(pool.imap(shout, [1, 2])))
        pool.close()
        pool.join()
""")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=LIMIT)
    assert (done.stdout, done.stderr, done.returncode) == ("['', 'ho', 'hoho'] ['ho', 'hoho']\n", "", 0)
