"""Descriptions of calls: short, never raising, never slow."""

import collections
import dataclasses
import datetime
import enum
import functools
import operator
import pathlib
import time
from unittest import mock

import pytest

from kettle._describe import describe


def fetch(*args, **kwds):
    pass


class Site:
    def fetch(self):
        pass

    @classmethod
    def make(cls):
        pass

    def __call__(self):
        pass


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Name(str):
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


@dataclasses.dataclass
class Job:
    number: int
    data: list
    secret: str = dataclasses.field(default="", repr=False)


Point = collections.namedtuple("Point", "x y")


def one(value):
    return describe(fetch, (value,)).removeprefix("fetch(").removesuffix(")")


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (fetch, "fetch"),
        (len, "len"),
        (Site, "Site"),
        (Site().fetch, "Site.fetch"),
        (Site.make, "Site.make"),
        (Site(), "Site(...)"),
        ([].append, "list.append"),
        (operator.itemgetter(1), "itemgetter(...)"),
        (mock.Mock(), "Mock(...)"),
        (3, "int(...)"),
    ],
)
def test_names(func, name):
    assert describe(func) == f"{name}()"


def test_functions_without_a_name_of_their_own():
    assert describe(lambda: 0) == "test_functions_without_a_name_of_their_own.<lambda>()"


def test_arguments():
    assert describe(fetch, ("http://a",), {"retries": 3}) == "fetch('http://a', retries=3)"
    assert describe(fetch, [1, None]) == "fetch(1, None)"
    assert describe(functools.partial(fetch, 1, a=2), (3,), {"b": 4}) == "fetch(1, 3, a=2, b=4)"
    assert describe(fetch, iter([1])) == "fetch(...)"


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, -3, 2.5, 1j, ..., range(3), "a'b", b"\0", bytearray(b"x")),
        *([], [1, [2]], (), (1,), (1, 2), {1}, set(), frozenset(), frozenset({1}), {}, {"a": (1,)}),
        *(pathlib.PurePosixPath("/a"), datetime.date(2024, 2, 29), Point(1, "b")),
    ],
    ids=repr,
)
def test_small_values_are_shown_as_they_are(value):
    assert one(value) == repr(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 61, "'" + "x" * 60 + "'..."),
        (b"x" * 10**8, repr(b"x" * 60) + "..."),
        (1 << 100_000, "<int of 100001 bits>"),
        (list(range(9)), "[0, 1, 2, 3, ... 9 in all]"),
        ({i: str(i) for i in range(5)}, "{0: '0', 1: '1', 2: '2', 3: '3', ... 5 in all}"),
        ([[[[[1]]]]], "[[[<list of 1>]]]"),
        ([[[[]]]], "[[[[]]]]"),
        (Colour.RED, "Colour.RED"),
        (Level.HIGH, "Level.HIGH"),
        (Name("n"), "'n'"),
        (fetch, "fetch"),
        (Site, "Site"),
        (Job(1, list(range(9)), "hidden"), "Job(number=1, data=[0, 1, 2, 3, ... 9 in all])"),
        (Site(), "<Site object>"),
        (mock.Mock(), "<Mock object>"),
        (collections.OrderedDict(a=1), "<OrderedDict object>"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_others_are_cut_short(value, text):
    assert one(value) == text


def test_arrays():
    numpy = pytest.importorskip("numpy")
    assert one(numpy.zeros((3, 4))) == "<ndarray float64 of shape (3, 4)>"
    assert one(numpy.float64(2.5)) == "float64(2.5)"
    assert one([numpy.zeros(2)]) == "[<ndarray float64 of shape (2,)>]"


def test_what_contains_itself():
    value = []
    value.append(value)
    assert one(value) == "[[[<list of 1>]]]"


class Hostile:
    """Raises on every operation."""

    shape = dtype = property(lambda self: 1 / 0)

    def __getattribute__(self, name):
        raise RuntimeError(name)

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = None


def test_nothing_makes_it_raise():
    assert one(Hostile()) == "<Hostile object>"
    assert describe(Hostile(), (), {}) == "a call"
    assert describe(fetch, ([Hostile()],), {"x": Hostile()}) == "fetch([<Hostile object>], x=<Hostile object>)"
    assert describe(fetch, Hostile(), Hostile()) == "fetch(...)"


class Counts:
    def __init__(self):
        self.asked = 0

    def __repr__(self):
        self.asked += 1
        return "slow"

    __str__ = __repr__


def test_no_code_of_an_argument_runs():
    value = Counts()
    assert describe(fetch, (value, [value]), {"a": {"b": value}}) == (
        "fetch(<Counts object>, [<Counts object>], a={'b': <Counts object>})"
    )
    assert value.asked == 0


def test_big_things_are_not_looked_through():
    """A hundred descriptions take less than one full repr, which has some hundred thousand times as much to do."""
    big = [list(range(10**6)), {i: i for i in range(10**5)}, "x" * 10**7]
    # In processor time of this thread, because a busy machine lets it wait in between.
    start = time.thread_time()
    repr(big[0])
    full = time.thread_time() - start
    start = time.thread_time()
    for _ in range(100):
        describe(fetch, tuple(big))
    assert time.thread_time() - start < full


@pytest.mark.parametrize("limit", [10, 30, 200])
def test_limit(limit):
    text = describe(fetch, tuple(range(10**5)), {f"name{i}": i for i in range(10**5)}, limit)
    assert len(text) <= limit
    assert text.startswith("fetch(")
    assert text.endswith("...)")
    assert describe(fetch, limit=6) == "fe...)"
