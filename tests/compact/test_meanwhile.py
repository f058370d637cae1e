"""In the middle of other things: finalizers, threads that change what is sent, many senders."""

from __future__ import annotations

import gc
import itertools
import sys
import threading

import kettle.multiprocessing as mp
from crowds import all_at_once

from .structures import Maker
from .support import LIMIT, assert_alike, expected, through_queue


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
            except RuntimeError as e:  # pickle's own answer, where it is asked
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
