"""The folder in the temporary directory with the sockets of listeners and managers: what remains of it."""

import os
import signal
import subprocess
import sys

import pytest

LIMIT = 60

PROGRAM = """
import os, sys
import kettle.multiprocessing as mp
from kettle.multiprocessing.connection import Client, Listener
from multiprocessing import connection as standard

def main(what, method):
    if what == "listener":
        kept = Listener()
        print("up", flush=True)
        sys.stdin.readline()
        # It is still there, and so is the folder for another one.
        Client(kept.address).close()
        Listener().close()
    elif what == "standard":
        kept = standard.Listener()
        print("up", flush=True)
        sys.stdin.readline()
    else:
        with mp.get_context(method).Manager() as kept:
            entries = kept.dict(a=1)
            print("up", flush=True)
            sys.stdin.readline()
            assert dict(entries) == {"a": 1} and list(kept.list([2])) == [2]
    print("done", flush=True)

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "tmp").mkdir()
    programs = []

    def start(what, method="fork"):
        program = subprocess.Popen(
            [sys.executable, "program.py", what, method],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        programs.append(program)
        assert program.stdout.readline() == "up\n"
        return program

    yield start
    for program in programs:
        if program.poll() is None:
            program.kill()
        program.communicate()


def folders(tmp_path):
    return {name for name in os.listdir(tmp_path / "tmp") if name.startswith("pymp-")}


def finish(program):
    assert program.communicate("\n", timeout=LIMIT)[0] == "done\n"
    assert program.returncode == 0


KINDS = [("listener", "fork"), ("standard", "fork"), ("manager", "fork"), ("manager", "spawn")]


@pytest.mark.parametrize(("what", "method"), KINDS)
def test_what_a_killed_program_leaves_is_removed_by_the_next(tmp_path, start, what, method):
    killed = start(what, method)
    left = folders(tmp_path)
    assert left
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=LIMIT)
    while folders(tmp_path) & left:  # the kernel takes a while to end the last of them
        finish(start("listener"))
    assert folders(tmp_path) == set()


@pytest.mark.parametrize(("what", "method"), KINDS)
def test_what_is_in_use_stays(tmp_path, start, what, method):
    first = start(what, method)
    used = folders(tmp_path)
    finish(start("listener"))
    assert folders(tmp_path) == used
    finish(first)
    assert folders(tmp_path) == set()


def test_what_others_made_stays(tmp_path, start):
    """No lock says that it is abandoned; and a link is not followed."""
    other = tmp_path / "tmp" / "pymp-other"
    other.mkdir()
    (other / "socket").touch()
    link = tmp_path / "tmp" / "pymp-link"
    link.symlink_to(tmp_path)
    (tmp_path / "kettle.lock").touch()
    finish(start("listener"))
    assert folders(tmp_path) == {"pymp-other", "pymp-link"}
    assert (other / "socket").exists() and (tmp_path / "program.py").exists()


def test_a_child_of_a_killed_program_makes_a_folder_of_its_own(tmp_path):
    """It inherits the name of one that is gone."""
    program = """
from multiprocessing import process, util
from kettle.multiprocessing.connection import Client, Listener
process.current_process()._config["tempdir"] = "/nowhere/pymp-gone"
with Listener() as listener:
    Client(listener.address).close()
    print(util.get_temp_dir() != "/nowhere/pymp-gone")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
