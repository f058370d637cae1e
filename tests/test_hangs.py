"""The programs of examples/hangs end correctly with Kettle, and do not with the standard library."""

import importlib.util
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HANGS = Path(__file__).parent.parent / "examples" / "hangs"

# The last line of each program with Kettle.
SAYS = {
    "killed_worker": r"map\(\) raised WorkerDied; the next one returns \[1, 4\]",
    "exit_in_task": r"apply\(\) raised RemoteError: SystemExit: no settings found",
    "unloadable_exception": r"apply\(\) raised RemoteError: .*NotFound: tea is not in the cupboard",
    "late_function": r"map\(\) returned \[0, 1, 4, 9, 16\]",
    "failing_initializer": r"apply\(\) raised ConnectionError: no answer from localhost:5432",
    "endless_input": r"10 results taken, \d+ items of the input read",
    "join_before_get": r"joined, then got 1000000 bytes",
    "unpicklable_item": r"put\(\) raised TypeError: cannot pickle .*[Ll]ock.*",
    "killed_getter": r"another get\(\) returned 'the next item'",
    "killed_waiter": r"set\(\) returned, and the event is set",
    "killed_holder": r"acquire\(\) raised OwnerDied: .*",
    "killed_parent": r"2 of 2 workers ended with the program",
}
DOES_NOT_HANG = {
    "endless_input": "fills memory",
    "unpicklable_item": "loses data",
    "killed_parent": "leaves orphans",
}


def runner():
    specification = importlib.util.spec_from_file_location("hangs", HANGS / "__main__.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["hangs"] = module  # its dataclass looks for its module here
    specification.loader.exec_module(module)
    return module


hangs = runner()


@pytest.fixture(scope="module")
def standard_library():
    """Returns how each program ends with the standard library. All run at once, since most of them only wait."""
    with ThreadPoolExecutor(len(SAYS)) as at_once:
        runs = {
            name: at_once.submit(hangs.run, name, kettle=False, patience=40 if name in DOES_NOT_HANG else 6)
            for name in SAYS
        }
        return {name: run.result() for name, run in runs.items()}


def test_every_program_is_known():
    assert {path.stem for path in HANGS.glob("*.py")} - {"__main__"} == {*SAYS} == {*hangs.PROGRAMS}
    assert len(SAYS) >= 10


@pytest.mark.parametrize("name", SAYS)
def test_with_kettle_it_works(name):
    outcome = hangs.run(name, kettle=True, patience=40)
    assert outcome.works, outcome
    assert re.fullmatch(SAYS[name], outcome.says), outcome
    assert "Traceback" not in outcome.errors, outcome


@pytest.mark.parametrize("name", SAYS)
def test_with_the_standard_library_it_does_not(name, standard_library):
    assert standard_library[name].verdict == DOES_NOT_HANG.get(name, "hangs"), standard_library[name]


def test_the_table(monkeypatch, capsys):
    monkeypatch.setattr(hangs, "PATIENCE", 40)  # no program hangs, even on a busy machine
    monkeypatch.setattr(sys, "argv", ["hangs", "unpicklable_item", "killed_parent"])
    status, said = hangs.main(), capsys.readouterr().out
    assert status == 0, said
    rows = [line for line in said.splitlines() if not line.startswith(" ")]
    assert re.fullmatch(r"program +standard library +kettle", rows[0])
    assert re.fullmatch(r"unpicklable_item +loses data, in \d+\.\d s +works, in \d+\.\d s", rows[1])
    assert re.fullmatch(r"killed_parent +leaves orphans, in \d+\.\d s +works, in \d+\.\d s", rows[2])


def test_a_program_that_does_not_exist():
    run = subprocess.run([sys.executable, str(HANGS), "nothing"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "no such program: nothing" in run.stderr
