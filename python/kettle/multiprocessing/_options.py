"""Checks of the arguments of pools and executors, of processes and of threads."""

from __future__ import annotations

import re

from kettle import _parameters
from kettle._cpus import usable_cpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["context_of", "memory_size", "retry_count", "worker_count"]


def worker_count(processes: int | None) -> int:
    """Returns the number of workers; by default the number of available processors."""
    if processes is None:
        return usable_cpus()
    processes = _parameters.whole("processes", processes)
    if processes < 1:
        raise ValueError(f"Number of processes must be at least 1, and processes is {processes}")
    return processes


def context_of(name: str, context: Any) -> Any:
    """Returns the context that was passed for the parameter `name`."""
    if not hasattr(context, "get_start_method"):
        shown = _parameters.shown(context)
        example = shown if isinstance(context, str) else "'spawn'"
        raise TypeError(f"{name} must be a context, not {shown}: multiprocessing.get_context({example}) returns one")
    return context


def retry_count(retries: int) -> int:
    """Returns how often a task is run again."""
    if retries == 0 and type(retries) is int:
        return 0
    retries = _parameters.whole("retries", retries)
    if not 0 <= retries < 2**32:
        raise ValueError(f"retries must be from 0 to {2**32 - 1}, not {retries}")
    return retries


_UNITS = {unit: 1000**i for i, unit in enumerate(("", "K", "M", "G", "T"))}
_UNITS |= {f"{unit}I": 1024**i for i, unit in enumerate(("", "K", "M", "G", "T")) if i}


def memory_size(size: int | str) -> int:
    """Returns a size in bytes, given as a number or as text with a unit."""
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]I?)?B?\s*", size.upper())
        if match is None:
            raise ValueError(f"max_memory_per_worker must be a size like '2GB' or '512MiB', not {size!r}")
        size = int(float(match[1]) * _UNITS[match[2] or ""])
    if isinstance(size, float):
        raise TypeError(f"max_memory_per_worker must be a whole number of bytes or text such as '2GB', not {size!r}")
    size = _parameters.whole("max_memory_per_worker", size)
    if size < 1:
        raise ValueError(f"max_memory_per_worker must be positive, not {size}")
    return size
