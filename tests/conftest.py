"""A watchdog for each test, and checks for what a test leaves behind."""

import contextlib
import faulthandler
import gc
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from death import leftovers

DEADLINE = 60.0  # seconds for one test, unless it has a mark: @pytest.mark.deadline(5)
GRACE = 10.0  # seconds from the interrupt until the run is ended, if the test still hangs
_real_stderr = 2  # the descriptor to which stacks are written
SETTLE = 5.0  # seconds until everything that a test has started must be gone

leftovers.set_apart()


# A shell that starts the tests in the background makes them ignore Ctrl-C, which all their programs would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    global _real_stderr
    _real_stderr = os.dup(2)  # this copy is not captured by pytest
    config.addinivalue_line("markers", "deadline(seconds): how long this test may take before it counts as hung")


def pytest_collection_finish() -> None:
    """Modules imported for the tests are kept anyway, so `gc.collect()`, which many tests call, does not have to
    examine them again."""
    gc.collect()
    gc.freeze()


# ---------------------------------------------------------------- the watchdog


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Fails a test that hangs, after showing the stacks of its threads and the states of its children."""
    mark = item.get_closest_marker("deadline")
    seconds = float(mark.args[0]) if mark else DEADLINE

    def bark(signum: int, frame: object) -> None:
        faulthandler.dump_traceback(file=_real_stderr)
        children = _children()
        described = _described(children)
        for pid in children:  # so that the end of the run does not wait for them
            _kill(pid)
        pytest.fail(f"hung: not done after {seconds:g} s; children: {described}", pytrace=True)

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    # For a hang that no signal ends: inside a C call that does not check for signals.
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=_real_stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---------------------------------------------------------------- the census


def _children() -> set[int]:
    """Returns the processes started by this one, including those of the standard library's fork server, but without
    that server and the resource tracker, which are kept until the interpreter ends."""
    mine = _children_of(os.getpid())
    helpers = {pid for pid in mine if _is_a_helper(pid)}
    return (mine - helpers).union(*map(_children_of, helpers))


# Most kernels provide these lists. Searching all processes of the machine takes a hundred times as long, and happens
# twice for each test.
_KERNEL_HAS_LISTS = os.path.exists("/proc/thread-self/children")


def _children_of(parent: int) -> set[int]:
    if _KERNEL_HAS_LISTS:
        threads = _numbers(f"/proc/{parent}/task")
        return {int(pid) for thread in threads for pid in _text(f"/proc/{parent}/task/{thread}/children").split()}
    fields = {pid: _text(f"/proc/{pid}/stat").rpartition(")")[2].split() for pid in _numbers("/proc")}
    return {pid for pid in fields if fields[pid] and int(fields[pid][1]) == parent}


def _is_a_helper(pid: int) -> bool:
    command = _text(f"/proc/{pid}/cmdline")
    helpers = (
        "multiprocessing.resource_tracker",
        "multiprocessing.forkserver",
        "llvm-symbolizer",
    )  # the last one belongs to a sanitizer
    return any(helper in command for helper in helpers)


def _numbers(directory: str) -> set[int]:
    try:
        return {int(entry) for entry in os.listdir(directory) if entry.isdigit()}
    except OSError:
        return set()  # the process is gone


def _text(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError:
        return ""  # the process is gone


def _described(pids: set[int]) -> str:
    lines = []
    for pid in sorted(pids):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            wait = Path(f"/proc/{pid}/wchan").read_text()
        except OSError:
            continue
        lines.append(f"{pid} ({state}, in {wait})")
    return ", ".join(lines) or "none"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            pass  # the descriptor of this listing itself
    return found


def _eventually(holds: Callable[[], bool]) -> bool:
    """Repeats the check for a while, because a killed process takes a moment to disappear."""
    deadline = time.monotonic() + SETTLE
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(autouse=True)
def _no_process_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a child, alive or as a zombie."""
    before = _children()
    yield
    if not _eventually(lambda: not _children() - before):
        left = _children() - before
        described = _described(left)
        for pid in left:
            _kill(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        pytest.fail(f"left processes behind: {described}")


@pytest.fixture
def census(_no_process_left: None) -> Iterator[None]:
    """Fails a test that leaves a descriptor or a file. What the first use of the package creates permanently (the
    session, and the socket that rings all doorbells) is created before the count."""
    import kettle.multiprocessing as mp
    from kettle._session import native

    mp.Queue().put(None)
    bell = native.Doorbell()
    bell.ring()
    bell.close()
    gc.collect()
    descriptors, files = _descriptors(), leftovers.files()
    yield
    gc.collect()
    _eventually(lambda: len(_descriptors()) <= len(descriptors) and not leftovers.files() - files)
    assert not leftovers.files() - files, "left files behind"
    new = {fd: target for fd, target in _descriptors().items() if descriptors.get(fd) != target}
    assert len(_descriptors()) <= len(descriptors), f"left descriptors open: {new}"


# ---------------------------------------------------------------- what tests of chance and of many threads share


@pytest.fixture
def seed() -> int:
    """Returns the seed of a test. KETTLE_SEED repeats a test that failed."""
    number = int(os.environ.get("KETTLE_SEED", random.randrange(2**32)))
    print("KETTLE_SEED =", number)  # shown when the test fails
    return number


@pytest.fixture
def threads_change_often() -> Iterator[None]:
    """With a GIL, makes threads switch after a few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)
