"""Random structures."""

from __future__ import annotations

import collections
import random
import struct

from .support import Colour, Own, Point


class Maker:
    """Creates structures with shared parts, and sometimes with a part that only pickle can send."""

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
    """Puts the whole structure into one of its lists."""
    lists = [part for part in maker.made if type(part) is list]
    if lists:
        maker.r.choice(lists).append(obj)
