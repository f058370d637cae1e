"""Small messages of plain builtins skip pickle, and no others do. The receiver gets the same as with pickle."""

from __future__ import annotations

import collections
import copyreg
import math
import pickle
import struct
from multiprocessing.reduction import ForkingPickler

import pytest

from .support import (
    COMPACT,
    PICKLE,
    Colour,
    Many,
    Number,
    Own,
    Point,
    Raw,
    Row,
    Text,
    Whole,
    assert_alike,
    compacting,
    expected,
)


@compacting
@pytest.mark.parametrize(
    "obj",
    [
        [],
        (),
        {},
        [[], (), {}],
        {"id": 7, "name": "kettle", "price": 1.5, "tags": ["a", "b"], "seen": None, "good": True, "raw": b"\0"},
        [0, -1, 127, 128, -128, -129, 2**31 - 1, 2**31, -(2**31) - 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**127 - 1],
        [
            0.0,
            -0.0,
            math.inf,
            -math.inf,
            math.nan,
            5e-324,
            *struct.unpack("2d", struct.pack("2Q", *(0x7FF4 << 48, 2**64 - 1))),
        ],
        {
            1: True,
            2.5: False,
            None: 0,
            (1, ("x",)): 2,
            b"raw": 3,
            "": 4,
            "k" * 23: 5,
            "k" * 24: 6,
            "k" * 300: 7,
        },
        ["", "a", "ä", "日本", "\0", "x" * 255, "x" * 256, "😀" * 70, b"", b"x" * 255, b"x" * 256],
        [list(range(255)), tuple(range(256)), dict.fromkeys(map(str, range(256)))],
    ],
)
def test_plain_containers_skip_pickle(wire, through, obj):
    kind, body = wire.message(obj)
    assert kind == COMPACT
    assert_alike(expected(obj), wire.deliver(kind, body))
    assert_alike(expected(obj), through(obj))


OTHERS = [
    Colour.RED,
    Text("text"),
    Raw(b"raw"),
    Number(1.5),
    Whole(5),
    Row(a=1),
    Many([1]),
    Point(1, 2),
    Own(3),
    collections.OrderedDict(b=1, a=2),
    collections.defaultdict(list, a=[1]),
    collections.Counter("abca"),
    {1, 2},
    frozenset("a"),
    bytearray(b"b"),
    1j,
    range(3),
    len,
    int,
    ...,
    2**127,
    -(2**127) - 1,
    "\ud800",
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize(
    "wrap, unwrap",
    [
        (lambda o: [1, o], lambda o: o[1]),
        (lambda o: (o,), lambda o: o[0]),
        (lambda o: {"a": {"b": [o]}}, lambda o: o["a"]["b"][0]),
        (lambda o: [[1], o, []], lambda o: o[1]),
    ],
)
def test_anything_else_is_left_to_pickle(wire, through, other, wrap, unwrap):
    kind, body = wire.message(wrap(other))
    assert kind == PICKLE
    for got in (wire.deliver(kind, body), through(wrap(other))):
        assert type(unwrap(got)) is type(other) and got == wrap(other)


@pytest.mark.parametrize("key", [Colour.RED, Text("text"), Point(1, 2), frozenset("a"), "\ud800", Raw(b"raw")])
def test_keys_of_other_types_are_left_to_pickle(wire, through, key):
    assert wire.message({key: 1})[0] == PICKLE
    (got,) = through({key: 1})
    assert type(got) is type(key) and got == key


def test_numpy_scalars_stay_what_they_are(through):
    np = pytest.importorskip("numpy")
    got = through([np.float64(1.5), np.int64(1), np.bool_(True), {np.str_("a"): np.bytes_(b"b")}])
    assert [type(x) for x in got[:3]] == [np.float64, np.int64, np.bool_]
    assert [type(x) for x in (*got[3], *got[3].values())] == [np.str_, np.bytes_]


def test_reducers_of_plain_types_are_as_little_asked_as_by_pickle(through):
    def reduce(obj):
        return (str, ("reduced",))

    obj = [{"a": (1, "b", b"c")}, 1.5, None]
    types = (dict, list, tuple, str, bytes, float, int)
    ours, theirs = copyreg.dispatch_table, ForkingPickler._extra_reducers
    before = [(table, dict(table)) for table in (ours, theirs)]
    try:
        for plain in types:
            copyreg.pickle(plain, reduce)
            ForkingPickler.register(plain, reduce)
        assert_alike(pickle.loads(ForkingPickler.dumps(obj)), through(obj))
        assert through(obj) == obj
    finally:
        for table, content in before:
            table.clear()
            table.update(content)


def test_reducers_of_what_is_inside_are_asked(through):
    before = dict(ForkingPickler._extra_reducers)
    ForkingPickler.register(Own, lambda own: (str, (f"own {own.value}",)))
    try:
        assert through([1, {"a": Own(5)}]) == [1, {"a": "own 5"}]
    finally:
        ForkingPickler._extra_reducers.clear()
        ForkingPickler._extra_reducers.update(before)
