"""`terminate` is bounded in time, whatever the workers do; a pool may be dropped or forked."""

from __future__ import annotations

import functools
import gc
import os
import signal
import threading
import time
import warnings

import pytest

import kettle
import kettle.multiprocessing as mp

from .support import ENDLESS, LIMIT, PROMPT, note_and_never_end, pass_gate, pid, running, runs, sleep, square, until


def ended_promptly(pool):
    begun = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - begun < PROMPT


def handed_in(pool):
    """Returns how many tasks have no outcome yet."""
    now = pool.statistics()
    return now.busy + now.queued


@pytest.mark.parametrize("activity", ENDLESS)
def test_whatever_the_workers_do(fork, diary, activity):
    pool = fork.Pool(2)
    result = pool.map_async(functools.partial(note_and_never_end, activity=activity), [diary] * 10, 1)
    until(lambda: len(diary.words()) == 2)
    ended_promptly(pool)
    assert not any(runs(worker) for worker in diary.numbers())
    with pytest.raises(kettle.KettleError):
        result.get(LIMIT)  # no wait for a result that will not come lasts forever


def test_with_every_start_method(ctx, diary):
    pool = ctx.Pool(2)
    pool.map_async(functools.partial(note_and_never_end, activity="spin_in_c"), [diary] * 10, 1)
    until(diary.words)
    ended_promptly(pool)


def test_while_workers_start(ctx):
    for _ in range(3):
        pool = ctx.Pool(3)
        ended_promptly(pool)
        assert mp.active_children() == []


def test_who_waits_is_told(fork):
    pool = fork.Pool(1)
    calls = [
        lambda: pool.apply(sleep),
        lambda: pool.map(sleep, [LIMIT * 10] * 5),
        lambda: list(pool.imap(sleep, iter([LIMIT * 10] * 5))),
        lambda: pool.apply_async(sleep).get(),
    ]
    told: list[type] = []

    def tell(call):
        try:
            call()
        except Exception as error:
            told.append(type(error))

    threads = [threading.Thread(target=tell, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    until(lambda: handed_in(pool) == 1 + 5 + 5 + 1)  # all calls are submitted: a later one would be refused
    ended_promptly(pool)
    for thread in threads:
        thread.join(LIMIT)
    assert len(told) == 4 and all(issubclass(kind, kettle.KettleError) for kind in told), told


def test_from_a_callback(fork):
    for name in ("close", "terminate"):
        pool = fork.Pool(2)
        called, end = threading.Event(), getattr(pool, name)
        pool.apply_async(square, (1,), callback=lambda _, end=end, called=called: (end(), called.set()))
        assert called.wait(LIMIT)
        pool.join()


def test_a_pool_that_is_dropped_warns_and_ends(fork):
    pool = fork.Pool(2)
    assert set(pool.map(pid, range(20), 1))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del pool
        gc.collect()
    said = [str(w.message) for w in said if w.category is ResourceWarning]
    assert any("unclosed running multiprocessing pool <" in text for text in said)
    until(lambda: not mp.active_children())


def test_a_result_outlives_its_pool(fork, gate):
    """The name of the pool is gone, but its result is still referenced, so the work goes on."""
    pool = fork.Pool(1)
    result = pool.apply_async(pass_gate, (gate, "here"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del pool
        gc.collect()
        gate.touch()
        try:
            assert result.get(LIMIT) == "here"
        except kettle.KettleError:
            pass  # or its pool is gone, which is reported
        del result
        gc.collect()
    until(lambda: not mp.active_children())


# -------------------------------------------------------------------------------------------------------- after a fork


def use_the_pool_of_the_parent(connection, use):
    try:
        use()
        connection.send("no error")
    except Exception as error:
        connection.send((type(error).__name__, str(error)))


def use_a_fork_server():
    with running(mp.get_context("forkserver"), 2) as pool:
        assert pool.map(square, range(10)) == [n * n for n in range(10)]


def test_a_forked_child_has_a_fork_server_of_its_own(fork):
    use_a_fork_server()
    child = fork.Process(target=use_a_fork_server)
    child.start()
    child.join(LIMIT)
    assert child.exitcode == 0


def test_in_a_forked_child_it_is_refused(fork):
    with running(fork, 2) as pool:
        assert pool.map(square, range(10), 1) == [n * n for n in range(10)]
        for use in (
            lambda: pool.apply(square, (1,)),
            lambda: pool.map(square, range(10)),
            lambda: list(pool.imap(square, range(10))),
            lambda: pool.apply_async(square, (1,)).get(LIMIT),
        ):
            ours, theirs = fork.Pipe()
            child = fork.Process(target=use_the_pool_of_the_parent, args=(theirs, use))
            child.start()
            assert ours.poll(LIMIT), "the child hangs"
            said = ours.recv()
            child.join(LIMIT)
            assert child.exitcode == 0
            assert said != "no error" and "process" in said[1], said
            for thing in (child, ours, theirs):
                thing.close()
        # The end of those children did not end the workers of this process.
        assert pool.map(square, range(100), 1) == [n * n for n in range(100)]
        assert pool.statistics().died == 0


def test_a_fork_that_ends_the_hard_way_harms_nothing(fork):
    with running(fork, 2) as pool:
        waiting = pool.map_async(square, range(1_000), 1)
        child = os.fork()
        if not child:
            try:
                pool.terminate()  # a pool of another process
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert waiting.get(LIMIT) == [n * n for n in range(1_000)]


# -------------------------------------------------------------------------------------------------------------- nested


def nested(method, n):
    with running(mp.get_context(method), 2) as pool:
        return sum(pool.map(square, range(n), 1))


@pytest.mark.parametrize("inner", ["fork", "spawn"])
def test_nested_pools(ctx, inner):
    with running(ctx, 2) as pool:
        assert pool.map(functools.partial(nested, inner), range(6), 1) == [
            sum(m * m for m in range(n)) for n in range(6)
        ]


def nest_and_stay(diary):
    with running(mp.get_context("fork"), 2) as pool:
        pool.map(functools.partial(note_and_never_end, activity="spin_in_c"), [diary] * 2, 1)


def nested_and_busy(pool, diary, patience):
    """A task with its own pool, whose workers are busy; None if its time was over before they were."""
    before = len(diary.words())
    result = pool.apply_async(nest_and_stay, (diary,), task_timeout=patience)
    until(lambda: len(diary.words()) >= before + 2 or result.ready())
    return result if len(diary.words()) >= before + 2 else None


@pytest.mark.parametrize("end", ["terminate", "time-out", "cancel", "kill"])
def test_the_inner_pool_ends_with_the_outer_task(fork, diary, end):
    with running(fork, 1) as pool:
        outer, result = pool.apply(pid), None
        for patience in (1, 5, 15) if end == "time-out" else (None,):  # a busy machine takes longer
            result = result or nested_and_busy(pool, diary, patience)
        if end == "terminate":
            pool.terminate()
        elif end == "cancel":
            result.cancel()
        elif end == "kill":
            os.kill(outer, signal.SIGKILL)
        with pytest.raises(kettle.KettleError):
            result.get(LIMIT)
        until(lambda: not any(runs(inner) for inner in diary.numbers()))
