"""A parent that is killed takes its descendants with it, whatever they are doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import kettle.multiprocessing
from kettle import _native

from .family import ACTIVITIES
from .support import LIMIT, PROMPT, footprint, left_behind, runs, session_members, until

FAMILY = Path(__file__).with_name("family.py")


@contextmanager
def family(method: str, daemon: str, activity: str, depth: str):
    """Starts the processes, and yields the root's process and the pids of its descendants."""
    root = subprocess.Popen(
        [sys.executable, str(FAMILY), method, daemon, activity, depth], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        expected = {"child"} if depth == "child" else {"child", "grandchild"}
        pids = {}
        while set(pids) != expected:
            kind, pid = root.stdout.readline().decode().split()
            pids[kind] = int(pid)
        yield root, set(pids.values())
    finally:
        for pid in session_members(root.pid):
            os.kill(pid, signal.SIGKILL)
        root.wait()
        root.stdout.close()


def orphan(root, descendants):
    assert all(runs(pid) for pid in descendants)
    before = footprint()
    root.kill()
    root.wait()
    until(lambda: not any(runs(pid) for pid in descendants), PROMPT)
    until(lambda: not session_members(root.pid), PROMPT)
    assert not left_behind(before).keys() - {"children"}


@pytest.mark.parametrize("daemon", ["daemon", "plain"])
@pytest.mark.parametrize("activity", ACTIVITIES)
def test_a_child_dies_with_its_parent(ctx, daemon, activity):
    with family(ctx.get_start_method(), daemon, activity, "child") as (root, descendants):
        orphan(root, descendants)


@pytest.mark.parametrize("activity", ["sleep", "spin_in_c"])
def test_grandchildren_too(ctx, activity):
    with family(ctx.get_start_method(), "plain", activity, "grandchild") as (root, descendants):
        assert len(descendants) == 2
        orphan(root, descendants)


def hold(connection):
    connection.send(os.getpid())
    connection.poll(None)


def test_a_child_outlives_the_thread_that_started_it(ctx):
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=hold, args=(theirs,))
    starter = threading.Thread(target=child.start)
    starter.start()
    starter.join(LIMIT)
    assert ours.poll(LIMIT) and ours.recv() == child.pid
    child.join(0.3)
    assert child.is_alive()
    ours.send("go")
    child.join(LIMIT)
    assert child.exitcode == 0
    child.close()
    ours.close()
    theirs.close()


def have_a_child_that_stays(method, connection):
    ctx = kettle.multiprocessing.get_context(method)
    ctx.Process(target=hold, args=(connection,), outlive_parent=True).start()
    connection.poll(None)


def test_opting_out(ctx):
    ours, theirs = ctx.Pipe()
    parent = ctx.Process(target=have_a_child_that_stays, args=(ctx.get_start_method(), theirs))
    parent.start()
    assert ours.poll(LIMIT)
    grandchild = ours.recv()
    parent.kill()
    parent.join()
    try:
        ours.send("go")  # it is still listening
        theirs.close()
        until(lambda: not runs(grandchild))
    finally:
        if runs(grandchild):
            os.kill(grandchild, signal.SIGKILL)
    parent.close()
    ours.close()


def test_crash_points_are_only_in_builds_for_tests():
    if not _native.crash_points():
        with pytest.raises((ValueError, RuntimeError)):
            _native.arm_crash_point("queue.put.committed")
