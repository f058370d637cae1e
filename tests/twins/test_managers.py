"""Managers: the standard library's, with the package's processes and locks."""

from __future__ import annotations

import importlib
import queue

import pytest

from .support import LIMIT, started


@pytest.fixture
def manager(ctx):
    with ctx.Manager() as running:
        yield running


def fill(d, items, namespace, value, array, lock, q):
    with lock:
        d["child"] = 1
        items.append("from the child")
        namespace.word = "set"
        value.value += 1
        array[0] = 7
    q.put("done")


def test_what_a_child_changes_its_parent_sees(ctx, manager):
    d, items, namespace = manager.dict({"a": 0}), manager.list(["first"]), manager.Namespace()
    value, array, lock, q = manager.Value("i", 1), manager.Array("i", [0, 0]), manager.Lock(), manager.Queue()
    with started(ctx, fill, d, items, namespace, value, array, lock, q):
        assert q.get(timeout=LIMIT) == "done"
    assert d.copy() == {"a": 0, "child": 1}
    assert items[:] == ["first", "from the child"]
    assert namespace.word == "set" and value.value == 2 and list(array[:]) == [7, 0]


def test_primitives_of_a_manager(mp):
    with mp.get_context("fork").Manager() as manager:
        event, semaphore, condition = manager.Event(), manager.Semaphore(1), manager.Condition()
        assert not event.is_set() and event.wait(0.01) is False
        event.set()
        assert event.wait() and semaphore.acquire(False) and not semaphore.acquire(False)
        with condition:
            assert condition.wait(0.01) is False
        bounded = manager.Queue(1)
        bounded.put(1)
        with pytest.raises(queue.Full):
            bounded.put(2, timeout=0.01)


def test_errors_come_back_as_what_they_are(mp):
    with mp.get_context("fork").Manager() as manager:
        with pytest.raises(KeyError):
            manager.dict()["missing"]
        with pytest.raises(IndexError):
            manager.list()[3]


class Counter:
    def __init__(self, start):
        self.n = start

    def next(self):
        self.n += 1
        return self.n


def test_a_registered_class(mp):
    managers = importlib.import_module(mp.__name__ + ".managers")

    class Own(managers.BaseManager):
        pass

    Own.register("Counter", Counter)
    with Own(ctx=mp.get_context("fork")) as manager:
        counter = manager.Counter(10)
        assert (counter.next(), counter.next()) == (11, 12)


def test_the_manager_ends(mp):
    manager = mp.get_context("fork").Manager()
    process = manager._process
    assert process.is_alive()
    manager.shutdown()
    process.join(LIMIT)  # it was waited for, but only briefly
    assert not process.is_alive()
