"""Applications in an archive, which unpacks its packages when it runs: shiv puts a `site-packages` on the path, PEX
executes the interpreter again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import cloudpickle
import pytest

import kettle

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


class Packer(NamedTuple):
    sources: str  # the option that names the folder with the packages
    more: tuple[str, ...]  # further options
    root: str  # the variable that says where the archive is unpacked
    interpreter: tuple[str, ...]  # options of the interpreter that runs the archive


PACKERS = {
    # -S: no package installed here is found.
    "shiv": Packer("--site-packages", (), "SHIV_ROOT", ("-S",)),
    "pex": Packer("--sources-directory", ("--pex-root", "unpacked", "--runtime-pex-root", "unpacked"), "PEX_ROOT", ()),
}


@pytest.fixture(scope="module", params=PACKERS)
def packed(request, tmp_path_factory):
    """Returns the command that runs the application, and its environment."""
    name, packer = request.param, PACKERS[request.param]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}")
    folder = tmp_path_factory.mktemp("packed")
    packages = folder / "packages"
    for package in kettle, cloudpickle:
        shutil.copytree(Path(package.__file__).parent, packages / package.__name__)
    (packages / "application.py").write_text(textwrap.dedent(PROGRAM))
    more = [str(folder / "unpacked") if option == "unpacked" else option for option in packer.more]
    subprocess.run(
        [
            *(sys.executable, "-m", name, packer.sources, "packages", "--entry-point", "application:main"),
            *(*more, "--output-file", "application.pyz"),
        ],
        cwd=folder,
        check=True,
        timeout=LIMIT,
    )
    environment = {**os.environ, packer.root: str(folder / "unpacked")}
    return [sys.executable, *packer.interpreter, folder / "application.pyz"], environment


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_every_start_method(packed, method):
    command, environment = packed
    done = subprocess.run([*command, method], capture_output=True, text=True, timeout=LIMIT, env=environment)
    assert (done.stdout, done.stderr) == ("[0, 1, 4] [0, -1, -2]\n", "")
