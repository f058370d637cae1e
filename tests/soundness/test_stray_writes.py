"""A few rounds of `python -m stress stray_writes`: damage and shortages stay in the session."""

import subprocess
import sys
from pathlib import Path

import pytest

from kettle import _native as native

from .scribbles import CLASSES
from .squeezes import CLASSES as SQUEEZES
from .squeezes import PANICS


def rounds(seed: int, count: int, classes: list[str]) -> None:
    command = [sys.executable, "-m", "stress.stray_writes", "--seed", str(seed), "--rounds", str(count), "--failures=3"]
    command += [f"--class={name}" for name in classes]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]


@pytest.mark.deadline(300)
def test_a_process_that_scribbles_harms_none(seed: int) -> None:
    rounds(seed, 2 * len(CLASSES), list(CLASSES))


@pytest.mark.deadline(300)
def test_want_harms_none(seed: int) -> None:
    rounds(seed, 2 * len(SQUEEZES), list(SQUEEZES))


@pytest.mark.deadline(300)
@pytest.mark.skipif(not native.crash_points(), reason="needs the build with crash points")
def test_a_panic_harms_none_but_its_process(seed: int) -> None:
    rounds(seed, 8, [PANICS])
