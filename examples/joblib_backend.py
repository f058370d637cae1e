"""joblib, and with it scikit-learn, over kettle's executor: register a backend, then name it."""

import math
import os
import sys

import kettle
from kettle.futures import ProcessPoolExecutor

try:
    import joblib
    from joblib.parallel import ParallelBackendBase
except ImportError:
    print("joblib is not installed: nothing to show")
    sys.exit()


class KettleBackend(ParallelBackendBase):
    """Gives joblib's batches of calls to an executor."""

    supports_retrieve_callback = True

    def effective_n_jobs(self, n_jobs):
        return n_jobs if n_jobs and n_jobs > 0 else len(os.sched_getaffinity(0))

    def configure(self, n_jobs=1, parallel=None, **options):
        workers = super().configure(n_jobs, parallel, **options)
        self.executor = ProcessPoolExecutor(workers)
        return workers

    def submit(self, func, callback=None):
        future = self.executor.submit(func)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future):
        return future.result()

    def terminate(self):
        self.executor.shutdown()

    def abort_everything(self, ensure_ready=True):
        self.executor.kill_workers()
        if ensure_ready:
            self.configure(self.parallel.n_jobs, self.parallel)


def root(n):
    return math.isqrt(n), os.getpid()


def crash(n):
    os.abort()


if __name__ == "__main__":
    joblib.register_parallel_backend("kettle", KettleBackend)

    with joblib.parallel_config(backend="kettle", n_jobs=2):
        roots = joblib.Parallel()(joblib.delayed(root)(n * n) for n in range(1000))
        print(f"{len(roots)} roots, {sum(number for number, _ in roots)} in sum")
        print(f"computed here: {any(pid == os.getpid() for _, pid in roots)}")
        try:
            joblib.Parallel()(joblib.delayed(crash)(n) for n in range(1))
        except kettle.WorkerDied as error:
            print(f"{type(error).__name__}: signal {error.signal}")
