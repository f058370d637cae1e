"""A child that is forked while other threads of its parent write and read can use the same streams."""

from __future__ import annotations

import pytest
from tests.programs import run

GATE = """
import io, logging, os, sys, threading
import kettle.multiprocessing

class Gate(io.RawIOBase):
    '''A file that blocks a thread of this process in a call until it is opened, and no other process.'''

    def __init__(self):
        self.home, self.entered, self.opened = os.getpid(), threading.Event(), threading.Event()
    def pass_through(self):
        if os.getpid() == self.home:
            self.entered.set()
            self.opened.wait()
    def readable(self):
        return True
    def writable(self):
        return True
    def seekable(self):
        return True
    def seek(self, offset, whence=0):
        return 0
    def readinto(self, buffer):
        self.pass_through()
        return 0
    def write(self, data):
        self.pass_through()
        return os.write(1, data)

gate = Gate()

def beside(thread, child):
    thread = threading.Thread(target=thread)
    thread.start()
    gate.entered.wait()
    process = kettle.multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    gate.opened.set()
    thread.join()
    print("exit code", process.exitcode)
"""

LOGGING = """
logging.basicConfig(stream=io.TextIOWrapper(io.BUFFER(gate)), format="%(message)s")
beside(lambda: logging.warning("parent"), lambda: logging.warning("child"))
"""

STANDARD_INPUT = """
sys.stdin = io.TextIOWrapper(io.BufferedReader(gate))
beside(sys.stdin.readline, lambda: print("child:", repr(sys.stdin.read())))
"""

PRINTING = """
import sys, threading
import kettle.multiprocessing

def write(stream):
    while not done.is_set():
        print("parent", file=stream, flush=True)

done = threading.Event()
threads = [threading.Thread(target=write, args=(stream,)) for stream in (sys.stdout, sys.stderr)]
for thread in threads:
    thread.start()
for _ in range(20):
    process = kettle.multiprocessing.get_context("fork").Process(target=print, args=("child",))
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode
done.set()
"""

ODD_STREAMS = """
import io, logging, os, sys, threading
import kettle.multiprocessing

class Moody:
    calm = True
    def __getattribute__(self, name):
        if name in ("buffer", "stream", "__class__") and not Moody.calm:
            raise RuntimeError("not now")
        return super().__getattribute__(name)

class Text(Moody, io.TextIOWrapper):
    pass

class Handler(Moody, logging.StreamHandler):
    pass

sys.stdout = Text(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
handler = Handler(Text(io.BufferedWriter(io.FileIO(2, "w", closefd=False))))
detached = io.BufferedWriter(io.BytesIO())
detached.detach()
other = logging.StreamHandler(detached)
done = threading.Event()
thread = threading.Thread(target=done.wait)
thread.start()
home = os.getpid()
Moody.calm = False
try:
    process = kettle.multiprocessing.get_context("fork").Process(target=print, args=("child",))
    process.start()
    process.join()
finally:
    Moody.calm = True
    if os.getpid() != home:
        os.write(1, b"the child went on in its parent's program")
        os._exit(9)
done.set()
print("exit code", process.exitcode)
"""

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.mark.parametrize("buffer", ["BufferedWriter", "BufferedRandom"])
def test_a_child_logs_to_a_stream_that_a_thread_is_writing_to(buffer):
    assert sorted(run(GATE + LOGGING.replace("BUFFER", buffer)).splitlines()) == ["child", "exit code 0", "parent"]


def test_a_child_starts_while_a_thread_waits_for_input():
    assert run(GATE + STANDARD_INPUT) == "child: ''\nexit code 0\n"


def test_children_print_while_threads_print():
    assert run(PRINTING).count("child") == 20


def test_a_child_starts_whatever_streams_raise_that_are_asked_for_their_buffer():
    assert run(ODD_STREAMS) == "child\nexit code 0\n"
