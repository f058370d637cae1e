"""Threads of a test, and many threads that do something at once."""

from __future__ import annotations

import threading as standard
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Seconds after which a thread definitely hangs.
LIMIT = 60


@contextmanager
def thread(target: Callable[..., object], *args: Any) -> Iterator[None]:
    """A thread that runs `target(*args)`; it must have ended soon after the block."""
    t = standard.Thread(target=target, args=args, daemon=True)
    t.start()
    yield
    t.join(LIMIT)
    assert not t.is_alive(), "a thread hangs"


def all_at_once(target: Callable[[int], Any], count: int) -> list[Any]:
    """Runs `target(number)` in the given number of threads, which start together. Returns their results."""
    start = standard.Barrier(count)
    results: dict[int, Any] = {}
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait(LIMIT)
            results[number] = target(number)
        except BaseException as error:
            errors.append(error)

    threads = [standard.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(LIMIT)
        assert not t.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    return [results[number] for number in range(count)]
