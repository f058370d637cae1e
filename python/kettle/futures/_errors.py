"""The error of a task whose worker died, as an executor gives it."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from kettle import _errors

__all__ = ["WorkerDied"]


class WorkerDied(_errors.WorkerDied, BrokenProcessPool):
    """As `kettle.WorkerDied`; and whoever is prepared for the standard library's error catches it, too. The executor is
    not broken, and takes tasks as before."""

    __module__ = "kettle.futures"
