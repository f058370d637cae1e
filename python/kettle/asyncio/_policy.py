"""A policy that creates Kettle's loops, where Python has policies: they are deprecated in 3.14 and removed in 3.16."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kettle._default_loop import standard_policy
from kettle.asyncio._loop import EventLoop

__all__ = ["EventLoopPolicy"]

if TYPE_CHECKING:
    _Base = asyncio.DefaultEventLoopPolicy
else:
    _Base = standard_policy(asyncio) or object


class EventLoopPolicy(_Base):
    """asyncio's own policy, which creates Kettle's loops."""

    _loop_factory = EventLoop
