"""joblib, and thus scikit-learn, on processes that may die: import kettle.joblib, then name the backend."""

import math
import os
import sys

import kettle

try:
    import joblib
except ImportError:
    print("joblib is not installed: nothing to show")
    sys.exit()

import kettle.joblib


def root(n):
    return math.isqrt(n), os.getpid()


def crash(n):
    os.abort()


if __name__ == "__main__":
    with joblib.parallel_config(backend="kettle", n_jobs=2):
        roots = joblib.Parallel()(joblib.delayed(root)(n * n) for n in range(1000))
        print(f"{len(roots)} roots, {sum(number for number, _ in roots)} in sum")
        print(f"computed here: {any(pid == os.getpid() for _, pid in roots)}")
        try:
            joblib.Parallel()(joblib.delayed(crash)(n) for n in range(1))
        except kettle.WorkerDied as error:
            print(f"{type(error).__name__}: signal {error.signal}")
        print(f"and goes on: {joblib.Parallel()(joblib.delayed(math.isqrt)(n) for n in (4, 9))}")
