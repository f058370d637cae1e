from __future__ import annotations

import pytest

import kettle.multiprocessing


@pytest.fixture(params=("fork", "spawn", "forkserver"))
def ctx(request):
    return kettle.multiprocessing.get_context(request.param)


@pytest.fixture(scope="session")
def fork_server():
    """The fork server runs, and stays: no test is charged with its descriptors."""
    child = kettle.multiprocessing.get_context("forkserver").Process(target=int)
    child.start()
    child.join()
    child.close()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(fork_server, census):
    """No process, descriptor or file more than before, after any of these tests."""
