"""The helper processes are the standard library's own: the fork server and the resource tracker. Like all children,
they look for no module in the current directory."""

from __future__ import annotations

from multiprocessing import resource_tracker, util

from kettle._frozen import IS_FROZEN
from kettle._install import WITHOUT_CURRENT_DIRECTORY
from kettle.multiprocessing import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

__all__ = ["resource_tracker", "start_safely", "tracker"]


class _Starter:
    """Stands in for `multiprocessing.util` in a module that starts a helper."""

    def __getattr__(self, name: str) -> Any:
        return getattr(util, name)

    @staticmethod
    def spawnv_passfds(path: bytes, args: Sequence[str], passfds: Sequence[int]) -> int:
        args = list(args)
        # A frozen program searches no path, and recognises these commands by their first lines.
        if "-c" in args and not IS_FROZEN:
            place = args.index("-c") + 1
            # The tracker needs nothing of this package.
            package = "" if "from multiprocessing.resource_tracker import" in args[place] else spawn.find_this_package()
            args[place] = WITHOUT_CURRENT_DIRECTORY + package + args[place]
        return util.spawnv_passfds(path, args, passfds)


def start_safely(module: ModuleType) -> None:
    """Makes `module`, one of the standard library's, start its helper in this way from now on, for all callers."""
    module.util = _Starter()  # type: ignore[attr-defined]


start_safely(resource_tracker)


class _Tracker:
    """Stands in for `multiprocessing.resource_tracker` where a process is started, perhaps by a signal handler that
    interrupts another call to the tracker in its thread. The tracker refuses nested calls, even if nothing but the
    descriptor of a running tracker is needed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(resource_tracker, name)

    @staticmethod
    def ensure_running() -> None:
        try:
            resource_tracker.ensure_running()
        except _REFUSED:
            if resource_tracker._resource_tracker._fd is None:  # type: ignore[attr-defined]
                raise

    def getfd(self) -> int:
        self.ensure_running()
        fd: int = resource_tracker._resource_tracker._fd  # type: ignore[attr-defined]
        return fd


_REFUSED = getattr(resource_tracker, "ReentrantCallError", RuntimeError)
tracker = _Tracker()
