"""Runs the benchmarks and writes down their results.

python -m benches                                               all, some minutes; writes docs/benchmarks.md
python -m benches --quick --only lock,pool                      one short round of some
python -m benches --long --only pool-flat,pool-memory           up to ten million tasks
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._harness import CELLS, ROOT, SERIES, Cell, Result, measure_here, run_interleaved
from benches._peers import PEERS
from benches._report import CHAPTERS, as_json, as_markdown, best_rival, figure, machine, ratio

LONG = 10.0  # seconds, in place of `--seconds` for series with `--long`
PAGE = ROOT / "docs" / "benchmarks.md"
SAMPLES = ROOT / "benches" / "results.json"


def main(arguments: list[str] | None = None) -> int:
    for chapter in CHAPTERS:
        for program in chapter.programs:
            importlib.import_module(f"benches.{program}")
    options = _options(arguments)
    if options.measure:
        name, peer, seconds = options.measure
        print(json.dumps(measure_here(name, peer, float(seconds))))
        return 0
    names = _selected(options.only)
    if options.list:
        print("\n".join(names))
        return 0

    described = machine()
    found: dict[str, dict[str, Result]] = {}
    for name in names:
        benchmark = CELLS.get(name) or SERIES[name]
        rounds = options.rounds if name in CELLS else max(1, options.rounds // 3)
        seconds = LONG if options.long and name in SERIES else options.seconds
        limit = 20 + (20 if name in CELLS else 60) * seconds
        found[name] = run_interleaved(benchmark, options.peers, rounds, seconds, limit, _say)
        _say(_line(name, found[name]))

    how = {"rounds": options.rounds, "seconds": options.seconds}
    if options.json:
        options.json.write_text(json.dumps(as_json(described, how, found), indent=1) + "\n")
    if options.markdown:
        previous = options.markdown.read_text() if options.markdown.exists() else ""
        options.markdown.parent.mkdir(exist_ok=True)
        options.markdown.write_text(as_markdown(described, how, found, previous))
    return 0


def _selected(only: Sequence[str]) -> list[str]:
    """Returns the selected benchmarks: those with the given name, and those whose names begin with the given words or
    match the given pattern."""
    every = (*CELLS, *SERIES)
    asked = {
        name
        for wish in only
        for name in every
        if name == wish or (wish not in every and (name.startswith(f"{wish}-") or fnmatch.fnmatch(name, wish)))
    }
    return [name for name in every if name in asked]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only",
        type=lambda s: s.split(","),
        default=["*"],
        help="names, their first words, or patterns, separated by commas",
    )
    parser.add_argument(
        "--peers", type=lambda s: s.split(","), default=list(PEERS), help="libraries, separated by commas"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2, help="duration of one measurement (default 0.2)")
    parser.add_argument("--long", action="store_true", help="run series up to their largest sizes; takes minutes")
    parser.add_argument("--quick", action="store_true", help="one round of 0.1 s")
    parser.add_argument(
        "--json", type=Path, help=f"where to write every sample; a whole run: {SAMPLES.relative_to(ROOT)}"
    )
    parser.add_argument("--markdown", type=Path, help=f"where to write the page; a whole run: {PAGE.relative_to(ROOT)}")
    parser.add_argument("--list", action="store_true", help="only list the benchmarks")
    parser.add_argument("--measure", nargs=3, metavar=("NAME", "LIBRARY", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 0.1
    elif options.only == ["*"] and options.peers == list(PEERS):
        options.markdown = options.markdown or PAGE
        options.json = options.json or SAMPLES
    return options


def _line(name: str, results: dict[str, Result]) -> str:
    if not isinstance(CELLS.get(name), Cell):
        shown = []
        for peer, result in results.items():
            medians = result.medians()
            points = [f"{p}: {figure(medians.get(p))}" for p in SERIES[name].points]
            shown.append(f"{peer} " + (result.error or ", ".join(points)))
        return f"{name}: " + "; ".join(shown)
    benchmark, rival = CELLS[name], best_rival(results)
    to_best = ratio(results, rival[0]) if rival else None
    rates = ", ".join(f"{peer} {figure(r.median)}" for peer, r in results.items() if r.median)
    goal = "" if benchmark.goal is None else f" (goal {benchmark.goal:g})"
    return f"{name}: {rates} {benchmark.unit}" + (f"; {to_best:.2f} x {rival[0]}{goal}" if to_best and rival else "")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
