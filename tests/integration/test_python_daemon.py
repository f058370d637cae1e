"""A program that becomes a daemon by python-daemon, whose context closes all descriptors except those to keep."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("daemon")

LIMIT = 60

PROGRAM = """
import sys
import daemon
import kettle
import kettle.multiprocessing as mp

lock = mp.Lock()

def work(queue):
    with lock:
        queue.put("worked")

if __name__ == "__main__":
    kept = [*kettle.descriptors(), sys.stdout]
    with daemon.DaemonContext(files_preserve=kept, stdout=sys.stdout, detach_process=True):
        for method in "fork", "spawn", "forkserver":
            context = mp.get_context(method)
            queue = context.Queue()
            child = context.Process(target=work, args=(queue,))
            child.start()
            print(method, queue.get(timeout=50), flush=True)
            child.join()
"""


def test_children_of_a_daemon_that_keeps_what_kettle_needs(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    # The daemon holds the pipe, so this reads until it has ended.
    done = subprocess.run([sys.executable, program], stdout=subprocess.PIPE, text=True, timeout=LIMIT)
    assert done.stdout == "fork worked\nspawn worked\nforkserver worked\n"
