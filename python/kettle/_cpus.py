"""The number of processors that this process may use."""

from __future__ import annotations

import math
import os

from kettle import _cgroups

__all__ = ["usable_cpus"]


def usable_cpus() -> int:
    """Returns the number of processors for which starting workers is worthwhile; at least 1.

    It is the minimum of these: the processors on which this process may run (from Python 3.13 on, `-X cpu_count` and
    PYTHON_CPU_COUNT override it); the CPU quota of its control group and the groups that enclose it, as set by
    containers and systemd, rounded up; and SLURM_CPUS_PER_TASK.
    """
    limits = [_runnable(), _quota(), _slurm()]
    return max(1, min(limit for limit in limits if limit is not None))


def _runnable() -> int:
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0))


def _quota(root: str = "/") -> int | None:
    """Returns the tightest quota, in processors; None if there is none."""
    quotas = []
    for chain in _cgroups.directories("cpu", root):
        for directory in chain:
            quota = _quota_v2(directory) or _quota_v1(directory)
            if quota is not None:
                quotas.append(math.ceil(quota))
    return min(quotas, default=None)


def _quota_v2(directory: str) -> float | None:
    words = _cgroups.read(os.path.join(directory, "cpu.max")).split()
    return _share(words[0], words[1]) if len(words) == 2 else None


def _quota_v1(directory: str) -> float | None:
    return _share(
        _cgroups.read(os.path.join(directory, "cpu.cfs_quota_us")),
        _cgroups.read(os.path.join(directory, "cpu.cfs_period_us")),
    )


def _share(quota: str, period: str) -> float | None:
    """Returns the quota in processors, from two values in microseconds; "max" and -1 mean that there is no quota."""
    try:
        used, of = int(quota), int(period)
    except ValueError:
        return None
    return used / of if used > 0 and of > 0 else None


def _slurm() -> int | None:
    """Returns the processors that the batch system assigns to each task of a job, which it may not enforce."""
    try:
        count = int(os.environ.get("SLURM_CPUS_PER_TASK", ""))
    except ValueError:
        return None
    return count if count > 0 else None
