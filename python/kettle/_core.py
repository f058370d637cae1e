"""Ties the Rust core to this interpreter: fork hooks, and settings from the environment.

Every module that needs the core imports it from here, or from `kettle._session`, which adds what processes need, so
that the core is never used before the hooks exist.
"""

from __future__ import annotations

import sys

if sys.platform != "linux":
    raise ImportError(
        f"kettle's primitives need Linux (futexes, memfd, pidfd), and this is {sys.platform!r}; "
        "`kettle run` falls back to the standard library there"
    )

import os

from kettle._extension import native

__all__ = ["native"]

os.register_at_fork(
    before=native.before_fork,
    after_in_parent=native.after_fork_in_parent,
    after_in_child=native.after_fork_in_child,
)

_policy = os.environ.get("KETTLE_DEADLOCK")
if _policy:
    native.deadlock_policy(_policy)
