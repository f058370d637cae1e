from __future__ import annotations

import random

import pytest

from .scene import LONG, THRESHOLD, Scene


@pytest.fixture
def scene(seed):
    """Threads of a test, in addition to the one in which pytest waits. No report about them is wrong."""
    scene = Scene(LONG, random.Random(seed), THRESHOLD)
    with scene.watched():
        yield scene
        scene.join()
    assert scene.wrong == []
