"""Failures of tasks that were never retrieved, and tasks that the end of the program drops, are reported when it
ends."""

from __future__ import annotations

import pytest

START = """
import concurrent.futures, os, sys, threading, time
import kettle.multiprocessing as mp
from kettle.futures import ProcessPoolExecutor, ThreadPoolExecutor
from kettle.multiprocessing.pool import Pool, ThreadPool

def f(n):
    if n < 0:
        raise ValueError(n)
    return n

def ignore(error):
    pass

if __name__ == "__main__":
    pool = kind(2)
"""


@pytest.fixture(params=["Pool", "ThreadPool"])
def told(request, run):
    """Returns what a program of these lines writes to stderr."""

    def told(lines, start=START, **environment):
        start = start.replace("kind(", f"{request.param}(")
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("KETTLE_UNASKED", raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            done = run(start + "".join(f"    {line}\n" for line in lines.strip().splitlines()))
        assert done.returncode == 0, done.stderr
        return done.stderr

    return told


THREE = """
results = [pool.apply_async(f, (n,)) for n in (-1, 5, -2, -3)]
pool.close()
pool.join()
"""
OF_THREE = "kettle: 3 tasks failed and their results were never retrieved; the first: ValueError: -"


def test_failures_that_were_never_asked_for(told):
    stderr = told(THREE)
    assert stderr.startswith(OF_THREE) and stderr.count("\n") == 1
    assert told("pool.map_async(f, [-7]); pool.close(); pool.join()") == (
        "kettle: 1 task failed and its result was never retrieved: ValueError: -7 in f(-7), item 0 of map\n"
    )


@pytest.mark.parametrize(
    "asks",
    [
        "try: result.get()\nexcept ValueError: pass",
        "result.wait()\nassert not result.successful()",
        "try: pool.apply(f, (-1,))\nexcept ValueError: pass\nresult.wait(); result.successful()",
        "import asyncio\nasync def wait(): await result\ntry: asyncio.run(wait())\nexcept ValueError: pass",
    ],
)
def test_what_was_asked_for_is_not_told(told, asks):
    assert told(f"result = pool.apply_async(f, (-1,))\n{asks}\npool.close(); pool.join()") == ""


def test_what_is_not_a_question(told):
    lines = (
        "result = pool.apply_async(f, (-1,))\nresult.wait()\nresult.ready(); repr(result)\npool.close(); pool.join()"
    )
    assert told(lines) == "kettle: 1 task failed and its result was never retrieved: ValueError: -1 in f(-1)\n"


def test_a_callback_for_errors_takes_them(told):
    lines = "pool.apply_async(f, (-1,), error_callback=ignore)\npool.close(); pool.join()"
    assert told(lines) == ""
    assert "never retrieved" in told(lines.replace("error_callback", "callback"))


def test_what_was_cancelled_is_no_failure(told):
    assert told("results = [pool.apply_async(time.sleep, (60,)) for _ in range(3)]\npool.terminate()") == ""
    assert told("with pool: results = [pool.apply_async(time.sleep, (60,)) for _ in range(3)]") == ""


def test_what_an_interrupt_ended_is_no_failure(told):
    """Ctrl-C reaches the workers as well, and their tasks may end before the program does."""
    start = START.replace("def ignore(", "def interrupted():\n    raise KeyboardInterrupt\n\ndef ignore(")
    assert told("pool.apply_async(interrupted)\npool.close()\npool.join()", start) == ""


def test_tasks_that_the_end_of_the_program_drops(told):
    waiting = """
gate = [pool.apply_async(time.sleep, (600,)) for _ in range(2)]
results = [pool.apply_async(f, (1,)) for _ in range(5)]
"""
    expected = (
        "kettle: 7 tasks of pools were not done when the program ended; "
        "close() and join() of a pool wait for its tasks\n"
    )
    assert told(waiting) == expected
    assert told(f"{waiting}\npool.close()") == expected
    assert told(f"{waiting}\npool.terminate()") == ""
    assert told("squares = pool.imap(f, iter(int, 1))\nnext(squares)") == ""


def test_a_program_that_an_error_ends_says_so_itself(run):
    program = START.replace("kind(", "Pool(") + "    pool.apply_async(time.sleep, (600,))\n    raise SystemError\n"
    done = run(program)
    assert done.returncode == 1
    assert "kettle:" not in done.stderr


def test_the_switch(told):
    assert told(THREE, KETTLE_UNASKED="off") == ""
    assert told("pool.apply_async(time.sleep, (600,))", KETTLE_UNASKED="off") == ""


@pytest.mark.parametrize("executor", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_executors_only_on_request(run, executor, monkeypatch):
    lines = "    futures = [pool.submit(f, n) for n in (-1, -2)]\n    futures[1].exception()\n    pool.shutdown()\n"
    program = START.replace("kind(", f"{executor}(") + lines
    monkeypatch.delenv("KETTLE_UNASKED", raising=False)
    assert run(program).stderr == ""
    monkeypatch.setenv("KETTLE_UNASKED", "all")
    assert run(program).stderr == "kettle: 1 task failed and its result was never retrieved: ValueError: -1 in f(-1)\n"


def test_an_error_runs_no_code_of_its_own(run):
    program = START.replace("kind(", "ThreadPool(").replace(
        "def ignore",
        "class Loud(Exception):\n    def __str__(self): os.abort()\n\n"
        "def loud(): raise Loud('x' * 500, 3)\n\ndef ignore",
    )
    done = run(program + "    pool.apply_async(loud)\n    pool.close(); pool.join()\n")
    assert done.returncode == 0
    assert done.stderr.startswith("kettle: 1 task failed and its result was never retrieved: Loud: 'xxxx")
    assert len(done.stderr) < 400


def test_a_child_tells_of_its_own(run):
    program = START.replace("    pool = kind(2)\n", "") + (
        "    pool = ThreadPool(2)\n"
        "    pool.apply_async(f, (-1,)).wait()\n"
        "    process = mp.get_context('fork').Process(target=child)\n"
        "    process.start(); process.join()\n"
    )
    child = "def child():\n    pool = ThreadPool(1)\n    pool.apply_async(f, (-9,)).wait()\n\ndef ignore"
    done = run(program.replace("def ignore", child))
    told = [line.rpartition(" in ")[2] for line in done.stderr.splitlines()]
    assert told == ["f(-9)", "f(-1)"], done.stderr
