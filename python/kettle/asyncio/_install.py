"""Makes asyncio use Kettle's loop, for programs that take the loop from asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

from kettle._default_loop import standard_policy
from kettle.asyncio._loop import EventLoop

__all__ = ["install", "uninstall"]

_before: list[tuple[Any, str, Any]] = []


def _set(owner: Any, name: str, value: Any) -> None:
    _before.append((owner, name, vars(owner)[name]))
    setattr(owner, name, value)


def install() -> None:
    """Makes `asyncio.run`, `asyncio.Runner`, `asyncio.new_event_loop` and `asyncio.EventLoop` create Kettle's loops.

    A policy that the program sets, such as uvloop's, takes precedence, and so does a `loop_factory`.
    """
    if _before:
        return
    policy = standard_policy(asyncio)
    if policy is not None:
        _set(policy, "_loop_factory", EventLoop)
    if hasattr(asyncio, "EventLoop"):
        _set(asyncio, "EventLoop", EventLoop)


def uninstall() -> None:
    """Reverts `install`."""
    while _before:
        owner, name, value = _before.pop()
        setattr(owner, name, value)
