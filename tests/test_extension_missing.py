"""The package exists without its extension module: in another Python than its own, in a source tree that was not built,
in an archive."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kettle
from programs import LIMIT

MODULES = ["kettle.multiprocessing", "kettle.threading", "kettle.queue", "kettle.futures"]
HOME = Path(kettle.__file__).parent


def run(where, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(where)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=LIMIT, env=environment, cwd=where.parent
    )


@pytest.fixture(params=["not built", "another Python", "archive"])
def there(request, tmp_path):
    """Returns the location of the package, and the expected message."""
    top = tmp_path / "top"
    shutil.copytree(HOME, top / "kettle", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    if request.param == "not built":
        return top, "or run `make build` in its source tree"
    if request.param == "another Python":
        (top / "kettle" / "_native.cpython-35-x86_64-linux-gnu.so").touch()
        return top, "only for cpython-35-x86_64-linux-gnu"
    return Path(shutil.make_archive(str(tmp_path / "kettle"), "zip", top)), "unpack it"


@pytest.mark.parametrize("statement", [*(f"import {name}" for name in MODULES), "import kettle; kettle.install()"])
def test_an_import_says_what_to_do(there, statement):
    where, cure = there
    lines = run(where, "-c", statement).stderr.splitlines()
    assert lines[-1].startswith("ImportError: kettle's extension module does not load in this Python")
    assert cure in lines[-1]
    assert lines.count("Traceback (most recent call last):") == 1


def test_the_command_says_it_in_a_line(there):
    where, cure = there
    done = run(where, "-m", "kettle", "run", "-c", "print('run')")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert cure in done.stderr
