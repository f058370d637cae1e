"""Threads that run a program, with the deadlock detection at its most sensitive, and the reports about them."""

from __future__ import annotations

import contextlib
import queue as standard_queue
import random
import threading as standard
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.death.support import LIMIT

from kettle import _deadlock
from kettle._core import native

#: Seconds after which waiting threads are examined, and for which a correct wait may last.
THRESHOLD = 0.05
LONG = 20 * THRESHOLD
#: The text of a report that claims no certainty.
MAY_HELP = (
    "only a release() by yet another thread can help",
    "only a release() by another thread, or by a signal handler, can help",
)


class Scene:
    """Threads, and the reports about them."""

    def __init__(self, seconds: float, chance: random.Random, threshold: float) -> None:
        self.seconds = seconds
        self.chance = chance
        self.threshold = threshold
        self.wrong: list[str] = []
        self.reports: list[str] = []
        self.threads: list[standard.Thread] = []

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        before, report = native.deadlock_policy(), _deadlock.report
        native.deadlock_policy("raise", self.threshold)
        _deadlock.report = self.report
        try:
            yield
        finally:
            native.deadlock_policy(*before)
            _deadlock.report = report

    def report(self, text: str, has_ended: bool) -> None:
        self.reports.append(text)
        if not any(words in text for words in MAY_HELP) or has_ended:
            self.wrong.append(text)

    def play(self, part: Callable[..., object], *args: object) -> standard.Thread:
        thread = standard.Thread(target=self.guarded, args=(part, *args))
        self.threads.append(thread)
        thread.start()
        return thread

    def guarded(self, part: Callable[..., object], *args: object) -> None:
        try:
            part(*args)
        except BaseException as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def linger(self) -> None:
        """Waits longer than it takes to examine the waiting threads twice."""
        time.sleep(self.seconds * self.chance.uniform(1.0, 1.2))

    def join(self) -> None:
        for thread in self.threads:
            thread.join(LIMIT)
            if thread.is_alive():
                self.wrong.append(f"{thread.name} hangs")
        self.threads.clear()


def play(pattern: Callable[[Scene], None], seconds: float, chance: random.Random, threshold: float) -> list[str]:
    """Runs a pattern once. Returns what was wrong."""
    scene = Scene(seconds, chance, threshold)
    with scene.watched():
        scene.guarded(pattern, scene)
        scene.join()
    return scene.wrong


class Worker:
    """One thread of a pool."""

    def __init__(self, scene: Scene) -> None:
        self._jobs: Any = standard_queue.SimpleQueue()
        scene.play(self._run)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, done = job
            try:
                done.put((call(), None))
            except BaseException as error:
                done.put((None, error))

    def starts(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """Submits a call; returns a function that waits for its result."""
        done: Any = standard_queue.SimpleQueue()
        self._jobs.put((call, done))

        def result() -> Any:
            value, error = done.get(timeout=LIMIT)
            if error is not None:
                raise error
            return value

        return result

    def does(self, call: Callable[[], Any]) -> Any:
        return self.starts(call)()

    def stop(self) -> None:
        self._jobs.put(None)
