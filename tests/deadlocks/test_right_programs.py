"""Correct programs go on, no matter how long their threads wait for each other's locks; see patterns.py. A cycle is
certain only if each lock was taken by a `with` block that its holder is inside."""

import contextlib
import random
import subprocess
import sys
import textwrap
import threading as standard

import pytest
from tests.death.support import LIMIT

import kettle
import kettle.multiprocessing as multiprocessing
from kettle import threading

from .holds import HOLDS
from .patterns import PATTERNS, crossed
from .programs import PROGRAMS, plays_a_program
from .scene import LONG, THRESHOLD, play

# A process is forked while threads of this one run.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_right_program_goes_on(pattern, seed):
    assert play(pattern, LONG, random.Random(seed), THRESHOLD) == []


@pytest.mark.parametrize("make", [threading.Lock, multiprocessing.Lock])
@pytest.mark.parametrize("hold", HOLDS)
def test_a_lock_that_another_thread_leaves(hold, make, scene):
    if hold.__name__ == "by_condition" and make is multiprocessing.Lock:
        pytest.skip("a condition between threads has a lock between threads")
    crossed(scene, [hold, hold], make)
    assert len(scene.reports) == 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_signal_handler_that_helps(name, scene):
    plays_a_program(scene, name)


# ---------------------------------------------------------------- what is certain


def in_a_function(mine, meet):
    with mine:
        meet()


def with_values_on_the_stack(mine, meet):
    for _ in range(1):
        for _ in [[1, 2, 3]]:
            with contextlib.nullcontext(), mine:
                print(end="".join(["", "", str(meet() or "")]))


def with_cells(mine, meet):
    a = b = c = 1

    def inner():
        nonlocal a, b
        a = b = c
        with mine:
            meet()

    with contextlib.suppress(ZeroDivisionError):
        inner()
    return [a, b, c, lambda: mine]


def among_handlers(mine, meet):
    try:
        raise KeyError
    except KeyError:
        try:
            with mine:
                try:
                    try:
                        meet()
                    except ZeroDivisionError:
                        pass
                finally:
                    meet = None
        except ZeroDivisionError:
            pass


def within_other_blocks(mine, meet):
    with threading.Lock(), standard.Lock(), mine, threading.RLock(), contextlib.ExitStack():
        with contextlib.suppress(ZeroDivisionError):
            meet()


def from_afar(mine, meet):
    def deeper(n):
        return meet() if not n else deeper(n - 1)

    with mine:
        sorted([1], key=lambda _: deeper(30) or 0)


def in_a_generator_that_runs(mine, meet):
    def generator():
        with mine:
            yield meet()

    list(generator())


def in_a_class_body(mine, meet):
    class Body:
        attribute = 1
        with mine:
            meet()

    return Body


def in_a_comprehension(mine, meet):
    def each(x):
        with mine:
            return [meet() for _ in [x]]

    return {y: [each(x) for x in [1]] for y in [1]}


def twice_in_one_frame(mine, meet):
    with mine:
        pass
    with threading.Lock():
        with mine:
            pass
        with mine:
            meet()
    with mine:
        pass


def in_executed_text(mine, meet):
    exec("with mine:\n  for _ in [1]:\n    meet()\n", {"mine": mine, "meet": meet})


BLOCKS = [
    in_a_function,
    with_values_on_the_stack,
    with_cells,
    among_handlers,
    within_other_blocks,
    from_afar,
    in_a_generator_that_runs,
    in_a_class_body,
    in_a_comprehension,
    twice_in_one_frame,
    in_executed_text,
]

MAKES = [threading.Lock, multiprocessing.Lock, threading.RLock, lambda: threading.Condition(threading.Lock())]


def errors_of(scene, blocks, locks):
    """Returns the errors of two threads that hold these locks in these ways and want each other's."""
    both, errors = standard.Barrier(2), []

    def sit(i):
        def meet():
            both.wait()
            with locks[1 - i]:
                pass

        try:
            blocks[i](locks[i], meet)
        except kettle.DeadlockError as error:
            errors.append(error)

    for i in range(2):
        scene.play(sit, i)
    scene.join()
    return errors


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("make", MAKES, ids=["Lock", "shared Lock", "RLock", "Condition"])
def test_a_circle_of_blocks_is_told_at_once(block, make, scene):
    (error,) = errors_of(scene, [block, in_a_function], [make(), make()])
    assert len(error.cycle) == 2
    assert scene.reports == []


def test_only_a_block_of_the_very_lock_counts(scene):
    """Each holds its lock by `acquire()`, inside blocks of other locks."""
    locks = [threading.Lock(), threading.Lock()]
    both, helped = standard.Barrier(2), standard.Event()

    def sit(i):
        locks[i].acquire()
        with threading.Lock(), threading.Lock():
            both.wait()
            with locks[1 - i]:
                pass

    def report(text, has_ended):
        scene.reports.append(text)
        helped.set()

    scene.report = report
    with scene.watched():
        for i in range(2):
            scene.play(sit, i)
        helped.wait()
        scene.linger()
        for lock in locks:
            lock.release()
        scene.join()
    assert len(scene.reports) == 1


# ---------------------------------------------------------------- where no thread is left

TEXTBOOK = """
import sys, threading, kettle
from kettle import threading as ours
from kettle._core import native
native.deadlock_policy("raise", 0.1)
a, b = ours.Lock(name="a"), ours.Lock(name="b")
both = threading.Barrier(2)
def sit(mine, other):
    mine.acquire()
    both.wait()
    other.acquire()
    other.release()
    mine.release()
def late():
    a.acquire()
    a.release()
threads = [threading.Thread(target=sit, args=pair) for pair in ((a, b), (b, a))]
threads += [threading.Thread(target=late) for _ in range(2)]
for thread in threads:
    thread.start()
"""

JOINS = "for thread in threads:\n    thread.join()\n"


@pytest.mark.parametrize("end", ["", JOINS, f"def main():\n{textwrap.indent(JOINS, '    ')}\nmain()\n"])
def test_where_all_threads_wait_all_are_told(end):
    """This includes locks taken by `acquire()`: no thread is left to release them, even after one got an error and
    ended."""
    result = subprocess.run([sys.executable, "-c", TEXTBOOK + end], capture_output=True, text=True, timeout=LIMIT)
    assert "only a release()" not in result.stderr
    assert result.stderr.count("DeadlockError: deadlock: 2 threads wait for each other\n") == 1
    # The thread that got the error left its lock taken; those that want it get an error, and so on.
    assert result.stderr.count("ended while holding Lock") >= 1
    assert result.stderr.count("DeadlockError") == result.stderr.count("Exception in thread") >= 2


def test_who_is_told_and_releases_saves_the_others():
    program = TEXTBOOK.replace(
        "    other.acquire()\n",
        """    try:
        other.acquire()
    except kettle.DeadlockError as error:
        print("told")
        mine.release()
        other.acquire()
        mine.acquire()
""",
    )
    result = subprocess.run([sys.executable, "-c", program + JOINS], capture_output=True, text=True, timeout=LIMIT)
    assert (result.stdout, result.stderr, result.returncode) == ("told\n", "", 0)


@pytest.mark.parametrize(
    "helper",
    [
        "threading.Thread(target=helps).start()\n",
        "helps()\n",
        "threading.Timer(1.5, lambda: (a.release(), b.release())).start()\n" + JOINS,
    ],
)
def test_as_long_as_one_does_anything_else_none_is_told(helper):
    program = TEXTBOOK.replace("    other.release()\n    mine.release()\n", "") + textwrap.dedent(
        """
        import time
        def helps():
            time.sleep(1.5)
            a.release()
            b.release()
            for _ in range(2):
                threads[0].join()
                threads[1].join()
        """
    )
    program = program.replace("threads += [threading.Thread(target=late) for _ in range(2)]\n", "")
    result = subprocess.run([sys.executable, "-c", program + helper], capture_output=True, text=True, timeout=LIMIT)
    assert "DeadlockError" not in result.stderr.replace("would get a DeadlockError", "")
    assert result.stderr.count("only a release() by yet another thread can help") == 1
    assert result.returncode == 0
