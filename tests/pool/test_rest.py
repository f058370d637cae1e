"""Progress, statistics, arrays, names, callbacks that use the pool, and the number of workers."""

from __future__ import annotations

import functools
import gc
import os
import pty
import select
import subprocess
import sys
import threading
from collections import Counter

import pytest

import kettle
import kettle.multiprocessing as mp
from kettle import _native

from .support import LIMIT, die, fail, note_and_pass_gate, running, sleep, square, until

# -------------------------------------------------------------------------------------------------------------- numbers


def test_statistics(fork, diary, gate):
    with running(fork, 2) as pool:
        assert set(pool.statistics()._fields) >= {
            *("workers", "busy", "queued", "done", "failed", "died", "retried", "timed_out", "cancelled"),
        }
        pool.map(square, range(10))
        for task, options in ((fail, {}), (die, {}), (sleep, {"task_timeout": 0.05}), (die, {"retries": 2})):
            with pytest.raises((LookupError, kettle.KettleError)):
                pool.apply(task, (LIMIT,) if task is not die else (), **options)
        waiting = [pool.apply_async(note_and_pass_gate, (diary, n, gate)) for n in range(5)]
        until(lambda: len(diary.words()) == 2)
        waiting[4].cancel()
        now = pool.statistics()
        assert (now.workers, now.busy, now.queued) == (2, 2, 2)
        gate.touch()
        assert [result.get(LIMIT) for result in waiting[:4]] == [0, 1, 2, 3]
        now = pool.statistics()
        assert (now.busy, now.queued) == (0, 0)
        assert now.failed >= 1
        assert {k: getattr(now, k) for k in ("died", "retried", "timed_out", "cancelled", "workers_lost")} == {
            "died": 4, "retried": 2, "timed_out": 1, "cancelled": 1, "workers_lost": 4,
        }  # fmt: skip
        assert now.done >= 14


def test_as_many_workers_as_can_run(fork):
    from kettle._cpus import usable_cpus

    with running(fork) as pool:
        assert pool.statistics().workers == usable_cpus()


def test_a_name(fork):
    with running(fork, 1, name="crunch") as pool:
        assert pool.name == "crunch"
        assert pool.apply(own_name).startswith("crunch-")


def own_name():
    return mp.current_process().name


# ------------------------------------------------------------------------------------------------------------- progress

PROGRAM = """
import sys, time
import kettle.multiprocessing as mp
def work(n):
    time.sleep(0.01)
    return n
if __name__ == "__main__":
    with mp.get_context("fork").Pool(2) as pool:
        assert pool.map(work, range(50), 1, progress="crunching") == list(range(50))
        assert pool.starmap(work, [(n,) for n in range(5)], progress=True) == list(range(5))
        assert list(pool.imap(work, range(50), progress="streaming")) == list(range(50))
        assert len(list(pool.imap_unordered(work, iter(range(50)), progress=True))) == 50
    pool.join()
    print("done")
"""


def test_progress_in_a_pipe_is_a_line_now_and_then(run):
    done = run(PROGRAM)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
    assert "\r" not in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 12


def test_progress_in_a_terminal(tmp_path):
    pytest.importorskip("tqdm")
    (tmp_path / "program.py").write_text(PROGRAM)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        said = b""
        while select.select([ours], [], [], LIMIT)[0]:
            try:
                said += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        assert process.stdout.read() == b"done\n" and process.wait(LIMIT) == 0
    os.close(ours)
    text = said.decode()
    assert "crunching" in text and "streaming" in text and "50/50" in text and "Traceback" not in text


def test_progress_does_not_change_errors(pool, capfd):
    with pytest.raises(LookupError):
        pool.map(fail, range(3), progress=True)
    it = pool.imap((1).__truediv__, [1, 0, 2], progress="halves")
    assert next(it) == 1
    with pytest.raises(ZeroDivisionError):
        next(it)
    assert list(it) == [0.5]


# --------------------------------------------------------------------------------------------------------------- arrays


def test_arrays(ctx):
    np = pytest.importorskip("numpy")
    arrays = [np.arange(n, dtype=np.float64) for n in (0, 1, 5_000, 100_000, 1_000_000)]
    with running(ctx, 2) as pool:
        for results in (pool.map(np.negative, arrays, 1), list(pool.imap(np.negative, arrays, 2))):
            for array, result in zip(arrays, results, strict=True):
                assert np.array_equal(result, -array) and result.dtype == array.dtype and result.flags.writeable
                result += 1


def test_the_memory_of_arrays_comes_back(fork):
    np = pytest.importorskip("numpy")

    def used():
        gc.collect()
        _native.reclaim()
        return _native.arena_statistics()["allocated_bytes"]

    with running(fork, 2) as pool:
        pool.map(square, range(100), 1)
        before = used()
        for _ in range(10):
            results = pool.map(np.negative, [np.ones(1 << 18)] * 4, 1)
            kept = results[0][:5]
            del results
        del kept  # otherwise a worker that is forked from now on has it as well
        with pytest.raises(kettle.WorkerDied):
            pool.apply(die_with, (np.ones(1 << 18),))
        until(lambda: used() < before + (1 << 20))


def die_with(array):
    die()


def test_large_results(fork):
    with running(fork, 2) as pool:
        results = pool.map(bytes, [50_000_000, 3, 50_000_000], 1)
        assert [len(result) for result in results] == [50_000_000, 3, 50_000_000]
        assert pool.apply(len, (results[0],)) == 50_000_000


# ----------------------------------------------------------------------------------------------- callbacks, and threads


def test_callbacks_may_use_the_pool(pool):
    """Including calls that wait, because the callback thread does not block anything."""
    found, done = [], threading.Event()

    def again(value):
        found.append(pool.map(square, range(value)))
        found.append(pool.apply(square, (value,)))
        found.append(list(pool.imap(square, range(value))))
        done.set()

    pool.apply_async(square, (2,), callback=again)
    assert done.wait(LIMIT)
    assert found == [[0, 1, 4, 9], 16, [0, 1, 4, 9]]


def test_calls_that_wait_while_callbacks_are_slow(pool):
    opened = threading.Event()
    slow = pool.apply_async(square, (2,), callback=lambda _: opened.wait(LIMIT))
    assert pool.apply_async(square, (3,)).get(LIMIT) == 9
    assert pool.map(square, range(10), 1) == [n * n for n in range(10)]
    opened.set()
    assert slow.get(LIMIT) == 4


def mixed(n):
    if n % 50 == 13:
        die()
    if n % 10 == 3:
        raise LookupError(n)
    return n


def test_many_threads_and_deaths(fork):
    """Each call of each thread has its own outcome."""
    with running(fork, 3) as pool:
        every, wrong = [], []

        def use():
            # Each thread counts separately, because `+= 1` is more than one step.
            outcomes = Counter()
            every.append(outcomes)
            for n in range(100):
                try:
                    if pool.apply(mixed, (n,)) != n:
                        wrong.append(n)
                    outcomes["results"] += 1
                except LookupError as error:
                    if error.args != (n,):
                        wrong.append(n)
                    outcomes["errors"] += 1
                except kettle.WorkerDied:
                    outcomes["deaths"] += 1

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
        assert not wrong
        assert sum(every, Counter()) == {"results": 8 * 90, "errors": 8 * 8, "deaths": 8 * 2}
        until(lambda: pool.statistics().workers == 3)


def test_no_thread_and_no_descriptor_for_each_call(fork, diary, gate):
    with running(fork, 2) as pool:
        pool.map(square, range(10))
        waiting = [pool.apply_async(note_and_pass_gate, (diary, n, gate)) for n in range(300)]
        until(diary.words)
        assert len(os.listdir("/proc/self/task")) <= 6
        assert len(os.listdir("/proc/self/fd")) <= 200
        gate.touch()
        assert [result.get(LIMIT) for result in waiting] == list(range(300))


def test_two_pools_at_once(fork):
    with running(fork, 2) as first, running(fork, 2) as second:
        one, other = first.imap(square, range(100)), second.imap(square, range(100))
        assert [a + b for a, b in zip(one, other, strict=True)] == [2 * n * n for n in range(100)]


def use_event(event, n):
    return event.wait(LIMIT) and n


def test_primitives_may_be_arguments(ctx):
    """What must be inherited in the standard library can be sent here."""
    event, queue = ctx.Event(), ctx.Queue()
    with running(ctx, 2) as pool:
        result = pool.map_async(functools.partial(use_event, event), range(4))
        event.set()
        assert result.get(LIMIT) == list(range(4))
        pool.apply(queue.put, ("through the queue",))
        assert queue.get(timeout=LIMIT) == "through the queue"
