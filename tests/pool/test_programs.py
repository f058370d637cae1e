"""How programs with a pool end: by Ctrl-C, by themselves without `close`, by death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager

import pytest

from .support import PROMPT, session_members, until

METHODS = ["fork", "spawn", "forkserver"]

HEAD = """
    import functools, os, sys, time
    import kettle.multiprocessing as mp

    def say(word):
        os.write(1, f"{word}\\n".encode())

    def sleep(_):
        say("ready")
        time.sleep(600)

    def spin_in_c(_):
        say("ready")
        sum(range(10**15))

    def short(n):
        if n in (50, 51):
            say("ready")
        time.sleep(0.001)
        return n

    def square(n):
        return n * n
"""


@contextmanager
def started(tmp_path, program):
    """A running program, in its own session (and process group), with two running tasks."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(HEAD) + textwrap.dedent(program))
    with (
        open(tmp_path / "errors", "w+") as errors,
        subprocess.Popen(
            [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        ) as process,
    ):
        try:
            for _ in range(2):
                assert process.stdout.readline() == "ready\n", (tmp_path / "errors").read_text()
            yield process
        finally:
            for pid in session_members(process.pid):
                os.kill(pid, signal.SIGKILL)


def ended(process, tmp_path):
    """Returns its exit code and its output on stderr; the program and all its descendants are gone soon."""
    begun = time.monotonic()
    try:
        process.wait(PROMPT)
    except subprocess.TimeoutExpired:
        pytest.fail(f"still runs after {PROMPT} s: {(tmp_path / 'errors').read_text()}")
    until(lambda: not session_members(process.pid), PROMPT)
    assert time.monotonic() - begun < PROMPT
    return process.returncode, (tmp_path / "errors").read_text()


CALLS = {
    "map": "pool.map({task}, range(100))",
    "map of chunks": "pool.map({task}, range(100), 10)",
    "imap": "for _ in pool.imap({task}, range(100)): pass",
    "apply": "[pool.apply_async({task}, (n,)) for n in range(4)][0].get()",
    "close and join": "pool.map_async({task}, range(100)); pool.close(); pool.join()",
    # Briefly and often: the interpreter misses a signal that arrives just before it sleeps.
    "main elsewhere": "pool.map_async({task}, range(100)); [time.sleep(0.05) for _ in range(12_000)]",
}


def interrupt_group(process):
    os.killpg(process.pid, signal.SIGINT)


def interrupt_parent(process):
    process.send_signal(signal.SIGINT)


def interrupted_well(process, tmp_path):
    code, said = ended(process, tmp_path)
    assert code == -signal.SIGINT
    assert said.count("Traceback") == 1 and said.endswith("KeyboardInterrupt\n") and "Process " not in said, said


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["sleep", "spin_in_c"])
@pytest.mark.parametrize("interrupt", [interrupt_group, interrupt_parent])
def test_ctrl_c_in_map(tmp_path, method, task, interrupt):
    program = f"""
    if __name__ == "__main__":
        with mp.get_context({method!r}).Pool(2) as pool:
            pool.map({task}, range(100), 1)
    """
    with started(tmp_path, program) as process:
        interrupt(process)
        interrupted_well(process, tmp_path)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("context_manager", ["with", "without"])
def test_ctrl_c_in_other_calls(tmp_path, call, context_manager):
    line = CALLS[call].format(task="sleep")
    program = (
        f"""
    if __name__ == "__main__":
        with mp.get_context("fork").Pool(2) as pool:
            {line}
    """
        if context_manager == "with"
        else f"""
    if __name__ == "__main__":
        pool = mp.get_context("fork").Pool(2)
        {line}
    """
    )
    with started(tmp_path, program) as process:
        interrupt_group(process)
        interrupted_well(process, tmp_path)


def test_ctrl_c_while_short_tasks_run(tmp_path):
    program = """
    if __name__ == "__main__":
        with mp.get_context("fork").Pool(2) as pool:
            while True:
                pool.map(short, range(100), 5)
    """
    with started(tmp_path, program) as process:
        interrupt_group(process)
        interrupted_well(process, tmp_path)


def test_ctrl_c_that_is_caught(tmp_path):
    """The call is over; the program goes on, and the pool ends when it is closed."""
    program = """
    if __name__ == "__main__":
        pool = mp.get_context("fork").Pool(2)
        try:
            pool.map(sleep, range(100), 1)
        except KeyboardInterrupt:
            say("caught")
        pool.terminate()
        pool.join()
        with mp.get_context("fork").Pool(2) as pool:
            print(pool.map(square, [1, 2, 3]), flush=True)
        pool.join()
    """
    with started(tmp_path, program) as process:
        interrupt_group(process)
        assert process.stdout.readline() == "caught\n"
        assert process.stdout.readline() == "[1, 4, 9]\n"
        assert ended(process, tmp_path) == (0, "")


# -------------------------------------------------------------------------------------------------- without being asked

ENDINGS = {
    "falls off the end": ("", 0),
    "sys.exit": ("sys.exit(7)", 7),
    "an error": ("raise LookupError", 1),
    "os._exit": ("os._exit(5)", 5),
    "killed": ("os.kill(os.getpid(), 9)", -9),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_that_ends_with_a_busy_pool(tmp_path, method, ending):
    line, expected = ENDINGS[ending]
    program = f"""
    if __name__ == "__main__":
        pool = mp.get_context({method!r}).Pool(2)
        results = pool.map_async(spin_in_c, range(100), 1)
        more = pool.imap(square, iter(int, 1))
        while sys.stdin.read(1):  # until the test has seen the tasks run
            pass
        {line}
    """
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(HEAD) + textwrap.dedent(program))
    command = [sys.executable, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        open(tmp_path / "errors", "w+") as errors,
        subprocess.Popen(command, stderr=errors, start_new_session=True, **pipes) as process,
    ):
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2, (tmp_path / "errors").read_text()
            process.stdin.close()
            code, said = ended(process, tmp_path)
        finally:
            for pid in session_members(process.pid):
                os.kill(pid, signal.SIGKILL)
    assert code == expected
    assert said.count("Traceback") == (ending == "an error") and "Exception ignored" not in said, said


@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_ends_with_an_idle_pool(run, method):
    done = run(f"""
        import kettle.multiprocessing as mp
        def square(n):
            return n * n
        if __name__ == "__main__":
            pool = mp.get_context({method!r}).Pool(2)
            it = pool.imap(square, range(1000))
            print(pool.map(square, range(3)), next(it))
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("[0, 1, 4] 0\n", "", 0)


def test_a_pool_in_an_object_at_the_end(run):
    """The standard library has hung here for years: a pool that is released only by the interpreter's end."""
    done = run("""
        import kettle.multiprocessing as mp
        class Keeper:
            def __init__(self):
                self.itself = self
                self.pool = mp.get_context("fork").Pool(2)
            def __del__(self):
                self.pool.terminate()
        keeper = Keeper()
        print(keeper.pool.map(abs, [-1]))
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("[1]\n", "", 0)


def test_a_thread_in_a_call_at_the_end(run):
    done = run("""
        import threading, time
        import kettle.multiprocessing as mp
        pool = mp.get_context("fork").Pool(2)
        threading.Thread(target=pool.map, args=(time.sleep, [600] * 10), daemon=True).start()
        while pool.statistics().busy < 2:
            time.sleep(0.01)
        print("over")
    """)
    assert (done.stdout, done.returncode) == ("over\n", 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_cannot_be_imported_again(run, method):
    """Each worker of spawn fails at its start. The program ends with an error."""
    done = run(f"""
        import kettle.multiprocessing as mp
        if __name__ != "__main__":
            raise ImportError("not in a child")
        with mp.get_context({method!r}).Pool(2) as pool:
            try:
                print(pool.map(abs, range(3)))
            except Exception as error:
                print(type(error).__name__)
        pool.join()
    """)
    assert done.returncode == 0
    assert done.stdout == "[0, 1, 2]\n" or (method != "fork" and done.stdout == "WorkerDied\n"), done.stderr
