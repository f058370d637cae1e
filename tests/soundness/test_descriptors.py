"""No descriptor is used that is not ours: programs that close everything, open files of their own, or run out of
descriptors keep their files and get errors that say what to do."""

import errno
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import kettle
import kettle.multiprocessing as mp
from kettle._session import native

PROGRAM = Path(__file__).with_name("closing.py")
METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture
def run(tmp_path):
    """Runs a program of `closing` in its own process, and returns what it reported."""

    def run(program, kind):
        # This includes its exit: destructors must not print or hang.
        ran = subprocess.run([sys.executable, PROGRAM, program, kind, tmp_path], stderr=subprocess.PIPE, text=True)
        assert ran.returncode == 0, ran.stderr
        return json.loads((tmp_path / "results").read_text())

    return run


def lost(results):
    """Returns what failed because a descriptor was missing, after checking that nothing failed otherwise."""
    names = {name for name, result in results.items() if result == "DescriptorLost"}
    errors = {name: r for name, r in results.items() if isinstance(r, str) and r.endswith("Error")}
    assert not errors
    return names


@pytest.mark.parametrize("kind", ["file", "log", "read", "socket", "pipe", "free"])
def test_whatever_has_our_numbers_is_left_alone(run, kind):
    results = run("replaced", kind)
    assert (results.pop("wrong"), results.pop("wrong in a fork"), results.pop("named")) == ([], 0, [])
    # The content of another file is taken for a message, until it is checked.
    assert results.pop("poll") in (True, "DescriptorLost")
    # Whether there is a way to another descriptor of the memory depends on this user's rights, and on other processes.
    starting = {"spawn starts", "forkserver starts"}
    assert lost(results) - starting == {"send", "recv", "fileno"}
    assert {results[name] for name in starting} <= {"child 0", "DescriptorLost"}
    assert (results["large"], results["huge"]) == (True, True)
    # Who closes what ties its children to it has ended, as far as they know. (The fork server's report is lost, too.)
    assert results["fork ends"] in ("False -9", "False -15")
    assert results["spawn ends"] in ("False -9", "False -15")
    assert results["forkserver ends"] == "False 255"
    assert results["fork starts"] == "child 0"
    assert results["aget"] == "later"
    assert results["wait for item"] == [None, True, 1]
    assert (results["pool"], results["new pool"]) == (1, [1, 2])


@pytest.mark.parametrize("kind", ["file", "log", "socket", "pipe", "free"])
def test_helpers_of_the_standard_library_are_started_anew(run, kind):
    results = run("tracked", kind)
    assert results.pop("wrong") == []
    assert results == {"tracked": [None, None], **{f"{method} starts": "child 0" for method in METHODS}}


def wait_for(path):
    """Waits until the file exists: its writer has left its parent."""
    import time

    while not path.exists():  # the watchdog ends this loop
        time.sleep(0.01)
    return json.loads(path.read_text())


@pytest.mark.parametrize("kind", ["keep", "close", "close without rights"])
def test_daemons(tmp_path, kind):
    """Items put before everything was closed are there, the memory can grow, and children start by all methods."""
    subprocess.run([sys.executable, PROGRAM, "daemon", kind, tmp_path], check=True)
    results = wait_for(tmp_path / "results")
    assert lost(results) == (set() if kind == "keep" else {"pipe"})
    assert {results[f"{method} starts"] for method in METHODS} == {"child 0"}
    assert {name: results[name] for name in ("kept", "large", "larger", "new pipe")} == {
        "kept": "kept",
        "large": True,
        "larger": True,
        "new pipe": True,
    }
    assert results["pool"] == [1, 2]


def test_who_closes_everything_before_the_first_use_has_all(run):
    results = run("early", "-")
    assert results == {
        "kept": [],
        "large": True,
        "aget": "later",
        **{f"{method} starts": "child 0" for method in METHODS},
    }


def test_a_forked_child_that_closes_what_ties_it_to_its_parent_ends():
    """It does not continue its parent's program."""
    program = """
import os
import kettle.multiprocessing as mp
os.register_at_fork(after_in_child=lambda: os.closerange(3, 4096))
process = mp.get_context("fork").Process(target=print)
try:
    process.start()
except OSError:
    print("it went on")
    os._exit(9)
process.join()
print("exit code", process.exitcode)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "exit code 1\n"
    assert "kettle.DescriptorLost: [Errno 9] this program closed descriptor" in done.stderr


def test_out_of_descriptors_nothing_is_lost(run):
    results = run("exhausted", "-")
    without = {name: r for name, r in results.items() if name.startswith("without: ")}
    # Memory needs none.
    assert without.pop("without: large") == [None, 5, 20_000_000]
    # Waiting does with less.
    assert without.pop("without: wait") is True
    assert set(without.values()) == {"OSError"}, without
    assert {name: r for name, r in results.items() if name not in without and not name.startswith("without")} == {
        "large": [None, 5, 20_000_000],
        "pipe": True,
        **{f"{method} starts": "child 0" for method in METHODS},
        "pool": [1, 2],
        "wait": True,
        "aget": "later",
        "first": "first",
    }


def test_out_of_descriptors_no_session_begins_and_later_one_does(run):
    assert run("exhausted", "new session") == {"without: queue": "OSError", "queue": True}


@pytest.mark.parametrize("method", METHODS)
def test_programs_that_a_child_starts_get_none_of_ours(run, method):
    assert run("inherited", method) == {"new": []}


def test_the_error():
    error = kettle.DescriptorLost("this program closed descriptor 100", 100)
    assert isinstance(error, kettle.KettleError) and isinstance(error, OSError)
    assert (error.errno, error.descriptor) == (errno.EBADF, 100)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.errno, again.descriptor, str(again)) == (type(error), errno.EBADF, 100, str(error))


def test_what_is_kept_is_listed_while_it_is_there():
    assert native.session_fd() in kettle.descriptors()
    assert kettle.descriptors() == sorted(kettle.descriptors())
    one, other = mp.Pipe()
    numbers = {one.fileno(), other.fileno()}
    assert numbers <= set(kettle.descriptors())
    one.close()
    other.close()
    assert not numbers & set(kettle.descriptors())


def test_a_kept_descriptor():
    reader, writer = os.pipe()
    kept = native.Descriptor(reader, "life")
    assert kept.fileno() == reader and kept.is_ours()
    os.dup2(writer, other := os.dup(writer))
    os.close(reader)
    assert os.dup2(other, reader) == reader
    # The other end of the same pipe counts as the same file; another pipe does not.
    stranger, _ = os.pipe()
    os.dup2(stranger, reader)
    assert not kept.is_ours()
    with pytest.raises(kettle.DescriptorLost, match=f"closed descriptor {reader}, which is what ties a child"):
        kept.fileno()
    with pytest.raises(kettle.DescriptorLost):
        kept.detach()
    kept.close()
    os.fstat(reader)
    for fd in (reader, writer, other, stranger, _):
        os.close(fd)
    with pytest.raises(ValueError, match="no such purpose"):
        native.Descriptor(os.dup(2), "another")
