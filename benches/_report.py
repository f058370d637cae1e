"""What a run found, as JSON for programs and as Markdown for people."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping

from benches._harness import CELLS, SERIES, Cell, Result, Series
from benches._peers import PEERS

TIMES = "\N{MULTIPLICATION SIGN}"
BY_HAND = ("<!-- by hand -->", "<!-- end of by hand -->")


def machine() -> dict[str, str]:
    """What one has to know to compare the numbers with others."""
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
    """Three digits are what a shared machine can vouch for."""
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
    columns = ["cell", "unit", *PEERS, "to the best rival", "to the standard library", "goal"]
    lines = [_row(columns), _row(["---"] * 2 + ["---:"] * (len(PEERS) + 2) + ["---"])]
    for name, results in found.items():
        if name not in CELLS:
            continue
        benchmark, rival = CELLS[name], best_rival(results)
        to_best = ratio(results, rival[0] if rival else None)
        lines.append(
            _row(
                [
                    benchmark.title,
                    benchmark.unit,
                    *(_shown(results.get(peer)) for peer in PEERS),
                    _times(to_best),
                    _times(ratio(results, "stdlib")),
                    _verdict(benchmark, to_best),
                ]
            )
        )
    return lines


def _series_table(benchmark: Series, results: Mapping[str, Result]) -> list[str]:
    lines = [f"**{benchmark.title}** ({benchmark.unit})", ""]
    lines += [_row(["", *benchmark.points]), _row(["---", *["---:"] * len(benchmark.points)])]
    for peer, result in results.items():
        medians = result.medians()
        shown = [f"_{result.error}_"] if result.error else [figure(medians.get(p)) for p in benchmark.points]
        lines.append(_row([peer, *shown, *[""] * (len(benchmark.points) - len(shown))]))
    return [*lines, ""]


def as_markdown(machine: Mapping, how: Mapping, found: Mapping[str, Mapping[str, Result]], previous: str) -> str:
    """The whole page; what stands between the hand-written markers of `previous` is kept."""
    described = "; ".join(f"{key} {value}" for key, value in machine.items())
    libraries = "; ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; losses are shown like gains. Every figure is the median of "
        f"{how['rounds']} rounds of about {how['seconds']:g} s; each measurement ran in a process of its own, and the "
        "libraries took turns within each round. What counts is the ratio within one run: the figures themselves move "
        "with what else the machine does. The start method is fork where a row names none.",
        "",
        f"Machine: {described}.",
        "",
        f"Libraries: {libraries}.",
        "",
        "## Against the others",
        "",
        *_cells_table(found),
        "",
        "A dash: the library has no such thing. In the last two rows the standard library has no awaitable queue; what "
        "is measured is `run_in_executor(None, q.get)`, a thread for every wait.",
        "",
        "## Does the cost stay flat?",
        "",
    ]
    for name, results in found.items():
        if name in SERIES:
            lines += _series_table(SERIES[name], results)
    return "\n".join([*lines, "## What limits them", "", _kept(previous), ""])


def _kept(previous: str) -> str:
    begin, end = BY_HAND
    if begin in previous and end in previous:
        return begin + previous.split(begin, 1)[1].split(end, 1)[0] + end
    return f"{begin}\n{end}"
