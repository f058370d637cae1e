"""`kettle.queue`: what the standard library's queues lack or do not promise."""

from __future__ import annotations

import gc
import inspect
import itertools
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from unittest import mock

import pytest

import kettle
import kettle.queue as kq

CLASSES = (kq.Queue, kq.LifoQueue, kq.PriorityQueue, kq.SimpleQueue)
BOUNDED = CLASSES[:3]
LIMIT = 30  # seconds


@contextmanager
def thread(target, *args):
    """A thread that must have ended soon after the block. Yields a list with its result."""
    results = []
    running = threading.Thread(target=lambda: results.append(target(*args)), daemon=True)
    running.start()
    yield results
    running.join(LIMIT)
    assert not running.is_alive(), "the thread still waits"


def eventually(holds):
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# ---------------------------------------------------------------- new methods


@pytest.mark.parametrize("cls", CLASSES)
def test_shutdown_on_every_version(cls):
    q = cls()
    q.put(1)
    q.shutdown()
    assert q.is_shutdown and kq.ShutDown is kettle.ShutDown
    assert q.get() == 1
    for call in (q.get, q.get_nowait, lambda: q.put(1), lambda: q.put_many([1]), lambda: q.get_many(1)):
        with pytest.raises(kettle.ShutDown):
            call()


def test_shutdown_wakes_those_who_wait():
    q, full = kq.SimpleQueue(), kq.Queue(1)
    full.put(1)

    def waits(call, *args):
        with pytest.raises(kettle.ShutDown):
            call(*args)
        return True

    with thread(waits, q.get) as getter, thread(waits, full.put, 2) as putter:
        eventually(lambda: q.statistics().getters_waiting == 1 and full.statistics().putters_waiting == 1)
        q.shutdown()
        full.shutdown()
    assert getter == putter == [True]


@pytest.mark.parametrize("cls", CLASSES)
def test_many_at_once(cls):
    q = cls()
    assert q.put_many(iter(range(10))) == 10
    assert sorted(q.get_many(4) + q.get_many(100)) == list(range(10))
    with pytest.raises(kq.Empty):
        q.get_many(1, timeout=0.01)
    with pytest.raises(ValueError):
        q.get_many(0)
    with pytest.raises(ValueError):
        q.get_many(1, timeout=-1)
    with thread(q.get_many, 5) as got:
        q.put(1)
    assert got == [[1]]


@pytest.mark.parametrize("look", [False, True])
def test_many_into_a_full_queue(look):
    q = kq.Queue(3)
    if look:
        assert not q.queue
    with pytest.raises(kq.Full) as error:
        q.put_many(range(10), timeout=0.01)
    assert error.value.done == 3 and q.get_many(5) == [0, 1, 2]

    def broken():
        yield 1
        raise LookupError

    with pytest.raises(LookupError) as error:
        q.put_many(broken())
    assert error.value.done == 1 and q.get() == 1
    with thread(q.put_many, range(5)) as done:
        assert [q.get() for _ in range(5)] == list(range(5))
    assert done == [5]


@pytest.mark.parametrize("look", [False, True])
def test_statistics(look):
    q = kq.Queue(2)
    if look:
        assert not q.queue
    q.put(1)
    q.put(2)
    q.get()
    q.task_done()
    s = q.statistics()
    assert (s.size, s.maxsize, s.put, s.got, s.unfinished) == (1, 2, 2, 1, 1)
    assert (s.getters_waiting, s.putters_waiting, s.shut_down, s.owners_died) == (0, 0, False, 0)


def test_statistics_of_those_who_wait():
    q = kq.Queue(1)
    with thread(q.get):
        eventually(lambda: q.statistics().getters_waiting == 1)
        q.put(1)
    q.put(1)
    with thread(q.put, 2):
        eventually(lambda: q.statistics().putters_waiting == 1)
        q.get()
    s = q.statistics()
    assert (s.getters_waiting, s.putters_waiting) == (0, 0)


def test_name_and_repr():
    q = kq.Queue(5, name="jobs")
    q.put(1)
    assert q.name == "jobs" and repr(q).startswith("<kettle.queue.Queue 'jobs' at 0x")
    assert repr(q).endswith(", 1 of 5 items>")
    assert kq.SimpleQueue().name is None and "SimpleQueue at" in repr(kq.SimpleQueue())
    assert kq.SimpleQueue(name="s").name == "s"


def test_what_help_says():
    for name in ("put", "get", "put_nowait", "get_nowait", "task_done", "put_many", "get_many", "shutdown"):
        assert inspect.getdoc(getattr(kq.Queue, name))
    assert str(inspect.signature(kq.Queue.put)) == "(self, /, item, block=True, timeout=None)"
    assert str(inspect.signature(kq.LifoQueue.get)) == "(self, /, block=True, timeout=None)"
    assert list(inspect.signature(kq.Queue).parameters) == ["maxsize", "name"]


def test_names_of_the_standard_module():
    from collections import deque

    assert kq.deque is deque
    with pytest.raises(AttributeError):
        kq.no_such_name  # noqa: B018


def test_what_to_send_in_its_place():
    for name in ("Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"):
        with pytest.raises(TypeError, match=r"kettle\.multiprocessing\.Queue"):
            pickle.dumps(getattr(kq, name)())


@pytest.mark.parametrize("maxsize", [None, "3", [1]])
def test_bounds_that_are_none(maxsize):
    with pytest.raises(TypeError):
        kq.Queue(maxsize)


def test_wrong_calls():
    q = kq.Queue()
    for call in (
        q.put,
        lambda: q.put(1, True, 1, 1),
        lambda: q.put(1, other=1),
        lambda: q.put(1, timeout="1"),
        lambda: q.get(1, 2, 3),
        lambda: q.get(nothing=1),
        q.put_nowait,
        lambda: q.put_nowait(1, 2),
        lambda: q.get_nowait(1),
        lambda: kq.Queue.put(object(), 1),
    ):
        with pytest.raises(TypeError):
            call()
    assert q.empty()
    q.put_nowait(item=1)
    q.put(item=2, block=True, timeout=1.5)
    assert [q.get(block=True), q.get(timeout=None)] == [1, 2]


def test_a_raised_bound_lets_those_who_wait_in():
    q = kq.Queue(1)
    q.put(1)
    with thread(q.put, 2):
        eventually(lambda: q.statistics().putters_waiting == 1)
        q.maxsize = 0
    assert q.qsize() == 2


# ---------------------------------------------------------------- priorities


class Job:
    """Compares by its number, counts comparisons, and may do something in the middle of one."""

    comparisons = 0
    meanwhile = staticmethod(lambda: None)

    def __init__(self, number, tag=None):
        self.number, self.tag = number, tag

    def __lt__(self, other):
        Job.comparisons += 1
        Job.meanwhile()
        return self.number < other.number


@pytest.fixture
def job():
    Job.comparisons = 0
    yield Job
    Job.meanwhile = staticmethod(lambda: None)


def fails_at(n):
    """Raises at the n-th call from now."""
    calls = itertools.count(1)

    def meanwhile():
        if next(calls) == n:
            raise ZeroDivisionError

    return staticmethod(meanwhile)


KINDS = {
    "int": lambda r: r.randrange(50),
    "long": lambda r: r.randrange(50) << 80,
    "float": lambda r: r.choice([r.random(), 0.0, -0.0, float("inf")]),
    "mixed": lambda r: r.choice([r.randrange(5), r.random() * 5, True]),
    "str": lambda r: r.choice("äbcdé漢") * r.randrange(3),
    "bytes": lambda r: r.randbytes(1),
    "tuple": lambda r: (r.randrange(5), r.choice("ab"), r.random()),
    "nested": lambda r: (r.randrange(3), (r.randrange(3), "x")),
    "lengths": lambda r: (1,) * r.randrange(4),
    "list": lambda r: [r.randrange(5)],
    "job": lambda r: Job(r.randrange(50)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_priorities_are_stable_and_sorted(kind, seed):
    """Sorting a list is stable, and uses only `<`, too."""
    r = random.Random(seed)
    q = kq.PriorityQueue()
    items = [KINDS[kind](r) for _ in range(300)]
    q.put_many(items)
    got = [q.get() for _ in items]
    assert [id(item) for item in got] == [id(item) for item in sorted(items)]


def test_only_what_must_be_compared_is():
    q = kq.PriorityQueue()
    for n in (2, 1, 3):
        q.put((n, {}))  # dicts do not compare
    assert [q.get()[0] for _ in range(3)] == [1, 2, 3]
    q.put((1, {}))
    with pytest.raises(TypeError):
        q.put((1, {"another": "one"}))
    assert q.qsize() == 1 and q.unfinished_tasks == 4


def test_a_put_whose_comparison_raises_changes_nothing(job):
    q = kq.PriorityQueue()
    q.put_many(job(n) for n in range(100, 0, -1))
    for n in itertools.count(1):
        Job.meanwhile = fails_at(n)
        try:
            q.put(job(0))
        except ZeroDivisionError:
            assert q.qsize() == q.unfinished_tasks == 100
        else:
            break
    assert n > 5, "so many comparisons it takes to come to the top of a hundred"
    Job.meanwhile = staticmethod(lambda: None)
    assert [q.get().number for _ in range(101)] == list(range(101))


def test_a_get_whose_comparison_raises_changes_nothing(job):
    q = kq.PriorityQueue()
    q.put_many(job(n) for n in random.Random(1).sample(range(100), 100))
    got, raised = [], 0
    for n in itertools.cycle(range(1, 12)):
        Job.meanwhile = fails_at(n)
        try:
            got.append(q.get_nowait().number)
        except ZeroDivisionError:
            raised += 1
        except kq.Empty:
            break
        assert q.qsize() == 100 - len(got)
    assert got == list(range(100)) and raised > 100


def test_get_many_keeps_what_it_took_when_a_comparison_raises(job):
    q = kq.PriorityQueue()
    q.put_many(job(n) for n in range(50))
    Job.meanwhile = fails_at(40)
    with pytest.raises(ZeroDivisionError) as error:
        q.get_many(50)
    taken = [item.number for item in error.value.items]
    assert taken and taken == list(range(len(taken)))
    assert [item.number for item in q.get_many(50)] == list(range(len(taken), 50))


def test_a_comparison_that_uses_the_queue(job, seed):
    """Whatever the comparison does, each item is received once, and every get returns the smallest item at some
    moment."""
    r = random.Random(seed)
    q = kq.PriorityQueue()
    numbers = itertools.count()
    put, got = [], []

    def meddle():
        Job.meanwhile = staticmethod(lambda: None)  # not while the comparison uses the queue
        what = r.random()
        if what < 0.1:
            item = job(r.randrange(1000), next(numbers))
            put.append(item.tag)
            q.put(item)
        elif what < 0.2 and not q.empty():
            got.append(q.get().tag)
        Job.meanwhile = staticmethod(meddle)

    for _ in range(500):
        Job.meanwhile = staticmethod(meddle)
        item = job(r.randrange(1000), next(numbers))
        q.put(item)
        put.append(item.tag)
        if r.random() < 0.5:
            try:
                got.append(q.get_nowait().tag)
            except kq.Empty:
                pass
    Job.meanwhile = staticmethod(lambda: None)
    rest = [q.get() for _ in range(q.qsize())]
    assert [item.number for item in rest] == sorted(item.number for item in rest)
    assert sorted(got + [item.tag for item in rest]) == sorted(put)


def test_a_comparison_that_lets_others_in(job):
    """With comparisons that release the interpreter, four threads lose and duplicate nothing."""
    q = kq.PriorityQueue()
    naps = random.Random(7)

    def nap():
        if naps.random() < 0.02:
            time.sleep(0)

    Job.meanwhile = staticmethod(nap)

    def produce(k):
        for n in range(200):
            q.put(job(n, (k, n)))

    def consume():
        return [q.get().tag for _ in range(200)]

    with thread(produce, 0), thread(produce, 1), thread(consume) as a, thread(consume) as b:
        pass
    assert sorted(a[0] + b[0]) == [(k, n) for k in range(2) for n in range(200)]


# ---------------------------------------------------------------- reentrancy


@pytest.mark.parametrize("cls", CLASSES)
def test_a_finalizer_that_uses_its_queue(cls):
    """Dropping an item runs its finalizer, which uses the queue that drops it."""
    seen = []

    class Nosy:
        def __init__(self, q):
            self.q = q

        def __lt__(self, other):
            return False

        def __del__(self):
            seen.append((self.q.qsize(), self.q.is_shutdown))

    q = cls()
    q.put(Nosy(q))
    q.shutdown(immediate=True)
    with pytest.raises(kettle.ShutDown):
        q.put(Nosy(q))
    if cls is not kq.SimpleQueue:
        full = cls(1)
        full.put(1)
        with pytest.raises(kq.Full):
            full.put(Nosy(full), timeout=0.01)
    gc.collect()
    assert seen == [(0, True), (0, True), (1, False)][: 2 if cls is kq.SimpleQueue else 3]


@pytest.mark.parametrize("cls", CLASSES)
def test_put_by_the_garbage_collector(cls):
    q = cls()
    numbers = itertools.count()

    class Circular:
        def __init__(self):
            self.circular = self

        def __del__(self):
            q.put((next(numbers),))

    got = []
    while len(got) < 5000:
        Circular()
        q.put((next(numbers),))
        got.append(q.get())
    gc.collect()
    rest = [q.get_nowait() for _ in range(q.qsize())]
    assert sorted(got + rest) == [(n,) for n in range(next(numbers))]


@pytest.mark.parametrize("cls", CLASSES)
def test_put_by_a_signal_handler(cls):
    q = cls()
    handled = []

    def handler(*args):
        handled.append(1)
        q.put(1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with subprocess.Popen([sys.executable, "-c", PESTER.format(pid=os.getpid())]) as pest:
            got = puts = 0
            while pest.poll() is None or not handled:
                q.put(1)
                got += q.get()
                puts += 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert got == puts and q.qsize() == len(handled)


PESTER = "import os, signal, time\nfor _ in range(300): os.kill({pid}, signal.SIGUSR1); time.sleep(0.0003)"


# ---------------------------------------------------------------- moving out


@pytest.mark.parametrize("cls", BOUNDED)
@pytest.mark.parametrize("maxsize", [0, 5])
def test_a_look_inside_during_traffic_loses_nothing(cls, maxsize):
    q = cls(maxsize)
    go = threading.Event()
    count = 2000

    def produce(k):
        for n in range(count):
            q.put((k, n))
            if n == count // 2:
                go.set()

    def consume():
        return [q.get() for _ in range(count)]

    def look():
        go.wait(LIMIT)
        with q.mutex:
            return len(q.queue) == q._qsize()

    with thread(produce, 0), thread(produce, 1), thread(consume) as a, thread(consume) as b:
        with thread(look) as x, thread(look) as y:
            pass
    assert x == y == [True]
    assert sorted(a[0] + b[0]) == [(k, n) for k in range(2) for n in range(count)]
    s = q.statistics()
    assert (s.size, s.put, s.got, s.unfinished) == (0, 2 * count, 2 * count, 2 * count)


def test_only_who_looks_pays():
    """The core keeps the items until a program accesses them."""
    q = kq.Queue()
    q.put(1)
    assert q.qsize() == 1 and q.unfinished_tasks == 1 and repr(q) and not q.full()
    assert q._qsize() == 1 and q._kettle_outside is None
    assert list(q.queue) == [1] and q._kettle_outside is not None

    class Plain(kq.Queue):
        def put_twice(self, item):
            self.put(item)
            self.put(item)

    q = Plain()
    q.put_twice(1)
    assert q.qsize() == 2 and q._kettle_outside is None


# ---------------------------------------------------------------- the interpreter's life


def test_a_class_that_takes_back_what_its_base_overrides():
    class Doubling(kq.Queue):
        def _put(self, item):
            super()._put(2 * item)

    class Plain(Doubling):
        _put = kq.Queue._put

    q = Plain(1)
    q.put(1)
    with pytest.raises(kq.Full):
        q.put_nowait(2)
    assert (q.get(), q.qsize(), q.unfinished_tasks) == (1, 0, 1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_in_the_middle_of_traffic():
    q, stop = kq.Queue(10), threading.Event()

    def traffic():
        while not stop.is_set():
            q.put(0)
            q.get()

    with thread(traffic), thread(traffic):
        for _ in range(20):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    while not q.empty():
                        q.get()
                    q.put(1)
                    if q.get() == 1 and q.statistics().getters_waiting == 0:
                        code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()


def run(program, *args):
    return subprocess.run([sys.executable, *args, "-c", program], capture_output=True, text=True, timeout=LIMIT)


@pytest.mark.parametrize("look", ["", "q.mutex; "])
def test_a_daemon_thread_in_a_get_lets_the_interpreter_end(look):
    done = run(
        "import threading, kettle.queue as kq\n"
        f"q = kq.Queue(); {look}\n"
        "for _ in range(3): threading.Thread(target=q.get, daemon=True).start()\n"
        "q.put(1); print('end')\n",
        "-X",
        "dev",
        "-W",
        "error",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_daemon_thread_in_a_comparison_lets_the_interpreter_end():
    done = run(
        "import threading, time, kettle.queue as kq\n"
        "class Job:\n"
        "    def __lt__(self, other):\n"
        "        started.set()\n"
        "        return sum(range(100)) < 0\n"
        "started = threading.Event()\n"
        "q = kq.PriorityQueue()\n"
        "q.put_many(Job() for _ in range(100))\n"
        "def work():\n"
        "    while True: q.put(q.get())\n"
        "def feed():\n"
        "    while True: q.get_many(q.put_many(Job() for _ in range(10)))\n"
        "for target in (work, work, feed): threading.Thread(target=target, daemon=True).start()\n"
        "started.wait(); print('end')\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_ctrl_c_ends_every_kind_of_wait():
    done = run(
        "import os, signal, threading, kettle.queue as kq\n"
        "empty, full = kq.Queue(), kq.Queue(1)\n"
        "full.put(1)\n"
        "waits = empty.get, lambda: full.put(2), full.join, lambda: empty.get_many(3), lambda: empty.get(timeout=9)\n"
        "for wait in waits:\n"
        "    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))\n"
        "    try: timer.start(); wait()\n"
        "    except KeyboardInterrupt: print('interrupted')\n"
        "    timer.join()\n"
        "s = empty.statistics(), full.statistics()\n"
        "print(s[0].getters_waiting, s[1].putters_waiting, s[1].size)\n"
    )
    assert done.stdout.splitlines() == ["interrupted"] * 5 + ["0 0 1"], done.stderr


# ---------------------------------------------------------------------- a clock that a test replaces


class FrozenClock:
    """A clock that a test moves, or that moves by itself when it is read."""

    def __init__(self, *times):
        self._times = list(times)
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return self._times.pop(0) if len(self._times) > 1 else self._times[0]


CLOCKS = {"ours": "kettle.queue.time", "the standard library's": "queue.time"}


def outside(cls):
    """Returns a queue whose items are in a container in Python."""

    def make(*args):
        queue = cls(*args)
        assert queue.mutex
        return queue

    return make


MAKERS = {cls.__name__: cls for cls in BOUNDED} | {f"{cls.__name__} outside": outside(cls) for cls in BOUNDED}


@pytest.mark.parametrize("name", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_time_is_over_by_the_clock_of_a_test(make, name):
    empty, full = make(), make(1)
    full.put(0)
    with mock.patch(name, FrozenClock(100, 100 + 2 * LIMIT)) as clock, pytest.raises(kq.Empty):
        empty.get(timeout=LIMIT)
    assert clock.asked == 2
    with mock.patch(name, FrozenClock(100, 100 + 2 * LIMIT)), pytest.raises(kq.Full):
        full.put(1, timeout=LIMIT)
    with mock.patch(name, side_effect=[1, 1 + LIMIT]), pytest.raises(kq.Empty):
        empty.get(True, LIMIT)
    # It is read again each time a wait is over.
    with mock.patch(name, FrozenClock(0, 0.999, 0.9995, 1)) as clock, pytest.raises(kq.Empty):
        empty.get(timeout=1)
    assert clock.asked == 4
    # The call raises the errors of the clock.
    with mock.patch(name, side_effect=LookupError), pytest.raises(LookupError):
        empty.get(timeout=LIMIT)
    assert full.qsize() == 1 and empty.qsize() == 0
    with pytest.raises(kq.Empty):
        empty.get(timeout=0.001)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_clock_that_stands_still_keeps_none_from_an_item(make):
    queue = make()
    with mock.patch("kettle.queue.time", return_value=5):
        with thread(queue.get, True, 0.001) as got:
            eventually(lambda: kq.time.call_count > 3)
            queue.put("item")
        assert got == ["item"]


def test_what_does_not_wait_by_that_clock():
    queue, simple = kq.Queue(), kq.SimpleQueue()
    with mock.patch("kettle.queue.time", side_effect=AssertionError):
        queue.put("item", timeout=LIMIT)
        assert queue.get(timeout=LIMIT) == "item"
        for other in (queue, simple):
            with pytest.raises(kq.Empty):
                other.get(block=False)
        # It has none in the standard library either.
        with pytest.raises(kq.Empty):
            simple.get(timeout=0.001)
    assert "time" not in vars(kq)


class Plain(kq.Queue):
    """Overrides nothing, and is defined before any test patches `Queue`."""


def test_what_is_put_into_queue_counts_for_its_subclasses():
    with mock.patch("kettle.queue.Queue.get", return_value="patched"):
        assert (Plain().get(), Plain().get_nowait()) == ("patched", "patched")
    with mock.patch("kettle.queue.Queue.put") as put:
        Plain().put(1)
        Plain().put_nowait(2)
    assert put.call_count == 2


class PlainLifo(kq.LifoQueue):
    """The same, for a subclass of a subclass."""

    def get(self, *args, **kwargs):
        return super().get(*args, **kwargs)


@pytest.mark.parametrize("kind", [kq.LifoQueue, kq.PriorityQueue, PlainLifo])
def test_what_is_put_into_queue_counts_for_its_siblings(kind):
    made_before = kind()
    made_before.put(5)
    assert made_before.get() == 5
    own_before = kind.put
    for _ in range(2):
        with mock.patch("kettle.queue.Queue.get", return_value="patched") as get:
            for queue in (made_before, kind()):
                assert (queue.get(), queue.get(True, 5), queue.get_nowait()) == ("patched",) * 3
            assert get.call_count == 6
            queue.put(1)
            assert queue.qsize() == 1
        assert queue.get(timeout=1) == 1
        names = ["put", "task_done", "join", "qsize", "shutdown"]
        with mock.patch.multiple(kq.Queue, **dict.fromkeys(names, mock.DEFAULT)) as mocks:
            for queue in (made_before, kind()):
                queue.put(1, timeout=5)
                queue.put_nowait(2)
                for name in names[1:]:
                    getattr(queue, name)()
        assert [mocks[name].call_count for name in names] == [4, 2, 2, 2, 2]
    seen = []
    own = kq.Queue.put

    def traced(self, *args, **kwargs):
        seen.append(args)
        own(self, *args, **kwargs)

    with mock.patch.object(kq.Queue, "put", traced):
        made_before.put(3)
        made_before.put(4, block=False)
        assert (seen, made_before.qsize()) == ([(3,), (4,)], 2)
    assert {made_before.get(), made_before.get()} == {3, 4} and len(seen) == 2
    assert kind.put is own_before, "all is as it was"


def test_a_sibling_keeps_what_a_program_puts_into_it():
    with mock.patch("kettle.queue.LifoQueue.get", return_value="its own"):
        with mock.patch("kettle.queue.Queue.get", return_value="of all"):
            assert (kq.LifoQueue().get(), kq.PriorityQueue().get()) == ("its own", "of all")
        assert kq.LifoQueue().get() == "its own"
    queue = kq.LifoQueue()
    queue.put(1)
    assert queue.get() == 1


def test_a_subclass_has_only_what_it_was_given():
    """A program that sends a class by value, as dill does with one of `__main__`, sends the contents of its
    dictionary."""
    assert [name for name in vars(Plain) if not name.startswith("__")] == []
