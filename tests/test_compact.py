"""Small messages of plain builtins skip pickle. What arrives must be what would have arrived through pickle."""

from __future__ import annotations

import asyncio
import collections
import copyreg
import enum
import gc
import itertools
import math
import os
import pickle
import random
import struct
import sys
import sysconfig
import threading
from multiprocessing.reduction import ForkingPickler

import pytest

import kettle.multiprocessing as mp

LIMIT = 30  # seconds
INLINE, PICKLE, COMPACT = 1, 0, 8  # how a packet of a pipe begins, and kinds of messages

compacting = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="without the interpreter's lock all is left to pickle"
)


class Wire:
    """A pipe whose packets can be looked at and made up."""

    def __init__(self):
        self.to, self.back = mp.Pipe()

    def packet(self, obj):
        """The kind and the bytes of the message that `obj` becomes."""
        # Who has sent nothing else for a while tries less often.
        for _ in range(8):
            self.to.send([])
            self.back.recv()
        self.to.send(obj)
        packet = os.read(self.back.fileno(), 1 << 17)
        assert packet[0] == INLINE, "it stands in a block"
        return packet[1], packet[2:]

    def deliver(self, kind, body):
        os.write(self.to.fileno(), bytes([INLINE, kind]) + body)
        return self.back.recv()


@pytest.fixture
def wire():
    wire = Wire()
    with wire.to, wire.back:
        yield wire


@pytest.fixture
def seed():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return seed


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


@pytest.fixture(params=[through_queue, through_pipe])
def through(request):
    return request.param()


def assert_alike(a, b):
    """The same types, values and order, and what is one object in `a` is one in `b`; for containers the other way
    round as well."""
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


# ---------------------------------------------------------------- what skips pickle, and what does not


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
    kind, body = wire.packet(obj)
    assert kind == COMPACT
    assert_alike(expected(obj), wire.deliver(kind, body))
    assert_alike(expected(obj), through(obj))


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
    kind, body = wire.packet(wrap(other))
    assert kind == PICKLE
    for got in (wire.deliver(kind, body), through(wrap(other))):
        assert type(unwrap(got)) is type(other) and got == wrap(other)


@pytest.mark.parametrize("key", [Colour.RED, Text("text"), Point(1, 2), frozenset("a"), "\ud800", Raw(b"raw")])
def test_keys_of_other_types_are_left_to_pickle(wire, through, key):
    assert wire.packet({key: 1})[0] == PICKLE
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


# ---------------------------------------------------------------- identity


@compacting
def test_what_is_one_object_stays_one(wire, through):
    inner, pair, text, raw = [1], (1, []), "text" * 5, b"raw" * 5
    obj = [inner, inner, {"a": inner, "b": pair}, (pair, text, raw), [text, raw, {text: text}], [1], (1, [])]
    assert wire.packet(obj)[0] == COMPACT
    got = through(obj)
    assert_alike(expected(obj), got)
    got[0].append(2)
    assert got[1] == [1, 2] and got[2]["a"] is got[0] and got[5] == [1]


def test_cycles(through):
    row, table = [], {}
    row += [1, row]
    table["self"] = (table, [table])
    got = through(row)
    assert got[0] == 1 and got[1] is got and len(got) == 2
    got = through(table)
    assert got["self"][0] is got and got["self"][1][0] is got
    got = through([row, row, table])
    assert got[0] is got[1] is got[0][1]


def test_rows_share_their_keys(wire):
    rows = [{"identifier": n, "description": str(n)} for n in range(20)]
    _, body = wire.packet(rows)
    assert body.count(b"identifier") == 1
    got = through_queue()(rows)
    assert got == rows and len({id(key) for row in got for key in row}) == 2


def test_keys_are_told_apart():
    """Keys that the reader keeps from message to message: many of them, of like beginnings and ends."""
    through = through_queue()
    keys = ["".join(p) for n in range(7) for p in itertools.product("ab\0", repeat=n)]
    keys += [f"{'x' * n}{'y' * m}" for n in range(25) for m in range(25)]
    for _ in range(2):
        for key in keys:
            assert list(through({key: 1})) == [key]


# ---------------------------------------------------------------- bounds


def nested(depth, wrap):
    obj = 1
    for _ in range(depth):
        obj = wrap(obj)
    return obj


@pytest.mark.parametrize("depth", [1, 31, 32, 33, 34, 200])
@pytest.mark.parametrize(
    "wrap",
    [lambda o: [o], lambda o: (o,), lambda o: {"a": o}, lambda o: {(o,): 1} if isinstance(o, (int, tuple)) else [o]],
)
def test_depth(through, depth, wrap):
    obj = nested(depth, wrap)
    assert_alike(expected(obj), through(obj))


def test_what_is_nested_deeper_than_pickle_can_go_raises(through):
    with pytest.raises(RecursionError):
        through(nested(100_000, lambda o: [o]))
    assert through([1]) == [1]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "x" * n,
        lambda n: "ä" * (n // 2),
        lambda n: b"x" * n,
        lambda n: [1] * n,
        lambda n: list(range(n)),
        lambda n: [float(i) for i in range(n // 9)],
        lambda n: [str(i) for i in range(n // 8)],
        lambda n: [{i: i} for i in range(n // 8)],
        lambda n: {str(i): [] for i in range(n // 8)},
    ],
)
def test_length(through, make):
    for n in (2000, 2100, 16_300, 16_400, 65_000, 65_520, 65_530, 65_536, 65_540, 140_000):
        obj = [make(n)]
        assert_alike(expected(obj), through(obj))


@pytest.mark.parametrize("n", [127, 128, 129, 1023, 1024, 2046, 2047, 2048, 2049, 5000])
def test_number_of_containers(through, n):
    obj = [[] for _ in range(n)]
    obj += obj[-3:]
    assert_alike(expected(obj), through(obj))


def test_a_message_after_many_that_were_left_to_pickle(through):
    for _ in range(100):
        assert through([Own(1)]) == [Own(1)]
        assert_alike([{"a": [1]}], through([{"a": [1]}]))


# ---------------------------------------------------------------- structures at random


class Maker:
    """Structures with parts that are shared, and now and then a part that only pickle can send."""

    def __init__(self, seed, others):
        self.r = random.Random(seed)
        self.others = others
        self.made = []

    def atom(self):
        r = self.r
        return r.choice(
            (
                lambda: None,
                lambda: r.random() < 0.5,
                lambda: r.randrange(-200, 200),
                lambda: r.randrange(-(1 << 70), 1 << 70) >> r.randrange(70),
                lambda: r.uniform(-1e9, 1e9),
                lambda: struct.unpack("d", r.randbytes(8))[0],
                lambda: "".join(r.choices("abcé日😀\0", k=r.choice((0, 1, 2, 3, 5, 8, 9, 20, 24, 300)))),
                lambda: r.randbytes(r.choice((0, 1, 3, 255, 256))),
            )
        )()

    def key(self, depth=0):
        if self.r.random() < 0.7:
            return self.r.choice(("id", "name", "price", "a longer name of a column", "ä")) + str(self.r.randrange(9))
        if depth < 3 and self.r.random() < 0.2:
            return tuple(self.key(depth + 1) for _ in range(self.r.randrange(3)))
        return self.atom()

    def make(self, depth=0):
        r = self.r
        if self.made and r.random() < 0.15:
            return r.choice(self.made)
        if r.random() < self.others:
            return r.choice((Own(1), {1, 2}, Point(1, 2), Colour.RED, collections.OrderedDict(a=1), "\ud800"))
        if depth > 4 or (depth and r.random() < 0.4):
            obj = self.atom()
        else:
            parts = range(r.choice((0, 1, 2, 3, 4, 8)))
            kind = r.randrange(3)
            if kind == 0:
                obj = {self.key(): self.make(depth + 1) for _ in parts}
            else:
                obj = (list, tuple)[kind - 1](self.make(depth + 1) for _ in parts)
        self.made.append(obj)
        return obj


def cyclic(maker, obj):
    """Puts the whole into one of its lists."""
    lists = [part for part in maker.made if type(part) is list]
    if lists:
        maker.r.choice(lists).append(obj)


@pytest.mark.deadline(120)
@pytest.mark.parametrize("others", [0.0, 0.02])
def test_structures_at_random(seed, others):
    through = through_queue()
    for n in range(10_000):
        maker = Maker(seed + n, others)
        obj = maker.make()
        if n % 50 == 0:
            cyclic(maker, obj)
        assert_alike(expected(obj), through(obj))


@compacting
def test_the_structures_are_such_that_both_ways_are_taken(wire, seed):
    kinds = collections.Counter()
    size = 0
    for n in range(500):
        obj = Maker(seed + n, 0.02).make()
        if len(pickle.dumps(obj)) < 10_000:
            kind, body = wire.packet(obj)
            kinds[kind] += 1
            size += len(body)
    assert kinds[COMPACT] > 50 and kinds[PICKLE] > 50 and size > 50_000


# ---------------------------------------------------------------- bytes that are no message


@compacting
@pytest.mark.deadline(120)
def test_torn_messages_raise(wire, seed):
    r = random.Random(seed)
    bodies = []
    while len(bodies) < 100:
        obj = Maker(r.randrange(2**32), 0.0).make()
        if len(pickle.dumps(obj)) < 2000:
            kind, body = wire.packet(obj)
            bodies += [body] if kind == COMPACT else []
    for body in bodies:
        for cut in {r.randrange(len(body)) for _ in range(30)}:
            with pytest.raises(ValueError, match="torn"):
                wire.deliver(COMPACT, body[:cut])
        for _ in range(100):
            changed = bytearray(body)
            for _ in range(r.choice((1, 1, 2, 5))):
                changed[r.randrange(len(changed))] = r.randrange(256)
            try:
                wire.deliver(COMPACT, bytes(changed))
            except (ValueError, TypeError):  # torn, not UTF-8, or a key that has no hash
                pass
    for _ in range(2000):
        try:
            wire.deliver(COMPACT, bytes(r.choices(range(24), k=r.randrange(30))))
        except (ValueError, TypeError):
            pass
    assert wire.deliver(*wire.packet([1, {"a": 2}])) == [1, {"a": 2}]


# ---------------------------------------------------------------- in the middle of other things


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
    failures = []

    def work(number):
        try:
            for n in range(300):
                obj = Maker(seed + number * 1000 + n, 0.05).make()
                back = mp.SimpleQueue()
                back.put(obj)
                assert_alike(expected(obj), back.get())
                q.put({"number": number, "n": [n]})
                got = q.get(timeout=LIMIT)
                assert list(got) == ["number", "n"] and type(got["n"]) is list
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# ---------------------------------------------------------------- wherever objects travel

ROW = {"id": 1, "pair": (1, [2.5, None]), "text": "ä", "raw": b"raw"}


def same(item):
    return item


def same_two(first, second):
    return [first, second]


def kinds(item):
    """What a worker got: types and identity."""
    return [type(item).__name__, item["a"] is item["b"]]


def test_all_queues():
    for q in (mp.Queue(), mp.JoinableQueue(), mp.SimpleQueue()):
        q.put(ROW)
        assert_alike(ROW, q.get())
    q = mp.Queue()
    assert q.put_many([ROW, [ROW, ROW], ()]) == 3
    items = q.get_many(3)
    assert_alike([ROW, [ROW, ROW], ()][1], items[1])
    assert items == [ROW, [ROW, ROW], ()] and items[1][0] is items[1][1]


def test_awaitable_forms():
    async def both():
        q = mp.Queue()
        await q.aput(ROW)
        to, back = mp.Pipe()
        with to, back:
            await to.asend(ROW)
            return await q.aget(), await back.arecv()

    for got in asyncio.run(both()):
        assert_alike(ROW, got)


def test_bytes_of_an_object_that_was_sent_are_a_pickle():
    to, back = mp.Pipe()
    with to, back:
        to.send(ROW)
        assert_alike(ROW, pickle.loads(back.recv_bytes()))
        to.send(ROW)
        room = bytearray(1000)
        assert_alike(ROW, pickle.loads(room[: back.recv_bytes_into(room)]))
        to.send(ROW)
        with pytest.raises(OSError, match="bad message length"):
            back.recv_bytes(10)


def echo(to, back):
    while (item := to.get()) is not None:
        back.put(item)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes(method, seed):
    ctx = mp.get_context(method)
    to, back = ctx.Queue(), ctx.Queue()
    child = ctx.Process(target=echo, args=(to, back))
    child.start()
    for n in range(300):
        obj = Maker(seed + n, 0.05).make()
        to.put([obj])
        assert_alike(expected([obj]), back.get(timeout=LIMIT))
    to.put(None)
    child.join(LIMIT)
    child.close()


def test_pools(seed):
    objects = [Maker(seed + n, 0.05).make() for n in range(100)]
    with mp.Pool(2) as pool:
        for chunksize in (None, 1, 7):
            for got, sent in zip(pool.map(same, objects, chunksize=chunksize), objects, strict=True):
                assert_alike(expected(sent), got)
        assert list(pool.imap(same, [ROW] * 50)) == [ROW] * 50
        assert pool.apply(same, (ROW,)) == ROW
        assert pool.apply(len, kwds={}, args=([1, 2],)) == 2
        assert pool.starmap(same_two, [([n], {"n": n}) for n in range(50)]) == [[[n], {"n": n}] for n in range(50)]
        shared = []
        assert pool.map(kinds, [{"a": shared, "b": shared}, {"a": [], "b": []}], chunksize=2) == [
            ["dict", True],
            ["dict", False],
        ]
