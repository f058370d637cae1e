"""The libraries that are measured, and how those that have `get_context` make queues, pipes, locks and processes.
The pools of all of them stand in `_pools`."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import Any

_FIFO_ROOM = 1 << 20  # bytes; faster-fifo's queues have a size in bytes, and the default one holds no 1 MB array


@dataclass(frozen=True)
class Peer:
    """One library. `module` is what `load` imports, and where `get_context` is if the library has one; a library with
    queues only (faster-fifo) names them in `queues`."""

    name: str
    module: str
    distribution: str | None
    queues: str | None = None

    def load(self) -> None:
        """Imports what a measurement needs, so that a missing library shows as `ImportError` before any clock runs."""
        importlib.import_module(self.module)
        if self.queues:
            importlib.import_module(self.queues)

    def version(self) -> str:
        return importlib.metadata.version(self.distribution) if self.distribution else "of this Python"

    def context(self, method: str = "fork") -> Any:
        return importlib.import_module(self.module).get_context(method)

    def queue(self, maxsize: int = 0, room: int = _FIFO_ROOM) -> Any:
        """A queue of the library; `room` is what a queue with a size in bytes must hold at once."""
        if self.queues:
            fifo = importlib.import_module(self.queues)
            return fifo.Queue(max_size_bytes=room)
        return self.context().Queue(maxsize)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("kettle", "kettle.multiprocessing", "kettle"),
        Peer("stdlib", "multiprocessing", None),
        Peer("billiard", "billiard", "billiard"),
        Peer("multiprocess", "multiprocess", "multiprocess"),
        Peer("faster-fifo", "multiprocessing", "faster-fifo", queues="faster_fifo"),
        Peer("futures", "concurrent.futures", None),
        Peer("loky", "loky", "loky"),
        Peer("joblib", "joblib", "joblib"),
        Peer("mpire", "mpire", "mpire"),
        Peer("pebble", "pebble", "pebble"),
        Peer("aiologic", "aiologic", "aiologic"),
        Peer("culsans", "culsans", "culsans"),
        Peer("janus", "janus", "janus"),
    )
}

#: Those that have processes, locks and pipes of their own.
LIBRARIES = ("kettle", "stdlib", "billiard", "multiprocess")
#: Those that have a process queue.
QUEUES = (*LIBRARIES, "faster-fifo")
#: Those that have a pool of processes with a map.
MAPS = (*LIBRARIES, "futures", "loky", "joblib", "mpire", "pebble")
#: Those whose pool takes single tasks besides.
POOLS = tuple(name for name in MAPS if name != "joblib")
#: Those that have `submit` or the like, giving futures of `concurrent.futures`.
EXECUTORS = ("kettle", "futures", "loky", "pebble")
#: Those that have what `threading` and `queue` have; queues only; queues that a thread and a coroutine share.
THREADS = ("kettle", "stdlib", "aiologic")
THREAD_QUEUES = (*THREADS, "culsans")
AWAITABLE_QUEUES = (*THREAD_QUEUES, "janus")
