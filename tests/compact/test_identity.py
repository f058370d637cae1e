"""One object stays one object, within a message and, for keys, from message to message."""

from __future__ import annotations

import itertools

from .support import COMPACT, assert_alike, compacting, expected, through_queue


@compacting
def test_what_is_one_object_stays_one(wire, through):
    inner, pair, text, raw = [1], (1, []), "text" * 5, b"raw" * 5
    obj = [inner, inner, {"a": inner, "b": pair}, (pair, text, raw), [text, raw, {text: text}], [1], (1, [])]
    assert wire.message(obj)[0] == COMPACT
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
    _, body = wire.message(rows)
    assert body.count(b"identifier") == 1
    got = through_queue()(rows)
    assert got == rows and len({id(key) for row in got for key in row}) == 2


def test_keys_are_told_apart():
    """Keys that the reader keeps from message to message: many of them, with similar beginnings and ends."""
    through = through_queue()
    keys = ["".join(p) for n in range(7) for p in itertools.product("ab\0", repeat=n)]
    keys += [f"{'x' * n}{'y' * m}" for n in range(25) for m in range(25)]
    for _ in range(2):
        for key in keys:
            assert list(through({key: 1})) == [key]
