from __future__ import annotations

import pytest

from .support import Wire, through_pipe, through_queue


@pytest.fixture
def wire():
    wire = Wire()
    with wire.to, wire.back:
        yield wire


@pytest.fixture(params=[through_queue, through_pipe])
def through(request):
    return request.param()
