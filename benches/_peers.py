"""The measured libraries, and how those with `get_context` create queues, pipes, locks and processes. The pools of all
libraries are in `_pools`."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import Any

_FIFO_ROOM = 1 << 20  # bytes; the size of faster-fifo's queues is in bytes, and the default holds no 1 MB array


@dataclass(frozen=True)
class Peer:
    """One library. `load` imports `module`, which also contains `get_context` if the library has one. A library that
    has only queues (faster-fifo) names them in `queues`."""

    name: str
    module: str
    distribution: str | None
    queues: str | None = None

    def load(self) -> None:
        """Imports everything a measurement needs, so that a missing library raises `ImportError` before the
        measurement."""
        importlib.import_module(self.module)
        if self.queues:
            importlib.import_module(self.queues)

    def version(self) -> str:
        return importlib.metadata.version(self.distribution) if self.distribution else "of this Python"

    def context(self, method: str = "fork") -> Any:
        return importlib.import_module(self.module).get_context(method)

    def queue(self, maxsize: int = 0, room: int = _FIFO_ROOM) -> Any:
        """Returns a queue of the library. A queue with a size in bytes can hold at least `room` bytes."""
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

#: Libraries that have their own processes, locks and pipes.
LIBRARIES = ("kettle", "stdlib", "billiard", "multiprocess")
#: Libraries that have a process queue.
QUEUES = (*LIBRARIES, "faster-fifo")
#: Libraries that have a process pool with a map.
MAPS = (*LIBRARIES, "futures", "loky", "joblib", "mpire", "pebble")
#: Libraries whose pool also accepts single tasks.
POOLS = tuple(name for name in MAPS if name != "joblib")
#: Libraries that have `submit` or a similar method that returns futures of `concurrent.futures`.
EXECUTORS = ("kettle", "futures", "loky", "pebble")
#: Libraries that have the classes of `threading` and `queue`; only queues; queues that threads and coroutines share.
THREADS = ("kettle", "stdlib", "aiologic")
THREAD_QUEUES = (*THREADS, "culsans")
AWAITABLE_QUEUES = (*THREAD_QUEUES, "janus")
