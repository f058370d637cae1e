"""An interpreter that was built with the headers of an older kernel than it runs on, as those are that are to run on
many systems (manylinux, conda, what cx_Freeze puts into its programs): its `os` and `signal` have no functions for
pidfds and for files in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

LIMIT = 60  # seconds

# What each interpreter of the program does first.
WITHOUT = """
import os, signal
for module, names in (os, ("pidfd_open", "P_PIDFD", "memfd_create")), (signal, ("pidfd_send_signal",)):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""

PROGRAM = """
import faulthandler, os, sys, time
import kettle.multiprocessing as mp
from kettle import WorkerDied

def double(x):
    return 2 * x

def crash():
    faulthandler._sigsegv()

if __name__ == "__main__":
    assert not hasattr(os, "pidfd_open")
    ctx = mp.get_context(sys.argv[1])
    process = ctx.Process(target=double, args=(1,))
    process.start()
    process.join()
    sleeper = ctx.Process(target=time.sleep, args=(1000,))
    sleeper.start()
    sleeper.terminate()
    sleeper.join()
    print(process.exitcode, sleeper.exitcode)
    with ctx.Pool(1) as pool:
        print(pool.map(double, range(3)))
        try:
            pool.apply(crash)
        except WorkerDied as error:
            print("in crash" in error.trace)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_are_watched_and_signalled(method, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(WITHOUT))
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, "program.py", method],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("0 -15\n[0, 2, 4]\nTrue\n", "")
