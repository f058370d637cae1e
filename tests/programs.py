"""Programs that a test runs to their end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

#: Seconds after which a program hangs for certain.
LIMIT = 60


def run(program: str, *, before: Callable[[], object] | None = None, **environment: str) -> str:
    """What a program prints that is a session of its own; it must end well. `before` is called in its process."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, **environment},
        preexec_fn=before,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
