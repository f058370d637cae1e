"""Writes the results of a run as JSON for programs and as Markdown for people."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benches._harness import CELLS, SERIES, Cell, Result, Series
from benches._peers import PEERS


@dataclass(frozen=True)
class Chapter:
    """A part of the page: the results of `programs`, with a column for each library that any of them names."""

    title: str
    programs: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def holds(self, benchmark: Cell | Series) -> bool:
        return benchmark.measure.__module__.removeprefix("benches.") in self.programs


CHAPTERS = (
    Chapter(
        "Processes, queues, pipes, locks",
        ("process_queue", "pipe", "locks", "start", "awaitable", "flatness"),
        (
            "The standard library has no awaitable queue. Its figure is for `run_in_executor(None, q.get)`, which "
            "needs a thread for every wait.",
        ),
    ),
    Chapter(
        "Process pools",
        ("pool", "pool_flatness"),
        (
            "Each pool has two workers and is used in the way that its documentation calls the fastest: joblib with "
            "its forking backend inside a `with` block, and arrays in mapped files; mpire with `keep_alive`; loky with "
            "its reusable executor. futures is `concurrent.futures`. For libraries that do not choose chunk sizes "
            "(futures, loky, pebble), automatic chunks are an eighth of the items, as in the standard library.",
            "For futures, loky and pebble, `imap` is the executor's `map`, which reads all its input at once, and "
            "`imap_unordered` is `as_completed` over single tasks.",
        ),
    ),
    Chapter(
        "Threads",
        ("threads",),
        (
            "The pool of futures is `concurrent.futures.ThreadPoolExecutor`. The standard library has no queue that a "
            "thread and a coroutine can share. Its figure is for `run_in_executor(None, q.get)`, which needs a thread "
            "for every wait.",
        ),
    ),
    Chapter(
        "Fairness",
        ("fairness",),
        ("For the standard library, coroutines use asyncio's own locks and queues, which threads cannot use.",),
    ),
)

TIMES = "\N{MULTIPLICATION SIGN}"
BY_HAND = ("<!-- by hand -->", "<!-- end of by hand -->")


def machine() -> dict[str, str]:
    """Returns what is needed to compare the numbers with other runs."""
    with open("/proc/cpuinfo") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    with open("/proc/meminfo") as info:
        memory = int(info.readline().split()[1]) / (1 << 20)
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "load at the start": f"{os.getloadavg()[0]:.1f}",
    }


def versions() -> dict[str, str]:
    found = {}
    for name, peer in PEERS.items():
        try:
            peer.load()
            found[name] = peer.version()
        except ImportError:
            found[name] = "not installed"
    return found


def best_rival(results: Mapping[str, Result]) -> tuple[str, float] | None:
    medians = {peer: r.median for peer, r in results.items() if peer != "kettle" and r.median}
    return max(medians.items(), key=lambda pair: pair[1]) if medians else None


def ratio(results: Mapping[str, Result], rival: str | None) -> float | None:
    ours = results["kettle"].median if "kettle" in results else None
    theirs = results[rival].median if rival in results else None
    return ours / theirs if ours and theirs else None


def as_json(machine: Mapping, how: Mapping, found: Mapping[str, Mapping[str, Result]]) -> dict:
    return {
        "machine": dict(machine),
        "how": dict(how),
        "results": {
            name: {peer: {"samples": r.samples, "error": r.error} for peer, r in results.items()}
            for name, results in found.items()
        },
    }


# ------------------------------------------------------------------------------------------------------- Markdown


def figure(value: float | None) -> str:
    """Formats three digits, which is the precision of a shared machine."""
    if value is None:
        return "-"
    for size, suffix in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def _shown(result: Result | None) -> str:
    if result is None:
        return "-"
    return f"_{result.error}_" if result.error else figure(result.median)


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}{TIMES}" if value < 10 else f"{value:.0f}{TIMES}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _verdict(benchmark: Cell, against_best: float | None) -> str:
    if benchmark.goal is None:
        return "-"
    if against_best is None:
        return f"≥ {benchmark.goal:g}{TIMES}"
    return f"≥ {benchmark.goal:g}{TIMES}, " + ("met" if against_best >= benchmark.goal else "**not met**")


def _cells_table(found: Mapping[str, Mapping[str, Result]]) -> list[str]:
    peers = [peer for peer in PEERS if any(peer in CELLS[name].peers for name in found)]
    columns = ["cell", "unit", *peers, "to the best rival", "to the standard library", "goal"]
    lines = [_row(columns), _row(["---"] * 2 + ["---:"] * (len(peers) + 2) + ["---"])]
    for name, results in found.items():
        benchmark, rival = CELLS[name], best_rival(results)
        to_best = ratio(results, rival[0] if rival else None)
        lines.append(
            _row(
                [
                    benchmark.title,
                    benchmark.unit,
                    *(_shown(results.get(peer)) for peer in peers),
                    f"{_times(to_best)} {rival[0]}" if to_best and rival else "-",
                    _times(ratio(results, "stdlib" if "stdlib" in results else "futures")),
                    _verdict(benchmark, to_best),
                ]
            )
        )
    return [*lines, ""]


def _series_table(benchmark: Series, results: Mapping[str, Result]) -> list[str]:
    lines = [f"**{benchmark.title}** ({benchmark.unit})", ""]
    lines += [_row(["", *benchmark.points]), _row(["---", *["---:"] * len(benchmark.points)])]
    for peer, result in results.items():
        medians = result.medians()
        shown = [f"_{result.error}_"] if result.error else [figure(medians.get(p)) for p in benchmark.points]
        lines.append(_row([peer, *shown, *[""] * (len(benchmark.points) - len(shown))]))
    return [*lines, ""]


def as_markdown(machine: Mapping, how: Mapping, found: Mapping[str, Mapping[str, Result]], previous: str) -> str:
    """Returns the whole page; the text between the hand-written markers of `previous` is kept."""
    described = "; ".join(f"{key} {value}" for key, value in machine.items())
    libraries = "; ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Benchmarks",
        "",
        "This page is generated by `make bench`; losses are shown like gains. Every figure is the median of "
        f"{how['rounds']} rounds of about {how['seconds']:g} s. Each measurement ran in its own process, and the "
        "libraries took turns within each round. The ratios within one run are significant; the absolute figures vary "
        "with the load of the machine. The start method is fork unless a row names another.",
        "",
        f"Machine: {described}.",
        "",
        f"Libraries: {libraries}.",
        "",
        "A dash means that the library has no such feature.",
        "",
    ]
    for chapter in CHAPTERS:
        cells = {name: results for name, results in found.items() if name in CELLS and chapter.holds(CELLS[name])}
        rows = {name: results for name, results in found.items() if name in SERIES and chapter.holds(SERIES[name])}
        if cells or rows:
            lines += [f"## {chapter.title}", ""]
        if cells:
            lines += _cells_table(cells)
            for note in chapter.notes:
                lines += [note, ""]
        if rows:
            lines += [
                "### By size",
                "",
                "A dash means that the point was beyond the time of this run; `python -m benches --long` includes it.",
                "",
            ]
            for name, results in rows.items():
                lines += _series_table(SERIES[name], results)
    return "\n".join([*lines, "## What limits them", "", _kept(previous), ""])


def _kept(previous: str) -> str:
    begin, end = BY_HAND
    if begin in previous and end in previous:
        return begin + previous.split(begin, 1)[1].split(end, 1)[0] + end
    return f"{begin}\n{end}"
