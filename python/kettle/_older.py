"""Restores what programs written for older Pythons expect and newer versions removed.

- `asyncio.wait` accepts coroutines, and creates tasks from them (refused since 3.11).
- In the main thread an event loop is created when one is requested and there is none: `asyncio.get_event_loop()`,
  `asyncio.gather(...)` and so on, outside a coroutine (a warning since 3.12, an error since 3.14).
- `asyncio.coroutine`, the decorator of generators (removed in 3.11).
- The names of `threading` in mixed case that were removed, or will be: `Thread.setDaemon`, `currentThread` and so on.

Nothing is imported for this: a module that is not imported yet is patched when the program imports it.
"""

from __future__ import annotations

from kettle._mending import mend_when_imported, no_longer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["install", "installed", "uninstall"]


def install() -> None:
    """Restores all of it. Calling it again is harmless."""
    global _installed
    if not _installed:
        _installed = True
        for name, mend in _MENDERS.items():
            mend_when_imported(name, mend)


def uninstall() -> None:
    """Removes all of it."""
    global _installed
    if _installed:
        _installed = False
        for name, mend in _MENDERS.items():
            no_longer(name, mend)
        while _undo:
            _undo.pop()()


def installed() -> bool:
    """Returns whether it is active."""
    return _installed


_installed = False
_undo: list[Callable[[], None]] = []


def _set(owner: Any, name: str, value: Any) -> None:
    """Sets an attribute until `uninstall`."""
    if name in vars(owner):
        before = vars(owner)[name]
        _undo.append(lambda: setattr(owner, name, before))
    else:
        _undo.append(lambda: delattr(owner, name))
    setattr(owner, name, value)


def _mend_asyncio(asyncio: Any) -> None:
    import threading
    import types

    standard_wait = asyncio.wait

    async def wait(fs: Any, *, timeout: float | None = None, return_when: str = asyncio.ALL_COMPLETED) -> Any:
        """Like `asyncio.wait`; coroutines in `fs` become tasks."""
        if not (asyncio.isfuture(fs) or asyncio.iscoroutine(fs)):
            fs = [asyncio.ensure_future(f) if asyncio.iscoroutine(f) else f for f in set(fs)]
        return await standard_wait(fs, timeout=timeout, return_when=return_when)

    _set(asyncio, "wait", wait)
    _set(asyncio.tasks, "wait", wait)
    if not hasattr(asyncio, "coroutine"):
        _set(asyncio, "coroutine", types.coroutine)

    policy = getattr(asyncio.events, "BaseDefaultEventLoopPolicy", None) or asyncio.events._BaseDefaultEventLoopPolicy
    standard_get = policy.get_event_loop

    def get_event_loop(self: Any) -> Any:
        """Like the standard policy's method; in the main thread a missing loop is created without a warning."""
        try:
            return standard_get(self)
        except (RuntimeError, DeprecationWarning):
            if threading.current_thread() is not threading.main_thread():
                raise
        loop = self.new_event_loop()
        self.set_event_loop(loop)
        return loop

    _set(policy, "get_event_loop", get_event_loop)


def _mend_threading(threading: Any) -> None:
    aliases = [
        (threading, "currentThread", "current_thread"),
        (threading, "activeCount", "active_count"),
        (threading.Thread, "isAlive", "is_alive"),
        (threading.Thread, "getName", lambda self: self.name),
        (threading.Thread, "setName", lambda self, name: setattr(self, "name", name)),
        (threading.Thread, "isDaemon", lambda self: self.daemon),
        (threading.Thread, "setDaemon", lambda self, daemonic: setattr(self, "daemon", daemonic)),
        (threading.Condition, "notifyAll", "notify_all"),
        (threading.Event, "isSet", "is_set"),
    ]
    for owner, old, new in aliases:
        if not hasattr(owner, old):
            _set(owner, old, getattr(owner, new) if isinstance(new, str) else new)


_MENDERS: dict[str, Callable[[Any], None]] = {"asyncio": _mend_asyncio, "threading": _mend_threading}
