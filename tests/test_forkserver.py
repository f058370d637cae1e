"""What the fork server imports for its children, and what it leaves to them."""

import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import os, sys
print("imported as", __name__)
{top}
import kettle.multiprocessing as mp

def target():
    print("child of", __name__, "KETTLE_FORKSERVER" in os.environ, flush=True)

def nested():
    start(1)

def start(count):
    context = mp.get_context("forkserver")
    for _ in range(count):
        child = context.Process(target=target)
        child.start()
        child.join()
        print("ended with", child.exitcode, flush=True)

if __name__ == "__main__":
    sys.stdout.flush()
    {main}
"""

CHILD = "child of __mp_main__ False\nended with 0\n"


@pytest.fixture
def run(tmp_path):
    def run(*, top="", main="start(2)", module=False):
        (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM).format(top=top, main=main))
        command = [sys.executable, *(["-m", "program"] if module else ["program.py"])]
        # Streams are buffered, as by default, so that what is not flushed is seen to be missing.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50)

    return run


@pytest.mark.parametrize("module", [False, True], ids=["script", "module"])
def test_the_main_module_is_imported_once_for_all_children(run, module):
    done = run(module=module)
    assert (done.stdout, done.stderr) == ("imported as __main__\nimported as __mp_main__\n" + 2 * CHILD, "")


def test_a_program_may_ask_that_nothing_be_imported_for_its_children(run):
    done = run(main="mp.set_forkserver_preload([]); start(2)")
    assert (done.stdout, done.stderr) == ("imported as __main__\n" + 2 * ("imported as __mp_main__\n" + CHILD), "")


@pytest.mark.parametrize(
    "top",
    [
        "import kettle.multiprocessing; lock = kettle.multiprocessing.Lock()",
        "import threading; threading.Timer(0.5, int).start()",
    ],
    ids=["session", "thread"],
)
def test_what_a_fork_would_break_is_left_to_the_children(run, top):
    done = run(top=f"if __name__ == '__mp_main__': {top}")
    assert done.stdout.startswith("imported as __main__\nimported as __mp_main__\n")
    assert (done.stdout.count(CHILD), done.stderr) == (2, "")


def test_a_main_module_that_cannot_be_imported_fails_in_the_children(run):
    done = run(top="if __name__ == '__mp_main__': raise ValueError('not here')")
    failing = "imported as __mp_main__\nended with 1\n"
    assert done.stdout == "imported as __main__\nimported as __mp_main__\n" + 2 * failing
    assert done.stderr.count("ValueError: not here") == 2


def test_the_standard_input_stays_the_programs(run):
    done = run(top="if __name__ == '__mp_main__': print('read', repr(sys.stdin.read()))", main="start(1)")
    assert "read ''" in done.stdout


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_may_have_a_server_of_its_own(run, method):
    child = f"start(1); child = mp.get_context({method!r}).Process(target=nested); child.start(); child.join()"
    done = run(main=f"{child}; print('nested ended with', child.exitcode)")
    assert done.stdout.count(CHILD) == 2
    assert done.stdout.endswith("nested ended with 0\n")
    assert done.stderr == ""
