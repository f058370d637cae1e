"""Messages that can be inspected in transit, and the comparison of two structures."""

from __future__ import annotations

import collections
import enum
import os
import pickle
import struct
import sysconfig

import pytest

import kettle.multiprocessing as mp
from kettle.multiprocessing.connection import Connection

from .records import message_of, record_of

LIMIT = 30  # seconds
PICKLE, COMPACT = 0, 8  # kinds of messages

compacting = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="without the interpreter's lock all is left to pickle"
)


class Wire:
    """A pipe whose messages can be inspected and forged."""

    def __init__(self):
        to, self.back = mp.Pipe()
        # Without the pipe's channel everything that it sends is in its records.
        self.to = Connection(os.dup(to.fileno()))

    def message(self, obj):
        """Returns the kind and the bytes of the message for `obj`."""
        # After sending only pickles for a while, an end tries the compact form less often.
        for _ in range(8):
            self.to.send([])
            self.back.recv()
        self.to.send(obj)
        return message_of(os.read(self.back.fileno(), 1 << 17))

    def deliver(self, kind, body):
        os.write(self.to.fileno(), record_of(kind, body))
        return self.back.recv()


def through_queue():
    q = mp.Queue()

    def through(obj):
        q.put(obj)
        return q.get(timeout=LIMIT)

    return through


def through_pipe():
    to, back = mp.Pipe()

    def through(obj):
        to.send(obj)
        return back.recv()

    return through


def assert_alike(a, b):
    """Asserts the same types, values and order, and that one object in `a` is one object in `b`; for containers also
    vice versa."""
    there, back = {}, {}
    todo = [(a, b)]
    while todo:
        a, b = todo.pop()
        assert type(a) is type(b)
        container = isinstance(a, (list, tuple, dict, set, frozenset))
        if container or isinstance(a, (str, bytes)):
            if id(a) in there:
                assert there[id(a)] is b
                continue
            there[id(a)] = b
        if container:
            assert id(b) not in back, "two have become one"
            back[id(b)] = a
            assert len(a) == len(b)
        if isinstance(a, dict):
            for (key, value), (other_key, other_value) in zip(a.items(), b.items(), strict=True):
                # Of two equal keys one may arrive for both.
                todo += [(value, other_value), (key, other_key)] if type(key) is not str else [(value, other_value)]
                assert type(key) is not str or (type(other_key) is str and key == other_key)
            if hasattr(a, "__dict__"):
                assert a.__dict__ == b.__dict__
        elif isinstance(a, (list, tuple)):
            todo += zip(a, b, strict=True)
        elif isinstance(a, (set, frozenset)):
            assert a == b
        elif isinstance(a, float):
            assert struct.pack("d", a) == struct.pack("d", b)
        else:
            assert a == b


def expected(obj):
    return pickle.loads(pickle.dumps(obj, 5))


# ---------------------------------------------------------------- what only pickle can send


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


class Raw(bytes):
    pass


class Number(float):
    pass


class Whole(int):
    pass


class Row(dict):
    pass


class Many(list):
    pass


Point = collections.namedtuple("Point", "x y")


class Own:
    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return type(other) is Own and other.value == self.value

    __hash__ = None
