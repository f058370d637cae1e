"""Gets a project's source, and creates a virtual environment with it, the requirements of its tests, and this
kettle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import kettle

from .packages import Package

__all__ = ["Environment", "NotThere"]

ROOT = Path(__file__).parent.parent
HOOK = ROOT / "crates/kettle-python/wheel-data/platlib/kettle_run.pth"


class NotThere(Exception):
    """The project or one of its requirements is not available; the message says what failed."""


class Environment:
    """The environment in which the tests of a package run. It is created once, below `home`, and again when the
    requirements have changed."""

    def __init__(self, package: Package, home: Path) -> None:
        self._package = package
        self._home = home / f"{package.folder}-py{sys.version_info.major}.{sys.version_info.minor}"
        self.source = self._home / "source"
        self.python = self._home / "venv/bin/python"
        if not self._is_made():
            shutil.rmtree(self._home, ignore_errors=True)
            self._home.mkdir(parents=True)
            self._make()
        self._put_kettle()

    @property
    def results(self) -> Path:
        return self._home

    def _mark(self) -> str:
        wanted = [self._package.version, self._package.requirements, self._package.is_editable, sys.version]
        return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()

    def _is_made(self) -> bool:
        mark = self._home / "made"
        return mark.exists() and mark.read_text() == self._mark()

    def _make(self) -> None:
        package = self._package
        wanted = f"{package.name}=={package.version}"
        # Its own source, not a wheel; build requirements may be wheels.
        self._run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--no-binary", package.name, "--dest", self._home, wanted),
        )
        (archive,) = self._home.glob("*.tar.gz")
        with tarfile.open(archive) as files:
            files.extractall(self._home, filter="data")
        (top,) = (path for path in self._home.iterdir() if path.is_dir())
        top.rename(self.source)
        self._run(sys.executable, "-m", "venv", self._home / "venv")
        pip = (self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        source = ("--editable", self.source) if package.is_editable else (self.source,)
        self._run(*pip, *package.requirements, *source)
        (self._home / "made").write_text(self._mark())

    def _put_kettle(self) -> None:
        """Does the same as an editable installation: adds its folder to the path, and the hook that each interpreter
        reads."""
        (folder,) = (self._home / "venv/lib").glob("python*/site-packages")
        (folder / "kettle.pth").write_text(f"{Path(kettle.__file__).parent.parent}\n")
        shutil.copy(HOOK, folder)

    def _run(self, *command: str | Path) -> None:
        environment = {**os.environ, "DISABLE_SQLALCHEMY_CEXT": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise NotThere(f"{' '.join(map(str, command))}\n  " + "\n  ".join(lines[-5:]))
