"""Ctrl-C at the moments at which processes start: no operation is interrupted halfway, and only the parent prints."""

import subprocess
import sys
import textwrap

import pytest

METHODS = ["fork", "spawn", "forkserver"]

HEAD = """
import os, signal, sys
import multiprocessing.forkserver
from multiprocessing import util
import kettle.multiprocessing as mp

def press():
    os.kill(os.getpid(), signal.SIGINT)

def then_press(function):
    def pressing(*args):
        result = function(*args)
        press()
        return result
    return pressing

class PressingAfterFork:
    def __init__(self):
        util.register_after_fork(self, lambda _: press())
    def __reduce__(self):
        return PressingAfterFork, ()
    def __call__(self):
        say("it ran")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece

def run(*args):
    child = ctx.Process(target=say, args=args)
    child.start()
    child.join()
    say(child.exitcode)
"""


@pytest.fixture
def outcome(tmp_path):
    def outcome(method, program):
        """Returns what a program prints that a terminal's Ctrl-C would reach, with all its descendants."""
        path = tmp_path / "program.py"
        main = f"if __name__ == '__main__':\n    ctx = mp.get_context({method!r})\n"
        path.write_text(HEAD + main + textwrap.indent(textwrap.dedent(program), "    "))
        done = subprocess.run(
            [sys.executable, str(path)], capture_output=True, text=True, timeout=60, start_new_session=True
        )
        return done.returncode, done.stdout, done.stderr

    return outcome


@pytest.mark.parametrize("method", ["fork", "forkserver"])  # a spawned child has nothing to restore there
def test_a_child_that_is_about_to_run(outcome, method):
    program = """
        child = ctx.Process(target=PressingAfterFork())
        child.start()
        child.join()
        say(child.exitcode)
    """
    assert outcome(method, program) == (0, "1\n", "")


def test_a_child_in_the_middle_of_the_interpreters_fork(outcome):
    program = """
        os.register_at_fork(after_in_child=press)
        child = ctx.Process(target=say, args=("it ran",))
        child.start()
        child.join()
        say(child.exitcode)
    """
    assert outcome("fork", program) == (0, "1\n", "")


def test_a_child_keeps_what_its_parent_has_blocked(outcome):
    program = """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
        child = ctx.Process(target=lambda: say(*map(int, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))))
        child.start()
        child.join()
        say(*map(int, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))))
    """
    assert outcome("fork", program) == (0, "2 10\n2 10\n", "")


def test_the_parent_when_it_has_forked(outcome):
    """The child is already known, and can be joined."""
    program = """
        os.register_at_fork(after_in_parent=press)
        told, tell = os.pipe()  # or it may be over by the time that its parent looks
        child = ctx.Process(target=lambda: (os.read(told, 1), say("it ran")))
        try:
            child.start()
        except KeyboardInterrupt:
            say("interrupted", mp.active_children() == [child])
        os.write(tell, b".")
        child.join()
        say(child.exitcode)
    """
    code, said, errors = outcome("fork", program)
    assert (code, sorted(said.splitlines()), errors) == (0, ["0", "interrupted True", "it ran"], "")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_parent_when_it_has_started_an_interpreter(outcome, method):
    """The interpreter of a child or of the fork server. There is no child then, and the next one works normally."""
    program = """
        spawnv_passfds = util.spawnv_passfds
        util.spawnv_passfds = then_press(spawnv_passfds)
        child = ctx.Process(target=say, args=("it ran",))
        try:
            child.start()
        except KeyboardInterrupt:
            say("interrupted", mp.active_children())
        util.spawnv_passfds = spawnv_passfds
        run("and this?")
    """
    assert outcome(method, program) == (0, "interrupted []\nand this?\n0\n", "")


def test_the_parent_when_it_has_asked_the_fork_server(outcome):
    program = """
        run("the server works")
        server = multiprocessing.forkserver
        connect = server.connect_to_new_process
        server.connect_to_new_process = then_press(connect)
        try:
            ctx.Process(target=say, args=("it ran",)).start()
        except KeyboardInterrupt:
            say("interrupted", mp.active_children())
        server.connect_to_new_process = connect
        run("and still does")
    """
    said = "the server works\n0\ninterrupted []\nand still does\n0\n"
    assert outcome("forkserver", program) == (0, said, "")


def test_the_fork_server_while_it_imports_the_program(outcome, tmp_path):
    (tmp_path / "slow.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)\n")
    program = """
        mp.set_forkserver_preload(["slow"])
        for child in "one", "two":
            run(child)
    """
    assert outcome("forkserver", program) == (0, "one\n0\ntwo\n0\n", "")


def test_the_fork_server_that_begins_anew(outcome, tmp_path):
    """A server whose imports began a session leaves them to the children, which can be interrupted like any others."""
    (tmp_path / "sessions.py").write_text("import kettle.multiprocessing as mp; lock = mp.Lock()\n")
    program = """
        mp.set_forkserver_preload(["sessions"])
        child = ctx.Process(target=press)
        child.start()
        child.join()
        say(child.exitcode)
    """
    assert outcome("forkserver", program) == (0, "1\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_that_is_being_made(outcome, method):
    program = """
        start = mp.process.BaseProcess.start
        mp.process.BaseProcess.start = then_press(start)
        try:
            ctx.Pool(2)
        except KeyboardInterrupt:
            say("interrupted", mp.active_children())
        mp.process.BaseProcess.start = start
        with ctx.Pool(2) as pool:
            say(pool.map(abs, [-1, -2]))
    """
    assert outcome(method, program) == (0, "interrupted []\n[1, 2]\n", "")


LEAVES = {
    "before it says what it wants": """
        with multiprocessing.forkserver.socket.socket(socket.AF_UNIX) as client:
            client.connect(server._forkserver_address)
    """,
    "before it says what the child is to do": """
        status, data = server.connect_to_new_process([])
        os.close(data)
        code = [multiprocessing.forkserver.read_signed(status) for _ in range(2)][1]
        assert code == 1, code
    """,
}


@pytest.mark.parametrize("when", LEAVES)
def test_a_client_that_leaves_in_the_middle_of_a_request(outcome, when):
    """It is killed, or interrupted where nothing can be blocked. The server goes on, and the child that it forked
    ends."""
    if sys.version_info >= (3, 14) and "socket" in LEAVES[when]:
        pytest.skip("clients present a key first, and CPython's own server knows what to do")
    program = f"""
        import socket
        run("the server works")
        server = mp.forkserver._forkserver
        pid = server._forkserver_pid
        {LEAVES[when].strip()}
        run("and still does")
        say(server._forkserver_pid == pid)
    """
    said = "the server works\n0\nand still does\n0\nTrue\n"
    assert outcome("forkserver", program) == (0, said, "")
