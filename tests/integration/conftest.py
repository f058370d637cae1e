from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

import kettle.multiprocessing as mp

LIMIT = 50  # seconds; a wait lasts this long only if something is broken


@pytest.fixture(params=("fork", "spawn", "forkserver"))
def ctx(request):
    """Kettle's context of every start method."""
    return mp.get_context(request.param)


@pytest.fixture
def run(tmp_path):
    """Runs a program with the interpreter's `arguments` before it, in its own directory; returns its output.

    It must succeed and print nothing to stderr.
    """

    def run(program, *arguments, after=()):
        (tmp_path / "program.py").write_text(textwrap.dedent(program))
        command = [sys.executable, *arguments, "program.py", *after]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    run.directory = tmp_path
    return run
