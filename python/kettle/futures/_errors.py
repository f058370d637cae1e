"""The error of a task whose worker died, as raised by an executor."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from kettle import _errors

__all__ = ["WorkerDied"]


class WorkerDied(_errors.WorkerDied, BrokenProcessPool):
    """Like `kettle.WorkerDied`, and also caught by code that is prepared for the standard library's error. The executor
    is not broken and accepts tasks as before."""

    __module__ = "kettle.futures"
