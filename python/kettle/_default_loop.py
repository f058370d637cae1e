"""Makes asyncio create Kettle's event loops, where `kettle.install` was called.

The standard policy creates them, and `asyncio.EventLoop` is their class. So a program that sets another policy, or
passes another `loop_factory`, gets what it asks for. `kettle.asyncio` is imported when the first loop is created.
KETTLE_LOOP=asyncio leaves asyncio alone.
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
        owner, name, value = _before.pop()
        if value is None:
            delattr(owner, name)
        else:
            setattr(owner, name, value)


def standard_policy(asyncio: Any) -> Any:
    """Returns the class of the standard policy, None if there is none. Since 3.14 its public name warns."""
    for name in ("_DefaultEventLoopPolicy", "DefaultEventLoopPolicy"):
        if hasattr(asyncio.unix_events, name):
            return getattr(asyncio.unix_events, name)
    return None


# What was in its place, None if nothing was.
_before: list[tuple[Any, str, Any]] = []


def _new_event_loop() -> Any:
    from kettle.asyncio import EventLoop

    return EventLoop()


def _mend(asyncio: Any) -> None:
    policy = standard_policy(asyncio)
    if policy is not None:
        _before.append((policy, "_loop_factory", vars(policy)["_loop_factory"]))
        policy._loop_factory = staticmethod(_new_event_loop)
    if "EventLoop" in vars(asyncio):
        _look_up_when_used(asyncio)


def _look_up_when_used(asyncio: Any) -> None:
    """Since 3.13 `asyncio.EventLoop` names the loop of the platform, which this is."""
    others: Any = vars(asyncio).get("__getattr__")

    def look_up(name: str) -> Any:
        if name == "EventLoop":
            from kettle.asyncio import EventLoop

            asyncio.EventLoop = EventLoop
            return EventLoop
        if others is not None:
            return others(name)
        raise AttributeError(f"module {asyncio.__name__!r} has no attribute {name!r}")

    _before.append((asyncio, "EventLoop", vars(asyncio)["EventLoop"]))
    _before.append((asyncio, "__getattr__", others))
    del asyncio.EventLoop
    asyncio.__getattr__ = look_up
