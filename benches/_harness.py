"""Shared by all benchmarks: the registry, calibration, one process per measurement, interleaved rounds.

A *cell* is one number per library, the higher the better, with the ratio that Kettle promises. A *series* is a row of
numbers from one library: how a cost changes with the size of something.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benches._peers import PEERS, Peer

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cell:
    name: str
    title: str
    unit: str
    goal: float | None
    peers: tuple[str, ...]
    measure: Callable[[Peer, float], float]


@dataclass(frozen=True)
class Series:
    name: str
    title: str
    unit: str
    points: tuple[str, ...]
    peers: tuple[str, ...]
    measure: Callable[[Peer, float], Mapping[str, float]]


CELLS: dict[str, Cell] = {}
SERIES: dict[str, Series] = {}


def cell(name: str, title: str, *, unit: str, goal: float | None, peers: Sequence[str]) -> Callable:
    """Registers `measure(peer, seconds) -> rate`. `goal` is the promised ratio to the best of the other `peers`, or
    None if nothing is promised."""

    def register(measure: Callable[[Peer, float], float]) -> Callable[[Peer, float], float]:
        CELLS[name] = Cell(name, title, unit, goal, tuple(peers), measure)
        return measure

    return register


def series(name: str, title: str, *, unit: str, points: Iterable[object], peers: Sequence[str]) -> Callable:
    """Registers `measure(peer, seconds) -> {point: value}`; a point that would take too long may be omitted."""

    def register(measure: Callable[[Peer, float], Mapping[str, float]]) -> Callable:
        SERIES[name] = Series(name, title, unit, tuple(map(str, points)), tuple(peers), measure)
        return measure

    return register


# ------------------------------------------------------------------------------------- inside a measuring process


def rate(run: Callable[[int], float], seconds: float, start: int = 100) -> float:
    """Returns operations per second, where `run(n)` performs `n` operations and returns their duration in seconds.

    `n` grows until a run lasts about `seconds`; only that run counts, so warm-up is excluded.
    """
    n = start
    while True:
        took = run(n)
        if took >= seconds * 0.6:
            return n / took
        n = int(n * min(20.0, 1.2 * seconds / max(took, 1e-9))) + 1


def growing(seconds: float, points: Iterable[int], run: Callable[[int], float]) -> dict[str, float]:
    """Returns nanoseconds per operation at each point, as long as the next point is expected to take at most 40 times
    `seconds`."""
    found: dict[str, float] = {}
    each = 0.0
    for n in points:
        if each * n > 40 * seconds:
            break
        each = run(n) / n
        found[str(n)] = each * 1e9
    return found


def repeated(run: Callable[[int], float]) -> Callable[[int], float]:
    """Returns the median of several runs if they are short, so that a small value does not depend on one sample."""
    return lambda n: statistics.median(run(n) for _ in range(max(1, min(15, 100_000 // n))))


class Gate:
    """Lets children that are already forked start together. It uses a bare pipe, so it favours no library."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def open(self, times: int = 1) -> float:
        """Lets `times` waiters through and returns the time of this."""
        now = time.perf_counter()
        os.write(self._write, b"." * times)
        return now

    def wait(self, times: int = 1) -> None:
        for _ in range(times):
            os.read(self._read, 1)

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


# ------------------------------------------------------------------------------------------ in the driving process


@dataclass
class Result:
    """The results of one cell or series for one library in all rounds."""

    samples: list = field(default_factory=list)
    error: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None

    def medians(self) -> dict[str, float]:
        """For a series, returns the median at each point that every round reached."""
        common = set.intersection(*(set(s) for s in self.samples)) if self.samples else set()
        return {point: statistics.median(s[point] for s in self.samples) for point in common}


def measure_here(name: str, peer: str, seconds: float) -> object:
    """Runs one measurement in this process, which is used for nothing else."""
    benchmark = CELLS.get(name) or SERIES[name]
    PEERS[peer].load()
    return benchmark.measure(PEERS[peer], seconds)


def measure_apart(name: str, peer: str, seconds: float, limit: float) -> tuple[object, str | None]:
    """Returns (value, None) or (None, error), from a separate process that lives at most `limit` seconds."""
    # As a script, like most programs: fork servers treat a package's `__main__` differently.
    command = [sys.executable, str(ROOT / "benches" / "run.py"), "--measure", name, peer, str(seconds)]
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, signal.SIGTERM)  # the standard library's resource trackers survive this and clean up
            child.communicate(timeout=2)
        return None, f"no result within {limit:.0f} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # also ends processes that a competitor left behind
        child.kill()
        child.communicate()
    if child.returncode != 0:
        return None, _reason(err, child.returncode)
    return json.loads(out.splitlines()[-1]), None


def _reason(stderr: str, code: int) -> str:
    last = stderr.strip().splitlines()[-1] if stderr.strip() else f"exit code {code}"
    if not last.startswith("ModuleNotFoundError"):
        return last[:120]
    module = last.split("'")[1]
    return f"there is no {module}" if "." in module else "not installed"


def run_interleaved(
    benchmark: Cell | Series,
    peers: Sequence[str],
    rounds: int,
    seconds: float,
    limit: float,
    say: Callable[[str], None],
) -> dict[str, Result]:
    """Runs every library once, then every library again, so that disturbances affect all of them alike."""
    results = {peer: Result() for peer in benchmark.peers if peer in peers}
    for _ in range(rounds):
        for peer, result in results.items():
            if result.error:
                continue
            value, error = measure_apart(benchmark.name, peer, seconds, limit)
            if error:
                result.error = error
                result.samples.clear()
                say(f"  {benchmark.name} {peer}: {error}")
            else:
                result.samples.append(value)
    return results
