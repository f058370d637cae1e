"""A program that becomes a daemon by python-daemon, whose context closes all descriptors but those that it keeps."""

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
before = mp.Queue()
before.put("kept")

def work(queue):
    with lock:
        queue.put("worked")

if __name__ == "__main__":
    kept = [*{kept}, sys.stdout]
    with daemon.DaemonContext(files_preserve=kept, stdout=sys.stdout, detach_process=True):
        print(before.get(timeout=50), flush=True)
        for method in "fork", "spawn", "forkserver":
            context = mp.get_context(method)
            queue = context.Queue()
            child = context.Process(target=work, args=(queue,))
            child.start()
            print(method, queue.get(timeout=50), flush=True)
            child.join()
        for _ in range(20):
            before.put(bytes(2_000_000))
        print(sum(len(before.get(timeout=50)) for _ in range(20)), flush=True)
"""


@pytest.mark.parametrize("kept", ["kettle.descriptors()", "()"], ids=["keeps ours", "closes all"])
def test_a_daemon_goes_on_and_has_children(tmp_path, kept):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM.replace("{kept}", kept)))
    # The daemon holds the pipe, so this reads until it has ended.
    done = subprocess.run([sys.executable, program], stdout=subprocess.PIPE, text=True, timeout=LIMIT)
    assert done.stdout == "kept\nfork worked\nspawn worked\nforkserver worked\n40000000\n"
