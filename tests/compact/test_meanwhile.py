"""Concurrent activity: finalizers, threads that change what is sent, many senders."""

from __future__ import annotations

import gc
import itertools
import sys
import threading

import pytest

import kettle.multiprocessing as mp
from crowds import all_at_once

from .structures import Maker
from .support import LIMIT, Many, Number, Raw, Row, Text, Whole, assert_alike, expected, through_queue


def test_finalizers_that_send_and_receive_while_a_message_is_rebuilt():
    outer, inner = mp.Queue(), mp.Queue()
    row = {"a": [1, {"b": (2, [3])}], "c": {"d": {}}}
    seen = []

    class Nested:
        def __init__(self):
            self.self = self

        def __del__(self):
            inner.put({"nested": [row]})
            seen.append(inner.get(timeout=LIMIT))

    before = gc.get_threshold()
    try:
        gc.set_threshold(1, 1, 1)
        for _ in range(200):
            Nested()
            outer.put([row] * 3 + [row.copy() for _ in range(30)])
            assert outer.get(timeout=LIMIT) == [row] * 33
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert seen == [{"nested": [row]}] * 200


class Garbage:
    """Found by the next collection, which then calls `work`; and found again until that says that it is enough."""

    def __init__(self, work):
        self.work, self.me = work, self

    def __del__(self):
        if self.work():
            Garbage(self.work)


def put_amid_collections(queue, message, work):
    """Puts `message` while every creation of an object tracked by the collector triggers `work`: in Python 3.11
    immediately, later between two instructions."""
    before = gc.get_threshold()
    armed = False
    gc.disable()
    Garbage(lambda: armed is not None and (not armed or work()))
    try:
        gc.set_threshold(1, 1, 1)
        armed = True
        gc.enable()
        queue.put(message)
    finally:
        gc.disable()
        armed = None
        gc.set_threshold(*before)
        gc.enable()
        gc.collect()


OF_EVERY_KIND = {
    "none": lambda: None,
    "bool": lambda: True,
    **{f"int-{bits}": lambda bits=bits: 2**bits - 1 for bits in (1, 7, 8, 31, 32, 63, 64, 70, 127, 128, 200, 5000)},
    **{f"negative-{bits}": lambda bits=bits: -(2**bits) for bits in (0, 7, 8, 31, 32, 63, 64, 70, 127, 128, 200)},
    "float": lambda: float("nan"),
    "bytes": lambda: bytes(300),
    "ascii": lambda: "a" * 300,
    "latin": lambda: "\xe9" * 30,
    "two-byte": lambda: "\u0416" * 30,
    "four-byte": lambda: "\U0001f600" * 30,
    "surrogate": lambda: "\ud800",
    "list": lambda: [1, [2**70, [2.5, b"3"]]],
    "tuple": lambda: (1, (2**70, ("\u0416" * 3, None))),
    "dict": lambda: {"a": {1: {2**70: []}}},
    "subclasses": lambda: [Whole(2**70), Text("t"), Raw(b"r"), Number(1.5), Many([1]), Row(a=1)],
}


@pytest.mark.parametrize("make", OF_EVERY_KIND.values(), ids=OF_EVERY_KIND)
def test_a_dict_that_a_finalizer_changes_while_it_is_put(make):
    queue = mp.Queue()
    message = {"a": make(), "b": [make()], "c": {"d": make()}, "e": 3}
    states = [repr(message)]

    def work():
        message[f"x{len(message)}"] = make()
        states.append(repr(message))
        return len(message) < 30

    for _ in range(10):  # a sender that failed recently tries less often
        queue.put({})
        queue.get(timeout=LIMIT)
    try:
        put_amid_collections(queue, message, work)
    except RuntimeError as e:  # pickle's own error, where pickle is used
        assert "changed size" in str(e)
    else:
        assert repr(queue.get(timeout=LIMIT)) in states
    queue.put({"whole": [make()]})
    assert repr(queue.get(timeout=LIMIT)) == repr({"whole": [make()]})


@pytest.mark.parametrize("make", OF_EVERY_KIND.values(), ids=OF_EVERY_KIND)
def test_an_object_that_takes_the_place_of_one_already_written(make):
    queue = mp.Queue()
    for n in range(30):
        message = [f"old {n:30}", make(), None, make(), None]  # the first key is known only in this message
        states = [repr(message)]

        def work():
            message[0] = None  # noqa: B023
            message[2] = f"new {n:30}"  # noqa: B023  where the other one was, in memory
            states.append(repr(message))  # noqa: B023
            return False

        put_amid_collections(queue, message, work)
        got = repr(queue.get(timeout=LIMIT))
        # Pickle reads one item after the other, each in its current state.
        assert got in states or (not got.startswith("[None") and f"old {n:30}" in got and f"new {n:30}" in got)


def test_a_dict_that_another_thread_changes_all_the_time():
    through = through_queue()
    shared = {"list": [], "dict": {}}
    done = threading.Event()

    def change():
        for n in itertools.count():
            if done.is_set():
                return
            shared[f"key {n % 50}"] = [n]
            shared["list"].append([n])
            shared["dict"][n % 20] = {n: n}
            if n % 50 == 49:
                for key in [key for key in shared if key.startswith("key")]:
                    del shared[key]
                shared["list"].clear()
                shared["dict"].clear()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(3000):
            try:
                got = through(shared)
            except RuntimeError as e:  # pickle's own error, where pickle is used
                assert "changed size" in str(e)
                continue
            assert type(got["list"]) is list and type(got["dict"]) is dict
            assert all(type(item) is list for item in got["list"])
            assert all(value == {next(iter(value)): next(iter(value))} for value in got["dict"].values())
    finally:
        done.set()
        changing.join()
        sys.setswitchinterval(before)


def test_many_threads_at_once(seed):
    q = mp.Queue()

    def work(number):
        for n in range(300):
            obj = Maker(seed + number * 1000 + n, 0.05).make()
            back = mp.SimpleQueue()
            back.put(obj)
            assert_alike(expected(obj), back.get())
            q.put({"number": number, "n": [n]})
            got = q.get(timeout=LIMIT)
            assert list(got) == ["number", "n"] and type(got["n"]) is list

    all_at_once(work, 4)
