"""The number of workers of an executor, of processes or of threads."""

from __future__ import annotations

import sys

from kettle import _parameters

__all__ = ["worker_count"]


def worker_count(max_workers: float | None, default: int) -> int:
    """Returns the maximum number of workers. The standard library accepts a float as well (`os.cpu_count() / 2`); a
    fraction counts as one worker, and infinity as `sys.maxsize`."""
    if max_workers is None:
        return default
    if not isinstance(max_workers, (int, float)):
        max_workers = _parameters.whole("max_workers", max_workers)
    if not max_workers > 0:
        raise ValueError(f"max_workers must be greater than 0, not {max_workers}")
    return -int(-min(max_workers, sys.maxsize) // 1)
