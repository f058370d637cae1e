from __future__ import annotations

import pytest

import kettle.multiprocessing


@pytest.fixture(params=("fork", "spawn", "forkserver"))
def ctx(request):
    return kettle.multiprocessing.get_context(request.param)


@pytest.fixture(scope="session")
def fork_server():
    """Keeps the fork server, and what the first pool creates permanently, so that no test is charged with them."""
    with kettle.multiprocessing.get_context("forkserver").Pool(1) as pool:
        assert pool.map(abs, [-1]) == [1]
    pool.join()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(fork_server, census):
    """Fails any of these tests that leaves more processes, descriptors or files than before."""
