"""`asyncio` on Kettle's event loop: all names of `asyncio`, and a loop whose core is native.

    import kettle.asyncio as asyncio         # one line changed
    asyncio.run(main())

For programs that take the loop from elsewhere, call `kettle.asyncio.install()`: then `asyncio.run`, `asyncio.Runner`
and `asyncio.new_event_loop` use it as well.

    EventLoop, new_event_loop    the loop
    run, Runner                  like asyncio's, on that loop
    install, uninstall           make asyncio use it
    EventLoopPolicy              a policy that creates such loops, where Python has policies

All other names are asyncio's own.
"""

from __future__ import annotations

import asyncio as _asyncio
from typing import TYPE_CHECKING, Any

from kettle.asyncio._install import install as install
from kettle.asyncio._install import uninstall as uninstall
from kettle.asyncio._loop import EventLoop as EventLoop
from kettle.asyncio._loop import Handle as Handle
from kettle.asyncio._loop import TimerHandle as TimerHandle
from kettle.asyncio._loop import new_event_loop as new_event_loop
from kettle.asyncio._runners import Runner as Runner
from kettle.asyncio._runners import run as run

if TYPE_CHECKING:
    from asyncio import *  # type: ignore[assignment]  # noqa: F403

    from kettle.asyncio._policy import EventLoopPolicy as EventLoopPolicy

_OURS = ["EventLoop", "Handle", "Runner", "TimerHandle", "install", "new_event_loop", "run", "uninstall"]

__all__ = sorted({*_asyncio.__all__, *_OURS, "EventLoopPolicy"})


def __getattr__(name: str) -> Any:
    if name == "EventLoopPolicy":
        # Deprecated in 3.14 and removed in 3.16, so it is imported only on access.
        from kettle.asyncio._policy import EventLoopPolicy as policy

        return policy
    return getattr(_asyncio, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *dir(_asyncio)})
