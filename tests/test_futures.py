"""`kettle.futures.ProcessPoolExecutor`: the standard library's guarantees, and the additional ones."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import functools
import gc
import itertools
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import kettle
import kettle.multiprocessing as mp
from kettle.futures import (
    BrokenProcessPool,
    CancelledError,
    PoolFuture,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)

LIMIT = 30


def square(n):
    return n * n


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_of_seven(n):
    if n == 7:
        die()
    return n


def fail(n):
    raise LookupError(n)


def leave():
    sys.exit(3)


def stop(n):
    raise StopIteration(n)


def meet(barrier, n):
    barrier.wait(LIMIT)
    return n


def hold(started, go):
    started.release()
    assert go.acquire(timeout=LIMIT)
    return "held"


def die_once(permits):
    if permits.acquire(block=False):
        die()
    return "the second time"


def refuse():
    raise ValueError("no good")


class Unsendable:
    def __reduce__(self):
        raise LookupError("cannot be sent")


def unsendable():
    return Unsendable()


@pytest.fixture
def executor():
    with ProcessPoolExecutor(2, mp.get_context("fork")) as executor:
        yield executor


@pytest.fixture
def held(executor):
    """Both workers are busy until `go` is released."""
    started, go = mp.Semaphore(0), mp.Semaphore(0)
    held = [executor.submit(hold, started, go) for _ in range(2)]
    for _ in held:
        assert started.acquire(timeout=LIMIT)
    yield held
    for _ in range(9):
        go.release()


# ---------------------------------------------------------------- what it is


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_fraction_of_processes_counts_as_one(method):
    with ProcessPoolExecutor(0.5, mp.get_context(method)) as executor:
        assert executor.submit(abs, -1).result(LIMIT) == 1
        assert executor.statistics().workers == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_is_an_executor(method):
    with ProcessPoolExecutor(2, mp.get_context(method)) as executor:
        assert isinstance(executor, concurrent.futures.ProcessPoolExecutor)
        future = executor.submit(pow, 2, exp=5)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(LIMIT) == 32
        assert future.exception() is None and future.done() and not future.running() and not future.cancelled()
        assert list(executor.map(square, range(50), timeout=LIMIT)) == [n * n for n in range(50)]
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        executor.submit(square, 1)


def test_a_foreign_context_gives_the_start_method():
    import multiprocessing

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        assert executor._mp_context is mp.get_context("spawn")
        assert executor.submit(square, 3).result(LIMIT) == 9


def test_nothing_is_started_before_it_is_needed():
    threads = set(threading.enumerate())
    ProcessPoolExecutor(2, mp.get_context("fork")).shutdown()
    with ProcessPoolExecutor(3, mp.get_context("forkserver")) as executor:
        assert not executor._processes and set(threading.enumerate()) <= threads
        for n in range(3):
            assert executor.submit(square, n).result(LIMIT) == n * n
        assert len(executor._processes) == 1


# ---------------------------------------------------------------- errors


def test_one_death_fails_one_future(executor):
    futures = [executor.submit(die_of_seven, n) for n in range(20)]
    with pytest.raises(kettle.WorkerDied) as caught:
        futures[7].result(LIMIT)
    assert caught.value.signal == signal.SIGKILL and "die_of_seven(7)" in caught.value.task
    assert isinstance(caught.value, BrokenProcessPool)
    assert [future.result(LIMIT) for n, future in enumerate(futures) if n != 7] == [n for n in range(20) if n != 7]
    assert executor.submit(square, 5).result(LIMIT) == 25
    assert not executor._broken


def test_a_death_in_a_map_comes_in_its_place(executor):
    results = executor.map(die_of_seven, range(20), chunksize=5)
    assert list(itertools.islice(results, 7)) == list(range(7))
    with pytest.raises(kettle.WorkerDied):
        next(results)
    assert list(results) == []


def test_errors_have_the_workers_traceback(executor):
    error = executor.submit(fail, 5).exception(LIMIT)
    assert type(error) is LookupError and error.args == (5,)
    assert "raise LookupError(n)" in str(error.__cause__)
    with pytest.raises(SystemExit):
        executor.submit(leave).result(LIMIT)
    with pytest.raises(LookupError, match="cannot be sent") as caught:
        executor.submit(unsendable).result(LIMIT)
    assert any("pickled" in note for note in caught.value.__notes__)
    with pytest.raises(LookupError, match="cannot be sent"):
        executor.submit(square, Unsendable()).result(LIMIT)
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(executor.map(stop, range(3)))


def test_a_failing_initializer_breaks_it():
    with ProcessPoolExecutor(2, mp.get_context("fork"), refuse) as executor:
        with pytest.raises(BrokenProcessPool) as caught:
            executor.submit(square, 1).result(LIMIT)
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(BrokenProcessPool):
            executor.submit(square, 1)
        assert executor._broken


def test_options(executor):
    begun = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        executor.options(task_timeout=0.2).submit(time.sleep, LIMIT).result()
    assert isinstance(caught.value, kettle.TaskTimeout) and time.monotonic() - begun < LIMIT
    assert executor.options(retries=1).submit(die_once, mp.Semaphore(1)).result(LIMIT) == "the second time"
    assert list(executor.options(retries=1).map(square, [1, 2])) == [1, 4]
    with pytest.raises(ValueError, match="retries"):
        executor.options(retries=-1)


# ---------------------------------------------------------------- cancelling


def test_what_has_not_begun_can_be_cancelled(executor, held):
    waiting = [executor.submit(square, n) for n in range(5)]
    called = threading.Event()
    waiting[3].add_done_callback(lambda _: called.set())
    assert [future.cancel() for future in waiting] == [True] * 5
    assert all(future.cancelled() and future.done() and not future.running() for future in waiting)
    with pytest.raises(CancelledError):
        waiting[0].result()
    with pytest.raises(CancelledError):
        waiting[0].exception()
    assert called.wait(LIMIT)
    assert [future.cancel() for future in held] == [False, False]
    assert all(future.running() for future in held)


def test_what_runs_can_be_killed(executor, held):
    assert held[0].kill() and held[0].cancelled()
    with pytest.raises(CancelledError):
        held[0].result()
    assert executor.submit(square, 4).result(LIMIT) == 16
    assert held[0].kill()
    done = executor.submit(square, 3)
    assert done.result(LIMIT) == 9 and not done.kill() and not done.cancelled()


def test_shutdown_cancels_futures(executor, held):
    waiting = [executor.submit(square, n) for n in range(20)]
    results = executor.map(square, range(100))
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert not any(future.done() for future in held)
    with pytest.raises(CancelledError):
        list(results)


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_ending_the_workers(executor, held, end):
    waiting = executor.submit(square, 1)
    processes = list(executor._processes.values())
    getattr(executor, end)()
    assert waiting.cancelled() and all(future.cancelled() for future in held)
    assert all(not process.is_alive() for process in processes)
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        executor.submit(square, 1)


# ---------------------------------------------------------------- waiting


def test_wait_and_as_completed(executor, held):
    futures = [executor.submit(square, n) for n in range(3)]
    done, not_done = wait([*futures, *held], timeout=0)
    assert done == set() and not_done == {*futures, *held}
    assert held[0].kill()
    assert {future.result() for future in as_completed(futures, LIMIT)} == {0, 1, 4}
    assert wait(futures, 0).done == set(futures)
    assert wait([*futures, held[1]], LIMIT, concurrent.futures.FIRST_COMPLETED).done == set(futures)
    with pytest.raises(TimeoutError):
        held[1].result(0.01)
    with pytest.raises(TimeoutError):
        held[1].exception(0.01)


def test_a_future_that_is_watched_late_is_counted_once(executor):
    """A future that is over when wait() first looks at it must not count as one that is waited for."""
    first, second = executor.submit(square, 1), executor.submit(time.sleep, 0.2)
    assert first.result(LIMIT) == 1
    assert wait([first, second], LIMIT).not_done == set()
    assert second.done()


def test_many_threads_wait_for_the_same(executor):
    futures = [executor.submit(square, n) for n in range(200)]
    sums = []
    threads = [
        threading.Thread(target=lambda: sums.append(sum(future.result(LIMIT) for future in futures))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert wait(futures, LIMIT).not_done == set()
    for thread in threads:
        thread.join(LIMIT)
    assert sums == [sum(n * n for n in range(200))] * 4


def test_callbacks_run_in_a_thread_of_their_own(executor, caplog):
    """A thread that waits for a task works for the others in the meantime and may hold any lock, so it must not run
    callbacks."""
    called = []
    future = executor.submit(square, 6)

    def complain(future):
        called.append("complain")
        raise LookupError("in a callback")

    future.add_done_callback(complain)
    future.add_done_callback(
        lambda f: called.append((f.result(), threading.current_thread() is threading.main_thread()))
    )
    # Callbacks may submit, and wait for another task.
    future.add_done_callback(lambda f: called.append(executor.submit(square, 7).result(LIMIT)))
    assert future.result(LIMIT) == 36
    executor.shutdown()
    assert called in (["complain", (36, False), 49], ["complain", (36, False)])
    assert "exception calling callback" in caplog.text
    future.add_done_callback(lambda f: called.append(threading.current_thread()))
    assert called[-1] is threading.current_thread()


KINDS = {
    "processes": lambda: ProcessPoolExecutor(1, mp.get_context("fork")),
    "threads": lambda: ThreadPoolExecutor(1),
    "standard": lambda: concurrent.futures.thread.ThreadPoolExecutor(1),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("end", ["cancel", "shutdown"])
def test_callbacks_of_a_cancelled_future_have_run_when_cancel_returns(make, end, caplog):
    called, started, go = [], mp.Semaphore(0), mp.Semaphore(0)

    def note(what, future):
        called.append((what, future is futures[what[0]], future.cancelled(), threading.current_thread()))

    def complain(future):
        raise LookupError("in a callback")

    with make() as executor:
        block = executor.submit(hold, started, go)
        assert started.acquire(timeout=LIMIT)
        # More than is sent ahead to a worker process.
        futures = [executor.submit(square, number) for number in range(20)]
        for number, future in enumerate(futures):
            future.add_done_callback(functools.partial(note, (number, "first")))
            future.add_done_callback(complain)
            future.add_done_callback(functools.partial(note, (number, "last")))
        if end == "cancel":
            for number, future in enumerate(futures):
                assert future.cancel() and len(called) == 2 * (number + 1)
                assert future.cancel() and len(called) == 2 * (number + 1)
        else:
            executor.shutdown(wait=False, cancel_futures=True)
        here = threading.current_thread()
        whats = [(number, word) for number in range(20) for word in ("first", "last")]
        assert called == [(what, True, True, here) for what in whats]
        records = [r for r in caplog.records if r.getMessage().startswith("exception calling callback for <")]
        assert [(r.name, r.exc_info[0]) for r in records] == [("concurrent.futures", LookupError)] * 20
        go.release()
        assert block.result(LIMIT) == "held"


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_a_callback_of_a_cancelled_future_may_do(make):
    results, started, go = [], mp.Semaphore(0), mp.Semaphore(0)
    with make() as executor:
        block = executor.submit(hold, started, go)
        assert started.acquire(timeout=LIMIT)
        futures = [executor.submit(square, number) for number in range(20)]

        def let_go(future):
            go.release()
            results.append(executor.submit(square, 5).result(LIMIT))
            results.append(futures[-2].cancel())

        def leave(future):
            raise KeyboardInterrupt

        futures[-1].add_done_callback(let_go)
        futures[-1].add_done_callback(leave)
        with pytest.raises(KeyboardInterrupt):
            futures[-1].cancel()
        assert futures[-1].cancelled() and results[0] == 25 and block.result(LIMIT) == "held"
        assert [future.result(LIMIT) for future in futures[:-2]] == [number**2 for number in range(18)]


def test_a_place_that_a_callback_gives_back_can_be_taken_at_once():
    """A program that limits the number of submitted tasks."""
    places, started, go = threading.BoundedSemaphore(2), mp.Semaphore(0), mp.Semaphore(0)
    with ThreadPoolExecutor(1) as executor:

        def submit(*task):
            assert places.acquire(blocking=False)
            future = executor.submit(*task)
            future.add_done_callback(lambda _: places.release())
            return future

        submit(hold, started, go)
        assert started.acquire(timeout=LIMIT)
        for _ in range(100):
            assert submit(abs, -1).cancel()
        go.release()


def test_what_runs_is_ended_before_callbacks_are_called():
    ended, started, go = [], mp.Semaphore(0), mp.Semaphore(0)
    with ProcessPoolExecutor(1, mp.get_context("fork")) as executor:
        pid = executor.submit(os.getpid).result(LIMIT)
        future = executor.submit(hold, started, go)
        assert started.acquire(timeout=LIMIT)
        future.add_done_callback(
            lambda _: ended.append((executor.submit(os.getpid).result(LIMIT), threading.get_ident()))
        )
        assert future.kill()
        assert ended[0][0] != pid and ended[0][1] == threading.get_ident()


@pytest.mark.parametrize("end", ["executor.shutdown()", "executor.shutdown(wait=False)", "del executor", "pass"])
@pytest.mark.parametrize("daemon", [False, True])
def test_what_a_callback_starts_is_waited_for_unless_a_daemon_submitted_the_task(tmp_path, daemon, end):
    path = tmp_path / "program.py"
    program = f"""
        import threading
        from kettle.futures import ProcessPoolExecutor
        from kettle.multiprocessing import get_context

        def work():
            release.wait()
            print("worked")

        def call_back(future):
            if future.exception() is None:
                threading.Thread(target=work).start()
            called.set()

        def service():
            global executor
            executor = ProcessPoolExecutor(1, get_context("spawn"))
            executor.submit(abs, -1).add_done_callback(call_back)
            called.wait()

        if __name__ == "__main__":
            release, called = threading.Event(), threading.Event()
            thread = threading.Thread(target=service, daemon={daemon})
            thread.start()
            thread.join()
            {end}
            if not {daemon}:
                release.set()
    """
    path.write_text(textwrap.dedent(program))
    ended = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=LIMIT)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("" if daemon else "worked\n", "", 0)


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_each_callback_is_called_once_whenever_it_is_added(kind):
    """Two threads add callbacks, and a third cancels tasks, while they are running."""
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    called = collections.Counter()
    trouble = []

    def note(word, future):
        called[word] += 1
        if not future.done():
            trouble.append(word)

    def add(futures, who):
        for n, future in enumerate(futures):
            future.add_done_callback(functools.partial(note, (who, n)))

    def take_back(futures):
        for n, future in enumerate(futures):
            if dice.random() < 0.2 and future.cancel() and not future.cancelled():
                trouble.append(("taken back", n))

    with kind(2) as executor:
        futures = [executor.submit(square, n) for n in range(1000)]
        threads = [threading.Thread(target=add, args=(futures, who)) for who in "ab"]
        threads += [threading.Thread(target=take_back, args=(futures,))]
        threads += [threading.Thread(target=wait, args=(futures, LIMIT))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
    # Callbacks that were added after their future was over are called by the thread that adds them.
    assert not trouble and called == {(who, n): 1 for who in "ab" for n in range(1000)}


def test_asyncio(executor):
    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, square, 3) == 9
        assert await asyncio.gather(*(loop.run_in_executor(executor, square, n) for n in range(50)))
        with pytest.raises(LookupError):
            await loop.run_in_executor(executor, fail, 3)
        with pytest.raises(kettle.TaskTimeout):
            await loop.run_in_executor(executor.options(task_timeout=0.1), time.sleep, LIMIT)
        assert await asyncio.wrap_future(executor.submit(square, 4)) == 16

    asyncio.run(main())


def test_only_the_executor_sets_results(executor):
    future = executor.submit(square, 2)
    for call in (lambda: future.set_result(1), lambda: future.set_exception(None), future.set_running_or_notify_cancel):
        with pytest.raises(concurrent.futures.InvalidStateError):
            call()
    assert future.result(LIMIT) == 4
    assert repr(future).endswith("state=finished returned int>")
    assert isinstance(future, PoolFuture)


# ---------------------------------------------------------------- map


def test_map(executor):
    assert list(executor.map(pow, range(5), [2] * 4)) == [0, 1, 4, 9]
    assert list(executor.map(pow, [], [])) == []
    assert list(executor.map(square, iter(range(1000)), chunksize=7)) == [n * n for n in range(1000)]
    for options in ({"chunksize": 0}, {"buffersize": 0}):
        with pytest.raises(ValueError):
            executor.map(square, [], **options)
    with pytest.raises(TypeError):
        executor.map(square, [], buffersize="2")
    with pytest.raises(TimeoutError):
        list(executor.map(time.sleep, [0, 1], timeout=0.2))

    def broken():
        yield 1
        raise LookupError

    with pytest.raises(LookupError):
        executor.map(square, broken())


@pytest.mark.parametrize("chunksize", [1, 3])
def test_buffersize_limits_what_is_pulled(executor, chunksize):
    pulled = itertools.count()
    source = (next(pulled) for _ in itertools.count())
    results = executor.map(square, source, buffersize=4, chunksize=chunksize)
    for n in range(50):
        assert next(results) == n * n
    seen = next(pulled)
    assert 50 < seen <= 51 + 4 * chunksize
    results.close()
    assert list(results) == []


def test_shutdown_ends_a_lazy_map(executor):
    results = executor.map(square, itertools.count(), buffersize=3)
    forgotten = executor.map(square, itertools.count(), buffersize=3)
    assert next(results) == 0
    del forgotten
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        list(results)


# ---------------------------------------------------------------- the end


def test_collected_executors_end(census):
    executor = ProcessPoolExecutor(2, mp.get_context("fork"))
    future = executor.submit(square, 3)
    thread, gone = executor._executor_manager_thread, weakref.ref(executor)
    del executor
    gc.collect()
    assert gone() is None
    thread.join(LIMIT)
    assert not thread.is_alive() and future.result(LIMIT) == 9


def test_a_fork_is_not_its_owner(executor):
    future = executor.submit(square, 2)
    assert future.result(LIMIT) == 4
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert future.result(LIMIT) == 4
            executor.shutdown()
            try:
                executor.submit(square, 1)
            except RuntimeError as error:
                status = 0 if "fork" in str(error) or "shutdown" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert executor.submit(square, 3).result(LIMIT) == 9


def test_a_fork_may_be_its_first_user():
    """For example, a server that creates it before it forks its own workers."""
    executor = ProcessPoolExecutor(1, mp.get_context("fork"))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            future = executor.submit(square, 3)
            executor.shutdown()
            status = 0 if future.done() and future.result() == 9 and not executor._processes else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with executor:
        assert executor.submit(square, 4).result(LIMIT) == 16


def run(text, tmp_path, *command):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    begun = time.monotonic()
    result = subprocess.run([sys.executable, *command, path], capture_output=True, text=True, timeout=LIMIT)
    return result, time.monotonic() - begun


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_leaving_without_shutdown_waits_for_the_tasks(tmp_path, method):
    text = f"""
        import kettle.multiprocessing as mp, os, time
        from kettle.futures import ProcessPoolExecutor
        def say(n):
            time.sleep(0.2)
            os.write(1, b"%d\\n" % n)  # one whole line, even if other processes write
        if __name__ == "__main__":
            executor = ProcessPoolExecutor(2, mp.get_context("{method}"))
            for n in range(4):
                executor.submit(say, n)
        """
    result, _ = run(text, tmp_path)
    assert (sorted(result.stdout.split()), result.stderr, result.returncode) == (["0", "1", "2", "3"], "", 0)


@pytest.mark.parametrize("block", ["with executor: wait(futures)", "wait(futures)"])
def test_ctrl_c_does_not_wait_for_the_tasks(tmp_path, block):
    text = f"""
        import os, signal, threading, time, kettle.multiprocessing as mp
        from kettle.futures import ProcessPoolExecutor, wait
        executor = ProcessPoolExecutor(2, mp.get_context("fork"))
        futures = [executor.submit(time.sleep, {LIMIT}) for _ in range(5)]
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        {block}
        """
    result, took = run(text, tmp_path)
    assert result.stderr.count("Traceback") == 1 and "KeyboardInterrupt" in result.stderr
    assert took < LIMIT


def test_under_kettle_run(tmp_path):
    text = """
        import concurrent.futures, pickle
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor as Same
        class Mine(ProcessPoolExecutor):
            def submit(self, fn, *args):
                return super().submit(fn, *args)
        if __name__ == "__main__":
            print(ProcessPoolExecutor.__module__, Same is ProcessPoolExecutor is concurrent.futures.ProcessPoolExecutor)
            print(pickle.loads(pickle.dumps(ProcessPoolExecutor)) is ProcessPoolExecutor)
            with Mine(2) as executor:
                print(executor.submit(pow, 2, 3).result(), isinstance(executor, concurrent.futures.Executor))
            import kettle
            kettle.uninstall()
            print(concurrent.futures.ProcessPoolExecutor.__module__)
        """
    result, _ = run(text, tmp_path, "-m", "kettle", "run")
    assert result.stdout.splitlines() == ["kettle.futures True", "True", "8 True", "concurrent.futures.process"]
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("options", [{}, {"buffersize": 3}], ids=["at once", "lazily"])
def test_a_map_has_as_many_workers_as_it_has_tasks(method, options):
    ctx = mp.get_context(method)
    with ProcessPoolExecutor(3, ctx) as executor:
        assert executor.submit(square, 2).result(LIMIT) == 4
        for _ in range(2):
            tasks = functools.partial(meet, ctx.Barrier(3))
            assert list(executor.map(tasks, range(3), **options)) == [0, 1, 2]
        assert list(executor.map(square, range(20), **options)) == [n * n for n in range(20)]
        assert len(executor._processes) == 3


def test_a_map_of_few_chunks_has_few_workers():
    with ProcessPoolExecutor(3, mp.get_context("forkserver")) as executor:
        assert list(executor.map(square, range(10), chunksize=5)) == [n * n for n in range(10)]
        assert len(executor._processes) == 2


# ---------------------------------------------------------------- coroutines that are cancelled while they wait


@pytest.mark.parametrize("wraps", ["run_in_executor", "wrap_future"])
@pytest.mark.parametrize("view", ["executor", "view"])
def test_the_task_of_a_cancelled_coroutine_is_ended(executor, wraps, view):
    view = executor.options(task_timeout=LIMIT * 10) if view == "view" else executor

    async def main():
        loop = asyncio.get_running_loop()
        if wraps == "run_in_executor":
            waits = loop.run_in_executor(view, time.sleep, LIMIT * 10)
        else:
            waits = asyncio.wrap_future(view.submit(time.sleep, LIMIT * 10))
        while executor.statistics().busy < 1:
            await asyncio.sleep(0.01)
        task = asyncio.ensure_future(waits)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while executor.statistics().cancelled < 1:
            await asyncio.sleep(0.01)

    asyncio.run(main())
    executor.shutdown()  # returns, because nothing of it is running


def test_a_shielded_one_goes_on(executor):
    async def main():
        future = executor.submit(square, 4)
        shielded = asyncio.shield(asyncio.wrap_future(future))
        shielded.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shielded
        return await asyncio.to_thread(future.result)

    assert asyncio.run(main()) == 16


def test_a_block_left_by_a_cancelled_coroutine_ends_all_tasks():
    futures = []

    async def main():
        with ProcessPoolExecutor(2, mp.get_context("fork")) as executor:
            futures.extend(executor.submit(time.sleep, LIMIT * 10) for _ in range(4))
            await asyncio.get_running_loop().create_future()

    async def cancel():
        task = asyncio.create_task(main())
        while not futures or not futures[0].running():
            await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    assert all(future.cancelled() for future in futures)


def test_a_block_left_by_a_cancelled_future_does_its_tasks(executor):
    with pytest.raises(CancelledError), executor:  # a different class, with a different meaning
        future = executor.submit(square, 5)
        raise CancelledError
    assert future.result() == 25


INTERRUPTED = """
import asyncio, time
from kettle.futures import ProcessPoolExecutor
from kettle.multiprocessing import get_context

async def main():
    with ProcessPoolExecutor(2, get_context("fork")) as executor:
        loop = asyncio.get_running_loop()
        waits = [loop.run_in_executor(executor, time.sleep, 3600) for _ in range(4)]
        while executor.statistics().busy < 2:
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await waits[0]

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_ctrl_c_ends_an_asyncio_program_with_an_executor(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(INTERRUPTED)
    command = [sys.executable, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as program:
        assert program.stdout.readline() == b"ready\n"
        os.killpg(program.pid, signal.SIGINT)  # what the terminal does
        stderr = program.communicate(timeout=LIMIT)[1].decode()
    assert program.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")
