"""`run` and `Runner` on Kettle's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from kettle.asyncio._loop import new_event_loop

__all__ = ["Runner", "run"]

T = TypeVar("T")


class Runner(asyncio.Runner):  # type: ignore[misc]
    """Like `asyncio.Runner`, on Kettle's loop unless another is requested."""

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        super().__init__(debug=debug, loop_factory=loop_factory or new_event_loop)

    def run(self, coro: Coroutine[Any, Any, T], *, context: Context | None = None) -> T:
        """Runs a coroutine until it ends, and returns its result."""
        return super().run(coro, context=context)


def run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Runs `main` on a new loop, which is then closed, and returns its result."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
