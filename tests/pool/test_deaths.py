"""A worker's death loses the task that it was running, and nothing else."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import signal
from collections import Counter

import pytest

import kettle
import kettle.multiprocessing as mp

from .support import LIMIT, Diary, die, note, pass_gate, pid, running, runs, square, until

WAYS = {
    "kill": {"signal": signal.SIGKILL, "exitcode": -signal.SIGKILL},
    "term": {"signal": signal.SIGTERM, "exitcode": -signal.SIGTERM},
    "crash": {"signal": signal.SIGSEGV, "exitcode": -signal.SIGSEGV},
    "exit": {"signal": None, "exitcode": 3},
}


def work(diary, n, victim=7, how="kill"):
    """Notes n; the victim's worker dies."""
    diary.note(n)
    if n == victim:
        die(how)
    return n * n


def die_the_first_times(diary, times, n):
    """Notes n, and dies unless it has been noted that many times before."""
    diary.note(n)
    if diary.counts()[n] <= times:
        die()
    return n * n


def outcomes(iterator):
    """Returns the outcome of each item: its result, or the type of its error."""
    found = []
    while True:
        try:
            found.append(next(iterator))
        except StopIteration:
            return found
        except Exception as error:
            found.append(type(error))


EXPECTED = [n * n if n != 7 else kettle.WorkerDied for n in range(20)]


@pytest.mark.parametrize("chunksize", [1, 5, 20])
def test_in_a_chunk_exactly_one_item_is_lost(ctx, diary, chunksize):
    with running(ctx, 2) as pool:
        assert outcomes(pool.imap(functools.partial(work, diary), range(20), chunksize)) == EXPECTED
        assert diary.counts() == Counter(range(20))  # each once, including those behind the lost one


@pytest.mark.parametrize("chunksize", [None, 1, 5, 20])
def test_in_a_map_everything_else_is_done(fork, diary, chunksize):
    with running(fork, 2) as pool:
        with pytest.raises(kettle.WorkerDied):
            pool.map(functools.partial(work, diary), range(20), chunksize)
        assert diary.counts() == Counter(range(20))
        assert pool.map(square, range(100), chunksize) == [n * n for n in range(100)]


def test_in_an_unordered_imap(fork, diary):
    with running(fork, 2) as pool:
        found = outcomes(pool.imap_unordered(functools.partial(work, diary), range(20), 4))
        assert Counter(found) == Counter(EXPECTED)


def test_with_one_worker(ctx, diary):
    with running(ctx, 1) as pool:
        assert outcomes(pool.imap(functools.partial(work, diary), range(20), 6)) == EXPECTED
        assert pool.apply(square, (5,)) == 25


def test_many_deaths_in_one_chunk(fork, diary):
    with running(fork, 2) as pool:
        doomed = {3, 4, 9, 17}
        found = outcomes(pool.imap(functools.partial(die_if, diary, doomed), range(20), 20))
        assert found == [kettle.WorkerDied if n in doomed else n for n in range(20)]
        assert diary.counts() == Counter(range(20))


def die_if(diary, doomed, n):
    diary.note(n)
    if n in doomed:
        die()
    return n


@pytest.mark.parametrize("how", WAYS)
def test_what_is_said_of_a_death(fork, diary, how):
    with running(fork, 2) as pool:
        with pytest.raises(kettle.WorkerDied) as caught:
            pool.apply(tell_pid_and_die, (diary, how))
        error = caught.value
    assert error.pid == diary.numbers()[0]
    assert {"signal": error.signal, "exitcode": error.exitcode} == WAYS[how]
    assert error.reason == "died"
    assert "tell_pid_and_die" in error.task and how in error.task
    assert str(error.pid) in str(error) and "tell_pid_and_die" in str(error)
    assert error.oom is None or error.oom is False
    if how == "crash":
        assert "Segmentation fault" in error.trace and "tell_pid_and_die" in error.trace
        assert any("tell_pid_and_die" in text for text in error.__notes__)
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))


def tell_pid_and_die(diary, how):
    diary.note(os.getpid())
    die(how)


def test_a_crash_says_where_with_every_start_method(ctx, diary):
    with running(ctx, 1) as pool:
        with pytest.raises(kettle.WorkerDied) as caught:
            pool.apply(tell_pid_and_die, (diary, "crash"))
    assert "tell_pid_and_die" in caught.value.trace


def test_tasks_that_had_not_begun_run_elsewhere(ctx, diary, gate):
    with running(ctx, 1) as pool:
        first = pool.apply_async(die_at_gate, (diary, gate))
        others = [pool.apply_async(note, (diary, n)) for n in range(10)]
        until(lambda: "at" in diary.words())
        gate.touch()
        assert [other.get(LIMIT) for other in others] == list(range(10))
        with pytest.raises(kettle.WorkerDied):
            first.get(LIMIT)
        assert Counter(diary.words()) == Counter(["at", *map(str, range(10))])


def die_at_gate(diary, gate):
    diary.note("at")
    pass_gate(gate)
    die()


def test_a_death_without_a_waiter(fork):
    """The pool looks after its workers even while no thread is in a call."""
    import threading

    said, done = [], threading.Event()
    with running(fork, 2) as pool:
        result = pool.apply_async(die, error_callback=lambda error: (said.append(error), done.set()))
        assert done.wait(LIMIT)
        assert type(said[0]) is kettle.WorkerDied
        until(result.ready)
        assert not result.successful()


def workers(pool, many=2):
    """Returns the pids of workers, one of each."""
    seen = set()
    until(lambda: len(seen.update(pool.map(pid, range(many * 8), 1)) or seen) >= many)
    return seen


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT], ids=lambda s: s.name
)
def test_a_worker_that_dies_while_idle_costs_nothing(fork, number):
    with running(fork, 2) as pool:
        for _ in range(5):
            for worker in workers(pool):
                os.kill(worker, number)
            assert pool.map(square, range(50), 1) == [n * n for n in range(50)]
            assert pool.apply(square, (7,)) == 49


def test_workers_that_die_while_they_start_cost_nothing(ctx):
    for _ in range(2):
        with running(ctx, 2) as pool:
            for child in mp.active_children():
                os.kill(child.pid, signal.SIGKILL)
            assert pool.map(square, range(20), 1) == [n * n for n in range(20)]


def test_the_pool_is_as_large_as_before(ctx):
    with running(ctx, 3) as pool:
        for _ in range(4):
            with pytest.raises(kettle.WorkerDied):
                pool.apply(die)
        until(lambda: pool.statistics().workers == 3 and len(mp.active_children()) == 3)
        assert all(runs(child.pid) for child in mp.active_children())
        assert len(workers(pool, 3)) == 3


def test_close_and_join_after_deaths(ctx, diary):
    with ctx.Pool(2) as pool:
        results = [pool.apply_async(work, (diary, n)) for n in range(20)]
        pool.close()
        pool.join()
    for n, result in enumerate(results):
        if n == 7:
            with pytest.raises(kettle.WorkerDied):
                result.get(0)
        else:
            assert result.get(0) == n * n


def test_workers_of_one_task_each_may_die_too(fork, diary):
    with running(fork, 2, maxtasksperchild=1) as pool:
        assert outcomes(pool.imap(functools.partial(work, diary), range(20))) == EXPECTED


# ------------------------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("chunksize", [1, 4])
def test_retries(ctx, diary, chunksize):
    with running(ctx, 2) as pool:
        task = functools.partial(die_the_first_times, diary, 1)
        assert pool.map(task, range(5), chunksize, retries=1) == [n * n for n in range(5)]
    assert diary.counts() == Counter(dict.fromkeys(range(5), 2))


def test_retries_come_to_an_end(fork, diary):
    with running(fork, 2) as pool:
        with pytest.raises(kettle.WorkerDied):
            pool.apply(die_the_first_times, (diary, 5, 0), retries=3)
        assert diary.counts() == {0: 4}
        assert pool.apply(die_the_first_times, (diary, 5, 0), retries=3) == 0


def test_retries_in_every_call(fork, tmp_path):
    def task(name):
        return functools.partial(die_the_first_times, Diary(tmp_path / name), 2)

    with running(fork, 2) as pool:
        expected = [n * n for n in range(3)]
        assert pool.apply(task("a"), (3,), retries=2) == 9
        assert pool.apply_async(task("b"), (3,), retries=2).get(LIMIT) == 9
        assert pool.map_async(task("c"), range(3), retries=2).get(LIMIT) == expected
        assert pool.starmap(task("d"), [(n,) for n in range(3)], retries=2) == expected
        assert pool.starmap_async(task("e"), [(n,) for n in range(3)], retries=2).get(LIMIT) == expected
        assert list(pool.imap(task("f"), range(3), retries=2)) == expected
        assert sorted(pool.imap_unordered(task("g"), range(3), retries=2)) == expected
        assert pool.statistics().retried >= 2 * (1 + 1 + 5 * 3)


@pytest.mark.parametrize("items", [range(10), list(range(10)), list("0123456789")], ids=["range", "numbers", "texts"])
def test_only_the_item_that_was_running_is_tried_again(fork, diary, items):
    with running(fork, 1) as pool:
        assert pool.map(functools.partial(work_and_die_once, diary), items, 10, retries=1) == list(range(10))
    assert diary.counts() == Counter([*range(10), 7])


def work_and_die_once(diary, item):
    n = int(item)
    diary.note(n)
    if n == 7 and diary.counts()[7] == 1:
        die()
    return n


def test_exceptions_are_not_tried_again(fork, diary):
    with running(fork, 2) as pool:
        with pytest.raises(LookupError):
            pool.apply(note_and_fail, (diary,), retries=5)
        assert diary.numbers() == [1]


def note_and_fail(diary):
    diary.note(1)
    raise LookupError


@pytest.mark.parametrize("retries, error", [(-1, ValueError), ("2", TypeError), (1.5, TypeError)])
def test_wrong_numbers_of_retries(pool, retries, error):
    with pytest.raises(error):
        pool.apply(square, (1,), retries=retries)
    with pytest.raises(error):
        pool.map(square, [1], retries=retries)
    with pytest.raises(error):
        pool.imap(square, [1], retries=retries)


def test_a_replacement_is_not_forked_in_the_middle_of_an_import(run):
    """The lock of the module that another thread is importing would be held in the child forever."""
    done = run("""
        import os, sys, threading
        import kettle.multiprocessing as mp

        class Slowly:
            begun = threading.Event()
            go_on = threading.Event()

            def find_spec(self, name, path=None, target=None):
                if name == "slow":
                    self.begun.set()
                    self.go_on.wait(0.5)
                return None

        def load():
            try:
                import slow
            except ImportError:
                return "none"

        if __name__ == "__main__":
            with mp.get_context("fork").Pool(1) as pool:
                sys.meta_path.insert(0, Slowly())
                importer = threading.Thread(target=load)
                importer.start()
                Slowly.begun.wait()
                lost = pool.apply_async(os._exit, (1,))
                print(pool.apply(load))
                importer.join()
    """)
    assert (done.stdout, done.returncode) == ("none\n", 0), done.stderr
