"""Programs that a test runs to their end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

#: Seconds after which a program definitely hangs.
LIMIT = 60


def run(program: str, *, before: Callable[[], object] | None = None, **environment: str) -> str:
    """Returns the output of a program that runs in its own session and must end without error. `before` is called in
    its process."""
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
