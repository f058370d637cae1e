"""Process: starting, naming, ending, and the identity of a child as seen by itself."""

from __future__ import annotations

import importlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from .support import LIMIT, answer_of, started

BOTH = ("multiprocessing", "kettle.multiprocessing")


def nothing():
    pass


def add(a, b=0):
    return a + b


def exit_with(status):
    sys.exit(status)


def fail():
    raise ValueError("on purpose")


def hold(connection):
    """Reports that it runs, then waits until it is killed or its parent closes the pipe."""
    connection.send(os.getpid())
    connection.poll(None)


def test_arguments_reach_the_target(ctx):
    assert answer_of(ctx, add, 2, 3) == 5


def test_life_of_a_process(ctx):
    child = ctx.Process(target=nothing)
    assert child.pid is None and child.exitcode is None and not child.is_alive()
    child.start()
    assert isinstance(child.pid, int) and child.pid != os.getpid() and child.ident == child.pid
    child.join(LIMIT)
    assert child.exitcode == 0 and not child.is_alive()
    child.close()


@pytest.mark.parametrize("status, code", [(0, 0), (3, 3), (None, 0), ("a message", 1), (True, 1), ((8,), 8)])
def test_exit_code_of_sys_exit(fork, status, code, capfd):
    child = fork.Process(target=exit_with, args=(status,))
    child.start()
    child.join(LIMIT)
    assert child.exitcode == code
    assert ("a message" in capfd.readouterr().err) == (status == "a message")


@pytest.mark.parametrize("method", ["fork", "spawn"])  # the fork server's stderr is that of the test that started it
def test_an_exception_is_printed_and_gives_exit_code_1(mp, method, capfd):
    child = mp.get_context(method).Process(target=fail, name="Unlucky")
    child.start()
    child.join(LIMIT)
    assert child.exitcode == 1
    error = capfd.readouterr().err
    assert "Process Unlucky:" in error and "ValueError: on purpose" in error


@pytest.mark.parametrize("end, number", [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)])
def test_being_ended_by_a_signal(ctx, end, number):
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=hold, args=(theirs,))
    child.start()
    assert ours.poll(LIMIT) and ours.recv() == child.pid
    assert child.is_alive()
    getattr(child, end)()
    child.join(LIMIT)
    assert child.exitcode == -number and not child.is_alive()
    ours.close()
    theirs.close()


def test_join_with_a_timeout_returns_in_time_and_does_not_end_the_child(ctx):
    ours, theirs = ctx.Pipe()
    with started(ctx, hold, theirs) as child:
        assert ours.poll(LIMIT) and ours.recv()
        begun = time.monotonic()
        assert child.join(0.05) is None
        assert time.monotonic() - begun >= 0.05
        assert child.exitcode is None and child.is_alive()
        child.join(-1)  # the time is already over
        assert child.is_alive()
        ours.send("go")
    ours.close()
    theirs.close()


def test_sentinel_becomes_ready_at_the_end(ctx, mp):
    ours, theirs = ctx.Pipe()
    with started(ctx, hold, theirs) as child:
        assert ours.poll(LIMIT) and ours.recv()
        wait = importlib.import_module(mp.__name__ + ".connection").wait
        assert isinstance(child.sentinel, int)
        assert wait([child.sentinel], 0) == []
        ours.send("go")
        assert wait([child.sentinel], LIMIT) == [child.sentinel]
    ours.close()
    theirs.close()


class Square:
    """A target that is an instance, as pickled by spawn."""

    def __init__(self, n):
        self.n = n

    def __call__(self):
        return self.n * self.n


def call(thing):
    return thing()


def test_an_object_is_rebuilt_in_the_child(ctx):
    assert answer_of(ctx, call, Square(7)) == 49


def make_subclass(ctx):
    class Named(ctx.Process):
        def __init__(self, connection):
            self.name = "set before"  # as many programs do, although the documentation forbids it
            super().__init__()
            self.connection = connection

        def run(self):
            self.connection.send((type(self).__name__, self.name, os.getpid()))

    return Named


def test_subclass_with_run(fork):
    ours, theirs = fork.Pipe()
    try:
        child = make_subclass(fork)(theirs)
    except AttributeError:
        pytest.skip("the standard library of this Python refuses a name before __init__")
    child.start()
    assert ours.poll(LIMIT)
    kind, name, pid = ours.recv()
    child.join(LIMIT)
    assert (kind, pid, child.exitcode) == ("Named", child.pid, 0)
    assert name == child.name


def identity(names):
    """Returns what each package reports in a child about its identity."""
    told = {}
    for name in names:
        mp = importlib.import_module(name)
        me, parent = mp.current_process(), mp.parent_process()
        told[name] = {
            "name": me.name,
            "pid": me.pid,
            "daemon": me.daemon,
            "alive": me.is_alive(),
            "parent": (parent.pid, parent.name, parent.is_alive()),
            "children": mp.active_children(),
        }
    return os.getpid(), told


def test_both_packages_tell_the_truth_inside_a_child(ctx, mp):
    # Third-party code and logging ask the standard library, whichever package started the process.
    names = BOTH if mp.__name__ != "multiprocessing" else BOTH[:1]
    pid, told = answer_of(ctx, identity, names)
    for facts in told.values():
        assert facts["pid"] == pid
        assert facts["alive"] and not facts["daemon"] and facts["children"] == []
        assert "Process-" in facts["name"]
        assert facts["parent"] == (os.getpid(), "MainProcess", True)


def current_name(connection):
    import multiprocessing

    connection.send((multiprocessing.current_process().name, multiprocessing.current_process().daemon))


@pytest.mark.parametrize("daemon", [False, True])
def test_name_and_daemon_reach_the_child(ctx, daemon):
    ours, theirs = ctx.Pipe()
    with started(ctx, current_name, theirs, name="worker seven", daemon=daemon) as child:
        assert child.name == "worker seven" and child.daemon is daemon
        assert ours.poll(LIMIT) and ours.recv() == ("worker seven", daemon)
    ours.close()
    theirs.close()


def test_the_main_process_has_no_parent(mp):
    assert mp.parent_process() is None
    assert mp.current_process().name == "MainProcess"
    assert mp.current_process().pid == os.getpid()


def test_active_children_are_those_that_run(mp, ctx):
    ours, theirs = ctx.Pipe()
    before = set(mp.active_children())
    with started(ctx, hold, theirs) as child:
        assert ours.poll(LIMIT) and ours.recv()
        assert set(mp.active_children()) - before == {child}
        ours.send("go")
        child.join(LIMIT)
        assert set(mp.active_children()) - before == set()
    ours.close()
    theirs.close()


def grandchild(package, method):
    context = importlib.import_module(package).get_context(method)
    return answer_of(context, os.getppid), os.getpid()


def test_a_child_may_have_children(mp, ctx):
    method = ctx.get_start_method()
    seen, child = answer_of(ctx, grandchild, mp.__name__, method)
    if method != "forkserver":
        assert seen == child


def try_to_have_a_child(package):
    context = importlib.import_module(package).get_context("fork")
    try:
        context.Process(target=nothing).start()
    except AssertionError as error:
        return str(error)
    return "no error"


def daemon_reply(writer, package):
    writer.send(try_to_have_a_child(package))


def test_children_of_a_daemon(mp, ctx):
    """The standard library forbids them, since they would be left behind. Kettle's die with their parent."""
    told = "no error" if mp.__name__.startswith("kettle") else "daemonic processes are not allowed to have children"
    ours, theirs = ctx.Pipe()
    with started(ctx, daemon_reply, theirs, mp.__name__, daemon=True):
        assert ours.poll(LIMIT) and ours.recv() == told
    ours.close()
    theirs.close()


def test_what_cannot_be_pickled_fails_at_start(mp):
    before = set(mp.active_children())
    for method in ("spawn", "forkserver"):
        child = mp.get_context(method).Process(target=call, args=(threading.Lock(),))
        with pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
            child.start()
    assert set(mp.active_children()) == before


def test_wrong_use(fork):
    child = fork.Process(target=nothing)
    with pytest.raises(AssertionError, match="can only join a started process"):
        child.join()
    with pytest.raises(ValueError, match="process not started"):
        child.sentinel  # noqa: B018
    child.start()
    with pytest.raises(AssertionError, match="cannot start a process twice"):
        child.start()
    with pytest.raises(AssertionError, match="process has already started"):
        child.daemon = True
    child.join(LIMIT)
    child.close()
    for use in (child.join, child.is_alive, child.terminate, child.kill, lambda: child.exitcode, lambda: child.pid):
        with pytest.raises(ValueError, match="process object is closed"):
            use()
    child.close()  # closing twice is not an error


def test_a_running_process_cannot_be_closed(fork):
    ours, theirs = fork.Pipe()
    with started(fork, hold, theirs) as child:
        with pytest.raises(ValueError, match="Cannot close a process while it is still running"):
            child.close()
        ours.send("go")
    ours.close()
    theirs.close()


def test_wrong_arguments(mp):
    with pytest.raises(AssertionError, match="group argument must be None for now"):
        mp.Process(group=1)
    with pytest.raises(AssertionError, match="name must be a string"):
        mp.Process().name = 7
    with pytest.raises(ValueError, match="cannot find context for 'telepathy'"):
        mp.get_context("telepathy")


def test_default_names_count_up(fork):
    first, second = fork.Process(target=nothing), fork.Process(target=nothing)
    prefix, number = first.name.rsplit("-", 1)
    assert second.name == f"{prefix}-{int(number) + 1}"


def test_repr_says_the_state(fork):
    child = fork.Process(target=nothing, name="shown")
    assert "name='shown'" in repr(child) and "initial" in repr(child)
    child.start()
    assert f"pid={child.pid}" in repr(child) and f"parent={os.getpid()}" in repr(child)
    child.join(LIMIT)
    assert "stopped" in repr(child) and "exitcode=0" in repr(child)


def test_the_authkey_is_inherited(ctx, mp):
    reader, writer = ctx.Pipe(duplex=False)
    with started(ctx, send_authkey, writer, mp.__name__):
        assert reader.poll(LIMIT)
        assert reader.recv() == bytes(mp.current_process().authkey)
    reader.close()
    writer.close()


def send_authkey(writer, package):
    writer.send(bytes(importlib.import_module(package).current_process().authkey))


def test_start_methods(mp):
    assert mp.get_all_start_methods()[0] == mp.get_context().get_start_method()  # the default comes first
    # loky, which joblib brings, adds its own.
    methods = {method for method in mp.get_all_start_methods() if not method.startswith("loky")}
    assert methods == {"fork", "spawn", "forkserver"}
    for method in methods:
        assert mp.get_context(method).get_start_method() == method


def test_to_start_a_process_of_another_context_chooses_no_default(mp):
    if mp.__name__ == "multiprocessing" and sys.version_info < (3, 14):
        pytest.skip("earlier Pythons do choose it")
    program = f"""if True:
        import {mp.__name__} as mp
        for method in "fork", "spawn", "forkserver":
            process = mp.get_context(method).Process(target=int)
            process.start()
            process.join()
            print(process.exitcode, mp.get_start_method(allow_none=True))
        mp.set_start_method("spawn")
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=2 * LIMIT)
    assert (done.stdout, done.stderr) == ("0 None\n" * 3, "")


def write_at_exit(package, path):
    util = importlib.import_module(package + ".util")
    util.Finalize(None, pathlib.Path(path).write_text, args=("finalized",), exitpriority=5)


def test_finalizers_run_at_the_end_of_a_child(ctx, mp, tmp_path):
    mark = tmp_path / "mark"
    with started(ctx, write_at_exit, mp.__name__, str(mark)):
        pass
    assert mark.read_text() == "finalized"


def send_seen(connection):
    connection.send(SEEN)


SEEN: list[str] = []


class Registered:
    def note(self):
        SEEN.append("after fork")


def test_register_after_fork_runs_in_the_child(fork, mp):
    util = importlib.import_module(mp.__name__ + ".util")
    thing = Registered()
    util.register_after_fork(thing, Registered.note)
    ours, theirs = fork.Pipe()
    with started(fork, send_seen, theirs):
        assert ours.poll(LIMIT) and ours.recv() == ["after fork"]
    assert SEEN == []
    ours.close()
    theirs.close()


def test_the_order_of_things_at_exit(mp, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"import atexit, {mp.__name__} as mp\n"
        "def finish(go):\n"
        "    go.wait()\n"
        "    print('child', flush=True)\n"
        "def last():\n"
        "    print('registered before', number.value, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    atexit.register(last)\n"
        "    fork = mp.get_context('fork')\n"
        "    number, go = fork.Value('i', 7), fork.Event()\n"
        "    fork.Process(target=finish, args=(go,)).start()\n"
        "    atexit.register(print, 'registered later', flush=True)\n"
        f"    from {mp.__name__} import util\n"
        "    util.Finalize(None, go.set, exitpriority=1)\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["registered later", "child", "registered before 7"]


def test_non_daemons_are_joined_at_exit_and_daemons_are_ended(mp, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"import {mp.__name__} as mp, time, sys\n"
        # One write per line, because two processes write to the same pipe.
        "def finish(): print('finished\\n', end='', flush=True)\n"
        "def stay(): time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    mp.set_start_method('fork')\n"
        "    mp.Process(target=stay, daemon=True).start()\n"
        "    mp.Process(target=finish).start()\n"
        "    print('main ends\\n', end='', flush=True)\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == ["", "finished", "main ends"]
