"""The fork server. It is CPython's own, one for both packages, told to load this one before it forks."""

from __future__ import annotations

from multiprocessing import forkserver as _standard
from multiprocessing.forkserver import get_inherited_fds

from kettle._install import told_to_new_interpreters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["connect_to_new_process", "ensure_running", "get_inherited_fds", "set_forkserver_preload"]

# What most children need, and last a look at what all the importing did.
_PRELOAD = [
    "kettle.multiprocessing.popen_forkserver",
    "kettle.multiprocessing.connection",
    "kettle.multiprocessing.queues",
    "kettle.multiprocessing.synchronize",
    "kettle.multiprocessing._after_preload",
]
_forkserver: Any = _standard._forkserver


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


def set_forkserver_preload(modules_names: list[str]) -> None:
    """Names the modules that the server tries to import before it forks. Raises TypeError for what is no name."""
    _standard.set_forkserver_preload(modules_names)


def ensure_running() -> None:
    """Starts the server if it does not run."""
    chosen = _forkserver._preload_modules or []
    with told_to_new_interpreters() as told:
        # A server that is not told what `multiprocessing` means here must leave the program to its children.
        preload = [name for name in chosen if name not in _PRELOAD and (told or name != "__main__")]
        _forkserver._preload_modules = [*preload, *_PRELOAD]
        _standard.ensure_running()


def connect_to_new_process(fds: list[int]) -> tuple[int, int]:
    """Has the server fork a child that gets copies of `fds`.

    Returns a descriptor to read the child's pid and exit code from, and one to write its start data to.
    """
    ensure_running()
    status, data = _standard.connect_to_new_process(fds)
    return status, data
