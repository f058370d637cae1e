"""Pools: workers killed, tasks timed out and cancelled, pools terminated, programs interrupted; see tests/death/storms.

python -m stress pool                          1,000 workers killed while 100,000 tasks run, and the other storms
KILLS=100 TASKS=5000 python -m stress pool     a tenth of it
python -m stress pool --storm Cancels --method spawn
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import random
import time
import traceback
from collections import Counter

from tests.death.storms import STORMS
from tests.death.support import footprint, left_behind

import kettle.multiprocessing
from kettle import _native

#: The weights of the start methods for rounds: expensive ones are run less often.
SHARES = {"fork": 0.8, "forkserver": 0.12, "spawn": 0.08}
#: The number of rounds of each storm, in thousandths of KILLS.
MEASURE = {
    "Deaths": 1000,
    "RetriedDeaths": 1000,
    "TimeOuts": 1000,
    "Cancels": 1000,
    "Terminations": 200,
    "Interrupts": 60,
}
TOO_LONG = 120.0  # seconds for one round; after that all stacks are shown and the run ends


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    print(f"SEED={options.seed} KILLS={options.kills} TASKS={options.tasks}", flush=True)
    rng = random.Random(options.seed)
    contexts = {method: kettle.multiprocessing.get_context(method) for method in options.method}
    storms = {(s, m): STORMS[s](contexts[m]) for s in options.storm for m in options.method}
    _warm_up(contexts)
    before, memory = footprint(), _memory()

    table = {}
    failures = 0
    for storm in options.storm:
        row = table[storm] = Counter()
        kills = max(1, options.kills * MEASURE[storm] // 1000)
        tasks = options.tasks if "Deaths" in storm else 0
        begun = time.monotonic()
        while (row["kills"] < kills or row["tasks"] < tasks) and failures < options.failures:
            method = rng.choices(options.method, [SHARES[m] for m in options.method])[0]
            seed = rng.random()
            faulthandler.dump_traceback_later(TOO_LONG, exit=True)
            row["rounds"] += 1
            row[method] += 1
            try:
                row.update(storms[storm, method].round(random.Random(seed)))
            except Exception:
                print(f"FAILED {storm} {method} with seed {seed}\n{traceback.format_exc()}", flush=True)
                row["failed rounds"] += 1
                failures += 1
        faulthandler.cancel_dump_traceback_later()
        print(f"{storm}, {time.monotonic() - begun:.0f} s: {_told(row)}", flush=True)

    storms.clear()
    gc.collect()
    _native.reclaim()
    left = left_behind(before)
    print(f"arena memory before and after: {memory} and {_memory()} bytes")
    print(f"left behind: {left or 'nothing'}; failed rounds: {failures}; SEED={options.seed}")
    return 1 if failures or left else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress pool")
    default_seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
    parser.add_argument("--seed", default=default_seed)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS") or 1_000), help="of workers")
    parser.add_argument("--tasks", type=int, default=int(os.environ.get("TASKS") or 100_000), help="while that happens")
    parser.add_argument("--storm", action="append", choices=list(STORMS), help="only these (may be repeated)")
    parser.add_argument("--method", action="append", choices=list(SHARES), help="only these (may be repeated)")
    parser.add_argument("--failures", type=int, default=5, help="stop after this many failed rounds")
    options = parser.parse_args(arguments)
    options.storm = options.storm or list(STORMS)
    options.method = options.method or list(SHARES)
    return options


def _warm_up(contexts: dict) -> None:
    """Runs one pool of every kind, so that the fork server exists before the first footprint is taken."""
    for context in contexts.values():
        with context.Pool(1) as pool:
            result = pool.apply_async(time.sleep, (0.2,))
            time.sleep(0.05)  # now the pool's own thread leads; waking it rings a doorbell, whose socket is kept
            result.get()
        pool.join()


def _memory() -> int:
    return _native.arena_statistics()["allocated_bytes"]


def _told(row: Counter) -> str:
    return ", ".join(f"{count} {what}" for what, count in row.items() if count)
