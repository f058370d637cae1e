"""Pools of worker processes that survive the death of any worker, and pools of threads.

The interface is the standard library's with additions, see `Pool`. docs/pool.md describes its behaviour.
"""

from __future__ import annotations

from multiprocessing import pool as _standard

from kettle.multiprocessing._process_pool import Pool
from kettle.multiprocessing._results import ApplyResult
from kettle.multiprocessing._results import IMapIterator as IMapIterator
from kettle.multiprocessing._results import IMapUnorderedIterator as IMapUnorderedIterator
from kettle.multiprocessing._results import MapResult as MapResult
from kettle.multiprocessing._thread_pool import ThreadPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Pool", "ThreadPool"]

AsyncResult = ApplyResult


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)
