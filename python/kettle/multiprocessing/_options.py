"""What a pool may be told: the checks of its arguments, which pools and executors of both kinds share."""

from __future__ import annotations

import re
from operator import index

from kettle._cpus import usable_cpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["check_initializer", "memory_size", "retry_count", "worker_count"]


def worker_count(processes: int | None) -> int:
    """How many workers; by default as many as there are processors to use."""
    if processes is None:
        return usable_cpus()
    if processes < 1:
        raise ValueError("Number of processes must be at least 1")
    return processes


def check_initializer(initializer: Any) -> None:
    """Raises TypeError if it cannot be called."""
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")


def retry_count(retries: int) -> int:
    """How often a task is begun again."""
    retries = index(retries)
    if not 0 <= retries < 2**32:
        raise ValueError(f"retries must not be negative, and not {retries}")
    return retries


_UNITS = {unit: 1000**i for i, unit in enumerate(("", "K", "M", "G", "T"))}
_UNITS |= {f"{unit}I": 1024**i for i, unit in enumerate(("", "K", "M", "G", "T")) if i}


def memory_size(size: int | str) -> int:
    """A size in bytes, or in text with a unit."""
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]I?)?B?\s*", size.upper())
        if match is None:
            raise ValueError(f"max_memory_per_worker must be a size like '2GB' or '512MiB', not {size!r}")
        size = int(float(match[1]) * _UNITS[match[2] or ""])
    size = index(size)
    if size < 1:
        raise ValueError(f"max_memory_per_worker must be positive, not {size}")
    return size
