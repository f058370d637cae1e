"""The standard ProcessPoolExecutor on the package's context."""

from __future__ import annotations

import importlib
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from .support import LIMIT


def square(n):
    return n * n


def fail(n):
    raise LookupError(n)


def remember(word):
    global WORD
    WORD = word


def recall():
    return WORD


def end_abruptly():
    os._exit(3)


def test_map_and_submit(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert list(executor.map(square, range(20), timeout=LIMIT)) == [n * n for n in range(20)]
        assert executor.submit(square, 9).result(LIMIT) == 81
        assert isinstance(executor.submit(fail, 5).exception(LIMIT), LookupError)


def test_large_arguments_and_results(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        data = b"x" * 3_000_000
        assert executor.submit(bytes.upper, data).result(LIMIT) == data.upper()


def test_initializer(ctx):
    with ProcessPoolExecutor(1, mp_context=ctx, initializer=remember, initargs=("kept",)) as executor:
        assert executor.submit(recall).result(LIMIT) == "kept"


def test_a_worker_that_ends_abruptly_breaks_the_pool_without_a_hang(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx) as executor, pytest.raises(BrokenProcessPool):
        executor.submit(end_abruptly).result(LIMIT)


def test_workers_are_the_packages_processes(mp):
    seen = {}
    context = mp.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        executor.submit(square, 1).result(LIMIT)
        seen.update(executor._processes)
    process_module = importlib.import_module(mp.__name__ + ".process")
    assert seen and all(isinstance(p, process_module.BaseProcess) for p in seen.values())
