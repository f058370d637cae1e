"""Children that are reaped by other code: SIGCHLD is ignored, or a handler, a thread or C code waits for any child.
Also a fork server that cannot report, because it is stopped, or was started with SIGCHLD blocked."""

import signal
import subprocess
import sys
import textwrap

import pytest

METHODS = ["fork", "spawn", "forkserver"]

HEAD = """
import errno, os, signal, sys, threading, time
from contextlib import suppress
import multiprocessing.forkserver
import kettle.multiprocessing as mp
from kettle.futures import ProcessPoolExecutor
from kettle import WorkerDied
from kettle._core import native

def reap_all(*_):
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass

def reap_for_ever():
    while True:
        reap_all()

def double(n):
    return 2 * n

def leave():
    os._exit(7)

def pass_gate(gate):
    while not os.path.exists(gate):
        time.sleep(0.001)

def reap_at_once():
    # Between the fork and the first look at the child.
    fork = os.fork
    def fork_and_reap():
        pid = fork()
        if pid:
            os.waitpid(pid, 0)
        return pid
    os.fork = fork_and_reap
"""

REAPERS = {
    "ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "a handler": "signal.signal(signal.SIGCHLD, reap_all)",
    "a thread": "threading.Thread(target=reap_for_ever, daemon=True).start()",
}


def run(program, method="fork", before=""):
    main = f"{before}\nctx = mp.get_context({method!r})\n{textwrap.dedent(program)}"
    program = HEAD + "if __name__ == '__main__':\n" + textwrap.indent(main, "    ")
    done = subprocess.run([sys.executable, "-c", RUN, program], capture_output=True, text=True)
    assert done.stderr == "" and done.returncode == 0, done.stderr
    return done.stdout.split()


# A program needs a file, for children that are not forked.
RUN = """
import os, subprocess, sys, tempfile
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "program.py")
    with open(path, "w") as file:
        file.write(sys.argv[1])
    # Newer interpreters warn of forks beside threads.
    sys.exit(subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", path]).returncode)
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reaper", REAPERS)
def test_short_children_start_and_end(reaper, method):
    program = """
        codes = set()
        for _ in range(60 if ctx.get_start_method() == "fork" else 10):
            child = ctx.Process(target=leave)
            child.start()
            child.kill() if _ % 3 == 0 else None
            mp.connection.wait([child.sentinel])
            child.join()
            codes.add(child.exitcode)
            assert not child.is_alive()
        assert codes <= {7, 255, -9}, codes
        print("done")
    """
    assert run(program, method, REAPERS[reaper]) == ["done"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reaper", REAPERS)
def test_pools_and_executors_lose_nothing(reaper, method):
    program = """
        with ctx.Pool(2, maxtasksperchild=2) as pool:
            assert pool.map(double, range(20)) == [2 * n for n in range(20)]
            try:
                pool.apply(leave)
            except WorkerDied as error:
                assert error.exitcode in (7, 255)
            assert pool.apply(double, (4,)) == 8
        pool.join()
        with ProcessPoolExecutor(2, mp_context=ctx) as executor:
            assert list(executor.map(double, range(20))) == [2 * n for n in range(20)]
        with ctx.Manager() as manager:
            assert manager.list([1]) + [2] == [1, 2]
        print("done")
    """
    assert run(program, method, REAPERS[reaper]) == ["done"]


def test_a_child_that_was_reaped_before_it_could_be_watched():
    program = """
        reap_at_once()
        signalled = []
        os.kill = native.signal_process = lambda *which: signalled.append(which)
        child = ctx.Process(target=leave)
        child.start()
        print(child.exitcode, child.is_alive(), mp.connection.wait([child.sentinel]) == [child.sentinel])
        child.join()
        child.kill()
        child.terminate()
        child.close()
        print(signalled)
    """
    assert run(program) == ["255", "False", "True", "[]"]


def test_a_worker_that_was_reaped_before_it_could_be_watched():
    program = """
        reap_at_once()
        # Each comes to its end before it is ready, since it has no desk to go to.
        try:
            ctx.Pool(1, initializer=leave).map(double, [1])
        except WorkerDied as error:
            print(error.exitcode)
    """
    assert run(program) == ["255"]


def test_a_child_that_cannot_be_watched_and_is_not_ours_any_more_is_not_signalled():
    program = """
        reap_at_once()
        signalled = []
        os.kill = native.signal_process = lambda *which: signalled.append(which)
        ctx.Process(target=leave).start()  # what is asked once of the system is known
        def none_left(pid):
            raise OSError(errno.EMFILE, "none left")
        native.open_process = none_left
        try:
            ctx.Process(target=leave).start()
        except OSError as error:
            print(errno.errorcode[error.errno], signalled)
    """
    assert run(program) == ["EMFILE", "[]"]


def test_a_handler_that_reaps_while_the_child_is_reaped():
    """The exit code is known before the child is reaped."""
    program = """
        waitid = os.waitid
        def waitid_and_raise(*args):
            result = waitid(*args)
            is_in.append(None)
            if len(is_in) == 1:
                signal.raise_signal(signal.SIGUSR1)
            is_in.pop()
            return result
        os.waitid = waitid_and_raise
        asked, is_in = set(), []
        signal.signal(signal.SIGUSR1, lambda *_: (mp.active_children(), asked.add(child.exitcode)))
        child = ctx.Process(target=leave)
        child.start()
        child.join()
        print(child.exitcode, asked)
    """
    assert run(program) == ["7", "{7}"]


# ---------------------------------------------------------------- a fork server that cannot report

STOP = "os.kill(multiprocessing.forkserver._forkserver._forkserver_pid, signal.{})\n"


def test_a_server_reports_though_sigchld_is_blocked_in_the_program():
    before = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})"
    program = """
        child = ctx.Process(target=leave)
        child.start()
        child.join()
        print(child.exitcode)
        with ctx.Pool(1) as pool:
            print(*pool.apply(signal.pthread_sigmask, (signal.SIG_BLOCK, ())))
    """
    assert run(program, "forkserver", before) == ["7", str(int(signal.SIGCHLD))]


def test_limits_are_kept_while_the_server_is_stopped(tmp_path):
    gate = str(tmp_path / "gate")
    program = f"""
        children = [ctx.Process(target=leave), ctx.Process(target=pass_gate, args=({gate!r},))]
        for child in children:
            child.start()
        mp.connection.wait([children[0].sentinel])
        executor = ProcessPoolExecutor(1, mp_context=ctx)
        executor.submit(double, 1).result()
        pool = ctx.Pool(1)
        pool.apply(double, (1,))
        {STOP.format("SIGSTOP")}
        children[1].kill()
        mp.connection.wait([children[1].sentinel])
        for child in children[1:]:
            print(child.is_alive(), child.exitcode)
            child.join(0.01)
        for future in executor.submit(leave), pool.apply_async(leave):
            get = getattr(future, "get", None) or future.result
            try:
                get(timeout=20)
            except WorkerDied as error:
                print(error.exitcode)
        pool.terminate()
        pool.join()
        executor.terminate_workers()
        executor.shutdown()
        {STOP.format("SIGCONT")}
        for child in children:
            child.join()
            print(child.exitcode)
    """
    said = run(program, "forkserver")
    assert said == ["True", "None", "None", "None", "7", "-9"]


def test_a_pool_says_that_the_server_is_stopped():
    program = f"""
        pool = ctx.Pool(1)
        pool.apply(double, (1,))
        {STOP.format("SIGSTOP")}
        result = pool.apply_async(leave)
        try:
            result.get(20)
        except WorkerDied:
            pass
        try:
            pool.apply(double, (1,))
        except OSError as error:
            print("stopped" in str(error))
        pool.terminate()
        pool.join()
        {STOP.format("SIGCONT")}
    """
    assert run(program, "forkserver") == ["True"]
