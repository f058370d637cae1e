"""A few seconds of `python -m stress signals`: handlers that wait for the same thing as their own thread, and
reapers."""

import os
import random
import subprocess
import sys
from pathlib import Path


def test_signals_at_random_instants():
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    command = [sys.executable, "-m", "stress.signals", "--seed", str(seed), "--rounds", "8", "--seconds", "0.3"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
