"""Deadlocks: correct programs that look like one and must get no error; a minute of traffic on ordered locks, which
must cause no report; then planted deadlocks, each of which must be reported.

    python -m stress deadlocks                        two minutes of programs; 200 threads, a minute; 300 circles
    python -m stress deadlocks --seconds 5 --seed 7   a short run
    python -m stress deadlocks --patterns 3600 --seconds 0 --circles 0    an hour of correct programs alone
    PATTERNS=3600 python -m stress                    everything, with an hour of them
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import statistics
import time
import traceback
from collections import Counter
from multiprocessing.connection import wait as multiprocessing_wait
from typing import Any

from tests.deadlocks import patterns
from tests.deadlocks.circles import Plan, plant
from tests.deadlocks.traffic import traffic
from tests.death.support import footprint, left_behind

import kettle.multiprocessing
from kettle import _native

#: The weights of the start methods for planted deadlocks.
SHARES = {"fork": 7, "forkserver": 2, "spawn": 1}
PLAYERS = 4  # processes that run correct programs
THRESHOLD = 0.05  # seconds until a wait is examined
TOO_LONG = 60.0  # seconds for one deadlock, or for the end of the traffic; after that all stacks are shown


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    print(
        f"SEED={options.seed} patterns={options.patterns} seconds={options.seconds} circles={options.circles}",
        flush=True,
    )
    chance = random.Random(options.seed)
    plant(Plan.at_random(random.Random(0)), "forkserver", THRESHOLD)  # starts the fork server before the first count
    before = footprint()
    wrong = _patterns(options, chance) + _traffic(options, chance.getrandbits(32)) + _circles(options, chance)
    faulthandler.cancel_dump_traceback_later()
    _native.reclaim()
    left = left_behind(before)
    print(f"left behind: {left or 'nothing'}; wrong: {wrong}; SEED={options.seed}")
    return 1 if wrong or left else 0


def _patterns(options: argparse.Namespace, chance: random.Random) -> int:
    """Runs correct programs, repeatedly, in several processes."""
    if not options.patterns:
        return 0
    faulthandler.dump_traceback_later(options.patterns + 3 * TOO_LONG, exit=True)
    context = kettle.multiprocessing.get_context("fork")
    said = context.SimpleQueue()
    seeds = [chance.getrandbits(32) for _ in range(PLAYERS)]
    players = [context.Process(target=_replay, args=(options.patterns, seed, said)) for seed in seeds]
    for player in players:
        player.start()
    counts: Counter[str] = Counter()
    wrong = 0
    while any(player.is_alive() for player in players) or not said.empty():
        if said.empty():
            multiprocessing_wait([player.sentinel for player in players if player.is_alive()], 0.5)
            continue
        what = said.get()
        if isinstance(what, str):
            wrong += 1
            print(f"WRONG {what}", flush=True)
        else:
            counts.update(what)
    for player in players:
        player.join()
        if player.exitcode:
            wrong += 1
            print(f"WRONG a process that ran programs ended with {player.exitcode}", flush=True)
    told = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.most_common())
    print(f"correct programs, {sum(counts.values())} times: {told}", flush=True)
    return wrong


def _replay(seconds: float, seed: int, said: Any) -> None:
    said.put(patterns.replay(seconds, random.Random(seed), THRESHOLD, said.put))


def _traffic(options: argparse.Namespace, seed: int) -> int:
    if not options.seconds:
        return 0
    faulthandler.dump_traceback_later(options.seconds + TOO_LONG, exit=True)
    results = traffic(options.seconds, options.threads, ["fork", "spawn"], THRESHOLD, seed)
    counts = sum((result["counts"] for result in results), Counter())
    said = [text for result in results for text in (*result["alarms"], *result["errors"])]
    for text in said:
        print(f"WRONG {text}", flush=True)
    told = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.most_common())
    print(f"traffic, {options.threads} threads and {len(results) - 1} more processes: {told}", flush=True)
    if not counts["long waits"]:
        print("WRONG no wait was long enough to be examined")
        return 1
    return len(said)


def _circles(options: argparse.Namespace, chance: random.Random) -> int:
    wrong, waits, kinds = 0, [], Counter()
    begun = time.monotonic()
    for _ in range(options.circles):
        seed = chance.getrandbits(32)
        own = random.Random(seed)
        plan, method = Plan.at_random(own), own.choices(list(SHARES), list(SHARES.values()))[0]
        faulthandler.dump_traceback_later(TOO_LONG, exit=True)
        try:
            late = plant(plan, method, THRESHOLD)
            waits += [] if late is None else [late]
            kinds["told"] += late is not None
        except Exception:
            wrong += 1
            print(f"WRONG with {method}, {plan}, seed {seed}\n{traceback.format_exc()}", flush=True)
        kinds[f"{len(plan.members)} members"] += 1
        kinds[f"{len(plan.processes())} processes"] += 1
    if waits:
        told = ", ".join(f"{n} of {name}" for name, n in sorted(kinds.items()))
        print(f"{options.circles - wrong} circles in {time.monotonic() - begun:.0f} s: {told}; told", end=" ")
        print(f"{statistics.median(waits):.2f} s late, {max(waits):.2f} s at most", flush=True)
    return wrong


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress deadlocks")
    default_seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
    parser.add_argument("--seed", default=default_seed)
    default_patterns = float(os.environ.get("PATTERNS") or 120)
    help_of_patterns = "seconds of correct programs that look like deadlocks"
    parser.add_argument("--patterns", type=float, default=default_patterns, help=help_of_patterns)
    parser.add_argument("--seconds", type=float, default=60.0, help="of traffic")
    parser.add_argument("--threads", type=int, default=200, help="in the first process")
    parser.add_argument("--circles", type=int, default=300)
    return parser.parse_args(arguments)
