"""joblib, and thus scikit-learn, on Kettle's processes.

    import kettle.joblib

    kettle.joblib.install()
    GridSearchCV(..., n_jobs=4).fit(X, y)

`install` makes it the default backend. Without it, importing this module only registers a backend with the name
"kettle", to be selected explicitly:

    with joblib.parallel_config(backend="kettle", n_jobs=4):
        GridSearchCV(...).fit(X, y)

Arrays, tables and sparse matrices of more than `max_nbytes` (an argument of `Parallel`; a megabyte by default) are
copied into shared memory once for each call of `Parallel`, no matter how many of its calls get them, and workers read
them there. As with joblib's own backend they are read-only, unless `mmap_mode` is "c" (each call has a copy), "r+" or
"w+" (all calls see the changes).

When a worker dies, that call of `Parallel` raises `WorkerDied`, and the next one works. The backend accepts these
options, also through `parallel_config`:

context: the context whose start method is used; the default one if None.
task_timeout: the time limit in seconds of each batch of calls; a batch that exceeds it is ended together with its
    worker, and TaskTimeout is raised.
retries: how often a batch is run again when its worker dies.
max_memory_per_worker: see `kettle.futures.ProcessPoolExecutor`.
inner_max_num_threads: how many threads the libraries below NumPy may use in each worker; by default each worker's share
    of the processors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor

import joblib  # type: ignore[import-untyped, import-not-found, unused-ignore]
from joblib.parallel import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from kettle._cpus import usable_cpus
from kettle._describe import describe, name_task
from kettle._large_arguments import LargeArguments
from kettle.futures import PoolFuture, ProcessPoolExecutor, WorkerDied
from kettle.futures._hooks import Hooks
from kettle.multiprocessing import get_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["KettleBackend", "install"]


class KettleBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's batches of calls in an executor that lives as long as the `Parallel` object, or its `with`
    block."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    _arguments: LargeArguments | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(usable_cpus() + 1 + n_jobs, 1)

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **options: Any
    ) -> int:
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._workers = n_jobs
        self._large = self._arguments_of(options.get("max_nbytes", _MAX_BYTES), options.get("mmap_mode", "r"))
        # `Parallel`'s settings for temporary files do not apply: arrays go through shared memory.
        self._options = {**self.backend_kwargs, **{name: options[name] for name in _OPTIONS if name in options}}
        self._open(**self._options)
        return n_jobs

    def _open(
        self,
        *,
        context: Any = None,
        task_timeout: float | None = None,
        retries: int = 0,
        max_memory_per_worker: int | str | None = None,
    ) -> None:
        threads = _prepare, (self._prepare_worker_env(self._workers),)
        context = get_context(context) if isinstance(context, str) else context
        self._pool = _Executor(self._workers, context, *threads, max_memory_per_worker=max_memory_per_worker)
        self._executor: Executor = self._pool.options(task_timeout=task_timeout, retries=retries)

    def _arguments_of(self, max_bytes: int | None, mode: str | None) -> Callable[[], LargeArguments] | None:
        """Returns what creates the large arguments of a call of `Parallel`; None if they are sent like any others."""
        return None if max_bytes is None or mode is None else lambda: LargeArguments(max_bytes, mode)

    def start_call(self) -> None:
        # The next call may have a different array.
        self._arguments = self._large() if self._large is not None else None

    def stop_call(self) -> None:
        self._arguments = None

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> Any:
        future: Any = self._executor.submit(_shared(func, self._arguments))
        # If its worker dies, the error names what it was running.
        future.batch = func
        if callback is not None:
            future.add_done_callback(callback)
        return future

    # Called like this by older versions of joblib.
    apply_async = submit

    def retrieve_result_callback(self, future: PoolFuture) -> Any:
        try:
            return future.result()
        except WorkerDied as error:
            note = f"The worker was running {_text_of(future.batch)}"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise

    def terminate(self) -> None:
        self._pool.shutdown()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        self._pool.kill_workers()
        if ensure_ready:
            self._open(**self._options)


class _Hooks(Hooks):
    def name_task(self, error: BaseException, batch: Any, *_: object) -> None:
        name_task(error, _text_of(batch))


class _Executor(ProcessPoolExecutor):
    """Its errors name the calls of their batch."""

    _hooks_type = _Hooks


_MAX_BYTES = 1 << 20  # the default of `Parallel`
_OPTIONS = ("context", "task_timeout", "retries", "max_memory_per_worker")


def _prepare(environment: dict[str, str]) -> None:
    """In a worker: limits the number of threads, both for libraries that will be loaded and for those that already
    are."""
    os.environ.update(environment)
    if "numpy" in sys.modules:
        try:
            from threadpoolctl import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
                threadpool_limits,
            )
        except ImportError:
            return
        threadpool_limits(int(environment["OMP_NUM_THREADS"]))


def _shared(batch: Any, arguments: LargeArguments | None) -> Any:
    """Returns the batch of calls, with large arguments in shared memory."""
    items = getattr(batch, "items", None)
    if arguments is None or type(items) is not list:
        return batch
    shared = [(func, arguments.shared(args), arguments.shared(kwargs)) for func, args, kwargs in items]
    if all(new[1] is old[1] and new[2] is old[2] for new, old in zip(shared, items, strict=True)):
        return batch
    other = object.__new__(type(batch))
    vars(other).update(vars(batch), items=shared)
    return other


def _text_of(batch: Any) -> str:
    calls = getattr(batch, "items", [])
    shown = ", ".join(describe(func, args, kwargs) for func, args, kwargs in calls[:3])
    if len(calls) == 1:
        return shown
    return f"a batch of {len(calls)} calls: {shown}{', ...' if len(calls) > 3 else ''}"


def install() -> None:
    """Makes this the default backend of `Parallel`, and thus of scikit-learn's `n_jobs`."""
    joblib.register_parallel_backend("kettle", KettleBackend, make_default=True)


joblib.register_parallel_backend("kettle", KettleBackend)
