"""Programs that a test runs to their end."""

from __future__ import annotations

import os
import subprocess
import sys

#: Seconds after which a program hangs for certain.
LIMIT = 60


def run(program: str, **environment: str) -> str:
    """What a program prints that is a session of its own; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
