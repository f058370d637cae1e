from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import textwrap

import pytest

import kettle.multiprocessing as mp

from .support import LIMIT, Diary, running, square


@pytest.fixture(params=("fork", "spawn", "forkserver"))
def ctx(request):
    """Kettle's context of every start method."""
    return mp.get_context(request.param)


@pytest.fixture
def fork():
    """Kettle's context of the cheapest start method, for tests that do not depend on it."""
    return mp.get_context("fork")


@pytest.fixture
def pool(fork):
    with running(fork, 2) as pool:
        yield pool


@pytest.fixture
def gate(tmp_path):
    """A path: tasks wait until it exists."""
    return tmp_path / "gate"


@pytest.fixture
def diary(tmp_path):
    return Diary(tmp_path / "diary")


@pytest.fixture
def run(tmp_path):
    """Runs a program to its end, with the interpreter's `arguments` before it; returns its output and how it ended."""

    def run(program, *arguments):
        (tmp_path / "program.py").write_text(textwrap.dedent(program))
        command = [sys.executable, *arguments, "program.py"]
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path)

    return run


@pytest.fixture(scope="session")
def fork_server():
    """Keeps the fork server, and what the first pool creates permanently, so that no test is charged with them."""
    for method in ("fork", "forkserver"):
        with running(mp.get_context(method), 1) as pool:
            assert pool.map(square, [1]) == [1]
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.run(asyncio.sleep(0))  # its signal pipe is created permanently


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request, fork_server, tmp_path, census):
    """Fails any of these tests that leaves more processes, descriptors or files than before."""
    yield
    request.node.funcargs.clear()  # the pool among them, which has descriptors as long as it exists
