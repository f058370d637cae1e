"""The fork server. It is CPython's own, one for both packages, told to load this one before it forks."""

from multiprocessing import forkserver as _standard
from multiprocessing.forkserver import get_inherited_fds
from typing import Any

__all__ = ["connect_to_new_process", "ensure_running", "get_inherited_fds", "set_forkserver_preload"]

_PRELOAD = "kettle.multiprocessing.spawn"
_forkserver: Any = _standard._forkserver


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


def set_forkserver_preload(modules_names: list[str]) -> None:
    """Names the modules that the server tries to import before it forks. Raises TypeError for what is no name."""
    _standard.set_forkserver_preload(modules_names)


def ensure_running() -> None:
    """Starts the server if it does not run."""
    chosen = _forkserver._preload_modules
    if chosen is None or _PRELOAD not in chosen:
        _forkserver._preload_modules = [*(chosen or ()), _PRELOAD]
    _standard.ensure_running()


def connect_to_new_process(fds: list[int]) -> tuple[int, int]:
    """Has the server fork a child that gets copies of `fds`.

    Returns a descriptor to read the child's pid and exit code from, and one to write its start data to.
    """
    ensure_running()
    status, data = _standard.connect_to_new_process(fds)
    return status, data
