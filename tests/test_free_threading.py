"""Many threads in the same code at the same instant, which a GIL prevents and a free-threaded Python allows.

Everything here holds with a GIL as well, but is a weaker test there.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import textwrap
import threading as standard
import time
import weakref
from collections import Counter
from contextlib import contextmanager, nullcontext

import pytest

import kettle.multiprocessing
import kettle.queue
import kettle.threading as threading
from crowds import LIMIT, all_at_once
from kettle.futures import ThreadPoolExecutor
from kettle.multiprocessing.pool import ThreadPool

THREADS = 6
QUEUES = ["Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"]

has_no_gil = pytest.mark.skipif(getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is a GIL")

pytestmark = pytest.mark.usefixtures("threads_change_often")


@contextmanager
def collecting():
    """Runs the garbage collector repeatedly in the meantime, which stops all other threads each time."""
    over = standard.Event()

    def collect():
        while not over.wait(0.002):
            gc.collect()

    thread = standard.Thread(target=collect, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LIMIT)


class Item:
    """An item that can be counted and compared, and whose release can be observed."""

    def __init__(self, number):
        self.number = number

    def __lt__(self, other):
        return self.number < other.number


# ------------------------------------------------------------------------------------------------------- the GIL


@has_no_gil
def test_no_module_brings_the_gil_back():
    program = """
        import importlib, pkgutil, sys
        import kettle
        for module in pkgutil.walk_packages(kettle.__path__, "kettle."):
            if module.name.endswith(("__main__", "_after_preload", "kettle.joblib")):
                continue
            importlib.import_module(module.name)
            assert not sys._is_gil_enabled(), module.name
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")


# -------------------------------------------------------------------------------------------------------- queues


def census(q, seed, items=400):
    """Each thread puts its items and gets as many as it put, in some order. Every item is received once, and then
    freed."""
    gone = []

    def work(number):
        rng = random.Random(seed + number)
        mine = [Item(number * items + i) for i in range(items)]
        for item in mine:
            weakref.finalize(item, gone.append, item.number)
        owed, got = 0, []
        while mine or owed:
            if mine and (not owed or rng.random() < 0.5):
                q.put(mine.pop())
                owed += 1
            else:
                got.append(q.get().number)
                owed -= 1
        return got

    got = Counter(number for part in all_at_once(work, THREADS) for number in part)
    assert got == Counter(range(THREADS * items))
    assert q.empty() and q.qsize() == 0
    gc.collect()
    assert Counter(gone) == got


@pytest.mark.parametrize("collects", [False, True], ids=["", "collecting"])
@pytest.mark.parametrize("name", QUEUES)
def test_each_item_is_got_once(name, collects, seed):
    q = getattr(kettle.queue, name)()
    if collects:
        with collecting():
            census(q, seed, items=100)
    else:
        census(q, seed)


@pytest.mark.parametrize("name", QUEUES[:3])
def test_each_item_of_a_bounded_queue_is_got_once(name):
    """Half of the threads put, half get; most of the time all of them wait for each other."""
    q = getattr(kettle.queue, name)(2)

    def work(number):
        if number % 2:
            for i in range(200):
                q.put(Item(number * 200 + i))
            return []
        return [q.get().number for _ in range(200)]

    got = Counter(number for part in all_at_once(work, THREADS) for number in part)
    assert got == Counter(number * 200 + i for number in range(1, THREADS, 2) for i in range(200))


class Own(kettle.queue.Queue):
    """A subclass that overrides the methods for the container."""

    def _init(self, maxsize):
        self.kept = []

    def _qsize(self):
        return len(self.kept)

    def _put(self, item):
        self.kept.append(item)

    def _get(self):
        return self.kept.pop()


def test_each_item_of_a_subclass_is_got_once(seed):
    census(Own(), seed, items=100)


@pytest.mark.parametrize("name", QUEUES[:3])
def test_items_move_out_while_others_use_the_queue(name):
    """The first thread that accesses the container makes the items move there. No thread loses an item by this, waits
    forever, or finds a queue empty that is not."""
    for _ in range(30):
        q = getattr(kettle.queue, name)()
        q.put(Item(-1))

        def work(number, q=q):
            if number == 0:
                with q.mutex:
                    return [len(q.queue) > 0]
            got = []
            for i in range(20):
                q.put(Item(number * 20 + i))
                assert q.qsize() > 0
                got.append(q.get().number)
                q.task_done()
            return got

        with_look, *got = all_at_once(work, THREADS)
        got = Counter(number for part in got for number in part)
        got[q.get().number] += 1
        assert with_look == [True] and q.empty()
        assert got == Counter([-1, *(number * 20 + i for number in range(1, THREADS) for i in range(20))])
        q.task_done()
        q.join()


def test_the_last_task_is_done_while_the_items_move_out():
    """A thread that joins in one way is notified of tasks that are done in the other."""
    for _ in range(40):
        q = kettle.queue.Queue()
        q.put(0)
        q.get()

        def work(number, q=q):
            if number == 0:
                q.task_done()
            elif number == 1:
                assert q.mutex is not None
                q.join()
            else:
                q.join()

        all_at_once(work, 3)


def test_shutting_down_while_the_items_move_out():
    for _ in range(40):
        q = kettle.queue.Queue()

        def work(number, q=q):
            if number == 0:
                q.shutdown()
            else:
                if number == 1:
                    assert q.mutex is not None
                with pytest.raises(kettle.queue.ShutDown):
                    q.get()

        all_at_once(work, 3)


def test_comparisons_that_use_the_queue():
    """A comparison runs Python code, during which other threads run."""
    q = kettle.queue.PriorityQueue()

    class Curious(Item):
        def __lt__(self, other):
            q.qsize()
            return self.number < other.number

    def work(number):
        got = []
        for i in range(50):
            q.put(Curious(number * 50 + i))
            got.append(q.get().number)
        return got

    assert Counter(n for part in all_at_once(work, THREADS) for n in part) == Counter(range(THREADS * 50))


# --------------------------------------------------------------------------------------------------------- locks


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.Condition, lambda: threading.Semaphore(1)])
@pytest.mark.parametrize("collects", [False, True], ids=["", "collecting"])
def test_one_at_a_time(make, collects):
    lock, count = make(), [0]

    def work(_):
        for _ in range(300):
            with lock:
                before = count[0]
                count[0] = before + 1

    if collects:
        with collecting():
            all_at_once(work, THREADS)
    else:
        all_at_once(work, THREADS)
    assert count == [THREADS * 300]


def test_a_bounded_semaphore_counts_exactly():
    semaphore = threading.BoundedSemaphore(2)

    def work(_):
        for _ in range(300):
            with semaphore:
                pass

    all_at_once(work, THREADS)
    assert semaphore._value == 2
    with pytest.raises(ValueError):
        semaphore.release()


def test_every_notification_arrives():
    condition, tokens, taken = threading.Condition(), [0], []

    def work(number):
        for _ in range(100):
            with condition:
                if number % 2:
                    tokens[0] += 1
                    condition.notify()
                else:
                    assert condition.wait_for(lambda: tokens[0] > 0, LIMIT)
                    tokens[0] -= 1
                    taken.append(number)

    all_at_once(work, THREADS)
    assert tokens == [0] and len(taken) == THREADS // 2 * 100


def test_events_and_barriers_keep_step():
    barrier, events = threading.Barrier(THREADS), [threading.Event() for _ in range(50)]
    seen = [0] * 50

    def work(number):
        for round, event in enumerate(events):
            if barrier.wait(LIMIT) == 0:
                event.set()
            assert event.wait(LIMIT)
            with guard:
                seen[round] += 1

    guard = threading.Lock()
    all_at_once(work, THREADS)
    assert seen == [THREADS] * 50


def test_statistics_from_all_sides():
    """The classes of the records are created on first access, by one thread."""
    program = """
        import threading
        import kettle.threading as ours
        things = [ours.Lock(), ours.Event(), ours.Condition(), ours.Barrier(2), ours.Semaphore()]
        start, found = threading.Barrier(8), []
        def work():
            start.wait()
            found.append(tuple(type(thing.statistics()) for thing in things))
        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert len(found) == 8 and len(set(found)) == 1, found
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], timeout=LIMIT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


# --------------------------------------------------------------------------------------------------------- pools


def use_pool(pool, function, seed):
    """All ways to use a pool, from all threads."""

    def work(number):
        rng = random.Random(seed + number)
        for _ in range(15):
            n = rng.randrange(30)
            way = rng.randrange(5)
            if way == 0:
                assert pool.apply(function, (n,)) == n + 1
            elif way == 1:
                assert pool.map(function, range(n)) == list(range(1, n + 1))
            elif way == 2:
                assert list(pool.imap(function, range(n), 2)) == list(range(1, n + 1))
            elif way == 3:
                assert sorted(pool.imap_unordered(function, range(n))) == list(range(1, n + 1))
            else:
                done = standard.Event()
                result = pool.apply_async(function, (n,), callback=lambda _, done=done: done.set())
                assert result.get(LIMIT) == n + 1 and done.wait(LIMIT)

    all_at_once(work, THREADS)
    assert pool.statistics().failed == 0


def successor(n):
    return n + 1


@pytest.mark.parametrize("collects", [False, True], ids=["", "collecting"])
def test_one_pool_of_threads_for_all(collects, seed):
    with ThreadPool(3) as pool:
        if collects:
            with collecting():
                use_pool(pool, successor, seed)
        else:
            use_pool(pool, successor, seed)


@pytest.mark.parametrize("collects", [False, True], ids=["", "collecting"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_one_pool_of_processes_for_all(collects, seed):
    with kettle.multiprocessing.get_context("fork").Pool(2) as pool:
        if collects:
            with collecting():
                use_pool(pool, successor, seed)
        else:
            use_pool(pool, successor, seed)
    pool.join()


@pytest.mark.parametrize("collects", [False, True], ids=["", "collecting"])
def test_each_task_is_done_exactly_once(collects, seed):
    """Short tasks are claimed many at a time; now and then one takes long, and others take what was claimed with it."""

    def some(number, pool):
        rng = random.Random(seed + number)
        for _ in range(4):
            n, ran = rng.randrange(2000), []
            long = {rng.randrange(2000) for _ in range(3)}
            fails = rng.randrange(4000)

            def work(i, ran=ran, long=long, fails=fails):
                if i in long:
                    time.sleep(0.003)
                ran.append(i)
                if i == fails:
                    raise LookupError(i)
                return i

            way = rng.choice(("map", "imap", "imap_unordered"))
            results = getattr(pool, way)
            try:
                done = list(results(work, range(n), rng.choice((1, 1, 2, 7))))
            except LookupError:
                assert fails < n
                continue
            assert (sorted(done) if way == "imap_unordered" else done) == list(range(n))
            assert sorted(ran) == list(range(n))
            assert fails >= n

    with ThreadPool(4) as pool:
        with collecting() if collects else nullcontext():
            all_at_once(lambda number: some(number, pool), 3)
        pool.close()
        pool.join()
        assert (pool.statistics().busy, pool.statistics().queued) == (0, 0)


def test_one_executor_for_all():
    """Nothing that went through it is kept."""
    gone = []
    with ThreadPoolExecutor(3) as executor:

        def work(number):
            for i in range(50):
                item = Item(number * 50 + i)
                weakref.finalize(item, gone.append, item.number)
                future = executor.submit(lambda item: item, item)
                called = standard.Event()
                future.add_done_callback(lambda _, called=called: called.set())
                assert future.result(LIMIT) is item and called.wait(LIMIT)
                del item, future

        all_at_once(work, THREADS)
    gc.collect()
    assert Counter(gone) == Counter(range(THREADS * 50))


def test_executors_that_end_are_forgotten():
    """Their workers end at the same instant, and one of them does the rest."""
    from kettle.futures import _threads

    before = len(_threads._exit.serving)
    for _ in range(50):
        with ThreadPoolExecutor(4) as executor:
            assert list(executor.map(successor, range(8))) == list(range(1, 9))
    assert len(_threads._exit.serving) <= before


# --------------------------------------------------------------------------------------------------- and the rest


def test_an_event_loop_in_each_thread():
    """Each has its own doorbell, and forgets those of closed loops."""
    queues = [kettle.queue.Queue() for _ in range(THREADS)]

    def work(number):
        async def pass_on():
            for i in range(10):
                await queues[(number + 1) % THREADS].aput(i)
                assert await queues[number].aget() == i

        for _ in range(10):
            asyncio.run(pass_on())

    all_at_once(work, THREADS)


def test_references_are_counted_exactly():
    """An object that went through everything, many times and in all directions, has no references in the end."""
    q, pool = kettle.queue.Queue(), ThreadPool(2)

    def use(item):
        def work(_):
            for _ in range(200):
                q.put(item)
                assert q.get() is item
            assert pool.apply(lambda it: it, (item,)) is item
            assert pool.map(lambda it: it, [item] * 10) == [item] * 10

        all_at_once(work, THREADS)
        return weakref.ref(item)

    kept = use(Item(0))
    pool.close()
    pool.join()
    gc.collect()
    assert kept() is None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_others_are_inside():
    """The queues and locks of the child work, whatever the other threads were doing."""
    q, lock, over = kettle.queue.Queue(), threading.Lock(), standard.Event()

    def busy(number):
        while not over.is_set():
            q.put(number)
            q.get()
            free = threading.Semaphore()
            with free:
                q.qsize()

    def work(number):
        if number:
            return busy(number)
        try:
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    code = 1
                    try:
                        while not q.empty():
                            q.get_nowait()
                        q.put("mine")
                        with lock:
                            code = 0 if q.get() == "mine" else 2
                    finally:
                        os._exit(code)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            over.set()

    all_at_once(work, 4)


@pytest.mark.parametrize("ends", ["", "sys.exit(3)", "os._exit(3)"])
def test_the_interpreter_ends_while_threads_are_inside(ends):
    program = f"""
        import gc, os, sys, threading, time
        import kettle.queue, kettle.threading
        from kettle.multiprocessing.pool import ThreadPool
        q, lock, pool = kettle.queue.Queue(), kettle.threading.Lock(), ThreadPool(2)
        begun = threading.Semaphore(0)
        def busy():
            begun.release()
            while True:
                q.put(object())
                q.get()
                with lock:
                    pass
        def waiting():
            begun.release()
            kettle.queue.Queue().get()
        def calling():
            begun.release()
            while True:
                pool.apply(abs, (-1,))
        for target in (busy, busy, waiting, calling):
            threading.Thread(target=target, daemon=True).start()
        for _ in range(4):
            begun.acquire()
        {ends}
    """
    for _ in range(5):
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, timeout=LIMIT, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (3 if ends else 0, ""), done.stderr
        assert "Fatal" not in done.stderr and "panicked" not in done.stderr
