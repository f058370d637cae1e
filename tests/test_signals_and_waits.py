"""Signal handlers that wait for the same thing as their own thread, or query its state, at each moment."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest

import kettle.multiprocessing as mp
from kettle.futures import ProcessPoolExecutor, ThreadPoolExecutor, _executor
from pool.support import square, until

METHODS = ["fork", "spawn", "forkserver"]


@pytest.fixture
def on_signal():
    """Runs a handler in the main thread, once, as soon as a condition holds; returns the handler's result."""
    before = signal.getsignal(signal.SIGUSR1)
    threads = []

    def on_signal(condition, handler):
        results = []
        signal.signal(signal.SIGUSR1, lambda *_: results.append(handler()))

        def send():
            until(condition)
            os.kill(os.getpid(), signal.SIGUSR1)

        threads.append(threading.Thread(target=send))
        threads[-1].start()
        return results

    yield on_signal
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGUSR1, before)


def pass_gate(gate):
    """Waits until the file exists."""
    while not os.path.exists(gate):
        time.sleep(0.001)
    return gate


def begin_and_pass_gate(gate):
    open_gate(f"{gate}.begun")
    return pass_gate(gate)


def open_gate(gate):
    open(gate, "w").close()


POOL_WAITS = {
    "map": lambda pool, gate: pool.map(pass_gate, [gate] * 4),
    "starmap": lambda pool, gate: pool.starmap(pass_gate, [(gate,)] * 4),
    "imap": lambda pool, gate: list(pool.imap(pass_gate, [gate] * 4)),
    "imap_unordered": lambda pool, gate: list(pool.imap_unordered(pass_gate, [gate] * 4)),
    "apply": lambda pool, gate: [pool.apply(pass_gate, (gate,))] * 4,
    "get": lambda pool, gate: [pool.apply_async(pass_gate, (gate,)).get()] * 4,
    "get with a limit": lambda pool, gate: [pool.apply_async(pass_gate, (gate,)).get(1000)] * 4,
    "wait": lambda pool, gate: [pool.apply_async(pass_gate, (gate,)).wait()] and [gate] * 4,
}


@pytest.mark.parametrize("wait", POOL_WAITS)
def test_a_handler_has_a_pool_do_something_that_its_thread_waits_for(tmp_path, on_signal, wait):
    gate = str(tmp_path / "gate")

    def handler():
        answers = pool.apply(square, (3,)), pool.map(square, range(3)), list(pool.imap(square, [4]))
        open_gate(gate)
        return answers

    with mp.get_context("fork").Pool(5) as pool:
        answers = on_signal(lambda: pool.statistics().busy, handler)
        assert POOL_WAITS[wait](pool, gate) == [gate] * 4
    assert answers == [(9, [0, 1, 4], [16])]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wait", [*POOL_WAITS, "join"])
def test_a_handler_ends_the_pool_that_its_thread_waits_for(tmp_path, on_signal, wait, method):
    gate = str(tmp_path / "gate")

    def handler():
        pool.terminate()
        pool.join()
        return pool.statistics().workers

    pool = mp.get_context(method).Pool(2)
    left = on_signal(lambda: pool.statistics().busy, handler)
    if wait == "join":
        pool.map_async(pass_gate, [gate] * 4)
        pool.close()
        pool.join()
    elif wait == "wait":
        POOL_WAITS[wait](pool, gate)
    else:
        with pytest.raises(CancelledError):
            POOL_WAITS[wait](pool, gate)
    assert left == [0]
    pool.join()


def test_a_handler_ends_a_pool_whose_with_statement_is_being_left(tmp_path, on_signal):
    gate = str(tmp_path / "gate")
    with mp.get_context("fork").Pool(2) as pool:
        result = pool.map_async(pass_gate, [gate] * 4)
        until(lambda: pool.statistics().busy)
        on_signal(lambda: result.ready(), lambda: (pool.terminate(), pool.join()))
    pool.join()


EXECUTOR_WAITS = {
    "result": lambda executor, gate: executor.submit(begin_and_pass_gate, gate).result(),
    "map": lambda executor, gate: max(executor.map(begin_and_pass_gate, [gate] * 2)),
    "exception": lambda executor, gate: executor.submit(begin_and_pass_gate, gate).exception() or gate,
    "shutdown": lambda executor, gate: (executor.submit(begin_and_pass_gate, gate) and executor.shutdown()) or gate,
}


@pytest.mark.parametrize("wait", EXECUTOR_WAITS)
def test_a_handler_submits_to_an_executor_that_its_thread_waits_for(tmp_path, on_signal, wait):
    gate = str(tmp_path / "gate")

    def handler():
        answer = executor.submit(square, 3).result() if wait != "shutdown" else None
        open_gate(gate)
        return answer

    with ProcessPoolExecutor(3, mp_context=mp.get_context("fork")) as executor:
        executor.submit(square, 2).result()
        answers = on_signal(lambda: executor.statistics().busy, handler)
        assert EXECUTOR_WAITS[wait](executor, gate) == gate
    assert answers == [None if wait == "shutdown" else 9]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wait", EXECUTOR_WAITS)
def test_a_handler_shuts_down_the_executor_that_its_thread_waits_for(tmp_path, on_signal, wait, method):
    gate = str(tmp_path / "gate")

    def handler():
        open_gate(gate)
        executor.shutdown(wait=True, cancel_futures=True)
        return executor.statistics().workers

    executor = ProcessPoolExecutor(2, mp_context=mp.get_context(method))
    executor.submit(square, 2).result()
    left = on_signal(lambda: os.path.exists(f"{gate}.begun"), handler)
    if wait == "map":
        with pytest.raises(CancelledError):
            EXECUTOR_WAITS[wait](executor, gate)
    else:
        assert EXECUTOR_WAITS[wait](executor, gate) == gate
    until(lambda: left)
    assert left == [0]


@pytest.mark.parametrize("is_process_pool", [True, False])
def test_a_handler_that_does_not_return_keeps_no_other_thread_waiting(tmp_path, on_signal, is_process_pool):
    gate = str(tmp_path / "gate")
    got = []
    pool = mp.get_context("fork").Pool(3) if is_process_pool else mp.pool.ThreadPool(3)

    def others():
        got.append(pool.apply(square, (5,)))
        got.extend(pool.map(square, range(3)))

    other = threading.Thread(target=others)

    def handler():
        # Returns when the other thread has received everything that it waited for.
        other.start()
        other.join()
        open_gate(gate)

    on_signal(lambda: pool.statistics().busy, handler)
    with pool:
        assert pool.map(pass_gate, [gate]) == [gate]
        assert got == [25, 0, 1, 4]


def test_a_thread_that_waits_already_is_not_kept_waiting(tmp_path, on_signal):
    """It follows the main thread, which leads until the handler runs."""
    first, second = (str(tmp_path / name) for name in ("first", "second"))
    with mp.get_context("fork").Pool(3) as pool:
        other = threading.Thread(target=lambda: pool.map(pass_gate, [second]))

        def handler():
            open_gate(second)
            other.join()
            open_gate(first)
            return True

        def both_wait():
            if pool.statistics().busy == 1 and not other.is_alive():
                other.start()
            return pool.statistics().busy == 2

        done = on_signal(both_wait, handler)
        assert pool.map(pass_gate, [first]) == [first]
        assert done == [True]


# ---------------------------------------------------------------- in the middle of a round of the pool


class Raising:
    """Raises a signal when it is pickled or unpickled in this process."""

    def __init__(self, n, home, at):
        self.n, self.home, self.at = n, home, at

    def __getstate__(self):
        self.signal("sent")
        return vars(self)

    def __setstate__(self, state):
        vars(self).update(state)
        self.signal("rebuilt")

    def signal(self, at):
        if at == self.at and os.getpid() == self.home:
            signal.raise_signal(signal.SIGUSR1)


def same(raising):
    return raising


MOMENTS = ["sent", "rebuilt"]


@pytest.mark.parametrize("at", MOMENTS)
def test_a_handler_waits_for_other_tasks_while_one_is_sent_or_rebuilt(on_signal, at):
    with mp.get_context("fork").Pool(2) as pool:
        handler = lambda *_: answers.append((pool.apply(square, (3,)), pool.map(square, range(40))))  # noqa: E731
        answers = []
        signal.signal(signal.SIGUSR1, handler)
        items = [Raising(n, os.getpid(), at if n % 10 == 0 else "never") for n in range(40)]
        results = [pool.apply_async(same, (item,)) for item in items]
        assert [result.get().n for result in results] == list(range(40))
        assert [raising.n for raising in pool.map(same, items, chunksize=3)] == list(range(40))
    # A part was the deputy's, whose signals arrive in the main thread wherever that is.
    assert answers and set(map(str, answers)) == {str((9, [n * n for n in range(40)]))}


@pytest.mark.parametrize("at", MOMENTS)
def test_a_handler_ends_the_pool_while_a_task_is_sent_or_rebuilt(on_signal, at):
    pool = mp.get_context("fork").Pool(2)

    def handler():
        pool.terminate()
        pool.join()
        return pool.statistics().workers

    left = []
    signal.signal(signal.SIGUSR1, lambda *_: left.append(handler()))
    with pytest.raises((CancelledError, ValueError)):  # ValueError: between two calls
        for n in range(1000):
            pool.apply(same, (Raising(n, os.getpid(), at),))
    assert set(left) == {0}
    pool.join()


def test_who_waits_for_what_its_own_thread_is_about_to_finish_is_told_so(on_signal):
    with mp.get_context("fork").Pool(1) as pool:
        results, told = [], []

        def handler(*_):
            if threading.current_thread() is threading.main_thread() and results:
                try:
                    results[-1].get(10)
                except (RuntimeError, mp.TimeoutError) as error:
                    told.append(type(error))

        signal.signal(signal.SIGUSR1, handler)
        for n in range(20):
            results.append(pool.apply_async(same, (Raising(n, os.getpid(), "rebuilt"),)))
            assert results[-1].get().n == n
    assert mp.TimeoutError not in told


@pytest.mark.parametrize("method", METHODS)
def test_a_handler_ends_the_pool_while_a_worker_is_started(on_signal, monkeypatch, method):
    context = mp.get_context(method)
    main = threading.main_thread()
    pool = context.Pool(2, maxtasksperchild=1)
    start, left = context.Process.start, []

    def start_and_raise(process):
        start(process)
        if threading.current_thread() is main:
            signal.raise_signal(signal.SIGUSR1)

    def handler(*_):
        if not left:
            pool.terminate()
            pool.join()
            left.append(True)

    signal.signal(signal.SIGUSR1, handler)
    monkeypatch.setattr(context.Process, "start", start_and_raise)
    with pytest.raises((CancelledError, ValueError)):  # ValueError: between two calls
        for n in range(10000):
            pool.apply(square, (n,))
    assert left
    pool.join()


def processes_that_ask(context, monkeypatch, ask):
    """From now on, starting a process in the main thread first calls `ask` in a signal handler, once."""
    start, main, asked = context.Process.start, threading.main_thread(), []

    def handler(*_):
        monkeypatch.undo()
        asked.append(ask())

    def interrupted(process):
        if threading.current_thread() is main and not asked:
            signal.raise_signal(signal.SIGUSR1)
        start(process)

    signal.signal(signal.SIGUSR1, handler)
    monkeypatch.setattr(context.Process, "start", interrupted)
    return asked


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_handler_waits_for_a_pool_whose_worker_its_thread_is_about_to_start(on_signal, monkeypatch, method, workers):
    context = mp.get_context(method)
    with context.Pool(workers, maxtasksperchild=1) as pool:
        asked = processes_that_ask(context, monkeypatch, lambda: pool.map(square, range(3), chunksize=1))
        n = 0
        while not asked and n < 10000:
            assert pool.apply(square, (n,)) == n * n
            n += 1
        assert asked == [[0, 1, 4]]
        assert pool.map(square, range(8), chunksize=1) == [n * n for n in range(8)]
        until(lambda: pool.statistics().workers == workers)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_handler_waits_for_an_executor_whose_thread_its_own_is_about_to_start(on_signal, monkeypatch, workers):
    start, asked, began = threading.Thread.start, [], []

    def handler(*_):
        monkeypatch.undo()
        asked.append(executor.submit(square, 3).result())

    def interrupted(thread):
        if not asked:
            signal.raise_signal(signal.SIGUSR1)
        start(thread)

    signal.signal(signal.SIGUSR1, handler)
    with ThreadPoolExecutor(workers, initializer=began.append, initargs=(1,)) as executor:
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        assert (executor.submit(square, 4).result(), asked) == (16, [9])
        gate = threading.Barrier(workers, timeout=60)
        waits = [executor.submit(gate.wait) for _ in range(workers)]
        assert sorted(wait.result() for wait in waits) == list(range(workers))
        assert executor.submit(lambda: threading.current_thread()).result() in executor._threads
    assert not any(thread.is_alive() for thread in executor._threads)


# ---------------------------------------------------------------- processes


HOOKED = """
import os, threading, sys
import kettle.multiprocessing as mp

plain, plain_2, nested = threading.Lock(), threading.Lock(), []
context = mp.get_context("fork")


def start_another():
    if os.getpid() == parent and threading.current_thread() is threading.main_thread() and not nested:
        nested.append(context.Process(target=os._exit, args=(8,)))
        nested[0].start()


def wait_and_exit(gate):
    gate.wait()
    os._exit(7)


parent = os.getpid()
if sys.argv[1] == "before":
    os.register_at_fork(before=start_another)
os.register_at_fork(before=plain.acquire, after_in_parent=plain.release, after_in_child=plain._at_fork_reinit)
if sys.argv[1] == "after":
    os.register_at_fork(after_in_parent=start_another)
os.register_at_fork(before=plain_2.acquire, after_in_parent=plain_2.release, after_in_child=plain_2._at_fork_reinit)
gate = context.Event()
process = context.Process(target=wait_and_exit, args=(gate,))
process.start()
nested[0].join()
assert process.is_alive() and nested[0].exitcode == 8
assert process._popen._ticket != nested[0]._popen._ticket
gate.set()
process.join()
assert process.exitcode == 7
again = context.Process(target=os._exit, args=(9,))
again.start()
again.join()
assert again.exitcode == 9
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_is_started_between_the_hooks_of_a_fork(tmp_path, when):
    """As by a signal handler that interrupts hooks written in Python while others hold plain locks."""
    program = tmp_path / "program.py"
    program.write_text(HOOKED)
    done = subprocess.run([sys.executable, program, when], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("method", METHODS)
def test_a_handler_asks_about_a_process_at_each_step_of_its_end(method):
    """A signal comes before each bytecode of the code that waits for it."""
    here = mp.__file__.removesuffix("__init__.py")
    before = signal.signal(signal.SIGUSR1, lambda *_: asked.append((process.exitcode, process.is_alive())))
    asked, is_in = [], False

    def trace(frame, event, _):
        nonlocal is_in
        if not frame.f_code.co_filename.startswith(here):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not is_in:
            is_in = True
            signal.raise_signal(signal.SIGUSR1)
            is_in = False
        return trace

    try:
        process = mp.get_context(method).Process(target=os._exit, args=(7,))
        process.start()
        mp.connection.wait([process.sentinel])
        sys._getframe().f_trace_opcodes = True  # Python 3.12 traces opcodes of new frames only after this
        sys.settrace(trace)
        process.join()
        sys.settrace(None)
    finally:
        sys.settrace(None)
        signal.signal(signal.SIGUSR1, before)
    assert process.exitcode == 7
    assert asked and {code for code, _ in asked} <= {None, 7}


STARTS_IN_A_HANDLER = """
import importlib, os, signal, sys
import kettle.multiprocessing as mp

method = sys.argv[1]
context = mp.get_context(method)
# A module that its thread is importing cannot be used by a handler.
importlib.import_module(f"kettle.multiprocessing.popen_{'spawn_posix' if method == 'spawn' else method}")
here = mp.__file__.removesuffix("__init__.py")
started, is_in, calls = [], False, 0


def handler(*_):
    started.append(context.Process(target=os._exit, args=(8,)))
    started[-1].start()


def trace(frame, event, _):
    global is_in, calls
    if event == "call" and frame.f_code.co_filename.startswith(here) and not is_in:
        calls += 1
        if calls % 3 == 0 and len(started) < 8:
            is_in = True
            signal.raise_signal(signal.SIGUSR1)
            is_in = False


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, handler)
    process = context.Process(target=os._exit, args=(7,))
    sys.settrace(trace)
    process.start()
    sys.settrace(None)
    process.join()
    for other in started:
        other.join()
    assert process.exitcode == 7 and started and {other.exitcode for other in started} == {8}
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_handler_starts_a_process_while_its_thread_starts_one(tmp_path, method):
    """In a program of its own: other packages have hooks that refuse a fork within a fork, filelock for example."""
    program = tmp_path / "program.py"
    program.write_text(STARTS_IN_A_HANDLER)
    done = subprocess.run([sys.executable, program, method], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- proxies


def test_a_handler_uses_proxies_of_the_manager_that_its_thread_is_asking():
    with mp.get_context("fork").Manager() as manager:
        words, numbers = manager.list(["word"]), manager.dict(enumerate(range(50)))
        asked = []
        before = signal.signal(signal.SIGUSR1, lambda *_: asked.append((words[0], numbers.get(-1))))
        receive = mp.connection.Connection.recv
        is_in = []

        def recv(connection):
            is_in.append(None)
            if len(is_in) == 1 and threading.current_thread() is threading.main_thread():
                signal.raise_signal(signal.SIGUSR1)
            is_in.pop()
            return receive(connection)

        patch = pytest.MonkeyPatch()
        patch.setattr(mp.connection.Connection, "recv", recv)
        try:
            assert [numbers[n] for n in range(50)] == list(range(50))
        finally:
            patch.undo()
            signal.signal(signal.SIGUSR1, before)
    assert asked and set(asked) == {("word", None)}


@pytest.mark.parametrize("method", METHODS)
def test_an_executor_is_opened_by_a_handler_while_it_is_opened(method, monkeypatch):
    with ProcessPoolExecutor(1, mp_context=mp.get_context(method)) as executor:
        serve, asked = _executor.at_exit.serve, []

        def interrupted(*args):
            monkeypatch.undo()
            asked.append(executor.submit(square, 3).result())
            return serve(*args)

        monkeypatch.setattr(_executor, "at_exit", SimpleNamespace(serve=interrupted, has_begun=False))
        assert (executor.submit(square, 4).result(), asked) == (16, [9])
