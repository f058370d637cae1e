"""What the fork server imports for its children, and what it leaves to them."""

import os
import signal
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
        # Streams are buffered, as by default, to show that unflushed output would be missing.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50)

    return run


@pytest.mark.parametrize("module", [False, True], ids=["script", "module"])
def test_the_main_module_is_imported_once_for_all_children(run, module):
    done = run(module=module)
    assert (done.stdout, done.stderr) == ("imported as __main__\nimported as __mp_main__\n" + 2 * CHILD, "")


def test_a_child_starts_its_own_server_wherever_the_package_was_imported_first(run, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import kettle.multiprocessing.forkserver\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run(main='child = mp.get_context("forkserver").Process(target=nested); child.start(); child.join()')
    assert done.stdout.endswith(CHILD), done


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


IN_THE_MIDDLE = """
from multiprocessing import reduction
import kettle.multiprocessing as mp

def start():
    child = mp.get_context("forkserver").Process(target=int)
    child.start()
    child.join()
    print(child.exitcode)

def send(*request):
    reduction.sendfds = sendfds
    start()
    sendfds(*request)

if __name__ == "__main__":
    start()
    sendfds, reduction.sendfds = reduction.sendfds, send
    start()
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the server speaks first, and waits for an answer")
def test_a_process_is_started_by_a_signal_handler_while_another_is_requested(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(IN_THE_MIDDLE)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n" * 3, "")


TEMPORARY = """
import multiprocessing, os, signal, sys
import kettle.multiprocessing as mp

def told(connection):
    connection.send("up")
    if sys.argv[1] == "stay":
        signal.pause()

def start(context):
    ours, theirs = context.Pipe()
    child = context.Process(target=told, args=(theirs,))
    child.start()
    print(ours.recv(), flush=True)
    if sys.argv[1] == "stay":
        signal.pause()
    child.join()

if __name__ == "__main__":
    start(mp.get_context("forkserver"))
    if sys.argv[1] == "both":
        start(multiprocessing.get_context("forkserver"))
"""


def run_temporary(tmp_path, how):
    (tmp_path / "program.py").write_text(TEMPORARY)
    (tmp_path / "tmp").mkdir()
    return subprocess.Popen(
        [sys.executable, "program.py", how],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_nothing_is_left_of_a_server_that_is_killed_with_its_program(tmp_path):
    with run_temporary(tmp_path, "stay") as program:
        assert program.stdout.readline() == "up\n"
        os.killpg(program.pid, signal.SIGKILL)
        assert program.communicate(timeout=50) == ("", "")  # the server and the child are gone, too
    assert os.listdir(tmp_path / "tmp") == []


def test_a_server_needs_no_temporary_directory(tmp_path):
    with run_temporary(tmp_path, "once") as program:
        (tmp_path / "tmp").rmdir()
        assert program.communicate(timeout=50) == ("up\n", "")


def test_the_standard_librarys_own_processes_use_the_server_too(tmp_path):
    with run_temporary(tmp_path, "both") as program:
        assert program.communicate(timeout=50) == ("up\nup\n", "")


WITHOUT_CLIENT = """
import os, sys, time
import kettle.multiprocessing as mp

def outlives(theirs):
    theirs.recv()  # the parent is gone
    server = os.getppid()
    before = None
    while before != (before := look(server)) or not before[0]:
        time.sleep(0.1)
    print("asleep", flush=True)

def look(server):
    with open(f"/proc/{server}/stat") as stat, open(f"/proc/{server}/schedstat") as used:
        return stat.read().rpartition(")")[2].split()[0] == "S", used.read().split()[0]

if __name__ == "__main__":
    ours, theirs = mp.Pipe()
    child = mp.get_context("forkserver").Process(target=outlives, args=(theirs,), outlive_parent=True)
    child.start()
    ours.send(None)
    os._exit(0)
"""


@pytest.mark.parametrize("attempt", range(8))  # sometimes before the child closes what it inherits
def test_a_server_whose_client_is_gone_sleeps_until_the_end_of_what_it_started(tmp_path, attempt):
    (tmp_path / "program.py").write_text(WITHOUT_CLIENT)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("asleep\n", "")


NAMESPACE = """
import ctypes, os, sys
import kettle.multiprocessing as mp

def unshare():
    if ctypes.CDLL(None).unshare(0x20000000):  # CLONE_NEWPID
        print("not permitted")
        os._exit(0)

def child(method):
    process = mp.get_context(method).Process(target=print, args=(method,))
    process.start()
    process.join()
    return process.exitcode

if __name__ == "__main__":
    when = sys.argv[1]
    if when == "before":
        assert child("forkserver") == 0
    unshare()
    if when == "after a child":
        assert child("fork") == 0
    try:
        assert child("forkserver") == 0
    except RuntimeError as error:
        assert "start it before" in str(error), error
        print("an error")
    assert mp.active_children() == []
"""


@pytest.mark.parametrize(
    ("when", "said"),
    [("before", "forkserver forkserver"), ("after", "an error"), ("after a child", "fork an error")],
)
def test_a_server_in_another_pid_namespace(tmp_path, when, said):
    """The pids that it would report belong to other processes, which `terminate` would hit."""
    (tmp_path / "program.py").write_text(NAMESPACE)
    command = [sys.executable, "program.py", when]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    if done.stdout.endswith("not permitted\n"):
        pytest.skip("this user may not make a pid namespace")
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, said.split(), "")
