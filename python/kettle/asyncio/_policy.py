"""A policy that creates Kettle's loops, where Python has policies: they are deprecated in 3.14 and removed in 3.16."""

from __future__ import annotations

import asyncio
import asyncio.unix_events
from typing import TYPE_CHECKING, Any

from kettle.asyncio._loop import EventLoop

__all__ = ["EventLoopPolicy", "standard_policy"]


def standard_policy() -> Any:
    """Returns the standard policy, or None where there is none. From 3.14 on its public name warns."""
    for name in ("_DefaultEventLoopPolicy", "DefaultEventLoopPolicy"):
        if hasattr(asyncio.unix_events, name):
            return getattr(asyncio.unix_events, name)
    return None


if TYPE_CHECKING:
    _Base = asyncio.DefaultEventLoopPolicy
else:
    _Base = standard_policy() or object


class EventLoopPolicy(_Base):
    """asyncio's own policy, which creates Kettle's loops."""

    _loop_factory = EventLoop
