"""joblib in a program under `kettle run`: its multiprocessing backend uses Kettle; loky, its default, continues to use
the standard library."""

from __future__ import annotations

import pytest

pytest.importorskip("joblib")

PROGRAM = """
    import multiprocessing
    from joblib import Parallel, delayed, parallel_backend

    def work(n):
        return n * n, type(multiprocessing.current_process()).__module__

    def fail(n):
        raise LookupError(n)

    if __name__ == "__main__":
        with parallel_backend("{backend}", n_jobs=2):
            results = Parallel()(delayed(work)(n) for n in range(100))
            print([n for n, _ in results] == [n * n for n in range(100)])
            print({{module for _, module in results}})
            try:
                Parallel()(delayed(fail)(n) for n in range(3))
            except LookupError as error:
                print(type(error).__name__)
            print(Parallel()(delayed(lambda n: multiprocessing.__name__)(n) for n in range(2)))
    """

RUN = ("-m", "kettle", "run")


def test_the_multiprocessing_backend(run):
    program = PROGRAM.format(backend="multiprocessing").replace("lambda n: multiprocessing.__name__", "str")
    assert run(program, *RUN) == ["True", "{'kettle.multiprocessing.context'}", "LookupError", "['0', '1']"]


def test_loky(run):
    assert run(PROGRAM.format(backend="loky"), *RUN) == [
        "True",
        "{'joblib.externals.loky.backend.process'}",
        "LookupError",
        "['kettle.multiprocessing', 'kettle.multiprocessing']",
    ]
