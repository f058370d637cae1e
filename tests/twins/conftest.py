from __future__ import annotations

import importlib

import pytest

PACKAGES = {"stdlib": "multiprocessing", "kettle": "kettle.multiprocessing"}


@pytest.fixture(params=PACKAGES)
def mp(request):
    """The package: the standard library's, then Kettle's."""
    return importlib.import_module(PACKAGES[request.param])


@pytest.fixture(params=("fork", "spawn", "forkserver"))
def ctx(mp, request):
    """The package's context of every start method, for what a start method may change."""
    return mp.get_context(request.param)


@pytest.fixture
def fork(mp):
    """The package's context of the cheapest start method, for what does not depend on the start method."""
    return mp.get_context("fork")
