"""Signal handlers that wait for the same object as their own thread, at all instants.

    python -m stress signals --rounds 200 --seconds 1

Each round, in its own process, draws a start method, an object to wait for, an action for the handler of a timer, and a
way to reap children: by Kettle alone, by a SIGCHLD handler or a thread that waits for any child, or not at all (SIGCHLD
is ignored). The timer ticks thousands of times a second. Every result must arrive and be correct.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from concurrent.futures import wait as wait_for_futures
from contextlib import contextmanager, suppress
from typing import Any

import kettle.multiprocessing as mp
from kettle.futures import ProcessPoolExecutor, ThreadPoolExecutor
from kettle.multiprocessing.pool import ThreadPool

TICK = 0.0005  # seconds
HUNG = 60.0  # seconds until a round counts as hung


class Pair:
    """Reconstructed by code of the program, in the worker and in the parent."""

    def __init__(self, a: int, b: int) -> None:
        self.a, self.b = a, b

    def __getstate__(self) -> list[int]:
        return [int(str(self.a)), int(str(self.b))]

    def __setstate__(self, state: list[int]) -> None:
        self.a, self.b = (int(str(n)) for n in state)


def double(n: Any) -> Any:
    return Pair(n.a * 2, n.b * 2) if isinstance(n, Pair) else n * 2


def check(got: Any, expected: Any) -> None:
    assert got == expected, f"{got!r} instead of {expected!r}"


# ------------------------------------------------------------------------------------- what the main thread waits for


def of_pool(pool: Any, rng: random.Random) -> None:
    n = rng.randrange(1, 60)
    doubles = [2 * i for i in range(n)]
    how = rng.randrange(8)
    if how == 0:
        check(pool.map(double, range(n)), doubles)
    elif how == 1:
        check(list(pool.imap(double, range(n))), doubles)
    elif how == 2:
        check(sorted(pool.imap_unordered(double, range(n))), doubles)
    elif how == 3:
        check(pool.apply(double, (n,)), 2 * n)
    elif how == 4:
        result = pool.map_async(double, range(n), callback=len)
        result.wait()
        check(result.get(), doubles)
    elif how == 5:
        check([(p.a, p.b) for p in pool.map(double, [Pair(i, n) for i in range(n)])], [(i, 2 * n) for i in doubles])
    elif how == 6:
        pair = pool.apply_async(double, (Pair(n, 1),)).get(HUNG)
        check((pair.a, pair.b), (2 * n, 2))
    else:
        check([p.a for p in pool.imap(double, (Pair(i, n) for i in range(n)))], doubles)


def of_executor(executor: Any, rng: random.Random) -> None:
    n = rng.randrange(1, 40)
    doubles = [2 * i for i in range(n)]
    how = rng.randrange(3)
    if how == 0:
        check(list(executor.map(double, range(n))), doubles)
    elif how == 1:
        check([executor.submit(double, i).result() for i in range(n)], doubles)
    else:
        pairs = [executor.submit(double, Pair(i, n)) for i in range(n)]
        check([pair.result().a for pair in pairs], doubles)


def of_futures(executor: Any, rng: random.Random) -> None:
    """These wait in the standard library's own code."""
    n = rng.randrange(1, 40)
    futures = [executor.submit(double, i) for i in range(n)]
    done = wait_for_futures(futures).done if rng.randrange(2) else set(as_completed(futures))
    check(sorted(future.result() for future in done), [2 * i for i in range(n)])


def of_process(context: Any, rng: random.Random) -> int | None:
    """Checks and returns the exit code."""
    code = rng.randrange(100)
    process = context.Process(target=os._exit, args=(code,))
    process.start()
    if rng.randrange(2):
        process.join()
    else:
        mp.connection.wait([process.sentinel])
        process.join()
    known = process.exitcode in (code, 255)
    assert known, f"exit code {process.exitcode!r} instead of {code}"
    return process.exitcode


def of_queue(queue: Any, rng: random.Random) -> None:
    n = rng.randrange(50)
    sender = threading.Thread(target=lambda: [queue.put(i) for i in range(n)])
    sender.start()
    check([queue.get() for _ in range(n)], list(range(n)))
    for _ in range(n):
        queue.task_done()
    queue.join()
    sender.join()


def of_manager(numbers: Any, rng: random.Random) -> None:
    for n in range(rng.randrange(1, 40)):
        numbers[n] = n
        check(numbers.get(n), n)


# ------------------------------------------------------------------------------------------------------- the programs


@contextmanager
def ticking(handler: Callable[..., object]) -> Iterator[None]:
    """Runs the handler repeatedly, but never within itself."""
    is_in = False

    def once(*_: object) -> None:
        nonlocal is_in
        if not is_in:
            is_in = True
            try:
                handler()
            finally:
                is_in = False

    signal.signal(signal.SIGALRM, once)
    signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def reap_any(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def reap(how: str) -> None:
    if how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    elif how == "handler":
        signal.signal(signal.SIGCHLD, reap_any)
    elif how == "thread":

        def keep_reaping() -> None:
            while True:
                reap_any()
                time.sleep(0.0005)

        threading.Thread(target=keep_reaping, daemon=True).start()


METHODS = ("fork", "fork", "spawn", "forkserver")
REAPERS = ("nothing", "nothing", "ignored", "handler", "thread")
PLACES = ("pool", "thread pool", "executor", "thread executor", "futures", "process", "queue", "manager")


def round_of(seed: int, seconds: float) -> None:
    """Runs one round, after printing its description."""
    rng = random.Random(seed)
    method, place, reaper = rng.choice(METHODS), rng.choice(PLACES), rng.choice(REAPERS)
    context = mp.get_context(method)
    reap(reaper)
    executor: Any = None
    if place in ("pool", "thread pool"):
        pool = context.Pool(2, maxtasksperchild=rng.choice([None, 3])) if place == "pool" else ThreadPool(2)
        wait, what = of_pool, pool
        asks = [lambda: pool.apply(double, (4,)), lambda: pool.map(double, range(5)), lambda: pool.statistics()]
    elif "executor" in place or place == "futures":
        is_of_threads = place == "thread executor" or rng.randrange(2)
        executor = ThreadPoolExecutor(2) if is_of_threads else ProcessPoolExecutor(2, mp_context=context)
        wait, what = of_futures if place == "futures" else of_executor, executor
        asks = [lambda: len(executor._processes) if not is_of_threads else 0]
        if place != "futures":  # a handler must not use the standard library's locks
            asks += [lambda: executor.submit(double, 4).result(), lambda: list(executor.map(double, range(5)))]
    elif place == "process":
        wait, what, asks = of_process, context, []
    elif place == "manager":
        manager = context.Manager()
        wait, what = of_manager, manager.dict()
        words = manager.list(["word"])
        asks = [lambda: check(words[0], "word"), lambda: check(what.get("no such key"), None)]
    else:
        wait, what = of_queue, context.JoinableQueue()
        mine = context.Queue()
        asks = [lambda: (mine.put(1), mine.get()), lambda: what.qsize()]
    bystander = context.Process(target=time.sleep, args=(HUNG,))
    bystander.start()
    asks += [bystander.is_alive, lambda: bystander.exitcode, mp.active_children, lambda: bystander.join(0)]
    ask = rng.choice(asks)
    print(f"{method}, {place}, reaped by {reaper}, handler {asks.index(ask)}", end=": ", flush=True)
    faulthandler.dump_traceback_later(HUNG + seconds, exit=True)
    end = time.monotonic() + seconds
    waits = asked = 0

    def handler() -> None:
        nonlocal asked
        ask()
        asked += 1

    with ticking(handler):
        while time.monotonic() < end:
            code = wait(what, rng)
            assert place != "process" or reaper != "nothing" or code != 255, "an exit code was lost"
            waits += 1
    if place in ("pool", "thread pool"):

        def stop() -> None:
            pool.terminate()
            pool.join()

        pool.map_async(time.sleep, [0.05] * 4)
        with ticking(stop):
            pool.close()
            pool.join()
    elif executor is not None:
        executor.submit(time.sleep, 0.05)
        with ticking(lambda: executor.shutdown(cancel_futures=True) if place != "futures" else None):
            executor.shutdown()
    bystander.kill()
    bystander.join()
    if place == "manager":
        manager.shutdown()
    print(f"{waits} waits, {asked} handlers")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m stress signals", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "100")))
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", random.randrange(1 << 30))))
    parser.add_argument("--one", action="store_true", help="the round of this seed, in this process")
    options, _ = parser.parse_known_args(arguments)
    if options.one:
        round_of(options.seed, options.seconds)
        return 0
    failed = []
    for seed in range(options.seed, options.seed + options.rounds):
        command = [sys.executable, "-m", "stress.signals", "--one", f"--seed={seed}", f"--seconds={options.seconds}"]
        print(f"seed {seed}", end=" ", flush=True)
        code = os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(sys.executable, command, os.environ), 0)[1])
        if code != 0:
            print(f"exit code {code}")
            failed.append(seed)
    print(f"signals: {options.rounds} rounds, {len(failed)} failed{f': {failed}' if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
