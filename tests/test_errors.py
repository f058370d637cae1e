"""The pool's errors: their classes, their texts, and that pickling preserves them."""

import asyncio
import concurrent.futures
import copy
import multiprocessing
import multiprocessing.pool
import pickle
import signal
import traceback

import pytest

import kettle
import kettle.multiprocessing as mp
from kettle import KettleError, RemoteError, TaskCancelled, TaskTimeout, WorkerDied

TRACE = 'Fatal Python error: Segmentation fault\n\nCurrent thread (most recent call first):\n  File "x.py", line 1\n'


def samples():
    crashed = WorkerDied(pid=4711, exitcode=-11, task="fetch('a')", oom=False, trace=TRACE)
    crashed.add_note("noted")
    return [
        WorkerDied(pid=4711),
        crashed,
        TaskTimeout(task="fetch('a')", timeout=2.5),
        TaskCancelled(task="fetch('a')"),
        RemoteError(type_name="site.Missing", text="no page", traceback="Traceback ...\nsite.Missing: no page\n"),
    ]


def same(one, two):
    return type(one) is type(two) and vars(one) == vars(two) and one.args == two.args and str(one) == str(two)


@pytest.mark.parametrize("error", samples(), ids=lambda e: type(e).__name__)
def test_they_travel_whole(error):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert same(pickle.loads(pickle.dumps(error, protocol)), error)
    assert same(copy.copy(error), error)
    assert same(copy.deepcopy(error), error)
    once = pickle.loads(pickle.dumps(error))
    assert same(pickle.loads(pickle.dumps(once)), error)


def test_a_copy_is_independent():
    error = WorkerDied(pid=1, exitcode=-11, trace=TRACE)
    clone = copy.deepcopy(error)
    clone.add_note("of the clone")
    assert len(error.__notes__) == 1


class OnlyHere(WorkerDied):
    """A subclass with a different constructor."""

    def __init__(self, page):
        super().__init__(pid=1, exitcode=3)
        self.page = page


def test_subclasses_travel_whatever_their_constructor():
    error = OnlyHere("a")
    assert same(pickle.loads(pickle.dumps(error)), error)
    assert same(copy.copy(error), error)


def put_samples(queue):
    queue.put_many(samples())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_they_travel_between_processes(method):
    ctx = mp.get_context(method)
    queue = ctx.Queue()
    child = ctx.Process(target=put_samples, args=(queue,))
    child.start()
    for expected in samples():
        assert same(queue.get(timeout=30), expected)
    child.join()


def fail(n):
    raise samples()[n]


def test_they_travel_through_a_pool():
    with mp.get_context("fork").Pool(1) as pool:
        for n, expected in enumerate(samples()):
            with pytest.raises(type(expected)) as caught:
                pool.apply(fail, (n,))
            expected.add_note(f"in fail({n})")
            assert same(caught.value, expected)
        pool.close()
        pool.join()


def test_what_catches_them():
    for error in samples():
        assert isinstance(error, KettleError)
        assert isinstance(error, Exception)
    timeout, cancelled = samples()[2:4]
    assert isinstance(timeout, TimeoutError)
    assert isinstance(timeout, multiprocessing.TimeoutError)
    assert isinstance(timeout, concurrent.futures.TimeoutError)
    assert isinstance(timeout, asyncio.TimeoutError)
    assert isinstance(cancelled, concurrent.futures.CancelledError)
    # That error would end the awaiting task instead of being raised in it.
    assert not isinstance(cancelled, asyncio.CancelledError)
    assert timeout.errno is None


def test_fields_are_given_by_name():
    for cls in (WorkerDied, TaskTimeout, TaskCancelled, RemoteError):
        with pytest.raises(TypeError):
            cls("text")
        assert getattr(kettle, cls.__name__) is cls
        assert cls.__module__ == "kettle"


def died(**fields):
    return str(WorkerDied(pid=4711, **fields))


def test_how_a_worker_died():
    assert died() == "worker 4711 died"
    assert died(exitcode=3) == "worker 4711 exited with code 3"
    assert died(exitcode=-11).startswith("worker 4711 crashed with SIGSEGV")
    assert died(exitcode=-15).startswith("worker 4711 was killed by SIGTERM")
    assert "signal 35" in died(exitcode=-35)
    assert WorkerDied(pid=1, exitcode=-9).signal == signal.SIGKILL
    assert WorkerDied(pid=1, signal=9).signal == signal.SIGKILL
    assert WorkerDied(pid=1, exitcode=1).signal is None


def test_what_a_worker_was_doing():
    assert died(exitcode=1, task="fetch('a')") == (
        "worker 4711 exited with code 1 while it ran fetch('a'); use retries= to run such tasks again"
    )


def test_whether_memory_ran_out():
    assert "perhaps by the kernel: out of memory" in died(exitcode=-9)
    assert "was killed by the kernel" in died(exitcode=-9, oom=True)
    assert "max_memory_per_worker" in died(exitcode=-9, oom=True)
    assert "memory" not in died(exitcode=-9, oom=False)
    assert "memory" not in died(exitcode=-15)
    assert "max_memory_per_worker" in died(exitcode=-9, reason="memory")


def test_a_worker_that_never_starts():
    text = died(exitcode=1, reason="start")
    assert "exited with code 1 before it was ready" in text
    assert "initializer" in text


def test_the_stacks_of_a_crash_are_printed():
    error = WorkerDied(pid=4711, exitcode=-11, trace=TRACE)
    assert "x.py" not in str(error)
    assert TRACE.rstrip() in "".join(traceback.format_exception(error))


def test_the_traceback_in_the_worker_is_printed():
    error = RemoteError(type_name="SystemExit", text="3", traceback="Traceback ...\nSystemExit: 3\n")
    assert str(error) == "SystemExit: 3"
    assert str(RemoteError(type_name="KeyboardInterrupt")) == "KeyboardInterrupt"
    assert "Traceback ...\nSystemExit: 3" in "".join(traceback.format_exception(error))


def test_the_other_errors():
    timeout, cancelled = samples()[2:4]
    assert "2.5 s" in str(timeout)
    assert "fetch('a')" in str(timeout)
    assert timeout.timeout == 2.5
    assert str(cancelled) == "fetch('a') was cancelled"
    assert cancelled.task == timeout.task == "fetch('a')"
