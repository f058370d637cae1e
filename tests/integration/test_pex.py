"""An application that PEX packed: an archive that unpacks itself when it runs, and executes the interpreter anew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cloudpickle
import pytest

import kettle

pytest.importorskip("pex")

LIMIT = 60

PROGRAM = """
import sys
import kettle.multiprocessing as mp

def square(x):
    return x * x

def main():
    assert "unpacked" in mp.__file__
    with mp.get_context(sys.argv[1]).Pool(2) as pool:
        print(pool.map(square, range(3)), pool.map(lambda x: -x, range(3)))
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    packages = folder / "packages"
    for package in kettle, cloudpickle:
        shutil.copytree(Path(package.__file__).parent, packages / package.__name__)
    (packages / "application.py").write_text(textwrap.dedent(PROGRAM))
    subprocess.run(
        [
            *(sys.executable, "-m", "pex", "--sources-directory", "packages", "--entry-point", "application:main"),
            *("--pex-root", "unpacked", "--runtime-pex-root", folder / "unpacked", "--output-file", "application.pex"),
        ],
        cwd=folder,
        check=True,
        timeout=LIMIT,
    )
    return folder / "application.pex"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_every_start_method(packed, method):
    done = subprocess.run(
        [sys.executable, packed, method],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "PEX_ROOT": str(packed.parent / "unpacked")},
    )
    assert (done.stdout, done.stderr) == ("[0, 1, 4] [0, -1, -2]\n", "")
