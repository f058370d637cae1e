"""The thread executor in place of the standard library's, for programs that extend it, wrap it, fork with it, or use
its private parts."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import contextvars
import math
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from kettle.futures import PoolFuture, ThreadPoolExecutor

LIMIT = 30


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


def submits_are_seen(executor, seen):
    with executor:
        assert list(executor.map(pow, [2, 3], [2, 2])) == [4, 9]
        assert executor.submit(pow, 2, 3).result(LIMIT) == 8
    assert seen == [pow] * 3


def test_a_subclass_with_its_own_submit_sees_each_item_of_a_map():
    seen = []

    class Mine(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            seen.append(fn)
            return super().submit(fn, *args, **kwargs)

    submits_are_seen(Mine(2), seen)


def test_so_does_who_wraps_submit_later(monkeypatch):
    seen, submit = [], ThreadPoolExecutor.submit

    def wrapper(self, fn, /, *args, **kwargs):
        seen.append(fn)
        return submit(self, fn, *args, **kwargs)

    executor = ThreadPoolExecutor(2)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", wrapper)
    submits_are_seen(executor, seen)


def test_a_subclass_that_starts_threads_in_its_own_way(gate):
    started = []

    class Mine(ThreadPoolExecutor):
        def __init__(self, *args):
            super().__init__(*args)
            self.given = self._work_queue

        def _adjust_thread_count(self):
            started.append(self)
            super()._adjust_thread_count()

        def shutdown(self, wait=True):
            with self._shutdown_lock:
                self._shutdown = True
                self._work_queue.put(None)
            for thread in self._threads:
                thread.join(LIMIT)

    with Mine(1) as executor:
        futures = [executor.submit(gate.wait, LIMIT), executor.submit(abs, -1)]
        assert not any(isinstance(future, PoolFuture) for future in futures)
        gate.set()
        assert [future.result(LIMIT) for future in futures] == [True, 1]
        assert started == [executor] * 2 and executor._work_queue is executor.given


def test_a_bounded_queue_is_put_in(gate):
    class Bounded(ThreadPoolExecutor):
        def __init__(self, *args):
            super().__init__(*args)
            self._work_queue = queue.Queue(maxsize=1)

    with Bounded(1) as executor:
        begun = threading.Event()
        first = executor.submit(lambda: (begun.set(), gate.wait(LIMIT)))
        assert begun.wait(LIMIT)
        second = executor.submit(abs, -2)
        assert executor._work_queue.full() and len(executor._threads) == 1
        third = []
        waits = threading.Thread(target=lambda: third.append(executor.submit(abs, -3)))
        waits.start()
        gate.set()
        waits.join(LIMIT)
        assert (first.result(LIMIT)[1], second.result(LIMIT), third[0].result(LIMIT)) == (True, 2, 3)


def test_how_many_tasks_wait_is_known(gate):
    with ThreadPoolExecutor(1) as executor:
        begun = threading.Event()
        first = executor.submit(lambda: (begun.set(), gate.wait(LIMIT)))
        assert begun.wait(LIMIT)
        rest = [executor.submit(abs, n) for n in range(5)]
        assert executor._work_queue.qsize() == 5 and not executor._work_queue.empty()
        with pytest.raises(AttributeError, match="before the first task"):
            executor._work_queue.get_nowait()
        assert isinstance(first, PoolFuture) and not executor._is_standard
        gate.set()
        assert [future.result(LIMIT) for future in rest] == list(range(5))
        assert executor._work_queue.empty()


def test_who_asks_in_the_middle_of_it_gets_the_rest_done_by_the_standard_library(gate):
    executor = ThreadPoolExecutor(1, "mine")
    early = [executor.submit(gate.wait, LIMIT), executor.submit(abs, -1)]
    with executor._shutdown_lock:
        assert executor._idle_semaphore._value == 0
    late = executor.submit(threading.current_thread)
    assert late.result(LIMIT).name == "mine_0"
    gate.set()
    executor.shutdown()
    assert [future.result(0) for future in early] == [True, 1]
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)


def test_a_look_after_the_end():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    assert executor._shutdown and not executor._broken and executor._work_queue.empty()
    assert executor._shutdown and not executor._broken and executor._threads == set()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)
    with pytest.raises(AttributeError):
        executor._nothing  # noqa: B018


def test_the_same_initializer_in_both_lives():
    def initialize(word):
        threading.current_thread().word = word

    def recall():
        return threading.current_thread().word

    with ThreadPoolExecutor(1, initializer=initialize, initargs=("kept",)) as executor:
        assert executor.submit(recall).result(LIMIT) == "kept"
        assert executor._work_queue.empty()
        if sys.version_info < (3, 14):  # from then on the standard library keeps it elsewhere
            assert executor._initializer is initialize and executor._initargs == ("kept",)
        assert executor.submit(recall).result(LIMIT) == "kept"


def test_a_callback_that_ends_its_thread_ends_no_worker(gate, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_type))

    def leave(future):
        sys.exit(3)

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(gate.wait, LIMIT)
        future.add_done_callback(leave)
        rest = executor.map(abs, [-1, -2])
        gate.set()
        assert future.result(LIMIT) and list(rest) == [1, 2]
    assert seen == [SystemExit]


def test_an_initializer_that_fails_breaks_it_for_good(caplog):
    def fail():
        raise LookupError("no")

    with ThreadPoolExecutor(2, initializer=fail) as executor:
        assert executor._broken is False
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool):
            executor.submit(abs, 1).result(LIMIT)
        for call in (lambda: executor.submit(abs, 1), lambda: list(executor.map(abs, [1]))):
            with pytest.raises(concurrent.futures.thread.BrokenThreadPool):
                call()
        assert "cannot be started" in executor._broken and "Exception in initializer" in caplog.text


def test_more_threads_are_allowed_later(gate):
    with ThreadPoolExecutor(1) as executor:
        blocked = executor.submit(gate.wait, LIMIT)
        executor._max_workers = 2
        assert executor.submit(abs, -1).result(LIMIT) == 1
        gate.set()
        assert blocked.result(LIMIT)


@pytest.mark.parametrize("make", [ThreadPoolExecutor, concurrent.futures.thread.ThreadPoolExecutor])
@pytest.mark.parametrize(("max_workers", "threads"), [(2.0, 2), (1.5, 2), (math.inf, 3)])
def test_a_number_of_threads_that_was_reckoned(make, max_workers, threads):
    together = threading.Barrier(threads)
    with make(max_workers) as executor:
        futures = [executor.submit(together.wait, LIMIT) for _ in range(threads)]
        assert sorted(future.result(LIMIT) for future in futures) == list(range(threads))


def daemons(executor):
    """Returns whether a thread of it is a daemon, and whether one that a task starts is."""
    yield executor.submit(lambda: threading.current_thread().daemon).result(LIMIT)
    yield executor.submit(lambda: threading.Thread().daemon).result(LIMIT)
    yield from executor.map(lambda _: threading.current_thread().daemon, [0])


def in_a_thread(function, *args, daemon):
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)), daemon=daemon)
    thread.start()
    thread.join(LIMIT)
    return results[0]


@pytest.mark.parametrize("daemon", [False, True])
def test_threads_are_daemons_if_who_submits_is(daemon):
    def in_its_own():
        with ThreadPoolExecutor(1) as executor:
            return set(daemons(executor))

    def in_an_event_loop():
        async def main():
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(1))
            return {
                await loop.run_in_executor(None, lambda: threading.current_thread().daemon),
                await asyncio.to_thread(lambda: threading.Timer(1, print).daemon),
            }

        return asyncio.run(main())

    for way in (in_its_own, in_an_event_loop):
        assert in_a_thread(way, daemon=daemon) == {daemon}
    # Each depends on the task for which it is started, not on the creator of the executor.
    with ThreadPoolExecutor(1) as executor:
        assert set(in_a_thread(lambda: list(daemons(executor)), daemon=daemon)) == {daemon}
        assert set(daemons(executor)) == {daemon}


def run(program, tmp_path, *command):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(program))
    return subprocess.run([sys.executable, *command, path], capture_output=True, text=True, timeout=LIMIT)


@pytest.mark.parametrize("way", ["an executor", "an event loop", "to_thread"])
def test_what_a_task_of_a_daemon_starts_does_not_keep_the_program(tmp_path, way):
    program = f"""
        import asyncio
        import threading
        from concurrent.futures import ThreadPoolExecutor

        def task():
            threading.Timer(3600, print).start()

        async def to_thread():
            await asyncio.to_thread(task)

        def service():
            if {way!r} == "an executor":
                ThreadPoolExecutor(1).submit(task).result()
            elif {way!r} == "an event loop":
                loop = asyncio.new_event_loop()
                loop.run_until_complete(loop.run_in_executor(None, task))
            else:
                asyncio.run(to_thread())
            ready.set()
            threading.Event().wait()

        ready = threading.Event()
        threading.Thread(target=service, daemon=True).start()
        ready.wait()
        print("main ends")
    """
    ended = run(program, tmp_path, "-m", "kettle", "run")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("main ends\n", "", 0)


def test_tasks_of_a_daemon_are_waited_for(tmp_path):
    """The executor's own threads are waited for, whether they are daemons or not."""
    program = """
        import threading
        import time
        from kettle.futures import ThreadPoolExecutor

        def task(number):
            time.sleep(0.1)
            print("done", number)

        def service():
            executor = ThreadPoolExecutor(1)
            for number in range(3):
                executor.submit(task, number)
            ready.set()
            threading.Event().wait()

        ready = threading.Event()
        threading.Thread(target=service, daemon=True).start()
        ready.wait()
    """
    ended = run(program, tmp_path)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("done 0\ndone 1\ndone 2\n", "", 0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("way", ["submit", "map"])
def test_a_fork_has_threads_of_its_own(used, way):
    executor = ThreadPoolExecutor(2)
    if used:
        assert executor.submit(abs, -1).result(LIMIT) == 1
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(LIMIT)
            done = [executor.submit(os.getpid).result()] if way == "submit" else list(executor.map(abs, [os.getpid()]))
            executor.shutdown()
            status = 0 if done == [os.getpid()] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with executor:
        assert executor.submit(os.getpid).result(LIMIT) == os.getpid()


def test_event_loops_take_it():
    def context():
        return variable.get(None)

    variable = contextvars.ContextVar("variable")

    async def main():
        variable.set(3)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        assert await asyncio.to_thread(context) == 3
        # A thread has the context of its starter on versions where that holds for every thread.
        inherited = 3 if getattr(sys.flags, "thread_inherit_context", False) else None
        assert await loop.run_in_executor(None, context) == inherited
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        assert await asyncio.gather(*(asyncio.to_thread(abs, n) for n in range(500))) == list(range(500))

    asyncio.run(main())


PROGRAM = """
    import asyncio, concurrent.futures, pickle, sys
    from concurrent.futures import ThreadPoolExecutor
    from concurrent.futures.thread import ThreadPoolExecutor as Same

    print(ThreadPoolExecutor.__module__, Same is ThreadPoolExecutor is concurrent.futures.ThreadPoolExecutor)
    print(pickle.loads(pickle.dumps(ThreadPoolExecutor)) is ThreadPoolExecutor)
    print("kettle.multiprocessing" in sys.modules, "concurrent.futures.process" in sys.modules)

    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 60  # a busy machine is not to be told of
        print(await asyncio.to_thread(abs, -1), type(loop._default_executor) is ThreadPoolExecutor)
        loop.set_default_executor(ThreadPoolExecutor(1))

    asyncio.run(main())
    executor = ThreadPoolExecutor(2)
    import kettle
    kettle.uninstall()
    print(concurrent.futures.ThreadPoolExecutor.__module__)
    print(isinstance(executor, concurrent.futures.ThreadPoolExecutor), executor.submit(abs, -3).result())
    """


def test_under_kettle_run(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "kettle", "run", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "kettle.futures True",
        "True",
        "False False",
        "1 True",
        "concurrent.futures.thread",
        "True 3",
    ]


@pytest.mark.parametrize("options", [{}, {"buffersize": 3}], ids=["at once", "lazily"])
def test_a_map_has_as_many_threads_as_it_has_tasks(options):
    with ThreadPoolExecutor(3) as executor:
        assert executor.submit(abs, -2).result(LIMIT) == 2
        for _ in range(2):
            barrier = threading.Barrier(3, timeout=LIMIT)
            assert sorted(executor.map(lambda _, barrier=barrier: barrier.wait(), range(3), **options)) == [0, 1, 2]
        assert list(executor.map(abs, range(20), **options)) == list(range(20))
        assert executor.statistics().workers == 3


def test_a_map_of_few_chunks_has_few_threads():
    with ThreadPoolExecutor(3) as executor:
        assert list(executor.map(abs, range(10), chunksize=5)) == list(range(10))
        assert executor.statistics().workers == 2
