from __future__ import annotations

import pytest

import kettle.multiprocessing


@pytest.fixture(params=("fork", "spawn", "forkserver"))
def ctx(request):
    return kettle.multiprocessing.get_context(request.param)


@pytest.fixture(scope="session")
def fork_server():
    """The fork server runs, and stays, as does what the first pool makes for good: no test is charged with it."""
    with kettle.multiprocessing.get_context("forkserver").Pool(1) as pool:
        assert pool.map(abs, [-1]) == [1]
    pool.join()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(fork_server, census):
    """No process, descriptor or file more than before, after any of these tests."""
