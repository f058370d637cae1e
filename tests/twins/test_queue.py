"""`queue`: the four classes, their attributes, and subclasses of all kinds."""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import queue as standard
import signal
import sys
import threading
import time
import weakref

import pytest

from .support import LIMIT, running

CLASSES = ("Queue", "LifoQueue", "PriorityQueue", "SimpleQueue")
BOUNDED = CLASSES[:3]


@pytest.fixture(params=["queue", "kettle.queue"])
def qm(request):
    """The module: the standard library's, then Kettle's."""
    return importlib.import_module(request.param)


def until_waiting(q):
    """Waits until a thread waits in a `get` of the standard library's, and has released the mutex."""
    while True:
        with q.mutex:
            if q.not_empty._waiters:
                return
        time.sleep(0.001)


def has_shutdown(qm):
    if not hasattr(qm.Queue, "shutdown"):
        pytest.skip("this Python's queue has no shutdown")


# ---------------------------------------------------------------- order and size


@pytest.mark.parametrize("name, order", [("Queue", "bca"), ("LifoQueue", "acb"), ("PriorityQueue", "abc")])
def test_orders(qm, name, order):
    q = getattr(qm, name)()
    for item in "bca":
        q.put(item)
    assert q.qsize() == 3 and not q.empty() and not q.full()
    assert "".join(q.get() for _ in range(3)) == order
    assert q.empty()


def test_a_simple_queue(qm):
    q = qm.SimpleQueue()
    q.put(1)
    q.put(2, False)
    q.put(3, block=True, timeout=-1)  # a put never waits, so these arguments do not matter
    q.put_nowait(4)
    assert [q.get(), q.get_nowait(), q.get(False), q.get(timeout=1)] == [1, 2, 3, 4]
    assert q.empty() and q.qsize() == 0


def test_the_exceptions_are_the_standard_ones(qm):
    assert qm.Empty is standard.Empty and qm.Full is standard.Full
    for name in BOUNDED:
        assert issubclass(getattr(qm, name), getattr(standard, name))


@pytest.mark.parametrize("name", BOUNDED)
def test_a_bound(qm, name):
    q = getattr(qm, name)(2)
    q.put(1)
    q.put_nowait(2)
    assert q.full()
    for put in (
        lambda: q.put_nowait(3),
        lambda: q.put(3, block=0),
        lambda: q.put(3, False, -1),
        lambda: q.put(3, timeout=0.01),
        lambda: q.put(3, True, 0),
    ):
        with pytest.raises(qm.Full):
            put()
    with running(q.put, 3):
        assert q.get() in (1, 2)
    assert q.qsize() == 2


@pytest.mark.parametrize("name", CLASSES)
def test_empty(qm, name):
    q = getattr(qm, name)()
    for get in (q.get_nowait, lambda: q.get(block=0), lambda: q.get(False, -1), lambda: q.get(timeout=0.01)):
        with pytest.raises(qm.Empty):
            get()
    with running(q.get) as results:
        q.put("here")
    assert results == ["here"]


@pytest.mark.parametrize("name", CLASSES)
def test_a_negative_timeout_is_an_error(qm, name):
    q = getattr(qm, name)()
    q.put(1)
    with pytest.raises(ValueError):
        q.get(timeout=-1)
    if name != "SimpleQueue":
        q.put(2, timeout=-1)  # no bound, no waiting
        with pytest.raises(ValueError):
            getattr(qm, name)(5).put(1, timeout=-1)


@pytest.mark.parametrize("maxsize", [0, -1, 10**30, float("inf"), True, 1.5])
def test_all_kinds_of_bounds(qm, maxsize):
    q = qm.Queue(maxsize)
    assert q.full() == (0 < maxsize <= 0)
    q.put(1)
    assert q.full() == (0 < maxsize <= 1)


def test_the_bound_can_be_moved(qm):
    q = qm.Queue(maxsize=1)
    q.put(1)
    q.maxsize = 2
    q.put_nowait(2)
    q.maxsize = 1
    assert q.maxsize == 1 and q.full() and q.qsize() == 2
    q.get()
    with pytest.raises(qm.Full):
        q.put_nowait(3)


@pytest.mark.parametrize("name", CLASSES)
def test_many_threads(qm, name):
    q = getattr(qm, name)()

    def produce():
        for n in range(500):
            q.put(n)
        return 0

    def consume():
        return sum(q.get() for _ in range(500))

    with running(produce, count=4), running(consume, count=4) as sums:
        pass
    assert sum(sums) == 4 * sum(range(500)) and q.empty()


@pytest.mark.parametrize("name", BOUNDED)
def test_many_threads_and_a_small_bound(qm, name):
    q = getattr(qm, name)(2)

    def produce():
        for n in range(200):
            q.put(n)
            assert q.qsize() <= 2

    def consume():
        return sum(q.get() for _ in range(200))

    with running(produce, count=3), running(consume, count=3) as sums:
        pass
    assert sum(sums) == 3 * sum(range(200))


# ---------------------------------------------------------------- tasks


def test_tasks(qm):
    q = qm.Queue()
    q.join()
    with pytest.raises(ValueError):
        q.task_done()
    q.put(1)
    q.put(2)
    assert q.unfinished_tasks == 2
    with running(q.join) as joined:
        q.get()
        q.task_done()
        q.get()
        assert not joined
        q.task_done()
    assert q.unfinished_tasks == 0
    with pytest.raises(ValueError):
        q.task_done()


# ---------------------------------------------------------------- shutdown


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown(qm, name, immediate):
    has_shutdown(qm)
    q = getattr(qm, name)()
    q.put(1)
    q.put(2)
    assert not q.is_shutdown
    q.shutdown(immediate)
    assert q.is_shutdown
    with pytest.raises(qm.ShutDown):
        q.put(3)
    if not immediate:
        assert {q.get(), q.get_nowait()} == {1, 2}
        q.task_done()
        q.task_done()
    for get in (q.get, q.get_nowait, lambda: q.get(timeout=1)):
        with pytest.raises(qm.ShutDown):
            get()
    q.join()


@pytest.mark.parametrize("look", [False, True])
def test_shutdown_wakes_all_who_wait(qm, look):
    has_shutdown(qm)
    empty, full = qm.Queue(), qm.Queue(1)
    full.put(1)
    if look:
        assert not empty.queue and full.queue

    def waits(call, *args):
        with pytest.raises(qm.ShutDown):
            call(*args)
        return True

    with running(waits, empty.get, count=2) as getters, running(waits, full.put, 2, count=2) as putters:
        with running(full.join) as joined:
            empty.shutdown()
            full.shutdown(immediate=True)
    assert (getters, putters, joined) == ([True] * 2, [True] * 2, [None])


# ---------------------------------------------------------------- internals


@pytest.mark.parametrize("name", BOUNDED)
def test_a_look_at_the_container(qm, name):
    q = getattr(qm, name)(5)
    for n in (3, 1, 2):
        q.put(n)
    assert sorted(q.queue) == [1, 2, 3] and len(q.queue) == 3
    assert type(q.queue) is type(getattr(standard, name)().queue)
    q.put(0)
    assert q.qsize() == 4 and 0 in q.queue and q.unfinished_tasks == 4
    expected = {"Queue": [3, 1, 2, 0], "LifoQueue": [0, 2, 1, 3], "PriorityQueue": [0, 1, 2, 3]}[name]
    assert [q.get() for _ in range(4)] == expected
    assert not q.queue
    q.put(1)
    with pytest.raises(qm.Full):
        for _ in range(5):
            q.put(1, timeout=0.01)


def test_clearing_by_hand(qm):
    q = qm.Queue(3)
    for n in range(3):
        q.put(n)
    with running(q.put, 3), running(q.join):
        with q.mutex:
            unfinished = q.unfinished_tasks - len(q.queue)
            q.queue.clear()
            q.unfinished_tasks = unfinished
            q.not_full.notify_all()
            if not unfinished:
                q.all_tasks_done.notify_all()
        if q.get() == 3:
            q.task_done()


def test_a_container_of_ones_own(qm):
    q = qm.Queue()
    q.put(1)
    q.queue = type(q.queue)([7, 8])
    assert q.get() == 7 and q.qsize() == 1


def test_joining_with_a_timeout_by_hand(qm):
    q = qm.Queue()
    q.put(1)

    def timed_join(seconds):
        deadline = time.monotonic() + seconds
        with q.all_tasks_done:
            while q.unfinished_tasks and (left := deadline - time.monotonic()) > 0:
                q.all_tasks_done.wait(left)
        return not q.unfinished_tasks

    assert not timed_join(0.01)
    with running(timed_join, LIMIT) as results:
        q.get()
        q.task_done()
    assert results == [True]


def test_holding_the_mutex_keeps_others_out(qm):
    q = qm.Queue()
    with running(q.put, 1):
        with q.mutex:
            before = list(q.queue)
            assert list(q.queue) == before
    assert q.get() == 1


def test_those_who_wait_are_served_after_a_look_inside(qm):
    q, full = qm.Queue(), qm.Queue(1)
    full.put(0)
    with running(q.get, count=2) as got, running(full.put, 1), running(full.join):
        assert not q.queue
        assert list(full.queue) == [0]
        q.put(1)
        q.put(2)
        for expected in (0, 1):
            assert full.get() == expected
            full.task_done()
    assert sorted(got) == [1, 2]


# ---------------------------------------------------------------- subclasses


def test_a_subclass_with_a_container_of_its_own(qm):
    class Unique(qm.Queue):
        def _init(self, maxsize):
            super()._init(maxsize)
            self.seen = set()
            self.bound = maxsize

        def _put(self, item):
            assert self.mutex.locked()
            if item not in self.seen:
                self.seen.add(item)
                super()._put(item)

        def _get(self):
            item = super()._get()
            self.seen.remove(item)
            return item

    q = Unique(3)
    assert q.bound == 3
    for n in (1, 1, 2, 2):
        q.put(n)
    assert q.qsize() == 2 and q.seen == {1, 2} and not q.full()
    q.put_nowait(3)
    with pytest.raises(qm.Full):
        q.put(4, timeout=0.01)
    with running(q.put, 5):
        assert [q.get() for _ in range(4)] == [1, 2, 3, 5]
    with pytest.raises(qm.Empty):
        q.get(False)
    with pytest.raises(ValueError):
        q.get(timeout=-1)
    for _ in range(6):
        q.task_done()
    q.join()


def test_a_subclass_without_a_container_like_ours(qm):
    class Counting(qm.Queue):
        def _init(self, maxsize):
            self.n = 0

        def _qsize(self):
            return self.n

        def _put(self, item):
            self.n += 1

        def _get(self):
            self.n -= 1
            return self.n

    q = Counting(2)
    q.put("x")
    q.put("x")
    assert q.full() and q.qsize() == 2
    with running(q.put, "y"):
        assert q.get() == 1
    assert [q.get(), q.get()] == [1, 0] and q.empty()


def test_a_mixin_before_the_class(qm):
    class Loud:
        def _put(self, item):
            self.puts = [*getattr(self, "puts", ()), item]
            super()._put(item)

    class LoudStack(Loud, qm.LifoQueue):
        pass

    q = LoudStack()
    q.put(1)
    q.put(2)
    assert q.puts == [1, 2] and q.get() == 2


def test_a_subclass_that_overrides_put_and_get_is_asked_by_all(qm):
    class Logged(qm.Queue):
        log = ()

        def put(self, item, block=True, timeout=None):
            self.log += ("put", item, block)
            super().put(item, block, timeout)

        def get(self, block=True, timeout=None):
            self.log += ("get", block)
            return super().get(block, timeout)

    q = Logged()
    q.put_nowait(1)
    assert q.get_nowait() == 1
    assert q.log == ("put", 1, False, "get", False)


def test_a_put_of_ones_own_with_the_conditions(qm):
    class Front(qm.Queue):
        def put_first(self, item):
            with self.not_full:
                self.queue.appendleft(item)
                self.unfinished_tasks += 1
                self.not_empty.notify()

    q = Front()
    q.put(2)
    q.put_first(1)
    assert [q.get(), q.get()] == [1, 2] and q.unfinished_tasks == 2
    with running(q.get) as got:
        q.put_first(3)
    assert got == [3]


def test_a_subclass_with_other_parameters_and_attributes(qm):
    class Named(qm.PriorityQueue):
        def __init__(self, name, *, key):
            self.name = name
            self._key = key
            super().__init__(maxsize=2)

        def _ready(self):
            return self._key

    q = Named("jobs", key=len)
    q.put(1)
    assert (q.name, q._ready(), q.maxsize, q.get()) == ("jobs", len, 2, 1)


def test_an_error_in_a_method_of_a_subclass(qm):
    class Picky(qm.Queue):
        def _put(self, item):
            if item is None:
                raise LookupError
            super()._put(item)

    q = Picky()
    with pytest.raises(LookupError):
        q.put(None)
    assert q.qsize() == 0 and q.unfinished_tasks == 0
    q.put(1)
    assert q.get() == 1


# ---------------------------------------------------------------- objects and the interpreter


def test_references_go_with_the_item(qm):
    class Thing:
        def __lt__(self, other):
            return False

    for name in CLASSES:
        q = getattr(qm, name)()
        q.put(Thing())
        q.put(Thing())
        for _ in range(2):
            gone = weakref.ref(q.get())
            assert gone() is None
        q.put(Thing())
        inside = weakref.ref(q)
        del q
        assert inside() is None


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("name", BOUNDED)
def test_a_queue_that_holds_itself_is_collected(qm, name, look):
    class Thing:
        def __lt__(self, other):
            return False

    q = getattr(qm, name)()
    thing = Thing()
    thing.queue = q
    q.put(thing)
    if look:
        assert q.queue
    gone = weakref.ref(thing)
    del q, thing
    gc.collect()
    assert gone() is None


def test_no_pickle(qm):
    for name in CLASSES:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises((TypeError, pickle.PicklingError)):
                pickle.dumps(getattr(qm, name)(), protocol)


def test_generic(qm):
    for name in CLASSES:
        cls = getattr(qm, name)
        assert cls[int].__origin__ is cls


def test_begun_anew(qm):
    q = qm.Queue(1)
    q.put(1)
    q.__init__(2)
    assert q.empty() and q.maxsize == 2 and q.unfinished_tasks == 0
    q.put(1)
    q.put(2)
    assert q.full()


def test_put_from_finalizers(qm):
    """A finalizer that the garbage collector runs, perhaps in the middle of a put or get."""
    q = qm.SimpleQueue()

    class Circular:
        def __init__(self):
            self.circular = self

        def __del__(self):
            q.put(None)

    for _ in range(3000):
        Circular()
        q.put(None)
        q.get()
    gc.collect()
    assert q.qsize() == 3000


def test_an_interrupt_ends_a_get(qm):
    q = qm.Queue()

    def interrupt():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    timer = threading.Timer(0.05, interrupt)
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        q.get()
    timer.join()
    q.put(1)
    assert q.get() == 1


def test_a_handler_runs_in_the_middle_of_a_get(qm):
    """A signal handler that puts the item that is waited for."""
    q = qm.SimpleQueue()
    before = signal.signal(signal.SIGUSR1, lambda *args: q.put("from the handler"))
    try:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        assert q.get(timeout=LIMIT) == "from the handler"
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_goes_on(qm):
    if qm is standard and not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("without a GIL, the standard library's queue hangs in the child now and then")
    for name in CLASSES:
        q, waited = getattr(qm, name)(), getattr(qm, name)()
        q.put(1)
        with running(waited.get):
            if qm is standard and name != "SimpleQueue":  # a mutex that is held at the fork stays held in the child
                until_waiting(waited)
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    q.put(2)
                    waited.put(3)
                    assert {q.get(), q.get()} == {1, 2} and waited.get() == 3
                    with running(q.get) as got:
                        q.put(4)
                    assert got == [4]
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            waited.put(0)
        assert q.get() == 1 and q.empty()
