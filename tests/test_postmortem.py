"""Why a worker died: signals, the kernel's OOM killer, the stacks at a crash."""

import contextlib
import faulthandler
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import kettle.multiprocessing as mp
from kettle import _cgroups
from kettle._core import native
from kettle._postmortem import PostMortem, _OomKills, arm, close_trace, new_trace, read_trace
from kettle.multiprocessing import forkserver

LIMIT = 30


@pytest.fixture(params=("fork", "spawn", "forkserver"))
def ctx(request):
    if request.param == "forkserver":  # it keeps two descriptors of this process, which must not be counted
        forkserver.ensure_running()
    return mp.get_context(request.param)


def in_the_crashing_function():
    faulthandler._sigsegv()


def crash():
    in_the_crashing_function()


def fork_a_child_that_crashes():
    child = os.fork()
    if child == 0:
        crash()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGSEGV


def fork_then_die():
    fork_a_child_that_crashes()
    os.kill(os.getpid(), signal.SIGKILL)


def arm_again_and_crash():
    other = os.getpid(), os.memfd_create("another")
    before = os.listdir("/proc/self/fd")
    assert arm(other)
    if len(os.listdir("/proc/self/fd")) == len(before):
        crash()


def enable_own_and_crash():
    with open(os.devnull, "w") as own:
        faulthandler.enable(own)
        crash()


def end():
    pass


def work(place, action):
    assert arm(place)
    action()


def trace_of(ctx, action):
    """Runs a worker that ends by `action` immediately; returns its pid, its exit code and the descriptor of its
    trace."""
    trace = new_trace()
    worker = ctx.Process(target=work, args=((os.getpid(), trace), action))
    worker.start()
    worker.join(LIMIT)
    return worker.pid, worker.exitcode, trace


def test_where_it_crashed(ctx, census):
    pid, exitcode, trace = trace_of(ctx, crash)
    error = PostMortem().worker_died(pid, exitcode, "crash()", trace=read_trace(trace))
    assert (error.pid, error.exitcode, error.signal, error.oom) == (pid, -signal.SIGSEGV, signal.SIGSEGV, False)
    assert "Segmentation fault" in error.trace
    assert "in_the_crashing_function" in error.trace
    assert re.search(r"in crash\n  File .*, line \d+ in work(\n\n|$)", error.trace)  # not how the process began
    assert f"worker {pid} crashed with SIGSEGV while it ran crash()" in str(error)


def test_where_it_crashed_far_from_where_the_program_began():
    """The interpreter's trace has at most a hundred frames."""

    def at_depth(n):
        return at_depth(n - 1) if n else trace_of(mp.get_context("fork"), crash)

    trace = read_trace(at_depth(120)[2])
    assert re.search(r"in crash\n  File .*, line \d+ in work(\n\n|$)", trace)


def test_an_end_in_peace(ctx, census):
    _, exitcode, trace = trace_of(ctx, end)
    assert exitcode == 0
    assert read_trace(trace) is None


def test_a_trace_that_is_never_read(census):
    close_trace(trace_of(mp.get_context("fork"), end)[2])


def test_idle_workers_of_a_pool_that_die():
    """Their errors are not retrieved, but the descriptors opened for them are closed."""

    def open_traces():
        count = 0
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed in the meantime
                count += "kettle-trace" in os.readlink(f"/proc/self/fd/{fd}")
        return count

    with mp.get_context("fork").Pool(1) as pool:
        for _ in range(5):
            os.kill(pool.apply(os.getpid), signal.SIGKILL)
        pool.apply(os.getpid)
        assert open_traces() <= 1
        pool.close()
        pool.join()
    assert open_traces() == 0


def test_what_a_worker_forks_does_not_write_in_its_name(census):
    _, exitcode, trace = trace_of(mp.get_context("fork"), fork_then_die)
    assert exitcode == -signal.SIGKILL
    assert read_trace(trace) is None


def test_arming_again_leaves_no_descriptor(census):
    _, exitcode, trace = trace_of(mp.get_context("fork"), arm_again_and_crash)
    assert exitcode == -signal.SIGSEGV
    assert read_trace(trace) is None  # the crash is in the file that was armed last


def test_a_task_may_have_its_own(census):
    _, exitcode, trace = trace_of(mp.get_context("spawn"), enable_own_and_crash)
    assert exitcode == -signal.SIGSEGV
    assert read_trace(trace) is None


@pytest.mark.parametrize(("option", "told"), [("", False), ("-Xfaulthandler", True)])
def test_a_child_of_a_worker_reports_as_it_would_without_us(option, told):
    program = """
        import faulthandler, os
        from kettle import _postmortem
        assert _postmortem.arm((os.getpid(), _postmortem.new_trace()))
        child = os.fork()
        if child == 0:
            faulthandler._sigsegv()
        print(os.waitpid(child, 0)[1])
    """
    command = [sys.executable, *option.split(), "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout == f"{signal.SIGSEGV:d}\n"
    assert ("Segmentation fault" in done.stderr) == told


def test_no_trace_at_all():
    enabled = faulthandler.is_enabled()
    assert not arm(None)
    assert not arm((os.getpid(), 10**6))
    assert not arm((2**22 + 1, 3))  # there is no such process
    assert faulthandler.is_enabled() == enabled
    assert read_trace(None) is None
    close_trace(None)


def test_a_system_without_memory_files(monkeypatch):
    def refused(name):
        raise PermissionError

    monkeypatch.setattr(native, "memory_file", refused)
    assert new_trace() is None


# ---------------------------------------------------------------- the kernel's OOM killer


@pytest.fixture
def group(tmp_path):
    """A fake control group whose counter can be set; returns the name of its file."""

    def group(name, vmstat="oom_kill 7\n"):
        mount = "31 23 0:28 / /groups rw - cgroup2 cgroup2 rw"
        if name == "memory.oom_control":
            mount = "31 23 0:28 / /groups rw - cgroup cgroup rw,memory"
        contents = {
            "proc/self/cgroup": "4:memory:/own\n0::/own\n",
            "proc/self/mountinfo": f"{mount}\n",
            "proc/vmstat": f"nr_free_pages 100\n{vmstat}",
            f"groups/{name}": "oom_kill 99\n",
        }
        for path, text in contents.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)

        def count(n, vmstat=None):
            own = tmp_path / "groups/own"
            own.mkdir(exist_ok=True)
            (own / name).write_text(f"low 0\noom 3\noom_kill {n}\n" if isinstance(n, int) else n)
            if vmstat is not None:
                (tmp_path / "proc/vmstat").write_text(f"oom_kill {vmstat}\n")

        count.root = str(tmp_path)
        return count

    return group


@pytest.mark.parametrize("name", ["memory.events", "memory.events.local", "memory.oom_control"])
def test_each_kill_explains_one_death(group, name):
    count = group(name)
    count(3)
    kills = _OomKills(count.root)
    assert kills.one_more() is False
    count(4, vmstat=100)
    assert kills.one_more() is True
    assert kills.one_more() is False
    count(6)
    assert [kills.one_more() for _ in range(3)] == [True, True, False]


def test_kills_of_others_on_the_machine_are_not_ours(group):
    count = group("memory.events")
    count(0, vmstat=1)
    kills = _OomKills(count.root)
    count(0, vmstat=5)
    assert kills.one_more() is False


@pytest.mark.parametrize("text", ["", "low 0\noom_kill\n", "oom_kill x\n", "oom_kill -1\n", "oom_kill 1 2\n"])
def test_the_machine_can_rule_it_out(group, text):
    count = group("memory.events")
    count(text, vmstat=5)
    kills = _OomKills(count.root)
    assert kills.one_more() is False
    count(text, vmstat=6)
    assert kills.one_more() is None
    assert kills.one_more() is False


def test_no_counter_at_all(tmp_path):
    assert _OomKills(str(tmp_path)).one_more() is None


def test_a_counter_that_goes_away(group):
    count = group("memory.events")
    count(0)
    kills = _OomKills(count.root)
    count("")
    assert kills.one_more() is None


def test_who_is_asked(monkeypatch):
    post_mortem = PostMortem()
    asked = []
    monkeypatch.setattr(post_mortem._kills, "one_more", lambda: asked.append(1))
    for exitcode, reason in [(-15, "died"), (-11, "died"), (1, "start"), (-9, "memory")]:
        assert post_mortem.worker_died(4711, exitcode, reason=reason).oom is False
    assert post_mortem.worker_died(4711, None).oom is None
    assert not asked
    assert post_mortem.worker_died(4711, -9).oom is None
    assert asked == [1]


SMALL = 64 << 20


@contextlib.contextmanager
def small_group():
    """A control group with little memory, if it can be created; returns its directory."""
    for chain in _cgroups.directories("memory"):
        own = Path(chain[0], f"kettle-test-{os.getpid()}")
        for limit in ("memory.max", "memory.limit_in_bytes"):
            try:
                own.mkdir(exist_ok=True)
                (own / limit).write_text(str(SMALL))
            except OSError:
                continue
            try:
                yield own
            finally:
                own.rmdir()
            return
        with contextlib.suppress(OSError):
            own.rmdir()
    pytest.skip("no control group with a memory limit can be made here")


def test_out_of_memory_in_earnest():
    program = """
        import os, signal, sys
        with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
            procs.write(str(os.getpid()))
        import kettle.multiprocessing as mp
        from kettle._postmortem import PostMortem

        def grow():
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
            kept = [bytes(range(256)) * 4096 for _ in range(1000)]

        def die():
            os.kill(os.getpid(), signal.SIGKILL)

        post_mortem = PostMortem()
        for target in (die, grow, grow, die):
            worker = mp.get_context("fork").Process(target=target)
            worker.start()
            worker.join()
            print(worker.exitcode, post_mortem.worker_died(worker.pid, worker.exitcode).oom)
    """
    with small_group() as group:
        command = [sys.executable, "-c", textwrap.dedent(program), str(group)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert (done.stdout, done.returncode) == ("-9 False\n-9 True\n-9 True\n-9 False\n", 0), done.stderr


def test_the_module_is_light():
    """Every worker imports it."""
    heavy = ["kettle._errors", "concurrent.futures", "kettle._cgroups"]
    program = f"import sys; from kettle import _postmortem; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout == "[]\n"
