"""joblib, and scikit-learn, over `kettle.joblib`."""

from __future__ import annotations

import os
import signal

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
    for _ in range(2):  # what the first calls make for good
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
