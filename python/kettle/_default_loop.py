"""Makes asyncio create Kettle's event loops, where `kettle.install` was called.

The standard policy creates them. So a program that sets another policy, or passes a `loop_factory`, gets what it asks
for. `kettle.asyncio` is imported when the first loop is created. KETTLE_LOOP=asyncio leaves asyncio alone.
"""

from __future__ import annotations

import os

from kettle._mending import mend_when_imported, no_longer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["install", "standard_policy", "uninstall"]


def install() -> None:
    """From now on. Calling it again is harmless."""
    if os.environ.get("KETTLE_LOOP") != "asyncio":
        mend_when_imported("asyncio", _mend)


def uninstall() -> None:
    """Reverts `install`. Loops that exist do not change."""
    no_longer("asyncio", _mend)
    while _before:
        policy, factory = _before.pop()
        policy._loop_factory = factory


def standard_policy(asyncio: Any) -> Any:
    """Returns the class of the standard policy, None if there is none. Since 3.14 its public name warns."""
    for name in ("_DefaultEventLoopPolicy", "DefaultEventLoopPolicy"):
        if hasattr(asyncio.unix_events, name):
            return getattr(asyncio.unix_events, name)
    return None


_before: list[tuple[Any, Any]] = []


def _new_event_loop() -> Any:
    from kettle.asyncio import EventLoop

    return EventLoop()


def _mend(asyncio: Any) -> None:
    policy = standard_policy(asyncio)
    if policy is not None:
        _before.append((policy, vars(policy)["_loop_factory"]))
        policy._loop_factory = staticmethod(_new_event_loop)
