"""Damage stays in the session: a process writes to arbitrary places of the session's memory, or a resource runs out,
during traffic over a queue, a pipe, locks and a pool. Each process must go on or get an ordinary error: none may panic,
be killed by a signal, or hang.

    python -m stress stray_writes                                      1,000 rounds, over all classes
    python -m stress stray_writes --class header-bits --seed 7 --rounds 100
    python -m stress stray_writes --class header-bits --seed 7 --replay 31 --stacks
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections import Counter
from functools import partial

from tests.soundness.rounds import KINDS, Round, Verdict, become_reaper, temporary_output
from tests.soundness.scribbles import CLASSES, CONTROL, scribble
from tests.soundness.slots import Board
from tests.soundness.squeezes import CLASSES as SQUEEZES
from tests.soundness.squeezes import PANICS, before, squeeze

from kettle import _native as native

#: Outcomes that additionally fail a round, and outcomes that are permitted. When a resource runs out, nothing may be
#: lost without an error.
BARS = {name: (frozenset({"lost", "wrong"}),) for name in SQUEEZES}
BARS[PANICS] = (frozenset({"wrong"}), frozenset({"panic"}))


def main(arguments: list[str]) -> int:
    """Rounds are forked from a process without a session, which ends as such a program would, so this is a separate
    process."""
    return subprocess.run([sys.executable, "-m", "stress.stray_writes", *arguments]).returncode


def rounds(options: argparse.Namespace) -> int | None:
    """Returns the exit code, or None in a child, which then ends."""
    print(f"SEED={options.seed} ROUNDS={options.rounds} of {', '.join(options.classes)}", flush=True)
    become_reaper()
    board, output = Board(), temporary_output()
    clock = board.start_clock()
    table = {name: Counter() for name in options.classes}
    failed = 0
    begun = said = time.monotonic()
    numbers = [options.replay] * options.rounds if options.replay is not None else range(options.rounds)
    for number in numbers:
        name = options.classes[number % len(options.classes)]
        seed = f"{options.seed}/{name}/{number}"
        round_ = Round(board, clock, output, options.stacks)
        disturb = scribble if name in CLASSES or name == CONTROL else squeeze
        verdict = round_.run(seed, partial(disturb, where=name, seed=seed), partial(before, name, seed))
        if verdict is None:
            return None
        row = table[name]
        row["rounds"] += 1
        row.update(verdict.all_kinds - {"unharmed"} or {"unharmed"})
        if verdict.fails(*BARS.get(name, ())):
            failed += 1
            row["failed"] += 1
            _show(name, options.seed, number, verdict)
        elif options.replay is not None:
            _show(name, options.seed, number, verdict)
        if time.monotonic() - said > 10:
            said = time.monotonic()
            print(f"{number + 1} rounds in {said - begun:.0f} s, {failed} failed", flush=True)
        if failed >= options.failures:
            break
    _print_table(table)
    os.kill(clock, 9)
    os.waitpid(clock, 0)
    os.unlink(output)
    print(f"failed rounds: {failed}; {time.monotonic() - begun:.0f} s; SEED={options.seed}")
    return 1 if failed else 0


def _show(name: str, seed: str, number: int, verdict: Verdict) -> None:
    kinds = ", ".join(k for k in KINDS if k in verdict.all_kinds)
    print(f"\nround {number} ({kinds}): python -m stress stray_writes --class {name} --seed {seed} --replay {number}")
    for offset, old, new, what in verdict.writes[:16]:
        print(f"  wrote {offset:#x}: {old:#x} -> {new:#x}  {what}")
    for detail in verdict.details:
        print(f"  {detail[:400]}")
    print("  | " + "\n  | ".join(verdict.text[:3000].splitlines()))
    if verdict.stacks:
        print(verdict.stacks)
    sys.stdout.flush()


def _print_table(table: dict[str, Counter]) -> None:
    columns = ["rounds", "failed", *KINDS]
    width = max(map(len, table))
    print(" " * width, *columns, sep="  ")
    for name, row in table.items():
        print(name.ljust(width), *(str(row[c]).rjust(len(c)) for c in columns), sep="  ")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress stray_writes")
    default_seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
    parser.add_argument("--seed", default=default_seed)
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--class", dest="classes", action="append", choices=[*CLASSES, *SQUEEZES, PANICS, CONTROL], help="only these"
    )
    parser.add_argument("--replay", type=int, metavar="N", help="run only the round with this number")
    parser.add_argument("--stacks", action="store_true", help="show the native stacks of hanging processes (needs gdb)")
    parser.add_argument("--failures", type=int, default=10**6, help="stop after this many failed rounds")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.replay is not None else int(os.environ.get("ROUNDS") or 1000))
    if options.classes is None:
        options.classes = [*CLASSES, *SQUEEZES] + [PANICS] * native.crash_points()
    return options


if __name__ == "__main__":
    code = rounds(_options(sys.argv[1:]))
    if code is not None:
        sys.exit(code)
