"""Runs a suite once, and says for each test how it went."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

from .environment import Environment

__all__ = ["FAILED", "run"]

FAILED = "failed"
#: pytest ends so when tests have failed, or when there is none.
_SAYS_ALL = (0, 1, 5)


def run(
    environment: Environment, arguments: Sequence[str], *, kettle: bool, limit: float, label: str
) -> tuple[Mapping[str, str], str]:
    """The outcome of each test ("passed", "skipped", FAILED), by its name as pytest knows it, and what is to be said of
    the run as a whole: nothing, if it came to its end.

    limit: in minutes. label: what the files with the results are called.
    """
    results = environment.results / f"{label}.xml"
    results.unlink(missing_ok=True)
    ours = ["-m", "kettle", "run"] if kettle else []
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={results}"]
    command = [environment.python, *ours, *pytest, *arguments]
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("KETTLE_", "PYTEST_"))}
    with open(environment.results / f"{label}.log", "w") as log:
        status = _wait(command, environment.source, variables, log, limit * 60)
    if not results.exists():
        return {}, f"it did not come to its end ({status}); see {log.name}"
    trouble = "" if status in map(str, _SAYS_ALL) else f"pytest ended with {status}; see {log.name}"
    return _read(results, environment.source), trouble


def _wait(command: Sequence[object], folder: Path, variables: Mapping[str, str], log: object, limit: float) -> str:
    arguments = [str(part) for part in command]
    with subprocess.Popen(
        arguments, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    ) as process:
        try:
            return str(process.wait(limit))
        except subprocess.TimeoutExpired:
            return f"it was ended after {limit / 60:.0f} minutes"
        finally:
            # Whatever it has left behind.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def _read(results: Path, source: Path) -> dict[str, str]:
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(results).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = FAILED if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        name = _name(case, source)
        # A test that fails and whose teardown fails stands there twice.
        outcomes[name] = FAILED if FAILED in (outcome, outcomes.get(name)) else outcome
    return outcomes


def _name(case: ElementTree.Element, source: Path) -> str:
    inside, name = case.get("classname", ""), case.get("name", "")
    file = _file(case.get("file", ""), inside, source)
    module = re.sub(r"\.py$", "", file).replace("/", ".")
    classes = inside.removeprefix(module).strip(".").split(".") if inside != module else []
    # A parameter may show where an object is in memory.
    return re.sub(r"0x[0-9a-f]+", "0x", "::".join([file, *filter(None, classes), name]))


def _file(file: str, inside: str, source: Path) -> str:
    """The file that a test is in. For one that a decorator has generated pytest says "<string>"; the name of what it is
    inside begins with the name of the module."""
    if (source / file).is_file():
        return file
    parts = inside.split(".")
    modules = (f"{'/'.join(parts[:n])}.py" for n in range(len(parts), 0, -1))
    return next((module for module in modules if (source / module).is_file()), file)
