"""Processes that the tests orphan: a root, a child and perhaps a grandchild, each busy forever.

    python family.py START_METHOD daemon|plain ACTIVITY child|grandchild

Every descendant writes "kind pid" to standard output before it begins.
"""

import hashlib
import os
import sys
import time

import kettle.multiprocessing as mp


def sleep(_):
    time.sleep(3600)


def spin_in_python(_):
    while True:
        pass


def spin_in_c(_):
    sum(range(10**15))  # holds the interpreter and does not check for signals


def hash_in_c(_):
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def get(ctx):
    ctx.Queue().get()


def acquire(ctx):
    lock = ctx.Lock()
    lock.acquire()
    lock.acquire()


ACTIVITIES = {f.__name__: f for f in (sleep, spin_in_python, spin_in_c, hash_in_c, get, acquire)}


def announce(kind):
    os.write(1, f"{kind} {os.getpid()}\n".encode())


def live(kind, method, activity, generations):
    ctx = mp.get_context(method)
    if generations:
        ctx.Process(target=live, args=("grandchild", method, activity, generations - 1)).start()
    announce(kind)
    ACTIVITIES[activity](ctx)


if __name__ == "__main__":
    method, daemon, activity, depth = sys.argv[1:]
    generations = ["child", "grandchild"].index(depth)
    ctx = mp.get_context(method)
    ctx.Process(target=live, args=("child", method, activity, generations), daemon=daemon == "daemon").start()
    time.sleep(3600)
