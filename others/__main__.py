"""Runs the test suites of other projects, each plainly and under `kettle run`, and reports what fails only with Kettle.

    python -m others                         all of them
    python -m others janus pykka             these

Source distributions come from PyPI by pip, and each project has its own virtual environment below target/others. A test
that fails only under `kettle run` is repeated, both ways; a test that sometimes fails anyway is "unsteady". Known
differences, and their reasons, are listed in `others/packages.py`. The last line is a summary; the exit code is 1 if
something fails only with Kettle, or could not be run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from .environment import Environment, NotThere
from .outcomes import FAILED, run
from .packages import PACKAGES, Package

HOME = Path(__file__).parent.parent / "target/others"
#: If there are more, they are not repeated one by one: then something affects all of them.
MOST_AGAIN = 60


@dataclass
class Sum:
    """The results of one or several projects."""

    tests: int = 0
    same: int = 0
    fail_anyway: int = 0
    known: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)
    only_with_us: list[str] = field(default_factory=list)
    not_tried: list[str] = field(default_factory=list)

    def add(self, other: Sum) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        return (
            f"{self.tests} tests, {self.same} alike ({self.fail_anyway} of them fail), {len(self.known)} known to "
            f"differ, {len(self.unsteady)} unsteady, {len(self.only_with_us)} fail only with kettle"
            + (f", {len(self.not_tried)} projects could not be tried" if self.not_tried else "")
        )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m others", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [package.name for package in PACKAGES]
    parser.add_argument("names", nargs="*", metavar="PROJECT", help=f"of {', '.join(names)}; by default all")
    wanted = parser.parse_args(arguments).names
    for name in wanted:
        if name not in names:
            parser.error(f"there is no project {name!r}; there are {', '.join(names)}")
    total, tried = Sum(), 0
    for package in PACKAGES:
        if not wanted or package.name in wanted:
            result = try_out(package)
            tried += 1
            total.add(result)
            print(f"{package.folder}: {result}", flush=True)
    print(f"others: {tried} projects, {total}")
    return 1 if total.only_with_us or total.not_tried else 0


def try_out(package: Package) -> Sum:
    """Runs the suite of one project, both ways."""
    print(f"--- {package.folder}", flush=True)
    try:
        environment = Environment(package, HOME)
    except NotThere as error:
        print(f"  could not be had: {error}", flush=True)
        return Sum(not_tried=[package.name])
    plain, trouble = run(environment, package.arguments, kettle=False, limit=package.limit, label="plain")
    if not plain or trouble:
        print(f"  without kettle: {trouble or 'there are no tests'}", flush=True)
        return Sum(not_tried=[package.name])
    ours, trouble = run(environment, package.arguments, kettle=True, limit=package.limit, label="kettle")
    if trouble:
        print(f"  with kettle: {trouble}", flush=True)
    suspects = [name for name, outcome in plain.items() if outcome != FAILED and ours.get(name, FAILED) == FAILED]
    result = Sum(tests=len(plain), only_with_us=[] if ours else ["the whole suite"])
    if ours:
        _judge(package, environment, suspects, result)
    different = len(suspects)
    result.same = len(plain) - different
    result.fail_anyway = sum(1 for outcome in plain.values() if outcome == FAILED)
    for title, found in (("unsteady", result.unsteady), ("FAILS ONLY WITH KETTLE", result.only_with_us)):
        for name in found:
            print(f"  {title}: {name}", flush=True)
    return result


def _judge(package: Package, environment: Environment, suspects: list[str], result: Sum) -> None:
    open_questions = []
    for name in suspects:
        reason = next((why for pattern, why in package.known.items() if fnmatchcase(name, pattern)), None)
        if reason is None:
            open_questions.append(name)
        else:
            result.known.append(name)
            print(f"  known to differ: {name}: {reason}", flush=True)
    if not open_questions:
        return
    if len(open_questions) > MOST_AGAIN:
        result.only_with_us += open_questions
        return
    again = [*open_questions, *_options(package.arguments)]
    plain, _ = run(environment, again, kettle=False, limit=package.limit, label="plain-again")
    ours, _ = run(environment, again, kettle=True, limit=package.limit, label="kettle-again")
    for name in open_questions:
        # A test that was not repeated may well fail every time with Kettle.
        was_tried = name in plain and name in ours
        is_steady = not was_tried or (plain[name] != FAILED and ours[name] == FAILED)
        (result.only_with_us if is_steady else result.unsteady).append(name)


def _options(arguments: Iterable[str]) -> list[str]:
    """Returns those of pytest's arguments that deselect tests."""
    kept, value_follows = [], False
    for argument in arguments:
        if value_follows or argument.startswith("-"):
            kept.append(argument)
        value_follows = argument in ("-c", "-m", "-k", "-p", "-o")
    return kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
