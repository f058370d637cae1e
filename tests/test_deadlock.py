"""Threads that wait for each other are found, in any process; threads that only wait long are left alone."""

import contextlib
import io
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import threading as standard
import time

import pytest

import kettle
import kettle.multiprocessing as multiprocessing
from crowds import all_at_once
from kettle import _deadlock, threading
from kettle._core import native

SOON = 0.15  # seconds after which a wait counts as long in these tests
LIMIT = 60

# Several tests deliberately fork while other threads wait.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Each test begins with the default policy."""
    monkeypatch.setenv("KETTLE_DEADLOCK", "")  # so that it is undone in any case
    monkeypatch.delenv("KETTLE_DEADLOCK")
    policy, threshold = native.deadlock_policy()
    native.deadlock_policy("report", SOON)
    yield
    native.deadlock_policy(policy, threshold)


class Ring:
    """Threads, each of which holds a lock and wants the next one's."""

    def __init__(self, locks, expected=()):
        self.expected = expected
        self.locks = locks
        self.errors = []
        self.got = []
        sits = standard.Barrier(len(locks))
        self.threads = [
            standard.Thread(target=self.sit, args=(i, sits), name=f"sitter {i}", daemon=True) for i in range(len(locks))
        ]
        for thread in self.threads:
            thread.start()

    def sit(self, i, sits):
        with contextlib.suppress(*self.expected), self.locks[i]:
            sits.wait()
            try:
                with self.locks[(i + 1) % len(self.locks)]:
                    self.got.append(i)
            except kettle.DeadlockError as error:
                self.errors.append(error)

    def join(self):
        for thread in self.threads:
            thread.join()


def waiters(lock):
    return lock.statistics().waiting


def until(condition):
    while not condition():
        time.sleep(0.005)


@contextlib.contextmanager
def heard():
    """Returns a function that returns everything written to stderr until now. Reading removes nothing: `capsys` loses
    what is written between reading and clearing."""
    with contextlib.redirect_stderr(io.StringIO()) as stream:
        yield stream.getvalue


def naps():
    """Waits for some checks beyond the threshold: a waiter checks at least every 0.2 s."""
    time.sleep(SOON + 1.0)


@pytest.mark.parametrize("make", [threading.RLock, multiprocessing.RLock])
@pytest.mark.parametrize("n", [2, 5])
def test_one_is_told_and_the_others_go_on(make, n, capsys):
    ring = Ring([make(name=f"lock {i}") for i in range(n)])
    ring.join()
    (error,) = ring.errors
    assert isinstance(error, RuntimeError)
    assert isinstance(error, kettle.KettleError)
    assert len(ring.got) == n - 1
    assert error.ended is None
    assert sorted(one.thread for one in error.cycle) == [f"sitter {i}" for i in range(n)]
    for one, following in zip(error.cycle, error.cycle[1:] + error.cycle[:1], strict=True):
        i = int(one.thread.split()[1])
        assert one.pid == os.getpid()
        assert one.tid != os.getpid()
        assert f"'lock {i}'" in one.holds
        assert f"'lock {(i + 1) % n}'" in one.waits_for == following.holds
        assert f"  waits for {one.waits_for}, which {following.thread} holds\n" in str(error)
        assert ", in sit\n" in one.stack
        assert os.path.dirname(kettle.__file__) not in one.stack
    assert "release()" not in str(error)
    assert f"The others go on when {error.cycle[0].thread}, which gets this error" in str(error)
    assert capsys.readouterr().err == ""


def test_a_lock_without_a_name_is_known_by_where_it_was_made():
    line = sys._getframe().f_lineno + 1
    ring = Ring([threading.RLock(), threading.RLock()])
    ring.join()
    assert {one.holds for one in ring.errors[0].cycle} == {f"RLock made at {__file__}:{line}"}


def test_an_error_travels():
    ring = Ring([threading.RLock(), threading.RLock()])
    ring.join()
    (error,) = ring.errors
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.cycle, copy.ended) == (str(error), error.cycle, None)


@pytest.mark.parametrize("make", [threading.Lock, multiprocessing.Lock])
def test_plain_locks_are_reported_once_and_may_be_released_by_another(make):
    locks = [make(name="left"), make(name="right")]
    with heard() as said:
        # The thread finds its lock already free.
        ring = Ring(locks, expected=(RuntimeError, ValueError))
        until(lambda: "2 threads wait for each other" in said())
        naps()
    assert not ring.got
    assert not ring.errors
    text = said()
    assert text.count("2 threads wait for each other") == 1
    for word in ("'left'", "'right'", "sitter 0", "sitter 1", "in sit"):
        assert word in text
    # A third thread releases the lock, which the standard library allows.
    locks[0].release()
    ring.join()
    assert sorted(ring.got) == [0, 1]


@pytest.mark.parametrize("make", [threading.Lock, multiprocessing.Lock])
def test_under_raise_one_is_told_of_plain_locks_as_well(make, capsys):
    """They were taken by `with`. The others are in tests/deadlocks/test_batons.py."""
    assert kettle.deadlock("raise") == kettle.deadlock() == "raise"
    ring = Ring([make(), make(), make()])
    ring.join()
    assert len(ring.errors) == 1
    assert len(ring.got) == 2
    assert "release()" in str(ring.errors[0])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_off_is_off(make, capsys):
    kettle.deadlock("off")
    locks = [make(), make()]
    ring = Ring(locks)
    until(lambda: all(map(waiters, locks)))
    naps()
    assert not ring.errors
    assert capsys.readouterr().err == ""
    kettle.deadlock("raise")  # this also applies to threads that already wait
    ring.join()
    assert len(ring.errors) == 1


def test_the_policy_is_one_of_three():
    with pytest.raises(ValueError, match='"raise", "report" or "off"'):
        kettle.deadlock("ignore")
    assert kettle.deadlock() == "report"


def test_locks_of_threads_and_of_processes_in_one_circle():
    ring = Ring([threading.RLock(name="at home"), multiprocessing.RLock(name="abroad")])
    ring.join()
    assert len(ring.errors) == 1


# ---------------------------------------------------------------- processes


def two_of_four(locks, first, sits, told):
    native.deadlock_policy("report", SOON)

    def sit(i):
        with locks[i]:
            sits.wait()
            try:
                with locks[(i + 1) % 4]:
                    pass
            except kettle.DeadlockError as error:
                told.put((os.getpid(), error))

    threads = [standard.Thread(target=sit, args=(i,), name=f"thread {i}") for i in (first, first + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_two_processes_with_two_threads_each(method):
    context = multiprocessing.get_context(method)
    locks = [context.RLock(name=f"lock {i}") for i in range(4)]
    sits, told = context.Barrier(4), context.SimpleQueue()
    families = [context.Process(target=two_of_four, args=(locks, i, sits, told), name=f"family {i}") for i in (0, 2)]
    for family in families:
        family.start()
    pid, error = told.get()
    for family in families:
        family.join()
        assert family.exitcode == 0
    assert told.empty()
    assert pid in [family.pid for family in families]
    assert {one.pid for one in error.cycle} == {family.pid for family in families}
    names = [f"family {i // 2 * 2}, thread {i}" for i in range(4)]
    assert sorted(one.thread for one in error.cycle) == names
    for one in error.cycle:
        assert one.waits_for.split("'")[1] == f"lock {(int(one.thread[-1]) + 1) % 4}"
        assert ", in sit\n" in one.stack


def tells_its_name(inbox, outbox):
    outbox.put(_deadlock.describe(inbox.get())[1])


@pytest.mark.parametrize("make", [multiprocessing.Lock, multiprocessing.RLock])
def test_a_lock_that_comes_in_a_message_is_known_by_where_it_was_made(make):
    inbox, outbox = multiprocessing.Queue(), multiprocessing.Queue()
    child = multiprocessing.Process(target=tells_its_name, args=(inbox, outbox))
    child.start()
    line = sys._getframe().f_lineno + 1
    inbox.put(make(name="sent"))
    assert outbox.get() == f"{make.__name__} 'sent', made at {__file__}:{line}"
    child.join()


def holds_and_wants(mine, other, ready):
    with mine:
        ready.set()
        with other:
            pass


def test_a_member_that_is_killed_is_no_longer_waited_for(capsys):
    mine, other = multiprocessing.Lock(name="mine"), multiprocessing.Lock(name="other")
    ready = multiprocessing.Event()
    with mine:
        child = multiprocessing.Process(target=holds_and_wants, args=(other, mine, ready))
        child.start()
        ready.wait()
        until(lambda: waiters(mine))
        reporter = standard.Timer(SOON + 1.5, os.kill, (child.pid, signal.SIGKILL))
        reporter.start()
        with pytest.raises(kettle.OwnerDied):
            other.acquire()
        reporter.join()
        child.join()
    # The next cycle finds the rows of the dead process free, and is not confused by them.
    capsys.readouterr()
    ring = Ring([multiprocessing.RLock(), multiprocessing.RLock()])
    ring.join()
    assert len(ring.errors) == 1
    assert [one.pid for one in ring.errors[0].cycle] == [os.getpid()] * 2


# ---------------------------------------------------------------- holders that ended


def take_and_end(lock):
    thread = standard.Thread(target=lock.acquire)
    thread.start()
    thread.join()


@pytest.mark.parametrize("make", [threading.RLock, multiprocessing.RLock])
def test_a_holder_that_ended_with_a_reentrant_lock(make):
    lock = make(name="forgotten")
    take_and_end(lock)
    with pytest.raises(kettle.DeadlockError, match="has ended") as caught:
        lock.acquire()
    assert caught.value.ended[0] == os.getpid()
    assert "'forgotten'" in caught.value.cycle[0].waits_for


def child_whose_thread_ends(lock, ended, leave):
    take_and_end(lock)
    ended.set()
    leave.wait()


def test_a_holder_that_ended_in_another_process_that_goes_on():
    lock, ended, leave = multiprocessing.RLock(), multiprocessing.Event(), multiprocessing.Event()
    child = multiprocessing.Process(target=child_whose_thread_ends, args=(lock, ended, leave))
    child.start()
    ended.wait()
    with pytest.raises(kettle.DeadlockError, match="has ended") as caught:
        lock.acquire()
    assert caught.value.ended[0] == child.pid
    leave.set()
    child.join()


@pytest.mark.parametrize("make", [threading.Lock, multiprocessing.Lock])
def test_of_a_holder_that_ended_with_a_plain_lock_nothing_is_said(make):
    """It may have been meant for another thread to release: a gate that a starter closes."""
    kettle.deadlock("raise")
    lock = make(name="gate")
    take_and_end(lock)
    people = [standard.Thread(target=lock.acquire, daemon=True) for _ in range(3)]
    with heard() as said:
        for thread in people:
            thread.start()
        until(lambda: waiters(lock) == 3)
        naps()
    assert said() == ""
    for _ in people:
        lock.release()
        until(lock.locked)
    for thread in people:
        thread.join()


def test_the_last_thread_left_is_told_of_a_plain_lock_too():
    program = """if True:
        import threading, kettle, kettle.threading
        kettle.deadlock("raise")
        lock = kettle.threading.Lock(name="forgotten")
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        thread.join()
        try:
            lock.acquire()
        except kettle.DeadlockError as error:
            print(error.ended is not None, error)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.stdout.startswith("True deadlock: ")
    assert "no other thread can release it" in done.stdout
    assert "'forgotten'" in done.stdout


def test_of_who_is_told_and_ends_with_a_lock_it_is_reported():
    """The next one does not get an error: there are threads that could help."""
    kettle.deadlock("raise")
    circle, kept = [threading.RLock(), threading.RLock()], [threading.Lock(name="kept") for _ in range(2)]
    sits, told, got = standard.Barrier(2), [], []

    def sit(i):
        kept[i].acquire()
        with circle[i]:
            sits.wait()
            try:
                with circle[1 - i]:
                    kept[i].release()
            except kettle.DeadlockError:
                told.append(i)

    def wants(lock):
        with lock:
            got.append(lock)

    people = [standard.Thread(target=sit, args=(i,)) for i in range(2)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()
    left = kept[told[0]]
    more = [standard.Thread(target=wants, args=(left,)) for _ in range(2)]
    with heard() as said:
        for thread in more:
            thread.start()
        until(lambda: "ended while holding" in said())
        naps()
    assert f"{people[told[0]].name} (" in said()
    assert "which was notified of a deadlock, ended while holding Lock 'kept', made at" in said()
    assert said().count("only a release() by yet another thread can help") == 1
    left.release()
    for thread in more:
        thread.join()
    assert got == [left, left]


def test_in_a_forked_child_a_lock_of_a_thread_that_did_not_come_along():
    lock = threading.RLock()
    held, leave = standard.Event(), standard.Event()

    def hold():
        with lock:
            held.set()
            leave.wait()

    holder = standard.Thread(target=hold)
    holder.start()
    held.wait()
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()

    def child():
        try:
            lock.acquire()
        except kettle.DeadlockError as error:
            told.put(str(error))

    process = context.Process(target=child)
    process.start()
    assert "has ended" in told.get()
    process.join()
    leave.set()
    holder.join()


# ---------------------------------------------------------------- no false alarms


@pytest.fixture
def no_alarm(capsys):
    """Nothing may be reported or raised, with any policy."""
    kettle.deadlock("raise")
    yield
    assert "deadlock" not in capsys.readouterr().err


@pytest.mark.usefixtures("no_alarm")
def test_a_lock_that_is_passed_on():
    """A thread waits for a plain lock that it took itself, until another releases it: a signal between threads."""
    lock = threading.Lock()
    lock.acquire()
    friend = standard.Timer(SOON + 1.0, lock.release)
    friend.start()
    assert lock.acquire()
    friend.join()


@pytest.mark.usefixtures("no_alarm")
def test_a_lock_that_goes_from_hand_to_hand():
    """It was passed on while a thread waited: its holder is not assumed to be the thread that will release it."""
    a, b = threading.Lock(name="a"), threading.Lock(name="b")
    a.acquire()
    friend = standard.Thread(target=a.acquire)
    friend.start()
    until(lambda: waiters(a))
    other_friend = standard.Thread(target=a.release)
    other_friend.start()
    for thread in (friend, other_friend):
        thread.join()
    a.release()

    sits = standard.Barrier(2)

    def sit(mine, other, keeps):
        mine.acquire()
        sits.wait()
        with other:
            pass
        if keeps:
            mine.release()

    people = [standard.Thread(target=sit, args=(a, b, False)), standard.Thread(target=sit, args=(b, a, True))]
    for thread in people:
        thread.start()
    until(lambda: waiters(a) and waiters(b))
    naps()
    assert waiters(a)
    assert waiters(b)
    a.release()
    for thread in people:
        thread.join()


def test_no_thread_is_left_to_pass_it_on():
    text = """
        import kettle
        from kettle import _deadlock, threading
        kettle.deadlock("raise")
        lock = threading.Lock(name="mine")
        with lock:
            try:
                lock.acquire()
            except kettle.DeadlockError as error:
                print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(text)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True)
    assert "a lock that it holds itself" in result.stdout


@pytest.mark.usefixtures("no_alarm")
def test_a_wait_with_a_time_out_ends_by_itself():
    a, b = threading.RLock(), threading.RLock()
    sits = standard.Barrier(2)
    results = []

    def sit(mine, other, **how):
        with mine:
            sits.wait()
            results.append(other.acquire(**how))
            if results[-1]:
                other.release()

    people = [
        standard.Thread(target=sit, args=(a, b)),
        standard.Thread(target=sit, args=(b, a), kwargs={"timeout": SOON + 1.0}),
    ]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()
    assert results == [False, True]


@pytest.mark.usefixtures("no_alarm")
def test_trying_in_turn():
    a, b = threading.RLock(), threading.RLock()
    ends = time.monotonic() + 1.5
    counts = [0, 0]

    def work(i, mine, other):
        while time.monotonic() < ends:
            with mine:
                if other.acquire(blocking=False):
                    other.release()
                    counts[i] += 1

    people = [standard.Thread(target=work, args=(0, a, b)), standard.Thread(target=work, args=(1, b, a))]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()


@pytest.mark.usefixtures("no_alarm")
def test_long_waits_in_a_line():
    """A chain of waiters is not a cycle, however long it takes."""
    locks = [threading.RLock() for _ in range(6)]
    leave = standard.Event()
    held = standard.Semaphore(0)

    def sit(i):
        with locks[i]:
            held.release()
            if i == 0:
                leave.wait()
            else:
                with locks[i - 1]:
                    pass

    people = []
    for i in range(6):
        people.append(standard.Thread(target=sit, args=(i,)))
        people[-1].start()
        held.acquire()
    naps()
    leave.set()
    for thread in people:
        thread.join()


@pytest.mark.usefixtures("no_alarm")
def test_conditions():
    """A thread that waits to be notified holds nothing of the condition."""
    outer, condition = threading.RLock(), threading.Condition()
    waiting = standard.Event()

    def wait():
        with condition:
            waiting.set()
            condition.wait()
            with outer:
                pass

    waiter = standard.Thread(target=wait)
    waiter.start()
    waiting.wait()
    with outer:
        naps()
        with condition:
            condition.notify()
        naps()
    waiter.join()


def test_a_condition_that_takes_its_lock_again_is_not_refused():
    """It is part of a cycle; the other thread gets the error."""
    outer, lock = threading.RLock(), threading.RLock()
    condition = threading.Condition(lock)
    waiting = standard.Event()
    done = []

    def wait():
        with outer, condition:
            waiting.set()
            condition.wait()
            done.append("held again")

    waiter = standard.Thread(target=wait)
    waiter.start()
    waiting.wait()
    with condition:
        condition.notify()
        with pytest.raises(kettle.DeadlockError):
            outer.acquire()
    waiter.join()
    assert done == ["held again"]


@pytest.mark.usefixtures("no_alarm")
@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_many_threads_take_ordered_locks(make, seed):
    """Many waits beyond the threshold, all of which end."""
    native.deadlock_policy(None, 0.0)
    locks = [make() for _ in range(8)]
    ends = time.monotonic() + 4

    def work(number):
        chance = random.Random(seed + number)
        while time.monotonic() < ends:
            with contextlib.ExitStack() as stack:
                for i in sorted(chance.sample(range(8), 3)):
                    stack.enter_context(locks[i])
                    time.sleep(0.01 * chance.random())

    all_at_once(work, 24)


def test_ctrl_c_ends_a_wait_that_is_part_of_a_deadlock():
    text = """
        import os, signal, sys, threading as standard
        from kettle import _deadlock, threading
        a, b = threading.Lock(), threading.Lock()
        sits = standard.Barrier(2)
        def other():
            with b:
                sits.wait()
                a.acquire()
        standard.Thread(target=other, daemon=True).start()
        with a:
            sits.wait()
            print("waiting", flush=True)
            b.acquire()
    """
    command = [sys.executable, "-X", "dev", "-c", textwrap.dedent(text)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waiting\n"
        told = ""
        while "wait for each other" not in told:
            told = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == -signal.SIGINT
    assert rest.count("Traceback") == 1
    assert "KeyboardInterrupt" in rest


# ---------------------------------------------------------------- the command

PROGRAM = """
import threading
a, b = threading.{kind}(), threading.{kind}()
one_has_b, another_has_a = threading.Event(), threading.Event()
class Both(threading.Thread):
    def run(self):
        self.func1()
        self.func2()
    def func1(self):
        a.acquire()
        if one_has_b.is_set(): another_has_a.set()
        b.acquire(); b.release(); a.release()
    def func2(self):
        b.acquire()
        one_has_b.set(); another_has_a.wait()
        a.acquire(); a.release(); b.release()
Both().start()
one_has_b.wait()
for _ in range(3):
    Both().start()
    another_has_a.wait()
"""


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_program_that_would_hang_ends_under_the_command(kind, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(kind=kind))
    command = [sys.executable, "-m", "kettle", "run", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    for word in ("wait for each other", "func1", "func2", "Thread-1", "Thread-2", f"program.py:{3}"):
        assert word in result.stderr


def test_the_environment_chooses_too(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import kettle; print(kettle.deadlock())")
    command = [sys.executable, "-m", "kettle", "run", str(program)]
    for chosen, result in (("", "raise"), ("report", "report"), ("off", "off")):
        environment = {**os.environ, "KETTLE_DEADLOCK": chosen}
        if not chosen:
            del environment["KETTLE_DEADLOCK"]
        assert subprocess.check_output(command, text=True, timeout=LIMIT, env=environment).strip() == result


NOT_TEXT = """
import kettle
from kettle import threading

def take(first, second):
    with first:
        both.wait()
        try:
            with second:
                pass
        except kettle.DeadlockError as error:
            print(ascii(str(error)))

kettle.deadlock("raise")
both = threading.Barrier(2)
one, other = threading.RLock(), threading.RLock()
threads = [threading.Thread(target=take, args=args, name="t\\udce9") for args in ((one, other), (other, one))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_a_program_whose_path_is_no_text(tmp_path):
    program = os.fsencode(tmp_path) + b"/caf\xe9.py"
    with open(program, "w") as file:
        file.write(NOT_TEXT)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=LIMIT)
    said = done.stdout.replace("\\\\", "\\")
    assert said.count("caf\\udce9.py") >= 4, done.stderr
    assert "in take" in said and "with second:" in said and "t\\udce9" in said
