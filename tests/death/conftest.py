from __future__ import annotations

import pytest

import kettle.multiprocessing

from .support import footprint, left_behind

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(params=METHODS)
def ctx(request):
    return kettle.multiprocessing.get_context(request.param)


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """No file, process or descriptor more than before; the fork server and its descriptors may stay."""
    fork_server = kettle.multiprocessing.get_context("forkserver")
    fork_server.Process(target=int).start()
    for child in kettle.multiprocessing.active_children():
        child.join()
    before = footprint()
    yield
    assert left_behind(before) == {}
