"""A program as a container runs it: its own session, ended by SIGTERM, which it handles by ending its pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

LIMIT = 60

PROGRAM = """
import signal, sys, time
import kettle.multiprocessing as mp

def work(seconds):
    time.sleep(seconds)
    return seconds

def leave(number, frame):
    pool.terminate()
    pool.join()
    print("left", flush=True)
    sys.exit(3)

if __name__ == "__main__":
    how = sys.argv[2]
    pool = mp.get_context(sys.argv[1]).Pool(2)
    signal.signal(signal.SIGTERM, leave)
    assert pool.map(work, [0, 0]) == [0, 0]
    print("up", flush=True)
    if how == "map":
        pool.map(work, [3600] * 4)
    elif how == "imap":
        for _ in pool.imap_unordered(work, [3600] * 4):
            pass
    elif how == "join":
        pool.map_async(work, [3600] * 4)
        pool.close()
        pool.join()
    else:
        pool.map_async(work, [3600] * 4)
        while True:
            time.sleep(0.1)  # a signal that comes just before a sleep does not end it, whatever made the threads
"""


@pytest.mark.parametrize("to", ["the first process", "all"])
@pytest.mark.parametrize("how", ["map", "imap", "join", "sleep"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_sigterm_ends_the_program_in_its_own_way(tmp_path, method, how, to):
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    with subprocess.Popen(
        [sys.executable, "program.py", method, how],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout.readline() == "up\n"
        (os.kill if to == "the first process" else os.killpg)(program.pid, signal.SIGTERM)
        # The pipes are at their end when no worker is left.
        said, errors = program.communicate(timeout=LIMIT)
    assert (program.returncode, said) == (3, "left\n"), errors
    if to == "the first process":
        assert errors == ""
