"""The awaitable methods of locks, semaphores, conditions, events and barriers: the same for threads and for
processes."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from kettle._later import aio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle._core import native

__all__ = ["AwaitAcquire", "AwaitAll", "AwaitNotify", "AwaitSet"]


class AwaitAcquire:
    """`aacquire` and `async with`, for classes with `acquire` and `release`."""

    async def aacquire(self, timeout: float | None = None) -> bool:
        """Like `acquire`, without blocking the event loop.

        Returns False if `timeout` (seconds) passed first. Raises the errors of `acquire`.
        """
        take = self.acquire  # type: ignore[attr-defined]
        admitted: Callable[[], bool] = self._kettle_is_admitted  # type: ignore[attr-defined]
        attempt = lambda: take(False) or aio.PENDING  # noqa: E731
        return await aio.retry(lambda: aio.Source.of(self), attempt, timeout, is_admitted=admitted) is not aio.PENDING  # type: ignore[arg-type]

    async def __aenter__(self) -> bool:
        return await self.aacquire()

    async def __aexit__(
        self, t: type[BaseException] | None, v: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.release()  # type: ignore[attr-defined]


class AwaitSet:
    """`await_set`, for an event."""

    async def await_set(self: Any, timeout: float | None = None) -> bool:
        """Like `wait`, without blocking the event loop: returns True once the flag is set, False after `timeout`
        seconds.

        Returns True even if the flag was cleared again before the loop checked it.
        """
        is_set, version = self.is_set, self._kettle_version
        before = version()

        def look() -> bool:
            is_over: bool = is_set() or version() != before or aio.PENDING
            return is_over

        return await aio.retry(lambda: aio.Source.of(self), look, timeout, together=True) is not aio.PENDING


class AwaitNotify:
    """`await_notify` and `async with`, for a condition that has `_lock`, and `_kettle_let_go` to release it."""

    _lock: Any

    async def aacquire(self, timeout: float | None = None) -> bool:
        """Like `acquire`, without blocking the event loop; returns False if `timeout` (seconds) passed first."""
        acquired: bool = await self._lock.aacquire(timeout)
        return acquired

    async def __aenter__(self) -> bool:
        return await self.aacquire()

    async def __aexit__(self, *exc: Any) -> None:
        self._lock.release()

    async def await_notify(self: Any, timeout: float | None = None) -> bool:
        """Like `wait`, without blocking the event loop. The lock is held again afterwards, even if this is
        cancelled."""
        import asyncio

        self._kettle_must_be_held("await_notify")
        ticket = self._kettle_enroll()
        notified, count = False, 0

        def source() -> aio.Source:
            return aio.Source(
                self._kettle_key,
                (id(self), ticket),
                lambda door, *_: self._kettle_leave_door(ticket, door) or 1,
                lambda door: None,
            )

        try:
            count = self._kettle_let_go()
            poll = self._kettle_poll
            notified = await aio.retry(source, lambda: poll(ticket) or aio.PENDING, timeout) is not aio.PENDING
            return notified
        finally:
            if not notified:
                self._kettle_withdraw(ticket)
            cancelled = None
            while count:
                try:
                    await self.aacquire()
                    count -= 1
                except asyncio.CancelledError as error:
                    cancelled = error
            if cancelled is not None:
                raise cancelled


class AwaitAll:
    """`await_all`, for a barrier that has its action and its time-out in `_kettle_settings`."""

    async def await_all(self: Any, timeout: float | None = None) -> int:
        """Like `wait`, without blocking the event loop. The barrier breaks if this is cancelled."""
        from threading import BrokenBarrierError

        action, default = self._kettle_settings
        timeout = default if timeout is None else timeout
        # None while the last parties of the previous round are still leaving.
        arrival = await aio.retry(lambda: aio.Source.of(self), lambda: self._kettle_arrive() or aio.PENDING, timeout)
        if arrival is aio.PENDING:
            self.abort()
            raise BrokenBarrierError
        if arrival.is_last:
            return _complete(arrival, action)

        def look() -> int:
            index: int | None = arrival.poll(True)
            return aio.PENDING if index is None else index

        index: int = aio.PENDING
        try:
            index = await aio.retry(lambda: aio.Source.of(self), look, timeout, together=True)
        finally:
            if index is aio.PENDING:
                arrival.leave()
        if index is aio.PENDING:
            raise BrokenBarrierError
        return index


def _complete(arrival: native.Arrival, action: Callable[[], object] | None) -> int:
    """The task of the last party. If the action raises, the barrier breaks."""
    well = False
    try:
        if action is not None:
            action()
        well = True
    finally:
        index = arrival.finish(well)
    assert index is not None
    return index
