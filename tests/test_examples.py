"""Each example runs on its own and prints what it should."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
LIMIT = 60

# Patterns that must be in the output, and how often.
SAYS = {
    "process": {r"ended with exit code 0": 3, r"pid \d+": 3},
    "daemon": {r"ms later the grandchild is gone too": 1, r"^  tick$": "some"},
    "tickets": {r"three tickets": 2},
    "producer_consumer": {r"cooked": 6, r"eats": 6, r"goes home": 3, r"on the counter: 0": 1},
    "joinable_queue": {r"finished job": 4, r"raised ConsumerDied": 1},
    "semaphore": {r"is in a booth, [12] inside$": 5, r"2 booths are free": 1},
    "pipe": {r"the answer is (6|499500|0.75)$": 3, r"has closed": 1},
    "shared_value": {r"to 80000 together, \[20000, 20000, 20000, 20000\] each": 1},
    "killed_lock_holder": {r"raised OwnerDied": 1, r"a lock like any other": 1, r"passes it to the next": 1},
    "deadlock": {r"gets an error: 4 wait in a cycle": 1, r"line \d+, in dine": 4, r"eats": 4},
    "numpy_queue": {r"200 frames of 0.9 MB": 1},
    "await_queue": {r"°C": 4, r"the kettle whistles": 1, r"turning a page": "some", r"threads in this process: 1$": 1},
    "crawler": {r"^  /tea/(\d+-\d): tea number \1$": 200, r"^200 teas on 250 pages": 1},
    "pool": {
        r"from worker \d+": 4 + 3 + 4,
        r"WorkerDied: .*SIGKILL.*stumble_over_oolong": 1,
        r"2 workers, 2 died, 1 task was run again": 1,
    },
    "pool_timeout": {
        r"TaskTimeout: .*only_as": 1,
        r"three answers after": 1,
        r"cancel\(\) of a running task returns True": 1,
        r"TaskCancelled after \d+ ms": 1,
        r"goes on: \[True, True, False\]": 1,
    },
    "pool_async": {
        r"steeped for \d minutes": 5,
        r"turning a page": "some",
        r"gave up waiting": 1,
        r"no worker is busy": 1,
    },
    "pool_progress": {r"100 cups": 1, r"add up to 780": 1, r"boiling": "some", r"one by one": "some"},
    "executor": {
        r"^  \w+: a pot of": 3,
        r"oolong: WorkerDied: ": 1,
        r"goes on: .*mint": 1,
        r"coroutine: a pot of jasmine": 1,
    },
    "joblib_backend": {
        r"1000 roots, 499500 in sum": 1,
        r"computed here: False": 1,
        r"WorkerDied: signal 6": 1,
        r"goes on: \[2, 3\]": 1,
    },
}
WANTS = {"joblib_backend": "joblib"}  # without this module the program says so in one line


def run(program, cwd):
    """Runs a program on a terminal, where each process writes whole lines at once. Returns its exit status and text."""
    ours, theirs = os.openpty()
    environment = {**os.environ}
    environment.pop("PYTHONUNBUFFERED", None)  # with this variable the end of a line is written separately
    command = [sys.executable, program]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=cwd, env=environment) as process:
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 65536):
                text += chunk
        except OSError:
            pass  # no process has the terminal open any more
        status = process.wait(LIMIT)
    os.close(ours)
    return status, text.decode().replace("\r\n", "\n")


def test_every_example_is_known():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SAYS, "tour"}


@pytest.mark.parametrize("name", SAYS)
def test_example(name, tmp_path):
    status, text = run(EXAMPLES / f"{name}.py", tmp_path)
    assert status == 0, text
    assert "Traceback" not in text, text
    if name in WANTS and not importlib.util.find_spec(WANTS[name]):
        assert text == f"{WANTS[name]} is not installed: nothing to show\n"
        return
    for pattern, times in SAYS[name].items():
        found = len(re.findall(pattern, text, re.MULTILINE))
        assert found if times == "some" else found == times, (pattern, found, text)


def test_tickets_are_sold_once_under_the_lock(tmp_path):
    without, with_lock = run(EXAMPLES / "tickets.py", tmp_path)[1].split("three tickets, and a lock")
    assert without.count("has a ticket") > 3
    assert (with_lock.count("has a ticket"), with_lock.count("comes too late")) == (3, 5)
