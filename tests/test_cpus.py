"""The number of available processors, in made-up control groups."""

import builtins
import io
import os
import subprocess
import sys

import pytest

from kettle import _cgroups, _cpus

V2 = "31 23 0:28 {mounted} {at} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 {mounted} {at} rw,nosuid - cgroup cgroup rw,cpu,cpuacct"
ELSE = "22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw"


@pytest.fixture
def tree(tmp_path):
    """Creates a root directory with the given own groups, mounts and files."""

    def tree(cgroup, mounts, files=()):
        contents = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": "\n".join([ELSE, *mounts, ""]), **dict(files)}
        for name, text in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path)

    return tree


def v2(mounted="/", at="/sys/fs/cgroup"):
    return V2.format(mounted=mounted, at=at)


def v1(mounted="/", at="/sys/fs/cgroup/cpu,cpuacct"):
    return V1.format(mounted=mounted, at=at)


def test_no_groups_at_all(tmp_path, tree):
    assert _cpus._quota(str(tmp_path)) is None
    assert _cpus._quota(tree("", [])) is None


def test_a_container_with_a_quota(tree):
    root = tree("0::/\n", [v2()], {"sys/fs/cgroup/cpu.max": "150000 100000\n"})
    assert _cpus._quota(root) == 2


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("max 100000\n", None), ("400000 100000\n", 4), ("50000 100000\n", 1), ("1000 100000", 1), ("410000 100000", 5)],
)
def test_quotas_are_rounded_up(tree, text, cpus):
    assert _cpus._quota(tree("0::/\n", [v2()], {"sys/fs/cgroup/cpu.max": text})) == cpus


@pytest.mark.parametrize("text", ["", "\n", "max", "100000", "a b", "1 0", "-1 100000", "0 100000", "1 2 3", "\0\xff"])
def test_files_that_make_no_sense(tree, text):
    assert _cpus._quota(tree("0::/\n", [v2()], {"sys/fs/cgroup/cpu.max": text})) is None


def test_the_tightest_of_the_groups_around(tree):
    files = {
        "sys/fs/cgroup/user.slice/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/user.slice/job/cpu.max": "800000 100000\n",
        "sys/fs/cgroup/user.slice/job/step/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user.slice/other/cpu.max": "100000 100000\n",
    }
    assert _cpus._quota(tree("0::/user.slice/job/step\n", [v2()], files)) == 3


def test_version_1(tree):
    files = {
        "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us": "100000\n",
    }
    cgroup = "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"
    assert _cpus._quota(tree(cgroup, [v1()], files)) == 3


def test_a_container_that_is_told_its_name_outside(tree):
    """Without a namespace for groups: the group is mounted, and named by its path on the host."""
    files = {
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    assert _cpus._quota(tree("4:cpuacct,cpu:/docker/abc\n", [v1(mounted="/docker/abc")], files)) == 2
    assert _cpus._quota(tree("4:cpuacct,cpu:/docker/abc/in\n", [v1(mounted="/docker/abc")], files)) == 2
    assert _cpus._quota(tree("4:cpuacct,cpu:/elsewhere\n", [v1(mounted="/docker/abc")], files)) == 2
    assert _cpus._quota(tree("4:cpuacct,cpu:/../sibling\n", [v1()], files)) == 2


def test_both_versions_at_once(tree):
    files = {
        "sys/fs/cgroup/unified/cgroup.procs": "",
        "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "100000",
        "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
    }
    mounts = [v1(at="/sys/fs/cgroup/cpu"), v2(at="/sys/fs/cgroup/unified")]
    assert _cpus._quota(tree("4:cpu:/job\n0::/\n", mounts, files)) == 1


def test_a_mount_with_a_blank_in_its_name(tree):
    root = tree("0::/\n", [v2(at=r"/my\040groups")], {"my groups/cpu.max": "100000 100000"})
    assert _cpus._quota(root) == 1


@pytest.mark.parametrize("cgroup", ["", "\n", "0", "0:", "0::", "4:cpu", "no sense at all", "0::relative", "::::"])
def test_names_that_make_no_sense(tree, cgroup):
    root = tree(cgroup, [v2(), "", "-", " - cgroup2", "1 2 3 4 5 - cgroup2 x y"], {"sys/fs/cgroup/other": ""})
    assert _cpus._quota(root) is None


def test_own_group_comes_first(tree):
    root = tree("0::/a/b\n", [v2()])
    top = os.path.join(root, "sys/fs/cgroup")
    assert _cgroups.directories("memory", root) == [[f"{top}/a/b", f"{top}/a", top]]


@pytest.fixture
def limits(monkeypatch):
    """Sets the value of each limit; None: no such limit."""

    def limits(runnable, quota, slurm):
        monkeypatch.setattr(_cpus, "_runnable", lambda: runnable)
        monkeypatch.setattr(_cpus, "_quota", lambda: quota)
        if slurm is None:
            monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
        else:
            monkeypatch.setenv("SLURM_CPUS_PER_TASK", slurm)

    return limits


@pytest.mark.parametrize(
    ("runnable", "quota", "slurm", "cpus"),
    [
        (8, None, None, 8),
        (8, 3, None, 3),
        (8, 16, "4", 4),
        (8, 16, "64", 8),
        (8, 2, "4", 2),
        (8, None, "", 8),
        (8, None, "many", 8),
        (8, None, "0", 8),
        (0, None, None, 1),
    ],
)
def test_the_least_counts(limits, runnable, quota, slurm, cpus):
    limits(runnable, quota, slurm)
    assert _cpus.usable_cpus() == cpus


def test_affinity(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    one = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, {{{one}}}); from kettle._cpus import usable_cpus; print(usable_cpus())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "1\n"


def test_here(monkeypatch):
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    assert 1 <= _cpus.usable_cpus() <= len(os.sched_getaffinity(0))


def test_asking_never_waits(monkeypatch):
    """An event loop creates its executor in its own thread, where tools look for calls that may block."""
    read = os.read

    def read_at_once(descriptor, length):
        assert not os.get_blocking(descriptor)
        return read(descriptor, length)

    def refuse(*arguments, **options):
        raise AssertionError(f"a call that may block: {arguments}")

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read_at_once)
        for place, name in [(builtins, "open"), (io, "open"), (os.path, "abspath"), (os, "stat"), (os, "getcwd")]:
            patched.setattr(place, name, refuse)
        usable = _cpus.usable_cpus()
    assert usable == _cpus.usable_cpus()
