"""`kettle.threading` as a module: it has every name, an assignment to it takes effect in the interpreter's module, and
with `kettle.install()` the standard module returns Kettle's locks."""

import inspect
import math
import pickle
import subprocess
import sys
import textwrap
import threading
from unittest import mock

import pytest

import kettle.queue
import kettle.threading as ours
from kettle._core import native
from test_surface import misfits

LIMIT = 60


def python(text, *options):
    """Returns the lines that a program prints, which must end without error and write nothing to stderr."""
    command = [sys.executable, "-W", "error", "-X", "dev", *options, "-c", textwrap.dedent(text)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_every_name_of_the_standard_module():
    assert ours.__all__ == threading.__all__
    assert [name for name in dir(threading) if not hasattr(ours, name)] == []
    assert set(dir(threading)) <= set(dir(ours))
    others = [name for name in dir(threading) if name not in ours._OURS and not name.startswith("__")]
    assert [name for name in others if getattr(ours, name) is not getattr(threading, name)] == []
    with pytest.raises(AttributeError, match=r"kettle\.threading"):
        ours.nonsense  # noqa: B018


def test_it_travels_by_name():
    assert pickle.loads(pickle.dumps(ours)) is ours


def test_star():
    namespace = {}
    exec("from kettle.threading import *", namespace)
    assert set(threading.__all__) <= set(namespace)
    assert namespace["Lock"] is ours.Lock


@pytest.mark.parametrize("name", ours._OURS)
def test_each_is_a_class_of_ours_and_an_instance_of_theirs(name):
    make = getattr(ours, name)
    thing = make(1) if name == "Barrier" else make()
    assert make.__module__ == type(thing).__module__ == "kettle.threading"
    theirs = getattr(threading, name)
    assert type(thing) is make or not inspect.isclass(theirs)
    if inspect.isclass(theirs) and "Lock" not in name:
        assert isinstance(thing, theirs)


METHODS = [
    (name, method)
    for name in ("Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier")
    for method in [None, *(m for m, value in vars(getattr(threading, name)).items() if callable(value) and m[0] != "_")]
]


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_signatures(name, method):
    theirs, mine = getattr(threading, name), getattr(ours, name)
    if method is not None:
        theirs, mine = getattr(theirs, method), getattr(mine, method)
    assert misfits(inspect.signature(theirs), inspect.signature(mine)) == []


def test_names_that_are_set_are_set_for_the_interpreter():
    def hook(args): ...

    before = threading.excepthook
    ours.excepthook = hook
    try:
        assert threading.excepthook is hook and ours.excepthook is hook
    finally:
        threading.excepthook = before
    assert ours.excepthook is before
    with mock.patch.object(ours, "_newname", 1), mock.patch.object(ours, "get_ident", 2):
        assert (threading._newname, threading.get_ident, ours.get_ident) == (1, 2, 2)
    assert threading._newname is not ours.get_ident is threading.get_ident


def test_our_own_names_stay_our_own():
    theirs = threading.Lock
    with mock.patch.object(ours, "Lock", 1):
        assert ours.Lock == 1 and threading.Lock is theirs
    assert ours.Lock is not theirs


def test_names_are_attributes_like_any_other():
    for make in (ours.Lock, ours.RLock, ours.Semaphore, ours.BoundedSemaphore, ours.Condition, ours.Event):
        assert make().name is None
        assert make(name="the till").name == "the till"
    assert ours.Barrier(2, name="the gate").name == "the gate"
    assert "'the till'" in repr(ours.Lock(name="the till"))


def test_statistics():
    lock = ours.RLock()
    with lock:
        told = lock.statistics()
        assert told.locked and told.owner_tid == threading.get_native_id() and not told.broken
    assert not lock.statistics().locked
    assert ours.Semaphore(3).statistics().value == 3
    assert not ours.Event().statistics().is_set
    assert ours.Condition().statistics().waiting == 0
    assert ours.Barrier(4).statistics().parties == 4


@pytest.mark.parametrize("make", [ours.Semaphore, ours.BoundedSemaphore])
@pytest.mark.parametrize(("value", "there_are"), [(2.0, 2), (0.0, 0), (1.5, 3), (math.inf, 3), (1e300, 3)])
def test_a_number_of_permits_that_was_reckoned(make, value, there_are):
    """A float: it is counted down from, and a fraction never reaches zero."""
    for kind in (make, getattr(threading, make.__name__)):
        semaphore = kind(value)
        assert [semaphore.acquire(blocking=False) for _ in range(3)] == [n < there_are for n in range(3)]
        for _ in range(there_are):
            semaphore.release()
    with pytest.raises(ValueError, match=">= 0"):
        make(-0.5)
    with pytest.raises(TypeError):
        make("2")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="earlier Pythons ignore them")
def test_arguments_of_rlock_are_warned_of():
    with pytest.warns(DeprecationWarning):
        ours.RLock(1)


def test_a_condition_in_a_cycle_is_collected():
    assert python("""
        import gc, weakref
        import kettle.threading as threading

        class Mine(type(threading.RLock())):
            pass

        gc.disable()
        lock = Mine()
        lock.condition = threading.Condition(lock)
        lock.barrier = threading.Barrier(1, action=lambda lock=lock: None)
        gone = weakref.ref(lock)
        del lock
        print(gone() is None, gc.collect() > 0, gone() is None)
    """) == ["False True True"]


# ------------------------------------------------------------------------------------------------- with install()


def test_installed_everyone_who_imports_it_gets_ours():
    assert python("""
        import sys
        import kettle
        kettle.install()
        standard = sys.modules["threading"]
        import importlib, pkgutil
        import threading
        from threading import Lock, current_thread
        import logging.handlers, concurrent.futures.thread
        print(threading.__name__, threading is importlib.import_module("threading"))
        print(Lock is threading.Lock is pkgutil.resolve_name("threading:Lock"))
        print(current_thread() is standard.main_thread())
        print(type(logging.Handler().lock) is threading.RLock)
        print(type(concurrent.futures.Future()._condition) is threading.Condition)
        print(sys.modules["threading"] is standard, threading.Thread is standard.Thread)
        kettle.uninstall()
        import threading
        print(threading is standard)
    """) == ["kettle.threading True", "True", "True", "True", "True", "True True", "True"]


def test_patching_by_name_reaches_the_interpreter():
    assert python("""
        import sys
        import kettle
        kettle.install()
        standard = sys.modules["threading"]
        import threading
        from unittest import mock
        with mock.patch("threading.excepthook", lambda args: print(args.exc_type.__name__)):
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
        print(standard.excepthook is standard.__excepthook__ is threading.excepthook)
    """) == ["ZeroDivisionError", "True"]


def test_what_pickles_name_is_found():
    assert python("""
        import pickle, sys
        import kettle
        kettle.install()
        standard = sys.modules["threading"]
        import threading
        things = [standard.Event, threading.Event, standard.Thread, threading.Barrier, threading.BrokenBarrierError]
        print(all(pickle.loads(pickle.dumps(thing)) is thing for thing in things))
    """) == ["True"]


def test_the_standard_multiprocessing_extends_the_originals():
    assert python("""
        import sys
        import kettle
        kettle.install()
        standard = sys.modules["threading"]
        from kettle.multiprocessing.synchronize import _standard
        print(_standard.__name__, _standard.Barrier.__bases__ == (standard.Barrier,))
    """) == ["multiprocessing.synchronize True"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_get_ours_too(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
        import multiprocessing, threading

        def child(queue):
            queue.put((threading.Lock.__module__, type(threading.Lock()).__module__))

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            queue = context.Queue()
            process = context.Process(target=child, args=(queue,))
            process.start()
            print(*queue.get())
            process.join()
        """)
    )
    result = subprocess.run(
        [sys.executable, "-m", "kettle", "run", program], capture_output=True, text=True, timeout=LIMIT
    )
    assert result.stdout.split() == ["kettle.threading"] * 2, result.stderr


ENDINGS = {
    "a daemon waits for a lock": """
        lock = threading.Lock(); lock.acquire()
        threading.Thread(target=lock.acquire, daemon=True).start()
        """,
    "daemons wait for everything": """
        for wait in (threading.Event().wait, threading.Barrier(2).wait, threading.Semaphore(0).acquire,
                     lambda c=threading.Condition(): c.acquire() and c.wait()):
            threading.Thread(target=wait, daemon=True).start()
        """,
    "a thread outlives the main program": """
        import time
        event = threading.Event()
        threading.Thread(target=lambda: (time.sleep(0.05), event.wait(), print("late"))).start()
        event.set()
        """,
    "a timer is running": """
        threading.Timer(0.05, print, ["late"]).start()
        """,
    "a function at the threads' end": """
        threading._register_atexit(print, "late")
        """,
    "an executor": """
        from concurrent.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(3)
        executor.submit(print, "late").result()
        """,
    "a lock is held and forgotten": """
        lock = threading.RLock(); lock.acquire()
        """,
}


@pytest.mark.parametrize("case", ENDINGS)
@pytest.mark.parametrize(
    "start", ["import kettle.threading as threading", "import kettle; kettle.install(); import threading"]
)
def test_the_interpreter_ends_cleanly(case, start):
    lines = python(start + "\n" + textwrap.dedent(ENDINGS[case]))
    assert lines == (["late"] if "late" in ENDINGS[case] else [])


def test_threads_of_all_kinds_with_ours_in_place():
    assert python("""
        import kettle
        kettle.install()
        import asyncio, logging, threading
        from concurrent.futures import ThreadPoolExecutor, wait
        from multiprocessing.pool import ThreadPool
        from queue import Queue

        q = Queue(3)
        def produce():
            for n in range(200):
                q.put(n)
            q.put(None)
        thread = threading.Thread(target=produce)
        thread.start()
        print(sum(iter(q.get, None)))
        thread.join()
        with ThreadPoolExecutor(4) as executor:
            futures = [executor.submit(pow, n, 2) for n in range(50)]
            print(sum(f.result() for f in futures), len(wait(futures).done))
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not to be told of
            return sum(await asyncio.gather(*(asyncio.to_thread(abs, -n) for n in range(20))))
        print(asyncio.run(main()))
        log = logging.getLogger("x"); log.addHandler(logging.NullHandler())
        workers = [threading.Thread(target=log.warning, args=("n",)) for _ in range(10)]
        [w.start() for w in workers]; [w.join() for w in workers]
    """) == ["19900", "40425 50", "190"]


# ---------------------------------------------------------------------- objects that are created in one step

MADE = {"Lock": ours.Lock, "RLock": ours.RLock, "SimpleQueue": kettle.queue.SimpleQueue}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_arguments_are_looked_at_all_the_same(make):
    assert make().name is None and make(name="one").name == "one"
    if make is not ours.RLock:  # which accepts anything
        for wrong in ({"nam": "one"}, {"name": "one", "more": 2}):
            with pytest.raises(TypeError):
                make(**wrong)
        with pytest.raises(TypeError):
            make("one")


@pytest.mark.parametrize("cls", [ours.RLock, kettle.queue.SimpleQueue])
def test_methods_that_make_objects_are_called(cls, monkeypatch):
    called = []

    class WithInit(cls):
        def __init__(self, *args):
            called.append(("init", args))
            super().__init__()

    class WithNew(cls):
        def __new__(cls, *args):
            called.append(("new", args))
            return super().__new__(cls)

        def __init__(self, *args):
            pass

    class Plain(cls):
        pass

    class Meta(type):
        def __call__(cls, *args):
            called.append(("call", args))
            return super().__call__()

    class OfMeta(cls, metaclass=Meta):
        pass

    WithInit(), WithInit(1), WithNew(), WithNew(2), OfMeta(), OfMeta(3)
    assert called == [("init", ()), ("init", (1,)), ("new", ()), ("new", (2,)), ("call", ()), ("call", (3,))]
    assert type(Plain()) is Plain and Plain(name="one").name == "one"
    # Including those that were added later.
    for other in (cls, Plain):
        monkeypatch.setattr(other, "__init__", lambda self: called.append(type(self)))
    del called[:]
    assert type(cls()) is cls and type(Plain()) is Plain
    assert called == [cls, Plain]
    monkeypatch.undo()
    assert type(cls()) is cls and not called[2:]


def test_attributes_are_where_the_core_looks():
    """Otherwise everything still works, but more slowly."""
    assert native.is_layout_known()


class _OtherCondition(ours.Condition):
    pass


@pytest.mark.parametrize("more", [0, 10], ids=["few attributes", "many attributes"])
@pytest.mark.parametrize("in_dictionary", [False, True])
def test_a_notify_of_a_conditions_own_is_called(more, in_dictionary):
    condition = ours.Condition()
    for i in range(more):
        setattr(condition, f"attribute_{i}", i)
    if in_dictionary:
        assert "notify" not in vars(condition)
    called = []

    def is_called():
        del called[:]
        with condition:
            condition.notify_all()
            condition.notify_all()
        return called == [0, 0]

    assert not is_called()
    condition.notify = called.append
    assert is_called()
    del condition.locked
    assert is_called()
    del condition.notify
    assert not is_called()
    # As many attributes as before, but one of them is different.
    condition.other = 1
    assert not is_called()
    del condition.other
    condition.notify = called.append
    assert is_called()
    condition.other = 1
    assert is_called()
    condition.__class__ = _OtherCondition
    assert is_called()
    del condition.notify
    assert not is_called()
    # A method of the class, stored in the object, is still that method.
    condition.notify = condition.notify
    assert not is_called()
    vars(condition)["notify"] = called.append
    assert is_called()
