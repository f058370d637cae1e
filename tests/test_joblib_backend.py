"""joblib, and scikit-learn, over `kettle.joblib`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

joblib = pytest.importorskip("joblib")

import kettle  # noqa: E402
import kettle.joblib  # noqa: E402

DELAYED = joblib.delayed


def half(n):
    return n / 2, os.getpid()


def die_of_seven(n):
    if n == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def fail(n):
    raise LookupError(n)


def inner(n):
    return sum(joblib.Parallel(n_jobs=2)(DELAYED(abs)(-i) for i in range(n)))


@pytest.fixture(autouse=True)
def backend():
    with joblib.parallel_config(backend="kettle", n_jobs=2):
        yield


def test_nothing_is_left_open(request):
    for _ in range(2):  # what the first calls create permanently
        joblib.Parallel()(DELAYED(half)(n) for n in range(50))
    request.getfixturevalue("census")
    for _ in range(3):
        joblib.Parallel()(DELAYED(half)(n) for n in range(50))


def test_calls_run_elsewhere_and_in_order():
    results = joblib.Parallel()(DELAYED(half)(n) for n in range(500))
    assert [value for value, _ in results] == [n / 2 for n in range(500)]
    assert os.getpid() not in {pid for _, pid in results}


def test_a_death_is_told_and_the_next_call_works():
    with pytest.raises(kettle.WorkerDied, match="SIGKILL") as caught:
        joblib.Parallel()(DELAYED(die_of_seven)(n) for n in range(20))
    assert any("die_of_seven(7)" in note for note in caught.value.__notes__)
    assert joblib.Parallel()(DELAYED(abs)(-n) for n in range(3)) == [0, 1, 2]


def test_errors_and_the_with_statement():
    with joblib.Parallel() as parallel:
        with pytest.raises(LookupError):
            parallel(DELAYED(fail)(n) for n in range(20))
        assert parallel(DELAYED(abs)(-n) for n in range(3)) == [0, 1, 2]


def test_generators_and_nesting():
    results = joblib.Parallel(return_as="generator")(DELAYED(half)(n) for n in range(100))
    assert [value for value, _ in results] == [n / 2 for n in range(100)]
    assert joblib.Parallel()(DELAYED(inner)(n) for n in range(5)) == [0, 0, 1, 3, 6]


def test_options():
    with joblib.parallel_config(backend="kettle", n_jobs=2, task_timeout=60, retries=2, context="forkserver"):
        assert joblib.Parallel()(DELAYED(abs)(-n) for n in range(20)) == list(range(20))
    with pytest.raises(ValueError):
        joblib.Parallel(n_jobs=0)(DELAYED(abs)(-n) for n in range(2))


def look(array, n):
    return array.flags.writeable, float(array[n])


def look_within(arrays, *, table):
    return arrays[0].flags.writeable, table["key"][1].flags.writeable


def write(array):
    array[0] = 7.0
    return float(array[0])


def count_pickles():
    """An array that counts how often it was pickled."""
    np = pytest.importorskip("numpy")

    class Counted(np.ndarray):
        pickles = 0

        def __reduce_ex__(self, protocol):
            type(self).pickles += 1
            return super().view(np.ndarray).__reduce_ex__(protocol)

    return np.arange(500_000.0).view(Counted)


def test_a_large_array_is_sent_once_for_all_calls():
    array = count_pickles()
    results = joblib.Parallel()(DELAYED(look)(array, n) for n in range(40))
    assert results == [(False, float(n)) for n in range(40)]
    assert type(array).pickles == 1
    array[3] = -1.0
    assert joblib.Parallel()(DELAYED(look)(array, 3) for _ in range(2)) == [(False, -1.0)] * 2


def test_the_array_may_have_changed_in_the_next_call_of_the_same_parallel():
    np = pytest.importorskip("numpy")
    array = np.zeros(500_000)
    with joblib.Parallel() as parallel:
        for value in (1.0, 2.0):
            array[0] = value
            assert parallel(DELAYED(look)(array, 0) for _ in range(4)) == [(False, value)] * 4


def test_large_arrays_within_other_arguments():
    np = pytest.importorskip("numpy")
    large, small = np.zeros(500_000), np.zeros(5)
    calls = [DELAYED(look_within)([one], table={"key": (0, other)}) for one, other in [(large, small), (small, large)]]
    assert joblib.Parallel()(calls) == [(False, True), (True, False)]


def test_what_is_large_and_who_writes_is_for_the_program_to_say():
    np = pytest.importorskip("numpy")
    array = np.zeros(500_000)
    calls = [DELAYED(look)(array, 0) for _ in range(4)]
    assert joblib.Parallel(max_nbytes=None)(calls) == [(True, 0.0)] * 4
    assert joblib.Parallel(max_nbytes="10M")(calls) == [(True, 0.0)] * 4
    assert joblib.Parallel(max_nbytes="1K")(DELAYED(look)(array[:200], 0) for _ in range(2)) == [(False, 0.0)] * 2
    assert joblib.Parallel(mmap_mode="c")(DELAYED(write)(array) for _ in range(4)) == [7.0] * 4
    with pytest.raises(ValueError, match="read-only"):
        joblib.Parallel()(DELAYED(write)(array) for _ in range(4))
    assert array[0] == 0.0


def test_many_large_arrays_do_not_stay():
    """One after the other, from a generator, through one call."""
    np = pytest.importorskip("numpy")
    calls = (DELAYED(look)(np.full(500_000, float(n)), 1) for n in range(60))
    assert joblib.Parallel(pre_dispatch=2)(calls) == [(False, float(n)) for n in range(60)]


def test_an_error_names_its_calls():
    with pytest.raises(LookupError) as caught:
        joblib.Parallel(batch_size=1)(DELAYED(fail)(n) for n in range(1))
    assert caught.value.__notes__ == ["in fail(0)"]
    with pytest.raises(LookupError) as caught:
        joblib.Parallel(batch_size=5, pre_dispatch="all")(DELAYED(fail)(n) for n in range(10))
    assert re.fullmatch(r"in a batch of 5 calls: fail\((\d)\), fail\(\d\), fail\(\d\), ...", caught.value.__notes__[0])


@pytest.mark.parametrize("command", [[], ["-m", "kettle", "run"]], ids=["import", "run"])
def test_installed_it_is_the_backend_of_all(command, tmp_path):
    program = """
import os, joblib, kettle.joblib

class Seen(kettle.joblib.KettleBackend):
    def configure(self, **options):
        print("configured", flush=True)
        return super().configure(**options)

kettle.joblib.KettleBackend = Seen
kettle.joblib.install()
print(joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-n) for n in range(3)))
print(type(joblib.Parallel(n_jobs=2, prefer="threads")._backend).__name__)
"""
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run([sys.executable, *command, path], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["configured", "[0, 1, 2]", "ThreadingBackend"], done.stderr


def test_scikit_learn():
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    x, y = load_iris(return_X_y=True)
    tree = DecisionTreeClassifier(random_state=0)
    scores = cross_val_score(tree, x, y, cv=4)
    with joblib.parallel_config(backend="threading", n_jobs=1):
        assert list(scores) == list(cross_val_score(tree, x, y, cv=4))
    assert GridSearchCV(tree, {"max_depth": [1, 3]}, cv=3).fit(x, y).best_params_ == {"max_depth": 3}
