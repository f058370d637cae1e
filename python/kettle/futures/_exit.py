"""At its end the interpreter waits for executors that still have tasks, unless it ends because of Ctrl-C."""

from __future__ import annotations

import os
import sys
import threading

from kettle._session import native
from kettle.futures._hooks import Hooks

__all__ = ["at_exit"]


class _AtExit:
    """The executors that still have tasks."""

    def __init__(self) -> None:
        self.has_begun = False
        self._serving: dict[native.PoolCrew, Hooks] = {}
        threading._register_atexit(self._leave)  # type: ignore[attr-defined]
        os.register_at_fork(after_in_child=self._serving.clear)

    def serve(self, crew: native.PoolCrew, hooks: Hooks) -> threading.Thread:
        """Starts the thread that works for `crew` when no other thread waits for it."""
        self._serving[crew] = hooks
        hooks.inherits_for_callbacks(threading.current_thread().daemon)
        thread = threading.Thread(target=self._serve, args=(crew, hooks), name="executor-deputy", daemon=True)
        thread.start()
        return thread

    def _serve(self, crew: native.PoolCrew, hooks: Hooks) -> None:
        try:
            crew.deputise()
        finally:
            self._serving.pop(crew, None)
            hooks.end_callbacks()

    def _leave(self) -> None:
        self.has_begun = True
        serving = list(self._serving.items())
        interrupted = not hasattr(sys, "ps1") and getattr(sys, "last_type", None) is KeyboardInterrupt
        try:
            for crew, _ in serving:
                crew.terminate() if interrupted else crew.close()
            for crew, hooks in serving:
                crew.join()
                hooks.join_callbacks()
        except BaseException:
            for crew, _ in serving:
                crew.terminate()
            raise


at_exit = _AtExit()
