"""Queues, locks and the other primitives: kills processes that use them, in every scenario of tests/death.

python -m stress primitives --ground Tokens --method fork
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import time
import traceback
from collections import Counter

from tests.death.grounds import GROUNDS
from tests.death.rounds import random_round
from tests.death.support import footprint, left_behind

import kettle.multiprocessing
from kettle import _native

#: The weights of the start methods for rounds: expensive ones are run less often.
SHARES = {"fork": 0.94, "forkserver": 0.04, "spawn": 0.02}
TOO_LONG = 60.0  # seconds for one round; after that all stacks are shown and the run ends


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    print(f"SEED={options.seed} KILLS={options.kills}", flush=True)
    rng = random.Random(options.seed)
    contexts = {method: kettle.multiprocessing.get_context(method) for method in options.method}
    stages = {(g, m): GROUNDS[g](contexts[m]) for g in options.ground for m in options.method}
    _warm_up(contexts)
    before, memory = footprint(), _memory()

    table: dict[str, Counter] = {ground: Counter() for ground in options.ground}
    failures = []
    begun = said = time.monotonic()
    while sum(row["kills"] for row in table.values()) < options.kills and len(failures) < options.failures:
        ground = rng.choice(options.ground)
        method = rng.choices(options.method, [SHARES[m] for m in options.method])[0]
        faulthandler.dump_traceback_later(TOO_LONG, exit=True)
        row = table[ground]
        row["rounds"] += 1
        row[method] += 1
        try:
            row.update(random_round(stages[ground, method], contexts[method], rng))
        except Exception:
            failures.append((ground, method, row["rounds"], traceback.format_exc()))
            print(f"FAILED {ground} {method}\n{failures[-1][-1]}", flush=True)
            row["failures"] += 1
            stages[ground, method] = GROUNDS[ground](contexts[method])
        if time.monotonic() - said > 10:
            said = time.monotonic()
            _say_progress(table, said - begun)
    faulthandler.cancel_dump_traceback_later()

    _print_table(table)
    _say_progress(table, time.monotonic() - begun)
    del stages
    _native.reclaim()
    left = left_behind(before)
    print(f"arena memory before and after: {memory} and {_memory()} bytes")
    print(f"left behind: {left or 'nothing'}; failed rounds: {len(failures)}; SEED={options.seed}")
    return 1 if failures or left else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress primitives")
    default_seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
    parser.add_argument("--seed", default=default_seed)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS") or 10_000))
    parser.add_argument("--ground", action="append", choices=list(GROUNDS), help="only these (may be repeated)")
    parser.add_argument("--method", action="append", choices=list(SHARES), help="only these (may be repeated)")
    parser.add_argument("--failures", type=int, default=5, help="stop after this many failed rounds")
    options = parser.parse_args(arguments)
    options.ground = options.ground or list(GROUNDS)
    options.method = options.method or list(SHARES)
    return options


def _warm_up(contexts: dict) -> None:
    """Starts one process of every kind, so that the fork server exists before the first footprint is taken."""
    for context in contexts.values():
        process = context.Process(target=int)
        process.start()
        process.join()
        process.close()


def _memory() -> int:
    return _native.arena_statistics()["allocated_bytes"]


def _say_progress(table: dict[str, Counter], seconds: float) -> None:
    kills = sum(row["kills"] for row in table.values())
    print(f"{kills} kills in {seconds:.0f} s, {kills / seconds:.0f} a second", flush=True)


def _print_table(table: dict[str, Counter]) -> None:
    columns = ["rounds", "kills", *SHARES]
    columns += sorted({key for row in table.values() for key in row} - set(columns))
    width = max(map(len, table))
    print(" " * width, *columns, sep="  ")
    for ground, row in table.items():
        print(ground.ljust(width), *(str(row[c]).rjust(len(c)) for c in columns), sep="  ")
