"""Looking at running programs from outside: what `kettle ps`, `stacks` and `doctor` say, and `kettle.observe`."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import kettle.multiprocessing as multiprocessing
from kettle import observe

ROOT = Path(__file__).parent.parent
STUCK = ROOT / "examples/stuck"
LIMIT = 60


def kettle(*arguments):
    command = [sys.executable, "-m", "kettle", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)


@contextmanager
def running(*arguments):
    """Runs a program, and ends all of its processes."""
    command = [sys.executable, *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as errors:
        output = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": errors}
        program = subprocess.Popen(command, start_new_session=True, text=True, **output)
        program.stderr = errors
        try:
            yield program
        finally:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            program.stdout.close()


def end_of(program):
    """Returns how a program has ended; None if it has not."""
    if program.poll() is None:
        return None
    program.stderr.seek(0)
    return f"ended with {program.returncode}: {program.stderr.read()}"


def findings(program, rule, *details):
    """Returns the findings of `kettle doctor`, once that rule is among them, with these details in its evidence. (A
    thread counts as one that waits for long after a second, and tells of itself some time after that; and a program
    needs time to get stuck.)"""
    while True:
        doctor = kettle("doctor", program.pid, "--json")
        assert end_of(program) is None
        if doctor.returncode == 1:
            found = json.loads(doctor.stdout)
            evidence = ["\n".join(finding["evidence"]) for finding in found if finding["rule"] == rule]
            if evidence and all(detail in evidence[0] for detail in details):
                return found
        else:
            # The session may not have begun yet.
            assert doctor.returncode in (0, 2), doctor.stderr


# For each program of examples/stuck: the rule that finds why it does not go on, what the sentence contains, and what
# the evidence does.
SAYS = {
    "two_locks": ("deadlock", "2 threads have waited for each other for", "'the pot'", "'the ladle'"),
    "long_holder": ("held", "has waited for Lock #"),
    "no_consumer": ("no consumer", "is full (4 of 4), and 1 thread waits for room that no thread is left to make."),
}


def test_each_stuck_program_is_run():
    assert {path.stem for path in STUCK.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_doctor_says_why_a_program_does_not_go_on(name):
    rule, sentence, *details = SAYS[name]
    with running(STUCK / f"{name}.py") as program:
        found = findings(program, rule, *details)
        assert [finding["rule"] for finding in found] == [rule], "one reason, and no other"
        assert sentence in found[0]["sentence"]
        # The same in words.
        doctor = kettle("doctor", program.pid)
        assert (doctor.returncode, doctor.stderr) == (1, "")
        assert sentence in doctor.stdout
        if name == "two_locks":
            stacks = kettle("stacks", program.pid).stdout
            assert stacks.count("with second:") == 2 and stacks.count(", the main thread): ") == 3


READY = """
import kettle.multiprocessing as multiprocessing, signal
queue = multiprocessing.Queue(maxsize=8)
lock = multiprocessing.Lock()
lock.acquire()
for number in range(5):
    queue.put(number)
queue.get()
print("ready", flush=True)
signal.pause()
"""


def ready(program):
    assert program.stdout.readline() == "ready\n"


def check(seen, pid):
    (process,) = seen["processes"]
    assert (process["pid"], len(process["threads"])) == (pid, 1)
    objects = {found["kind"]: found for found in seen["objects"]}
    queue, lock = objects["Queue"], objects["Lock"]
    assert (queue["size"], queue["maxsize"], queue["put"], queue["got"]) == (4, 8, 5, 1)
    assert (lock["holder"], lock["waiting"]) == ({"pid": pid, "tid": pid, "alive": True}, 0)
    return process["state"]


def test_a_snapshot_shows_what_is_held_and_inside_of_a_stopped_program_too():
    with running("-c", READY) as program:
        ready(program)
        assert check(observe.snapshot(program.pid), program.pid) == "alive"
        os.kill(program.pid, signal.SIGSTOP)
        os.waitpid(program.pid, os.WUNTRACED)
        assert check(observe.snapshot(program.pid), program.pid) == "stopped"
        shown = kettle("ps", program.pid)
        assert shown.returncode == 0 and "4 of 8 inside, 5 put, 1 got" in shown.stdout
        assert check(json.loads(kettle("ps", program.pid, "--json").stdout), program.pid) == "stopped"
        found = findings(program, "stopped")
        assert f"kill -CONT {program.pid}" in found[0]["evidence"][-1]


def test_a_sound_program_is_sound():
    with running("-c", READY) as program:
        ready(program)
        doctor = kettle("doctor", program.pid)
        assert (doctor.returncode, doctor.stderr) == (0, "")
        assert doctor.stdout.startswith("Nothing found")


def test_a_process_sees_its_own_session():
    lock = multiprocessing.RLock()
    with lock, lock:
        mine = [found for found in observe.snapshot()["objects"] if found["kind"] == "RLock" and found["holder"]]
        assert {"pid": os.getpid(), "tid": os.getpid(), "alive": True} in [found["holder"] for found in mine]
        assert 2 in [found["depth"] for found in mine]


def test_what_cannot_be_looked_at_is_said():
    beyond = (1 << 22) + 1  # Linux has no process with such an ID
    with pytest.raises(LookupError, match=f"there is no process {beyond}"):
        observe.snapshot(beyond)
    doctor = kettle("doctor", beyond)
    assert (doctor.returncode, doctor.stdout) == (2, "")
    assert f"there is no process {beyond}" in doctor.stderr
    plain = "import time; print('ready', flush=True); time.sleep(600)"
    with running("-c", plain) as program:
        ready(program)
        with pytest.raises(LookupError, match="has no session"):
            observe.snapshot(program.pid)


def test_doctor_runs_a_program():
    sound = kettle("doctor", "--", sys.executable, "-c", "print('done')")
    assert (sound.returncode, sound.stdout) == (0, "done\n")
    failing = kettle("doctor", "--", sys.executable, "-c", "raise SystemExit(3)")
    assert failing.returncode == 2 and "the program failed" in failing.stderr


@pytest.mark.parametrize("arguments", [["ps", "x"], ["doctor", "--"], ["stacks", "1", "2"], ["ps", "--for", "1"]])
def test_mistakes_on_the_command_line_are_named(arguments):
    mistaken = kettle(*arguments)
    assert (mistaken.returncode, mistaken.stdout) == (2, "")
    assert mistaken.stderr.startswith("kettle: ") and "usage:" in mistaken.stderr


def test_help_is_no_mistake():
    for command in ("ps", "stacks", "doctor"):
        helped = kettle(command, "--help")
        assert (helped.returncode, helped.stderr) == (0, "") and "usage: kettle ps" in helped.stdout
