"""`EventLoop`: the running Python's own loop, with native sleep, callbacks, timers and descriptors.

The native base class comes first in the method resolution order, so its methods are used in place of asyncio's.
Everything else (servers, TLS, datagrams, subprocesses, signals, executors, the reporting of exceptions) is the code of
the running Python's asyncio; connections are in `_connections`.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.events
import asyncio.format_helpers
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

from kettle._core import native
from kettle.asyncio._connections import Connections
from kettle.asyncio._signals import WakeUp
from kettle.asyncio._views import Ready, Watched

__all__ = ["EventLoop", "Handle", "TimerHandle", "new_event_loop"]

if TYPE_CHECKING:
    from asyncio import Handle, TimerHandle
else:
    Handle, TimerHandle = native.handle_classes(asyncio.Handle, asyncio.TimerHandle)

if os.environ.get("KETTLE_EPOLL_PWAIT2") == "0":
    native.EventLoop._kettle_avoid_nanoseconds()

_log = logging.getLogger("asyncio")


#: What returns and uses the time.
_CLOCK = frozenset(("time", "call_at"))
#: What `add_reader` and the like call.
_READERS = frozenset(
    ("_ensure_fd_no_transport", "_add_reader", "_remove_reader", "_add_writer", "_remove_writer"),
)

_must_show = os.environ.get("KETTLE_SHOW_LOOP", "0") not in ("", "0")


def _show(loop: EventLoop) -> None:
    """Reports once that such a loop is running, so that it can be told from other loops."""
    global _must_show
    _must_show = False
    print(f"kettle: {type(loop).__module__}.{type(loop).__qualname__} runs in process {os.getpid()}", file=sys.stderr)


@native.quicken
class EventLoop(native.EventLoop, Connections):  # type: ignore[misc]
    """asyncio's event loop on a native core. See docs/asyncio.md."""

    # asyncio's, without types.
    _check_running: Any
    _set_coroutine_origin_tracking: Any
    _asyncgen_firstiter_hook: Any
    _asyncgen_finalizer_hook: Any
    _old_agen_hooks: Any
    _process_self_data: Any
    _signal_handlers: Any
    _current_handle: Any
    _signal_reader: asyncio.Handle

    _signal_wake_up: WakeUp | None = None

    def __init__(self) -> None:
        super().__init__(selector=cast(Any, Watched(self)))
        self._look_at_overrides()

    def _make_self_pipe(self) -> None:
        """Other threads wake the loop natively, and the pipe for signals is created by the first run that needs it."""

    def _look_at_overrides(self) -> None:
        """Determines whether the program has overridden methods that the native ones do not call if they are ours.

        This is done before each run, and when one of these attributes, or the class, is set.
        """
        cls, own = type(self), self.__dict__
        is_plain = cls is EventLoop

        def is_ours(names: frozenset[str]) -> bool:
            return names.isdisjoint(own) and (
                is_plain or all(getattr(cls, name) is getattr(EventLoop, name) for name in names)
            )

        self._kettle_set_own_clock(is_ours(_CLOCK))
        self._kettle_set_own_readers(is_ours(_READERS))

    @property
    def _ready(self) -> Ready:
        return Ready(self)

    @_ready.setter
    def _ready(self, _: Any) -> None:
        """asyncio sets it when a loop is created."""

    # ------------------------------------------------------------ running

    def run_forever(self) -> None:
        """Runs until `stop()`."""
        self._run_forever_setup()
        try:
            if "_run_once" in self.__dict__ or type(self)._run_once is not EventLoop._run_once:
                while True:
                    self._run_once()
                    if self._stopping:
                        break
            else:
                self._kettle_run()
        finally:
            self._run_forever_cleanup()

    def _run_forever_setup(self) -> None:
        self._check_closed()
        self._check_running()
        # What can fail comes first: descriptors may have run out.
        self._kettle_prepare()
        self._listen_to_signals()
        self._look_at_overrides()
        self._set_coroutine_origin_tracking(self._debug)
        self._old_agen_hooks = sys.get_asyncgen_hooks()
        self._thread_id = threading.get_ident()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
        asyncio.events._set_running_loop(self)
        if _must_show:
            _show(self)

    def _run_forever_cleanup(self) -> None:
        self._stopping = False
        self._thread_id = None
        asyncio.events._set_running_loop(None)
        self._set_coroutine_origin_tracking(False)
        sys.set_asyncgen_hooks(*self._old_agen_hooks)
        self._old_agen_hooks = None
        self._stop_listening_to_signals()

    def close(self) -> None:
        """Closes the loop, and drops everything that was scheduled. It must not be running."""
        if not self.is_closed() and not self.is_running():
            super().close()
            self._kettle_clear()
        else:
            super().close()

    # ------------------------------------------------------------ signals

    # A handler in Python runs between two turns. A signal that arrives after the check for signals and before the sleep
    # would wait for the end of the sleep. So while a loop runs in the main thread, each signal makes a descriptor
    # readable that the loop waits on. If the program has set one itself, it is left alone.

    @property
    def _csock(self) -> WakeUp | None:
        """The descriptor that `add_signal_handler` passes to the interpreter."""
        wake_up = self._signal_wake_up
        if wake_up is not None and not wake_up.is_whole():
            self._close_self_pipe()
            wake_up = None
        if wake_up is None and not self.is_closed():
            wake_up = self._signal_wake_up = WakeUp()
            self._signal_reader = self._add_reader(wake_up.reader, self._read_from_self)
        return wake_up

    def _close_self_pipe(self) -> None:
        wake_up, self._signal_wake_up = self._signal_wake_up, None
        if wake_up is not None:
            # The program may have closed it, and watch another file with its number.
            if (self._kettle_handles(wake_up.reader) or (None,))[0] is self._signal_reader:
                self._remove_reader(wake_up.reader)
            wake_up.close()

    def _read_from_self(self) -> None:
        if self._signal_wake_up is not None:
            self._process_self_data(self._signal_wake_up.numbers())

    def _listen_to_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            wake_up = self._csock
            assert wake_up is not None
            wake_up.listen()

    def _stop_listening_to_signals(self) -> None:
        wake_up = self._signal_wake_up
        if wake_up is None or self._signal_handlers or threading.current_thread() is not threading.main_thread():
            return
        wake_up.stop()

    def remove_signal_handler(self, sig: int) -> bool:
        """Removes the handler of a signal. Returns whether there was one."""
        was_there = super().remove_signal_handler(sig)
        if self.is_running():
            self._listen_to_signals()
        return was_there

    # ------------------------------------------------------------ what the native half calls

    def _kettle_traceback(self) -> Any:
        """Returns where a handle is created, for debug mode."""
        return asyncio.format_helpers.extract_stack(sys._getframe(1))

    def _kettle_run_watched(self, handle: asyncio.Handle) -> None:
        """Runs a handle in debug mode."""
        try:
            self._current_handle = handle
            begun = self.time()
            handle._run()
            took = self.time() - begun
            if took >= self.slow_callback_duration:
                format_handle: Any = asyncio.base_events._format_handle  # type: ignore[attr-defined]
                what = format_handle(handle)
                _log.warning("Executing %s took %.3f seconds", what, took)
        finally:
            self._current_handle = None
            # A traceback may keep this frame alive, with everything in it.
            del handle

    def _kettle_report(self, handle: Any, exception: BaseException) -> None:
        """Reports the exception of a callback."""
        callback = _described(handle._callback, handle._args, self._debug)
        context = {"message": f"Exception in callback {callback}", "exception": exception, "handle": handle}
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)


def _described(callback: Any, args: Any, debug: bool) -> str:
    describe: Any = asyncio.format_helpers._format_callback_source
    if callback is None:  # cancelled by itself
        return "None"
    try:
        return str(describe(callback, args, debug=debug))
    except TypeError:  # before 3.13
        return str(describe(callback, args))


def new_event_loop() -> EventLoop:
    """Returns a new loop."""
    return EventLoop()
