"""Looking at a running program: its processes, locks and queues, and what its threads wait for."""

from __future__ import annotations

import json
import os

from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["snapshot"]


def snapshot(pid: int | None = None) -> dict[str, Any]:
    """Returns the session that the process `pid` (by default this one) belongs to, as `kettle ps PID --json` prints it.

    The program that is looked at is not stopped, and takes no part in this. Raises LookupError if there is no such
    process or it has no session, and PermissionError if this user may not look at it.
    """
    seen: dict[str, Any] = json.loads(native.session_snapshot(os.getpid() if pid is None else pid))
    return seen
