"""Programs without a main guard: they start processes while their main module is imported, and each child that begins
as a fresh interpreter imports that module again.

A child that reaches such a start reports it, once for all children of its parent, and ends. The parent's error says the
same.
"""

from __future__ import annotations

import linecache
import os
import sys
import time
from multiprocessing import util
from multiprocessing.process import current_process

from kettle._core import native
from kettle._frozen import IS_FROZEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

__all__ = [
    "cure",
    "for_child",
    "forbid_in_restarted_program",
    "forbid_while_importing",
    "is_missing",
    "set_token",
    "tell",
]

_GUARD = 'if __name__ == "__main__":'
_CURE = (
    "it imported the main module of the program, which itself starts processes.\n"
    "Put the code that starts processes, and all code that must run only once, under the main guard, which is false in "
    f"children:\n\n    {_GUARD}\n        ..."
)
_FROZEN_CURE = (
    "it ran the whole program again, which itself starts processes.\n"
    "In a frozen program the executable is also started for each child. Call freeze_support(), which does a child's "
    f"work and exits,\nbefore everything else in the main block:\n\n    {_GUARD}\n"
    "        multiprocessing.freeze_support()\n        ..."
)
_BURST = 10.0  # seconds between the starts of children that report together

_told: native.Semaphore | None = None  # acquired by the first child that reports
_token: bytes | None = None
_started = 0.0

# ---------------------------------------------------------------- in the parent


def for_child() -> bytes | None:
    """Returns the argument of `set_token` for a child that is started now; None if there is no memory for it."""
    global _told, _token, _started
    now = time.monotonic()
    try:
        if _told is None:
            _told = native.Semaphore(1)
            _token = bytes(_told._kettle_token())
        elif now - _started > _BURST and is_missing():
            _told.release()
    except MemoryError:
        pass
    _started = now
    return _token


def is_missing() -> bool:
    """Returns whether a child has reported that the guard is missing."""
    return _told is not None and _told.get_value() == 0


def cure() -> str:
    """Returns the fix, as part of the parent's errors."""
    return _FROZEN_CURE if IS_FROZEN else _CURE


# ---------------------------------------------------------------- in the child


class _StartedByImport(RuntimeError):
    """A process is started, or a start method chosen, while the main module is imported."""


def set_token(token: bytes | None) -> None:
    """Sets the token through which the parent learns that the guard is missing."""
    global _token
    _token = token


def forbid_while_importing(does: str = "starts processes itself", refusal: str = "") -> None:
    """Raises RuntimeError in a child that is still importing the main module.

    does: what the module does that it must not.
    refusal: the beginning of the error.
    """
    if not getattr(current_process(), "_inheriting", False):
        return
    frame = _culprit()
    place, line = "", "..."
    if frame is not None:
        file = frame.f_code.co_filename
        place = f", at {file}:{frame.f_lineno}"
        line = linecache.getline(file, frame.f_lineno).strip() or line
    raise _StartedByImport(
        f"{refusal}a child process imports the main module of the program, as it must with the start methods 'spawn'\n"
        f"and 'forkserver', and that {does}{place}. Put the code that starts processes, and\n"
        "all code that must run only once, under the main guard, which is false in children:\n\n"
        f"    {_GUARD}\n        {line}"
    )


def forbid_in_restarted_program() -> None:
    """Ends a child of a frozen program that runs the program again, since that has not called `freeze_support`. The
    first such child of a parent raises RuntimeError, the others exit."""
    if _token is not None and not _is_first(_token):
        sys.exit(1)
    raise RuntimeError(f"a child process cannot start another one before it has begun: {_FROZEN_CURE}")


def _culprit() -> FrameType | None:
    """Returns the frame of the main module; otherwise the one that starts a process."""
    frame: FrameType | None = sys._getframe(2)
    asks = None
    ours = (os.path.dirname(os.path.dirname(__file__)) + os.sep, os.path.dirname(util.__file__) + os.sep)
    while frame is not None:
        if frame.f_globals.get("__name__") == "__mp_main__":
            return frame
        if asks is None and not frame.f_code.co_filename.startswith(ours):
            asks = frame
        frame = frame.f_back
    return asks


def tell(error: BaseException) -> bool:
    """Returns whether the error was raised by `forbid_while_importing`, directly or indirectly. In that case it is
    reported, and the child may end."""
    seen: list[BaseException] = []
    next: BaseException | None = error
    while next is not None and not isinstance(next, _StartedByImport) and next not in seen:
        seen.append(next)
        next = next.__cause__ or next.__context__
    if not isinstance(next, _StartedByImport):
        return False
    util._flush_std_streams()  # type: ignore[attr-defined]
    if (_token is None or _is_first(_token)) and sys.stderr is not None:
        print(f"kettle: RuntimeError: {next}\n", file=sys.stderr, flush=True)
    return True


def _is_first(token: bytes) -> bool:
    try:
        return native.Semaphore._kettle_from_token(token).acquire(False)
    except (ValueError, MemoryError):  # for example because the parent's session is gone
        return True
