"""Classes that programs extend, patch and copy: Kettle's behave like the standard library's."""

import abc
import copy
import importlib
import io
import logging.handlers
import os
import pickle
import sys
import threading
import time
from typing import Generic, TypeVar
from unittest.mock import Mock, call, patch

import pytest

from .support import LIMIT

T = TypeVar("T")
MANY = sys.maxsize

#: The constructor arguments, by (module, class).
MADE = {
    ("threading", "RLock"): (),
    ("threading", "Condition"): (),
    ("threading", "Semaphore"): (2,),
    ("threading", "BoundedSemaphore"): (2,),
    ("threading", "Event"): (),
    ("threading", "Barrier"): (2,),
    ("queue", "Queue"): (),
    ("queue", "LifoQueue"): (),
    ("queue", "PriorityQueue"): (),
    ("queue", "SimpleQueue"): (),
}


@pytest.fixture(params=["standard", "kettle"])
def get(request):
    """Returns a class by its module and name: the standard library's, then Kettle's."""
    prefix = "" if request.param == "standard" else "kettle."

    def get(module, name):
        found = getattr(importlib.import_module(prefix + module), name)
        return type(found()) if (module, name) == ("threading", "RLock") else found

    return get


class Singleton(type):
    """A metaclass, as programs have them."""


class Mixed:
    extra = 1


BASES = {
    "Generic first": lambda cls: (Generic[T], cls),
    "Generic second": lambda cls: (cls, Generic[T]),
    "an abstract one": lambda cls: (cls, abc.ABC),
    "an abstract one first": lambda cls: (abc.ABC, cls),
    "a plain one": lambda cls: (Mixed, cls),
}


@pytest.mark.parametrize("bases", BASES)
@pytest.mark.parametrize("kind", MADE, ids=".".join)
def test_bases(get, kind, bases):
    bases = BASES[bases](get(*kind))
    made = importlib.import_module("types").new_class("X", bases)(*MADE[kind])
    assert isinstance(made, get(*kind))


@pytest.mark.parametrize("kind", MADE, ids=".".join)
def test_a_class_of_classes_of_the_program(get, kind):
    assert type(Singleton("X", (get(*kind),), {})(*MADE[kind]).__class__) is Singleton


@pytest.mark.parametrize("name", ["Queue", "SimpleQueue", "JoinableQueue"])
def test_a_generic_queue_between_processes(get, name):
    class X(Generic[T], get("multiprocessing.queues", name)):
        pass

    assert issubclass(X[int].__origin__, X)


#: Attributes that a program may add to a class: names that Kettle's classes use internally.
TAKEN = ["_key", "_settings", "_waiting", "_ready", "_arm", "_made", "_owner", "_poll", "_held", "_token", "_begin"]


@pytest.mark.parametrize("kind", MADE, ids=".".join)
def test_attributes_of_a_subclass(get, kind):
    cls, arguments = get(*kind), MADE[kind]

    class Before(cls):
        def __init__(self):
            for name in TAKEN:
                setattr(self, name, name)
            super().__init__(*arguments)

    class After(cls):
        def __init__(self):
            super().__init__(*arguments)
            for name in TAKEN:
                setattr(self, name, name)

    for made in (Before(), After()):
        assert [getattr(made, name) for name in TAKEN] == TAKEN
        repr(made)


# ------------------------------------------------------------------------------- methods that call each other
#
# The calls through the object that the standard library's sources have, in 3.11 and in 3.13: which method, called how,
# calls which other one, and with what. In `RLock` and `SimpleQueue`, which are written in C there, none calls another.


def in_block(thing):
    with thing:
        pass


def notify(thing, how):
    with thing:
        getattr(thing, how)()


def wait_for(thing):
    with thing:
        thing.wait_for(iter([False, True]).__next__)


def meet(thing):
    thing.wait(LIMIT)


CALLS = [
    # module, class, arguments, the call, the method that is called, its arguments, its replacement's result
    ("threading", "Semaphore", (2,), in_block, "release", [call()], None),
    ("threading", "BoundedSemaphore", (2,), in_block, "release", [call()], None),
    ("threading", "Condition", (), lambda c: notify(c, "notify_all"), "notify", [call(0)], None),
    ("threading", "Condition", (), lambda c: notify(c, "notifyAll"), "notify_all", [call()], None),
    ("threading", "Condition", (), wait_for, "wait", [call(None)], True),
    ("threading", "Event", (), lambda e: e.isSet(), "is_set", [call()], True),
    ("threading", "Barrier", (1,), meet, "_enter", [call()], None),
    ("threading", "Barrier", (1,), meet, "_release", [call()], None),
    ("threading", "Barrier", (2,), meet, "_wait", [call(LIMIT)], None),
    ("threading", "Barrier", (1,), meet, "_exit", [call()], None),
    ("threading", "Barrier", (1,), lambda b: b.abort(), "_break", [call()], None),
    *(
        case
        for name in ("Queue", "LifoQueue", "PriorityQueue")
        for case in [
            ("queue", name, (), lambda q: q.put_nowait(1), "put", [call(1, block=False)], None),
            ("queue", name, (), lambda q: q.get_nowait(), "get", [call(block=False)], 1),
            ("queue", name, (), lambda q: q.put(1), "_put", [call(1)], None),
            ("queue", name, (), lambda q: (q.put(2), q.get()), "_get", [call()], 1),
            ("queue", name, (), lambda q: q.qsize(), "_qsize", [call()], 3),
            ("queue", name, (), lambda q: q.empty(), "_qsize", [call()], 3),
            ("queue", name, (4,), lambda q: q.full(), "_qsize", [call()], 3),
        ]
    ),
    ("multiprocessing.queues", "Queue", (), lambda q: q.put_nowait(1), "put", [call(1, False)], None),
    ("multiprocessing.queues", "Queue", (), lambda q: q.get_nowait(), "get", [call(False)], 1),
    ("multiprocessing.queues", "JoinableQueue", (), lambda q: q.put_nowait(1), "put", [call(1, False)], None),
    ("multiprocessing.queues", "JoinableQueue", (), lambda q: q.get_nowait(), "get", [call(False)], 1),
    ("multiprocessing.synchronize", "Condition", (), lambda c: notify(c, "notify_all"), "notify", [call(n=MANY)], None),
    ("multiprocessing.synchronize", "Condition", (), wait_for, "wait", [call(None)], True),
]
IDS = [f"{module}.{name}.{method}-{n}" for n, (module, name, _, _, method, _, _) in enumerate(CALLS)]


def maker(get, module, name, arguments):
    """Creates instances of a class, or of the given class: those between processes need a context."""
    cls = get(module, name)
    if module == "threading" or module == "queue":
        return cls, lambda cls: cls(*arguments)
    context = importlib.import_module(cls.__module__.rsplit(".", 1)[0]).get_context("fork")
    if name == "Condition":
        return cls, lambda cls: cls(context.RLock(), ctx=context)
    return cls, lambda cls: cls(*arguments, ctx=context)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", CALLS, ids=IDS)
def test_a_method_of_a_subclass_is_called(get, case):
    module, name, arguments, run, method, calls, answer = case
    cls, make = maker(get, module, name, arguments)
    told = Mock(return_value=answer)

    class Mine(cls):
        pass

    setattr(Mine, method, lambda self, *args, **kwargs: told(*args, **kwargs))
    run(make(Mine))
    assert told.mock_calls[: len(calls)] == calls


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", CALLS, ids=IDS)
def test_a_method_of_an_object_is_called(get, case):
    module, name, arguments, run, method, calls, answer = case
    cls, make = maker(get, module, name, arguments)
    thing = make(cls)
    with patch.object(thing, method, return_value=answer) as told:
        run(thing)
    assert told.mock_calls[: len(calls)] == calls
    assert method not in vars(thing) or module.startswith("multiprocessing")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("used", [False, True], ids=["new", "used before"])
@pytest.mark.parametrize("case", CALLS, ids=IDS)
def test_a_method_that_is_put_into_the_class_is_called(get, case, used):
    module, name, arguments, run, method, calls, answer = case
    cls, make = maker(get, module, name, arguments)
    thing = make(cls)
    if used and hasattr(thing, "put"):
        thing.put(0)
        thing.get()
    with patch.object(cls, method, return_value=answer) as told:
        run(thing if used else make(cls))
    assert told.mock_calls[: len(calls)] == calls


@pytest.mark.parametrize("kind", ["RLock", "SimpleQueue"])
def test_what_is_written_in_c_calls_no_other_method(get, kind):
    module = "threading" if kind == "RLock" else "queue"

    class Mine(get(module, kind)):
        def fail(self, *args, **kwargs):
            raise AssertionError

        release = put = get = fail

    if kind == "RLock":
        with Mine():
            pass
    else:
        Mine().put_nowait(1)


def test_the_end_of_a_block_after_the_patch(get):
    """Each method is looked up when it is called, not when the object was created."""
    for name in ("Semaphore", "BoundedSemaphore"):
        semaphore = get("threading", name)(1)
        for _ in range(3):
            with semaphore:
                pass
            with patch.object(get("threading", name), "release", autospec=True) as release:
                with semaphore:
                    pass
                assert release.call_count == 1
            semaphore.release()
            semaphore.release = Mock(wraps=semaphore.release)
            with semaphore:
                pass
            assert semaphore.release.call_count == 1
            del semaphore.release
            with semaphore:
                pass
        assert semaphore.acquire(False) and not semaphore.acquire(False)


@pytest.mark.parametrize("module", ["queue", "multiprocessing.queues"])
def test_a_wrapper_that_calls_the_original(get, module):
    cls, make = maker(get, module, "Queue", ())
    seen = []
    put, take = cls.put, cls.get

    def traced_put(self, *args, **kwargs):
        seen.append("put")
        return put(self, *args, **kwargs)

    def traced_get(self, *args, **kwargs):
        seen.append("get")
        return take(self, *args, **kwargs)

    q = make(cls)
    with patch.object(cls, "put", traced_put), patch.object(cls, "get", traced_get):
        q.put_nowait(1)
        assert q.get(timeout=LIMIT) == 1
        q.put(2)
        assert q.get() == 2
    q.put(3)
    assert q.get() == 3
    assert seen == ["put", "get"] * 2


def test_a_log_handler_puts_by_a_method_of_the_object(get):
    q = get("queue", "Queue")()
    q.put = Mock()
    logging.handlers.QueueHandler(q).handle(logging.makeLogRecord({"msg": "x"}))
    assert q.put.called


# ------------------------------------------------------------------------------------- parts that programs access


def until(holds):
    while not holds():
        time.sleep(0.001)


def waits(thread):
    """Returns whether a thread sleeps, as far as this is visible from outside."""
    with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "S"


class Waiting:
    """Threads that each make a call, which waits; `results` has the results of the calls."""

    def __init__(self, count, call, *args):
        self.results = []
        self._threads = [
            threading.Thread(target=lambda: self.results.append(call(*args)), daemon=True) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()
        until(lambda: all(thread.native_id and waits(thread) for thread in self._threads))

    def end(self):
        for thread in self._threads:
            thread.join()
        return self.results


def grow(semaphore, n):
    with semaphore._cond:
        if hasattr(semaphore, "_initial_value"):
            semaphore._initial_value += n
        semaphore._value += n
        semaphore._cond.notify(n)


@pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])
def test_a_semaphore_that_grows(get, name):
    semaphore = get("threading", name)(1)
    assert semaphore.acquire() and semaphore._value == 0
    waiting = Waiting(3, semaphore.acquire)
    grow(semaphore, 2)
    until(lambda: len(waiting.results) == 2)
    assert semaphore._value == 0 and not semaphore.acquire(False) and not semaphore.acquire(timeout=0.01)
    later = Waiting(2, semaphore.acquire, True, LIMIT)
    semaphore.release(2)
    with semaphore._cond:
        semaphore._value += 1
        semaphore._cond.notify_all()
    assert waiting.end() == [True] * 3 and later.end() == [True] * 2
    assert semaphore._value == 0
    semaphore.release()
    if name == "BoundedSemaphore":
        semaphore._initial_value = 1
        with pytest.raises(ValueError):
            semaphore.release()
        assert "value=1/1" in repr(semaphore)
    with semaphore:
        assert not semaphore.acquire(blocking=False)
    assert semaphore.acquire(blocking=False)


def test_permits_are_counted_down(get):
    """A program may also remove some, and wait for its turn in its own way."""

    class Many(get("threading", "Semaphore")):
        def acquire_many(self, n):
            with self._cond:
                self._cond.wait_for(lambda: self._value >= n)
                self._value -= n

    many = Many(2)
    waiting = Waiting(1, many.acquire_many, 3)
    many.release()
    assert waiting.end() == [None] and many._value == 0
    many._value = 5
    assert [many.acquire(False) for _ in range(6)] == [True] * 5 + [False]


def test_those_who_wait_when_permits_move_out_may_give_up(get):
    semaphore = get("threading", "Semaphore")(0)
    late = Waiting(2, semaphore.acquire, True, 0.05)
    assert isinstance(semaphore._cond, object)
    assert late.end() == [False, False]
    semaphore.release(2)
    assert semaphore._value == 2 and semaphore.acquire(False) and semaphore.acquire(False)
    assert not semaphore.acquire(False)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_has_none_who_wait(get):
    semaphore = get("threading", "Semaphore")(0)
    waiting = Waiting(2, semaphore.acquire)
    child = os.fork()
    if child == 0:
        semaphore.release()
        well = semaphore._cond is not None and semaphore.acquire(False)
        semaphore.release(2)
        os._exit(0 if well and semaphore._value == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    semaphore.release(2)
    assert waiting.end() == [True, True]


def test_many_threads_while_permits_move_out(get):
    semaphore = get("threading", "Semaphore")(3)
    inside, most = [], []

    def work():
        for _ in range(50):
            with semaphore:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert semaphore._cond is semaphore._cond
    for thread in threads:
        thread.join()
    assert max(most) <= 3 and semaphore._value == 3


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_semaphore_that_sets_its_parts(get, when):
    class Mine(get("threading", "BoundedSemaphore")):
        def __init__(self, value):
            if when == "before":
                self._value = self._cond = self._initial_value = "anything"
            super().__init__(value)
            if when == "after":
                self._value, self._initial_value = value - 1, value - 1

    mine = Mine(3)
    there_are = 3 if when == "before" else 2
    assert [mine.acquire(False) for _ in range(4)] == [n < there_are for n in range(4)]
    mine.release(there_are)
    with pytest.raises(ValueError):
        mine.release()


def test_a_semaphore_without_the_base(get):
    """A class that creates the parts itself, and uses the base's methods."""
    module = importlib.import_module(get("threading", "Semaphore").__module__)

    class Mine(module.Semaphore):
        def __init__(self):
            self._cond = module.Condition(module.Lock())
            self._value = 2

    mine = Mine()
    assert [mine.acquire(False) for _ in range(3)] == [True, True, False]
    waiting = Waiting(1, mine.acquire)
    mine.release()
    assert waiting.end() == [True]


def test_an_event_that_is_waited_for_both_ways(get):
    class Gate(get("threading", "Event")):
        def clear(self):
            with self._cond:
                self._flag = False
                self._cond.notify_all()

        def wait_closed(self):
            with self._cond:
                return self._cond.wait_for(lambda: not self._flag, LIMIT)

    gate = Gate()
    opened = Waiting(2, gate.wait)  # before anything moved out
    gate.set()
    assert opened.end() == [True, True] and gate._flag is True
    closed = Waiting(2, gate.wait_closed)
    gate.clear()
    assert closed.end() == [True, True] and not gate.is_set() and not gate.wait(0.01)
    opened = Waiting(2, gate.wait, LIMIT)
    gate.set()
    assert opened.end() == [True, True]


def test_an_event_that_moves_out_while_it_is_waited_for(get):
    event = get("threading", "Event")()
    waiting = Waiting(2, event.wait)
    with event._cond:
        event._flag = True
        event._cond.notify_all()
    assert waiting.end() == [True, True]
    event._flag = False
    assert not event.is_set() and "unset" in repr(event)
    waiting = Waiting(1, event.wait)
    event.set()
    assert waiting.end() == [True]
    event.__init__()
    assert not event.is_set() and not event.wait(0.001)


def test_the_waiters_of_a_condition(get):
    condition = get("threading", "Condition")()

    def wait():
        with condition:
            return condition.wait(LIMIT)

    waiting = Waiting(2, wait)
    assert len(condition._waiters) == 2 and condition._waiters
    with condition:
        assert [hasattr(waiter, "release") for waiter in condition._waiters] == [True, True]
    more = Waiting(2, wait)
    assert len(condition._waiters) == 4 and repr(condition).endswith(", 4)>")
    with condition:
        condition._waiters.popleft().release()
    until(lambda: len(waiting.results) == 1)
    with condition:
        condition.notify(2)
    assert waiting.end() == [True, True]
    until(lambda: len(more.results) == 1)
    with condition:
        condition.notify_all()
    assert more.end() == [True, True] and not condition._waiters


def test_one_who_waited_when_the_waiters_moved_out_gives_up(get):
    condition = get("threading", "Condition")()

    def wait(timeout):
        with condition:
            return condition.wait(timeout)

    late = Waiting(1, wait, 0.1)
    with condition:
        assert len(list(condition._waiters)) == 1
    assert late.end() == [False] and len(condition._waiters) == 0
    waiting = Waiting(1, wait, LIMIT)
    with condition:
        condition.notify()
    assert waiting.end() == [True]


@pytest.mark.parametrize("used", [False, True], ids=["at first", "by a patch"])
def test_a_condition_with_its_own_ways(get, used):
    module = importlib.import_module(get("threading", "Condition").__module__)
    seen = []

    def release_save(self):
        seen.append("release")
        self._lock.release()

    def acquire_restore(self, state):
        seen.append("acquire")
        self._lock.acquire()

    def is_owned(self):
        seen.append("owned")
        return True

    methods = {"_release_save": release_save, "_acquire_restore": acquire_restore, "_is_owned": is_owned}
    if used:
        condition = module.Condition(module.Lock())
        with condition:
            condition.notify()
        for name, method in methods.items():
            setattr(condition, name, method.__get__(condition))
    else:
        condition = type("Mine", (module.Condition,), methods)(module.Lock())
    with condition:
        assert not condition.wait(0.01)
    assert seen == ["owned", "release", "acquire"]
    with condition:
        condition.notify()
    assert seen[3:] == ["owned"]


def test_the_lock_that_goes_with_a_condition(get):
    """As in the standard library, the lock's methods take precedence over the condition class's."""

    class Mine(get("threading", "Condition")):
        def _is_owned(self):
            raise AssertionError

    mine = Mine()
    with pytest.raises(RuntimeError):
        mine.notify()
    with mine:
        mine.notify()


def test_a_barrier_for_a_changing_number(get):
    class Crowd(get("threading", "Barrier")):
        def leave(self):
            with self._cond:
                self._parties -= 1
                if self._count == self._parties:
                    self._release()

    crowd = Crowd(4)
    waiting = Waiting(2, crowd.wait)
    assert (crowd.parties, crowd.n_waiting) == (4, 2)
    crowd.leave()
    assert (crowd.parties, crowd.n_waiting) == (3, 2) and not crowd.broken
    crowd.leave()
    assert sorted(waiting.end()) == [0, 1]
    again = Waiting(1, crowd.wait)
    assert sorted([crowd.wait(), *again.end()]) == [0, 1]


def test_the_parts_of_a_barrier(get):
    action = Mock()
    barrier = get("threading", "Barrier")(2, action, LIMIT)
    assert (barrier._parties, barrier._count, barrier._state) == (2, 0, 0)
    assert (barrier._action, barrier._timeout) == (action, LIMIT)
    barrier._action = other = Mock()
    waiting = Waiting(1, barrier.wait)
    barrier.wait()
    waiting.end()
    assert other.called and not action.called
    barrier.abort()
    assert barrier._state == -2 and barrier.broken and "broken" in repr(barrier)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken and f"/{barrier.parties}" in repr(barrier)
    barrier._timeout = 0.01
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier.broken


@pytest.mark.parametrize("kind", [k for k in MADE if k[0] == "threading" and k[1] != "RLock"], ids=".".join)
def test_a_part_that_is_not_there(get, kind):
    made = get(*kind)(*MADE[kind])
    assert not hasattr(made, "_no_such_part")
    for part in ("_cond", "_waiters", "_value"):
        assert hasattr(made, part) == hasattr(getattr(threading, kind[1])(*MADE[kind]), part)


# ---------------------------------------------------------------------------------------------- copies and pickles

THREADS = [kind for kind in MADE if kind[0] in ("threading", "queue")]
COPIED = [kind for kind in THREADS if kind[1] not in ("RLock", "SimpleQueue")]


def lock_of(get, name="Lock"):
    return getattr(importlib.import_module(get("threading", "Event").__module__), name)()


@pytest.mark.parametrize("pickler", [pickle._Pickler, pickle.Pickler], ids=["Python", "C"])
@pytest.mark.parametrize("kind", THREADS, ids=".".join)
def test_none_can_be_pickled(get, kind, pickler):
    made = get(*kind)(*MADE[kind])
    for thing in (made, [made], lock_of(get)):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises((TypeError, pickle.PicklingError)):
                pickler(io.BytesIO(), protocol).dump(thing)
    with pytest.raises(TypeError):
        copy.deepcopy(made)


@pytest.mark.parametrize("name", ["Lock", "RLock", "SimpleQueue"])
def test_what_has_no_parts_cannot_be_copied(get, name):
    made = get("queue", name)() if name == "SimpleQueue" else lock_of(get, name)
    with pytest.raises(TypeError):
        copy.copy(made)


@pytest.mark.parametrize("kind", COPIED, ids=".".join)
def test_a_subclass_says_how_it_is_pickled(get, kind):
    base, arguments = get(*kind), MADE[kind]

    class Mine(base):
        def __reduce__(self):
            return Mine._made, (self.extra,)

        @classmethod
        def _made(cls, extra):
            made = cls(*arguments)
            made.extra = extra
            return made

    class Stateful(base):
        def __getstate__(self):
            return {"extra": self.extra}

        def __setstate__(self, state):
            self.__init__(*arguments)
            self.extra = state["extra"]

    for cls in (Mine, Stateful):
        made = cls(*arguments)
        made.extra = [1]
        other = copy.deepcopy(made)
        assert type(other) is cls and other.extra == [1] and other.extra is not made.extra
        assert copy.copy(made).extra is made.extra


@pytest.mark.parametrize("kind", COPIED, ids=".".join)
def test_a_copy_has_the_attributes(get, kind):
    made = type("Mine", (get(*kind),), {})(*MADE[kind])
    made.extra = []
    other = copy.copy(made)
    assert type(other) is type(made) and other is not made and other.extra is made.extra


def test_copies_share_their_parts(get):
    event = get("threading", "Event")()
    event.set()
    other = copy.copy(event)
    assert other.is_set() and other._cond is event._cond
    other.clear()
    assert event.is_set() and not other.is_set()
    waiting = Waiting(1, other.wait, LIMIT)
    event.set()
    assert waiting.end() == [True]

    condition = get("threading", "Condition")()
    other = copy.copy(condition)

    def wait():
        with condition:
            return condition.wait(LIMIT)

    waiting = Waiting(1, wait)
    with other:
        other.notify()
    assert waiting.end() == [True] and not condition._waiters

    semaphore = get("threading", "BoundedSemaphore")(2)
    assert semaphore.acquire()
    other = copy.copy(semaphore)
    assert other.acquire(False) and not other.acquire(False) and semaphore.acquire(False)
    other.release(2)
    with pytest.raises(ValueError):
        other.release()

    q = get("queue", "Queue")(3)
    q.put(1)
    other = copy.copy(q)
    q.put(2)
    assert other.maxsize == 3 and [other.get(), other.get()] == [1, 2] and q.empty()
    waiting = Waiting(1, q.get)
    other.put(3)
    assert waiting.end() == [3]

    barrier = get("threading", "Barrier")(2)
    assert copy.copy(barrier).parties == 2 and copy.copy(barrier)._cond is barrier._cond


def resent(thing):
    dill = pytest.importorskip("dill")
    return dill.loads(dill.dumps(thing))


@pytest.mark.parametrize("kind", [*COPIED, ("threading", "RLock")], ids=".".join)
def test_dill_sends_what_an_object_has(get, kind):
    class Camera:
        def __init__(self):
            self.part = get(*kind)(*MADE[kind])
            self.part_again = self.part

    other = resent(Camera())
    assert type(other.part) is get(*kind) and other.part is other.part_again


def test_dill_sends_how_they_are(get):
    threads = importlib.import_module(get("threading", "Event").__module__)
    lock = threads.Lock()
    assert not resent(lock).locked()
    lock.acquire()
    assert resent(lock).locked() and type(resent(lock)) is type(lock)
    rlock = threads.RLock()
    rlock.acquire()
    rlock.acquire()
    other = resent(rlock)
    other.release()
    other.release()
    with pytest.raises(RuntimeError):
        other.release()
    event = threads.Event()
    assert not resent(event).is_set()
    event.set()
    assert resent(event).is_set()
    semaphore = threads.Semaphore(2)
    semaphore.acquire()
    assert resent(semaphore)._value == 1
    bounded = threads.BoundedSemaphore(3)
    bounded.acquire()
    other = resent(bounded)
    other.release()
    with pytest.raises(ValueError):
        other.release()
    barrier = threads.Barrier(2, timeout=0.01)
    other = resent(barrier)
    with pytest.raises(threading.BrokenBarrierError):
        other.wait()
    assert other.parties == 2 and resent(other).broken and not barrier.broken
    condition = threads.Condition(threads.Lock())
    with resent(condition) as entered, condition:
        assert entered


@pytest.mark.parametrize("name", ["Queue", "LifoQueue", "PriorityQueue"])
def test_dill_sends_the_items(get, name):
    q = get("queue", name)(4)
    for item in (3, 1, 2):
        q.put([item])
    q.get()
    q.note = "x"
    for _ in range(2):
        other = resent(q)
        assert (other.maxsize, other.unfinished_tasks, other.note) == (4, 3, "x")
        assert [other.get_nowait() for _ in range(2)] == [[q.queue[n][0]] for n in range(2)][
            :: -1 if name[0] == "L" else 1
        ]
        assert q.qsize() == 2
        other.put(1)
        assert other.get() == 1


def test_dill_sends_a_queue_that_has_itself(get):
    q = get("queue", "Queue")()
    q.put(1)
    q.me = q
    other = resent(q)
    assert other.me is other and other.get() == 1


def test_dill_refuses_what_it_refuses(get):
    with pytest.raises((TypeError, pickle.PicklingError)):
        resent(get("queue", "SimpleQueue")())


# ------------------------------------------------------------------------------------------------ between processes

SHARED = {
    ("multiprocessing.synchronize", "Lock"): (),
    ("multiprocessing.synchronize", "RLock"): (),
    ("multiprocessing.synchronize", "Semaphore"): (2,),
    ("multiprocessing.synchronize", "BoundedSemaphore"): (2,),
    ("multiprocessing.synchronize", "Event"): (),
    ("multiprocessing.synchronize", "Barrier"): (2,),
    ("multiprocessing.queues", "Queue"): (),
    ("multiprocessing.queues", "JoinableQueue"): (),
    ("multiprocessing.queues", "SimpleQueue"): (),
}


def test_a_subclass_says_how_many_between_processes(get):
    """The arguments of the base's `__init__` apply, whatever the class was called with."""

    def mine(name, *arguments):
        cls = get("multiprocessing.synchronize", name)
        context = importlib.import_module(cls.__module__.rsplit(".", 1)[0]).get_context("fork")

        class Mine(cls):
            def __init__(self, label, *, colour):
                super().__init__(*arguments, ctx=context)
                self.label, self.colour = label, colour

        made = Mine("a", colour="red")
        assert (made.label, made.colour) == ("a", "red")
        return made

    assert mine("Semaphore", 3).get_value() == 3
    bounded = mine("BoundedSemaphore", 2)
    assert [bounded.acquire(False) for _ in range(3)] == [True, True, False]
    bounded.release()
    bounded.release()
    with pytest.raises(ValueError):
        bounded.release()
    action = Mock()
    barrier = mine("Barrier", 1, action, LIMIT)
    assert barrier.parties == 1 and barrier.wait() == 0 and action.called
    for name in ("Lock", "RLock"):
        with mine(name):
            pass
    mine("Event").set()


@pytest.mark.parametrize("kind", SHARED, ids=".".join)
def test_attributes_of_a_subclass_between_processes(get, kind):
    cls = get(*kind)
    context = importlib.import_module(cls.__module__.rsplit(".", 1)[0]).get_context("fork")
    names = [*TAKEN, "name", "maxvalue", "key"]

    class Mine(cls):
        def __init__(self):
            super().__init__(*SHARED[kind], ctx=context)
            for name in names:
                setattr(self, name, name)

    made = Mine()
    assert [getattr(made, name) for name in names] == names
    if kind[1].endswith("Queue"):
        made.put(1)
        assert made.get() == 1
    elif kind[1] == "Event":
        made.set()
        assert made.wait(LIMIT)
    elif kind[1] != "Barrier":
        with made:
            pass


def test_a_pool_applies_by_its_own_method(get):
    cls = get("multiprocessing.pool", "ThreadPool")
    seen = []

    class Traced(cls):
        def apply_async(self, *args, **kwargs):
            seen.append(args)
            return super().apply_async(*args, **kwargs)

    with Traced(1) as pool:
        assert pool.apply(abs, (-1,)) == 1
    with cls(1) as pool:
        pool.apply_async = Mock()
        pool.apply(abs, (-2,))
        assert pool.apply_async.mock_calls[0] == call(abs, (-2,), {})
        del pool.apply_async
        with patch.object(cls, "apply_async") as patched:
            pool.apply(abs, (-3,))
        assert patched.mock_calls[0] == call(abs, (-3,), {})
        assert pool.apply(abs, (-4,)) == 4
    assert seen == [(abs, (-1,), {})]


def test_a_way_of_the_lock_that_is_put_into_the_class(get):
    cls = get("threading", "Condition")
    condition = cls(lock_of(get))
    with condition:
        condition.notify()
    with patch.object(cls, "_is_owned", return_value=True):
        condition.notify()
        cls(lock_of(get)).notify_all()
