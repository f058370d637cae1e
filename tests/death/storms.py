"""A pool with work of every kind, while something happens to it at random instants; then the check.

Each task has a number, and marks in shared memory that it began and that it ended. The check therefore knows the
history of each task, whatever was raised in between: exactly one outcome, and nothing done twice that should be done
once.

    outcome        began                  ended
    result         once (or retried)      at least once
    WorkerDied     at most once           at most once: it may die between its end and the report of it
    TaskTimeout    once                   at most once
    TaskCancelled  at most once           at most once
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np  # before any fork: a worker cannot import a module that a thread was importing

import kettle
import kettle.multiprocessing as mp

from .support import LIMIT, PROMPT, runs, session_members, until

AT_WORK = Path(__file__).with_name("at_work.py")
MOST = 3_000  # the maximum number of tasks of one storm
ARRAY = 20_000  # the length of an array: more than fits inline
LOST = "Exception ignored in"
_marks: Any = None


class Marks:
    """The history of each task, and the existing workers, in memory that all processes share."""

    def __init__(self, ctx: Any) -> None:
        self.began = ctx.RawArray("B", MOST)
        self.ended = ctx.RawArray("B", MOST)
        self._started = ctx.RawArray("B", 1 << 16)  # by the low bits of its pid: whether a worker has started

    def clear(self) -> None:
        for n in range(MOST):
            self.began[n] = self.ended[n] = 0

    def has_started(self, pid: int) -> bool:
        return bool(self._started[pid & 0xFFFF])

    def note_start(self) -> None:
        self._started[os.getpid() & 0xFFFF] = 1

    def forget(self, pid: int) -> None:
        self._started[pid & 0xFFFF] = 0

    def one_is_run_again(self) -> bool:
        """Returns whether a task has begun more than once and never ended."""
        return any(began > 1 and not ended for began, ended in zip(self.began, self.ended, strict=True))


def take_the_marks(marks: Marks) -> None:
    global _marks
    _marks = marks
    marks.note_start()


def work(n: int, seconds: float = 0.0, array: Any = None) -> Any:
    """Task number n."""
    _marks.began[n] += 1
    if seconds:
        time.sleep(seconds)
    result = n if array is None else array + n
    _marks.ended[n] += 1
    return result


# ------------------------------------------------------------------------------------------------------------ the work


class Load:
    """Submits numbered tasks to a pool in every possible way, and knows the outcome of each."""

    def __init__(self, pool: Any, rng: random.Random, tasks: int, naps: tuple[float, ...], **options: Any) -> None:
        self.pool, self.rng, self.naps, self.options = pool, rng, naps, options
        self.tasks = min(tasks, MOST)
        self.next = 0
        self.outcomes: dict[int, Any] = {}
        self.calls_that_failed: list[tuple[range, BaseException]] = []

    def run(self) -> None:
        ways = (self.map, self.map_of_chunks, self.imap, self.imap_unordered, self.applies, self.starmap, self.arrays)
        while self.next < self.tasks:
            self.rng.choice(ways)()

    def take(self, most: int) -> range:
        numbers = range(self.next, min(self.next + self.rng.randint(1, most), self.tasks))
        self.next = numbers.stop
        return numbers

    def settle(self, n: int, outcome: Any) -> None:
        assert n not in self.outcomes, f"task {n} has a second outcome: {outcome!r} after {self.outcomes[n]!r}"
        self.outcomes[n] = outcome

    def _whole(self, numbers: range, call: Callable[[], list]) -> None:
        """A call with one answer for all items: results, or one error."""
        try:
            results = call()
        except kettle.KettleError as error:
            self.calls_that_failed.append((numbers, error))
            return
        assert results == list(numbers), "results are wrong or out of order"
        for n in numbers:
            self.settle(n, n)

    def map(self) -> None:
        numbers = self.take(300)
        self._whole(numbers, lambda: self.pool.map(work, numbers, **self.options))

    def map_of_chunks(self) -> None:
        numbers, size = self.take(100), self.rng.choice([1, 1, 2, 10])
        self._whole(numbers, lambda: self.pool.map(work, numbers, size, **self.options))

    def starmap(self) -> None:
        items = [(n, self.rng.choice(self.naps)) for n in self.take(40)]
        numbers = range(items[0][0], items[-1][0] + 1)
        self._whole(numbers, lambda: self.pool.starmap_async(work, items, **self.options).get(LIMIT))

    def imap(self) -> None:
        numbers, size = self.take(100), self.rng.choice([1, 1, 7])
        iterator = self.pool.imap(work, numbers, size, buffersize=self.rng.choice([3, None]), **self.options)
        for n in numbers:
            try:
                assert iterator.next(LIMIT) == n, "results are wrong or out of order"
                self.settle(n, n)
            except kettle.KettleError as error:
                self.settle(n, error)
        assert next(iterator, None) is None

    def imap_unordered(self) -> None:
        numbers, size = self.take(100), self.rng.choice([1, 1, 7])
        iterator = self.pool.imap_unordered(work, numbers, size, **self.options)
        errors, found = [], []
        for _ in numbers:
            try:
                found.append(iterator.next(LIMIT))
            except kettle.KettleError as error:
                errors.append(error)
        assert next(iterator, None) is None
        assert len(set(found)) == len(found) and set(found) <= set(numbers)
        for n in found:
            self.settle(n, n)
        # The errors do not name their tasks; each belongs to one without a result.
        for n, error in zip(sorted(set(numbers) - set(found)), errors, strict=True):
            self.settle(n, error)

    def applies(self) -> None:
        heard: Counter = Counter()
        numbers = self.take(60)
        results = {
            n: self.pool.apply_async(
                work,
                (n, self.rng.choice(self.naps)),
                callback=lambda value: heard.update([value]),
                error_callback=lambda error: heard.update(["error"]),
                **self.options,
            )
            for n in numbers
        }
        errors = 0
        for n in self.rng.sample(numbers, len(numbers)):
            try:
                assert results[n].get(LIMIT) == n
                self.settle(n, n)
            except kettle.KettleError as error:
                errors += 1
                self.settle(n, error)
        until(lambda: heard.total() >= len(numbers))
        assert heard.total() == len(numbers) and heard["error"] == errors, "callbacks were not called once each"

    def arrays(self) -> None:
        numbers = self.take(8)
        iterator = self.pool.imap(_work_on_array, [(n, np.full(ARRAY, n)) for n in numbers], **self.options)
        for n in numbers:
            try:
                result = iterator.next(LIMIT)
                assert result.shape == (ARRAY,) and (result == 2 * n).all(), "a torn array"
                self.settle(n, n)
            except kettle.KettleError as error:
                self.settle(n, error)

    def census(self, marks: Marks, kinds: tuple[type, ...], retries: int = 0) -> Counter:
        """Asserts that each task has exactly one outcome, of these kinds; counts them."""
        counts: Counter = Counter()
        for numbers, error in self.calls_that_failed:
            assert isinstance(error, kinds), f"a call failed: {error!r}"
            # One outcome for all: tasks without a mark of their end are those that failed, and at least one did.
            for n in numbers:
                self.settle(n, n if marks.ended[n] else error)
            counts["calls that failed"] += 1
        assert len(self.outcomes) == self.tasks, f"{self.tasks - len(self.outcomes)} tasks have no outcome"
        for n, outcome in self.outcomes.items():
            began, ended = marks.began[n], marks.ended[n]
            assert ended <= began <= 1 + retries, f"task {n} began {began} times, ended {ended}: {outcome!r}"
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, kinds), f"task {n}: {outcome!r}"
                counts[type(outcome).__name__] += 1
            else:
                assert ended, f"task {n} has a result and never ended"
                counts["results"] += 1
                counts["run again"] += began > 1
        return counts


def _work_on_array(item: tuple[int, Any]) -> Any:
    n, array = item
    return work(n, 0.0, array)


# ----------------------------------------------------------------------------------------------------------- the storms


class Storm:
    """One kind of trouble. `round` creates a pool, works with it during the trouble, and checks."""

    tasks = 1_000
    #: The share of rounds, and of tasks, with spawn and forkserver, whose workers take long to start.
    slower = {"fork": 1.0, "forkserver": 0.25, "spawn": 0.1}

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self.marks = Marks(ctx)
        self.scale = self.slower[ctx.get_start_method()]

    def round(self, rng: random.Random) -> Counter:
        raise NotImplementedError

    @contextmanager
    def _pool(self, workers: int, **options: Any) -> Iterator[Any]:
        self.marks.clear()
        pool = self.ctx.Pool(workers, take_the_marks, (self.marks,), **options)
        try:
            yield pool
        finally:
            begun = time.monotonic()
            pool.terminate()
            pool.join()
            took = time.monotonic() - begun
        assert took < PROMPT, f"terminate took {took:.1f} s"
        assert not _workers(), "workers are left"

    def _is_whole(self, pool: Any, workers: int) -> None:
        """As many workers as before, and each works."""
        until(lambda: pool.statistics().workers == workers and len(_workers()) == workers)
        assert pool.map(abs, range(-50, 0), 1) == list(range(50, 0, -1))
        now = pool.statistics()
        assert (now.busy, now.queued) == (0, 0), now


def _workers() -> list:
    return [child for child in mp.active_children() if "PoolWorker" in child.name]


class Deaths(Storm):
    """Workers are killed. Each death loses at most the running task."""

    kills = 12
    pause = 0.004  # average seconds between two kills
    naps = (0.0, 0.0, 0.001, 0.002)  # durations of tasks
    retries = 0

    def round(self, rng: random.Random) -> Counter:
        workers = rng.randint(2 if self.retries else 1, 4)
        options = {"maxtasksperchild": rng.choice([None, None, None, 5])} if self.scale == 1 else {}
        with self._pool(workers, **options) as pool:
            load = Load(pool, rng, int(self.tasks * self.scale), self.naps, retries=self.retries)
            kills = max(1, int(self.kills * self.scale))
            with _killer(self.marks, random.Random(rng.random()), kills, self.pause, self.retries > 0) as killed:
                load.run()
            self._is_whole(pool, workers)
            counts = load.census(self.marks, (kettle.WorkerDied,) if not self.retries else (), self.retries)
        assert counts["WorkerDied"] <= len(killed), f"{counts} after {len(killed)} kills"
        counts["kills"] = len(killed)
        counts["tasks"] = load.tasks
        return counts


class RetriedDeaths(Deaths):
    """With retries, all tasks have their results.

    A task that is killed four times would fail. So no worker is killed while a task that was hit is run again. Such a
    task may begin just between the check and the kill, and therefore be hit once more, but not twice.
    """

    retries = 3
    tasks = 1_500
    pause = 0.01
    naps = (0.0, 0.0, 0.0005)


@contextmanager
def _killer(marks: Marks, rng: random.Random, kills: int, pause: float, gentle: bool) -> Iterator[list[int]]:
    """A thread that kills up to the given number of workers while the block runs, with an average `pause` between two
    kills. A `gentle` one waits while a task is run again.

    Workers that are still starting are killed too, but only one until a new one has started: after several deaths in a
    row before readiness the pool concludes that no worker will become ready, and gives up, as it should.
    """
    killed: list[int] = []
    failed: list[BaseException] = []
    over = threading.Event()

    def kill_them() -> None:
        seen: set[int] = set()  # those that had started when one was killed that had not
        one_was_starting = False
        while len(killed) < kills and not over.wait(rng.expovariate(1 / pause)):
            if gentle and marks.one_is_run_again():
                continue
            living = [child.pid for child in _workers() if child.pid and runs(child.pid)]
            started = {pid for pid in living if marks.has_started(pid)}
            if one_was_starting and not started - seen:
                living = [pid for pid in living if pid in started]
            if living:
                victim = rng.choice(living)
                if victim not in started:
                    one_was_starting, seen = True, started
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue  # it has ended in the meantime
                marks.forget(victim)
                killed.append(victim)

    def guarded() -> None:
        try:
            kill_them()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join(LIMIT)
    assert not thread.is_alive() and not failed, f"the killer: {failed}"


class TimeOuts(Storm):
    """Tasks that take about as long as their time limit. Each has a result or was too slow; no other task is
    affected."""

    tasks = 120
    limit = 0.004

    def round(self, rng: random.Random) -> Counter:
        workers = rng.randint(1, 4)
        number = int(self.tasks * self.scale) + 1
        with self._pool(workers) as pool:
            bystander = pool.map_async(work, range(number, 2 * number), rng.choice([None, 1, 5]))
            items = [(n, rng.uniform(0, 2 * self.limit)) for n in range(number)]
            counts: Counter = Counter(tasks=2 * number)
            iterator = pool.imap(_work_on_item, items, rng.choice([1, 1, 4]), task_timeout=self.limit)
            for n in range(number):
                try:
                    assert iterator.next(LIMIT) == n, "results are wrong or out of order"
                    assert self.marks.ended[n] == 1
                    counts["results"] += 1
                except kettle.TaskTimeout:
                    assert self.marks.began[n] <= 1
                    counts["TaskTimeout"] += 1
            assert next(iterator, None) is None
            assert bystander.get(LIMIT) == list(range(number, 2 * number))
            assert all(self.marks.began[n] == self.marks.ended[n] == 1 for n in range(number, 2 * number))
            assert pool.statistics().timed_out == counts["TaskTimeout"]
            assert pool.statistics().died == 0
            self._is_whole(pool, workers)
        counts["kills"] = counts["TaskTimeout"]
        return counts


def _work_on_item(item: tuple[int, float]) -> int:
    return work(*item)


class Cancels(Storm):
    """Results are cancelled at random instants: the return value of `cancel` is true, and no other task is affected."""

    tasks = 150

    def round(self, rng: random.Random) -> Counter:
        workers = rng.randint(1, 4)
        number = int(self.tasks * self.scale) + 1
        with self._pool(workers) as pool:
            bystander = pool.map_async(work, range(number, 2 * number), rng.choice([None, 1, 5]))
            results = [pool.apply_async(work, (n, rng.choice([0.0, 0.001, 0.003]))) for n in range(number)]
            doomed = set(rng.sample(range(number), number // 3))
            said = {}
            for n in sorted(doomed) if rng.random() < 0.5 else doomed:
                time.sleep(rng.choice([0, 0, 0.0005, 0.002]))
                said[n] = results[n].cancel()
            counts: Counter = Counter(tasks=2 * number)
            for n, result in enumerate(results):
                try:
                    assert result.get(LIMIT) == n
                    assert not said.get(n) and self.marks.began[n] == self.marks.ended[n] == 1
                    counts["results"] += 1
                except kettle.TaskCancelled:
                    assert said[n] and result.cancelled() and self.marks.began[n] <= 1
                    counts["TaskCancelled"] += 1
            assert bystander.get(LIMIT) == list(range(number, 2 * number))
            assert all(self.marks.began[n] == self.marks.ended[n] == 1 for n in range(number, 2 * number))
            assert pool.statistics().died == 0
            # A worker whose task was cancelled is busy until it has ended.
            until(lambda: pool.statistics().busy == 0)
            self._is_whole(pool, workers)
        counts["kills"] = counts["TaskCancelled"]
        return counts


class Terminations(Storm):
    """`terminate` at a random instant, while threads are in every kind of call: all of these end at once."""

    def round(self, rng: random.Random) -> Counter:
        failed: list[BaseException] = []
        counts: Counter = Counter(kills=1)

        def use(call: Callable[[Any, range], list]) -> None:
            numbers = range(rng.randint(1, 200))
            try:
                while True:
                    assert call(pool, numbers) == list(numbers), "results are missing, and no error said so"
                    counts["calls"] += 1
            except kettle.KettleError:
                counts["calls told"] += 1
            except ValueError as error:
                assert "not running" in str(error)
            except BaseException as error:
                failed.append(error)

        with self._pool(rng.randint(1, 3)) as pool:
            threads = [threading.Thread(target=use, args=(call,), daemon=True) for call in _CALLS]
            for thread in threads:
                thread.start()
            time.sleep(rng.choice([0, rng.uniform(0, 0.01), rng.uniform(0, 0.1)]) / self.scale)
            pool.terminate()
            for thread in threads:
                thread.join(PROMPT)
                assert not thread.is_alive(), "a call still waits"
        assert not failed, failed
        return counts


_CALLS: tuple[Callable[[Any, range], list], ...] = (
    lambda pool, numbers: pool.map(abs, numbers),
    lambda pool, numbers: pool.map(abs, numbers, 1),
    lambda pool, numbers: list(pool.imap(abs, numbers)),
    lambda pool, numbers: sorted(pool.imap_unordered(abs, numbers, 5)),
    lambda pool, numbers: [pool.apply(abs, (n,)) for n in numbers],
    lambda pool, numbers: [result.get() for result in [pool.apply_async(abs, (n,)) for n in numbers]],
)


class Interrupts(Storm):
    """Ctrl-C for a program and its workers, at a random instant: the program ends at once, prints one traceback, and
    leaves no process.

    The interpreter itself loses a KeyboardInterrupt that comes within a destructor or a weak reference's callback: it
    prints "Exception ignored in ...", and goes on. In that case Ctrl-C is pressed again.
    """

    def round(self, rng: random.Random) -> Counter:
        command = [sys.executable, str(AT_WORK), self.ctx.get_start_method(), str(rng.random())]
        with (
            tempfile.TemporaryFile("w+") as said,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, start_new_session=True) as program,
        ):
            try:
                assert program.stdout and program.stdout.readline() == b"ready\n"
                time.sleep(rng.choice([0, rng.uniform(0, 0.01), rng.uniform(0, 0.2)]))
                begun = self._press(program, said)
                until(lambda: not session_members(program.pid), PROMPT)
                took = time.monotonic() - begun
            finally:
                for pid in session_members(program.pid):
                    os.kill(pid, signal.SIGKILL)
            text = _text(said)
        lost = text.count(LOST)
        assert program.returncode == -signal.SIGINT, f"ended with {program.returncode}: {text}"
        assert text.count("Traceback") == 1 + lost and text.endswith("KeyboardInterrupt\n"), text
        return Counter({"kills": 1, "lost by the interpreter": lost, "took > 1 s": int(took > 1.0)})

    def _press(self, program: subprocess.Popen, said: IO[str]) -> float:
        """Presses Ctrl-C until the program ends; returns the time of the last press."""
        presses = 0
        while True:
            presses += 1
            os.killpg(program.pid, signal.SIGINT)
            begun = time.monotonic()
            try:
                until(lambda: program.poll() is not None, PROMPT)
            except AssertionError:
                if _text(said).count(LOST) < presses:
                    raise
            else:
                return begun


def _text(said: IO[str]) -> str:
    """Returns the content of a file that other processes write to."""
    return os.pread(said.fileno(), 1 << 20, 0).decode()


STORMS: dict[str, type[Storm]] = {
    storm.__name__: storm for storm in (Deaths, RetriedDeaths, TimeOuts, Cancels, Terminations, Interrupts)
}
