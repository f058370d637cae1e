"""The pools of all libraries behind one interface, each used in the way that its documentation calls the fastest.

A pool that does not choose chunk sizes itself gets the standard library's: an eighth of the items, with two workers.
"""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import as_completed
from typing import Any, Protocol

from benches._peers import Peer

WORKERS = 2

Task = Callable[[Any], Any]


class Pool(Protocol):
    def map(self, task: Task, items: Sequence[Any], chunk: int | None = None) -> list[Any]:
        """Returns all results in order. If `chunk` is None, the library uses its best chunk size."""

    def imap(self, task: Task, items: Iterable[Any], chunk: int = 1) -> Iterable[Any]:
        """Yields results in order, one by one."""

    def unordered(self, task: Task, items: Iterable[Any]) -> Iterable[Any]:
        """Yields results as they become available, one by one."""

    def apply(self, task: Task, item: Any) -> Any:
        """Runs one task and returns its result."""

    def burst(self, task: Task, items: Iterable[Any]) -> None:
        """Submits all single tasks before requesting the first result."""

    def close(self) -> None:
        """Closes the pool in order; all workers are gone when it returns."""


class Opened:
    """Opens the pool of a library and closes it."""

    def __init__(self, make: Callable[[Peer, int], Pool], peer: Peer, workers: int) -> None:
        self._make, self._peer, self._workers = make, peer, workers

    def __enter__(self) -> Pool:
        self._pool = self._make(self._peer, self._workers)
        return self._pool

    def __exit__(self, *exception: object) -> None:
        self._pool.close()


def pool(peer: Peer, workers: int = WORKERS) -> Opened:
    makers: dict[str, Callable[[Peer, int], Pool]] = {
        "futures": Executor,
        "loky": Executor,
        "joblib": Joblib,
        "mpire": Mpire,
        "pebble": Pebble,
    }
    return Opened(makers.get(peer.name, Standard), peer, workers)


def executor(peer: Peer, workers: int = WORKERS) -> Opened:
    return Opened(Pebble if peer.name == "pebble" else Executor, peer, workers)


def _eighth(items: Sequence[Any], workers: int) -> int:
    return max(1, -(-len(items) // (4 * workers)))


class Standard:
    """The standard library's pool, and pools with the same names."""

    def __init__(self, peer: Peer, workers: int) -> None:
        self._pool = peer.context().Pool(workers)

    def map(self, task: Task, items: Sequence[Any], chunk: int | None = None) -> list[Any]:
        return self._pool.map(task, items, chunk)

    def imap(self, task: Task, items: Iterable[Any], chunk: int = 1) -> Iterable[Any]:
        return self._pool.imap(task, items, chunk)

    def unordered(self, task: Task, items: Iterable[Any]) -> Iterable[Any]:
        return self._pool.imap_unordered(task, items)

    def apply(self, task: Task, item: Any) -> Any:
        return self._pool.apply(task, (item,))

    def burst(self, task: Task, items: Iterable[Any]) -> None:
        for result in [self._pool.apply_async(task, (item,)) for item in items]:
            result.get()

    def close(self) -> None:
        self._pool.close()
        self._pool.join()


class Executor:
    """Pools with the names of an executor. `map` reads all its input before it returns the first result."""

    def __init__(self, peer: Peer, workers: int) -> None:
        self._workers = workers
        if peer.name == "loky":
            self._pool = importlib.import_module("loky").get_reusable_executor(workers)
        elif peer.name == "kettle":
            self._pool = importlib.import_module("kettle.futures").ProcessPoolExecutor(workers, peer.context())
        else:
            fork = multiprocessing.get_context("fork")
            self._pool = importlib.import_module("concurrent.futures").ProcessPoolExecutor(workers, fork)

    def map(self, task: Task, items: Sequence[Any], chunk: int | None = None) -> list[Any]:
        return list(self._pool.map(task, items, chunksize=chunk or _eighth(items, self._workers)))

    def imap(self, task: Task, items: Iterable[Any], chunk: int = 1) -> Iterable[Any]:
        return self._pool.map(task, items, chunksize=chunk)

    def unordered(self, task: Task, items: Iterable[Any]) -> Iterable[Any]:
        return (future.result() for future in as_completed([self._pool.submit(task, item) for item in items]))

    def apply(self, task: Task, item: Any) -> Any:
        return self._pool.submit(task, item).result()

    def burst(self, task: Task, items: Iterable[Any]) -> None:
        for future in [self._pool.submit(task, item) for item in items]:
            future.result()

    def close(self) -> None:
        self._pool.shutdown()


class Joblib:
    """The forking backend of joblib is the faster one, but it only returns lists. Arrays go through memory-mapped
    files, as its documentation recommends. If batches are given, everything is dispatched at once, because only its
    automatic batches benefit from waiting."""

    def __init__(self, peer: Peer, workers: int) -> None:
        self._joblib = importlib.import_module("joblib")
        self._workers = workers
        self._opened: dict[tuple[object, ...], Any] = {}

    def _parallel(self, **options: Any) -> Any:
        key = tuple(options.values())
        if key not in self._opened:
            parallel = self._joblib.Parallel(self._workers, max_nbytes="512K", **options)
            self._opened[key] = parallel.__enter__()
        return self._opened[key]

    def _calls(self, task: Task, items: Iterable[Any]) -> Iterable[Any]:
        delayed = self._joblib.delayed(task)
        return (delayed(item) for item in items)

    def map(self, task: Task, items: Sequence[Any], chunk: int | None = None) -> list[Any]:
        how = {"batch_size": chunk, "pre_dispatch": "all"} if chunk else {"batch_size": "auto"}
        return self._parallel(backend="multiprocessing", **how)(self._calls(task, items))

    def imap(self, task: Task, items: Iterable[Any], chunk: int = 1) -> Iterable[Any]:
        return self._parallel(backend="loky", batch_size=chunk, return_as="generator")(self._calls(task, items))

    def unordered(self, task: Task, items: Iterable[Any]) -> Iterable[Any]:
        parallel = self._parallel(backend="loky", batch_size=1, return_as="generator_unordered")
        return parallel(self._calls(task, items))

    def close(self) -> None:
        for parallel in self._opened.values():
            parallel.__exit__(None, None, None)
        self._opened.clear()


class Mpire:
    """Keeps its workers between maps; the first call decides which kind of map is possible."""

    def __init__(self, peer: Peer, workers: int) -> None:
        self._pool = importlib.import_module("mpire").WorkerPool(workers, start_method="fork", keep_alive=True)

    def map(self, task: Task, items: Sequence[Any], chunk: int | None = None) -> list[Any]:
        return self._pool.map(task, items, chunk_size=chunk)

    def imap(self, task: Task, items: Iterable[Any], chunk: int = 1) -> Iterable[Any]:
        return self._pool.imap(task, items, chunk_size=chunk)

    def unordered(self, task: Task, items: Iterable[Any]) -> Iterable[Any]:
        return self._pool.imap_unordered(task, items, chunk_size=1)

    def apply(self, task: Task, item: Any) -> Any:
        return self._pool.apply(task, (item,))

    def burst(self, task: Task, items: Iterable[Any]) -> None:
        for result in [self._pool.apply_async(task, (item,)) for item in items]:
            result.get()

    def close(self) -> None:
        self._pool.stop_and_join()


class Pebble:
    def __init__(self, peer: Peer, workers: int) -> None:
        self._workers = workers
        fork = multiprocessing.get_context("fork")
        self._pool = importlib.import_module("pebble").ProcessPool(workers, context=fork)

    def map(self, task: Task, items: Sequence[Any], chunk: int | None = None) -> list[Any]:
        return list(self.imap(task, items, chunk or _eighth(items, self._workers)))

    def imap(self, task: Task, items: Iterable[Any], chunk: int = 1) -> Iterable[Any]:
        return self._pool.map(task, items, chunksize=chunk).result()

    def unordered(self, task: Task, items: Iterable[Any]) -> Iterable[Any]:
        return (f.result() for f in as_completed([self._pool.schedule(task, (item,)) for item in items]))

    def apply(self, task: Task, item: Any) -> Any:
        return self._pool.schedule(task, (item,)).result()

    def burst(self, task: Task, items: Iterable[Any]) -> None:
        for future in [self._pool.schedule(task, (item,)) for item in items]:
            future.result()

    def close(self) -> None:
        self._pool.close()
        self._pool.join()
