"""A program that works forever with one pool after another, in every kind of call, until it is interrupted.

    python at_work.py START_METHOD SEED

It prints "ready" when its first pool has worked.
"""

import os
import random
import sys
import time

import kettle.multiprocessing as mp


def work(n):
    time.sleep(random.choice([0, 0, 0.0005, 0.005]))
    return n


def stay(n):
    sum(range(10**15))


def a_map(pool, rng):
    pool.map(work, range(200), rng.choice([None, 1, 5]))


def an_imap(pool, rng):
    for _ in pool.imap(work, range(200), rng.choice([1, 7])):
        pass


def applies(pool, rng):
    for result in [pool.apply_async(work, (n,)) for n in range(50)]:
        result.get()


def one_apply(pool, rng):
    pool.apply(work, (1,))


def elsewhere(pool, rng):
    """Work goes on while the main thread does something else."""
    result = pool.map_async(work, range(50))
    time.sleep(0.01)
    result.wait()


def in_c(pool, rng):
    if rng.random() < 0.1:
        pool.map(stay, range(10), 1)


if __name__ == "__main__":
    method, seed = sys.argv[1:]
    rng = random.Random(seed)
    ctx = mp.get_context(method)
    with ctx.Pool(2) as pool:
        pool.map(work, range(10), 1)
    os.write(1, b"ready\n")
    while True:
        with ctx.Pool(rng.randint(1, 4)) as pool:
            for _ in range(rng.randint(0, 3)):
                rng.choice([a_map, an_imap, applies, one_apply, elsewhere, in_c])(pool, rng)
