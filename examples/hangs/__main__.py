"""Well-known ways to hang, to lose something or to leave something behind. Each is a small program, which is run twice,
unchanged: with the standard library and with Kettle.

    python examples/hangs                     all of them, within a minute
    python examples/hangs killed_holder       only those named
"""

import ast
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 3.0  # seconds after which the standard library counts as hung
LIMIT = 30.0  # seconds after which Kettle does, even on a slow machine

# The programs in order, with the verdict when the program ends but fails.
PROGRAMS = {
    "killed_worker": "loses results",
    "exit_in_task": "loses results",
    "unloadable_exception": "loses results",
    "late_function": "loses results",
    "failing_initializer": "hides the error",
    "endless_input": "fills memory",
    "join_before_get": "loses data",
    "unpicklable_item": "loses data",
    "killed_getter": "loses data",
    "killed_waiter": "loses the event",
    "killed_holder": "breaks the lock",
    "killed_parent": "leaves orphans",
}


@dataclass
class Outcome:
    """How a run ended."""

    verdict: str
    seconds: float
    says: str  # its last line on stdout, or nothing
    errors: str  # what it wrote to stderr

    @property
    def works(self) -> bool:
        return self.verdict == "works"

    @property
    def complains(self) -> str:
        lines = self.errors.count("\n")
        return f"nothing but {lines:,} line{'s' * (lines > 1)} on stderr" if lines else ""

    def __str__(self) -> str:
        return f"{self.verdict}, {'stopped after' if self.verdict == 'hangs' else 'in'} {self.seconds:.1f} s"


def run(name: str, *, kettle: bool, patience: float) -> Outcome:
    """Runs a program in its own process group and ends the whole group afterwards."""
    command = [sys.executable, *(["-m", "kettle", "run"] if kettle else []), str(HERE / f"{name}.py")]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        try:
            watch = os.pidfd_open(process.pid)
            ended = bool(select.select([watch], [], [], patience)[0])
            seconds = time.perf_counter() - started
            os.close(watch)
        finally:
            # Before the program is reaped: until then its pid cannot belong to another process group.
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        out.seek(0)
        err.seek(0)
        lines, errors = out.read().splitlines(), err.read()
    if not ended:
        verdict = "hangs"
    elif status == 0 and lines:
        verdict = "works"
    elif status == 1 and lines:
        verdict = PROGRAMS[name]
    else:
        verdict = f"fails with status {status}"
    return Outcome(verdict, seconds, lines[-1] if lines else "", errors)


def question(name: str) -> str:
    """Returns the question of a program: the line at its top."""
    return str(ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())))


def main() -> int:
    names = sys.argv[1:] or list(PROGRAMS)
    if unknown := set(names) - set(PROGRAMS):
        sys.exit(f"no such program: {', '.join(sorted(unknown))}. There are {', '.join(PROGRAMS)}")
    failed = []
    print(bold(f"{'program':22} {'standard library':27} kettle"), flush=True)
    with ThreadPoolExecutor(2) as both:
        for name in names:
            theirs_soon = both.submit(run, name, kettle=False, patience=PATIENCE)
            ours_soon = both.submit(run, name, kettle=True, patience=LIMIT)
            theirs, ours = theirs_soon.result(), ours_soon.result()
            left, right = ((str(outcome) if outcome.works else red(str(outcome))) for outcome in (theirs, ours))
            print(f"{name:22} {left}{' ' * (27 - len(str(theirs)))} {right}")
            print(faint(f"    {question(name)}"))
            for who, outcome in (("standard library", theirs), ("kettle", ours)):
                if says := outcome.says or outcome.complains:
                    print(faint(f"    {who}: {says}"))
            if not ours.works:
                failed.append(name)
                print(ours.errors[-2000:])
            sys.stdout.flush()
    if failed:
        print(f"with kettle, these do not do what they should: {', '.join(failed)}")
    return int(bool(failed))


def styled(code: int, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def bold(text: str) -> str:
    return styled(1, text)


def faint(text: str) -> str:
    return styled(2, text)


def red(text: str) -> str:
    return styled(31, text)


if __name__ == "__main__":
    sys.exit(main())
