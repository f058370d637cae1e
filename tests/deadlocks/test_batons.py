"""Plain locks that are released by another thread than their holder: batons. While one is on its way, threads that wait
for each other's locks look like a deadlock, and it cannot be known that they are not one. So they are reported, and all
go on waiting, no matter how long the baton takes. Here it arrives some time after the report."""

import contextlib
import subprocess
import sys
import textwrap
import threading as standard
import time

import pytest
from tests.death.support import LIMIT, until

import kettle
import kettle.futures
import kettle.multiprocessing as multiprocessing
from kettle import _deadlock, threading
from kettle._core import native

THRESHOLD = 0.4
LONG = 6 * THRESHOLD  # seconds

BOTH = pytest.mark.parametrize("make", [threading.Lock, multiprocessing.Lock])

# Processes are forked while threads of this one run.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


class Scene:
    """Threads, the reports and errors they get, and an event that is set at the first of these."""

    def __init__(self):
        self.reports = []
        self.errors = []
        self.told = standard.Event()
        self.threads = []

    def report(self, text, _):
        self.reports.append(text)
        self.told.set()

    def play(self, part, *args):
        thread = standard.Thread(target=self._guarded, args=(part, args))
        self.threads.append(thread)
        thread.start()

    def _guarded(self, part, args):
        with self.expecting():
            part(*args)

    @contextlib.contextmanager
    def expecting(self):
        try:
            yield
        except kettle.DeadlockError as error:
            self.errors.append(error)
            self.told.set()

    def hand_over(self, *locks):
        self.told.wait()
        time.sleep(LONG)
        for lock in locks:
            lock.release()

    def join(self):
        for thread in self.threads:
            thread.join()

    def was_reported_only(self):
        assert self.errors == []
        assert len(self.reports) == 1
        assert "2 threads wait for each other; only a release() by yet another thread can help" in self.reports[0]


@pytest.fixture
def scene(monkeypatch):
    scene = Scene()
    monkeypatch.setattr(_deadlock, "report", scene.report)
    before = native.deadlock_policy()
    native.deadlock_policy("raise", THRESHOLD)
    yield scene
    native.deadlock_policy(*before)


def waited_for(lock):
    return lock.statistics().waiting


def takes_and_wants(mine, other, both):
    """Holds `mine`, which another thread will release, until it has the other one as well."""
    mine.acquire()
    both.wait()
    other.acquire()
    other.release()


# ---------------------------------------------------------------- batons


@BOTH
def test_a_lock_that_is_a_signal(make, scene):
    go, data = make(name="go"), make(name="data")
    go.acquire()  # a thread that wants it waits until it is released

    def work():
        with data:
            go.acquire()

    scene.play(work)
    until(lambda: waited_for(go))
    scene.play(scene.hand_over, go)
    with scene.expecting():
        data.acquire()
    scene.join()
    scene.was_reported_only()


@BOTH
def test_turns_that_a_referee_gives(make, scene):
    turns, both = [make(), make()], standard.Barrier(2)
    scene.play(takes_and_wants, turns[0], turns[1], both)
    scene.play(takes_and_wants, turns[1], turns[0], both)
    scene.play(scene.hand_over, *turns)
    scene.join()
    scene.was_reported_only()


def test_a_place_that_the_job_gives_back(scene):
    """As programs limit the number of submitted jobs: the submitting thread takes the lock, and the thread that runs
    the job releases it."""
    place, log = threading.Lock(), threading.Lock()
    may_end = standard.Event()

    def write():
        with scene.expecting(), log, place:
            pass

    with kettle.futures.ThreadPoolExecutor(2) as pool:
        place.acquire()
        pool.submit(may_end.wait).add_done_callback(lambda _: place.release())
        scene.play(lambda: (scene.told.wait(), may_end.set()))
        written = pool.submit(write)
        until(lambda: waited_for(place))
        with scene.expecting(), log:
            pass
        written.result()
    scene.join()
    scene.was_reported_only()


def plays_elsewhere(mine, other, both, told, said, over):
    def tell(what):
        said.put(what)
        told.set()

    native.deadlock_policy("raise", THRESHOLD)
    _deadlock.report = lambda text, _: tell(("report", text))
    try:
        takes_and_wants(mine, other, both)
    except kettle.DeadlockError as error:
        tell(("error", str(error)))
    over.wait()  # the process must not end while the other one waits for its lock


def hands_over_elsewhere(told, over, *locks):
    told.wait()
    for lock in locks:
        lock.release()
    over.set()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_turns_between_processes(method):
    context = multiprocessing.get_context(method)
    turns, both = [context.Lock(), context.Lock()], context.Barrier(2)
    told, over, said = context.Event(), context.Event(), context.Queue()
    people = [
        context.Process(target=plays_elsewhere, args=(turns[0], turns[1], both, told, said, over)),
        context.Process(target=plays_elsewhere, args=(turns[1], turns[0], both, told, said, over)),
        context.Process(target=hands_over_elsewhere, args=(told, over, *turns)),
    ]
    for one in people:
        one.start()
    for one in people:
        one.join()
        assert one.exitcode == 0
    assert [what for what, _ in said.get_many(10)] == ["report"]


def test_a_signal_handler_releases_what_its_thread_waits_for():
    """There is no other thread; the report causes the signal."""
    program = f"""
        import os, signal
        from kettle import _deadlock, threading
        from kettle._core import native
        native.deadlock_policy("raise", {THRESHOLD})
        lock = threading.Lock()
        signal.signal(signal.SIGUSR1, lambda *_: lock.release())
        def report(text, _):
            print(text.partition("\\n")[0])
            os.kill(os.getpid(), signal.SIGUSR1)
        _deadlock.report = report
        lock.acquire()
        lock.acquire()
        print("went on")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert result.stderr == ""
    first, last = result.stdout.splitlines()
    assert "a thread waits for a lock that it holds itself" in first
    assert last == "went on"


# ---------------------------------------------------------------- not even reported


def naps():
    """Waits long enough for a report."""
    time.sleep(THRESHOLD + 1.2)


def embrace(scene, make, pass_on_first):
    """Each of two threads waits for what the other one took, long enough for a report; then both are released."""
    locks, both = [make(), make()], standard.Barrier(2)
    if pass_on_first:
        locks[1].acquire()
        scene.play(locks[1].release)
        scene.join()
    scene.play(takes_and_wants, locks[0], locks[1], both)
    scene.play(takes_and_wants, locks[1], locks[0], both)
    until(lambda: waited_for(locks[0]) and waited_for(locks[1]))
    naps()
    for lock in locks:
        lock.release()
    scene.join()


@BOTH
def test_a_baton_is_known_by_the_thread_that_released_it_once(make, scene):
    """No thread waited at that time, and the other locks are not known as batons."""
    embrace(scene, make, pass_on_first=True)
    assert (scene.reports, scene.errors) == ([], [])


@pytest.mark.parametrize("make", [threading.Semaphore, multiprocessing.Semaphore])
def test_semaphores_have_no_owner(make, scene):
    places, both = [make(1), make(1)], standard.Barrier(2)
    scene.play(takes_and_wants, places[0], places[1], both)
    scene.play(takes_and_wants, places[1], places[0], both)
    both_wait = standard.Timer(THRESHOLD + 1.2, scene.told.set)
    both_wait.start()
    scene.play(scene.hand_over, *places)
    scene.join()
    both_wait.join()
    assert (scene.reports, scene.errors) == ([], [])


# ---------------------------------------------------------------- if no thread releases it


@contextlib.contextmanager
def holding(lock):
    with lock:
        yield


@BOTH
@pytest.mark.parametrize(
    "how", [("acquire", "acquire"), ("block", "acquire"), ("generator", "generator"), ("block", "block")]
)
def test_only_blocks_that_their_holders_are_in_the_middle_of_are_certain(make, how, scene):
    """A lock that was taken by `acquire()`, or in a suspended generator, may be meant for another thread to release."""
    locks, both = [make(), make()], standard.Barrier(2)

    def wants(i):
        both.wait()
        with locks[1 - i]:
            pass

    def sit(i):
        if how[i] == "block":
            with locks[i]:
                wants(i)
        elif how[i] == "generator":
            with holding(locks[i]):
                wants(i)
        else:
            locks[i].acquire()
            wants(i)

    def sits(i):
        try:
            sit(i)
        except kettle.DeadlockError:
            raise
        except (RuntimeError, ValueError):
            pass  # its lock was released for it

    for i in range(2):
        scene.play(sits, i)
    if how == ("block", "block"):
        scene.join()
        assert len(scene.errors) == 1
        assert scene.reports == []
        return
    scene.hand_over()
    for lock in locks:
        with contextlib.suppress(RuntimeError, ValueError):
            lock.release()
    scene.join()
    scene.was_reported_only()
