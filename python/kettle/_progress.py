"""Progress of a pool's work: a bar on a terminal or in a notebook, lines in a log, or calls of a function.

Bar and lines are written to standard error. The bar is tqdm's if that is installed; on a terminal there is one without
it, too. If the stream is a pipe or a file (the log of a CI job) there are plain lines: one at the end, and one in
between whenever ten seconds and a tenth of the work have passed, or a minute.
"""

from __future__ import annotations

import os
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TextIO, TypeAlias

    Progress: TypeAlias = "bool | str | Callable[[int, int | None], object]"

    class Bar(Protocol):
        """An object that shows progress."""

        def update(self, done: int = 0, failed: int = 0) -> None:
            """`done` more tasks are finished; `failed` of these raised an exception or were lost."""

        def close(self, done: int = 0, failed: int = 0) -> None:
            """Like `update`, for the last time. Closing it again is harmless."""


__all__ = ["bar", "time_text"]

_PAUSE = 10.0  # minimum seconds between two lines
_STEP = 0.1  # part of the work that is done between two lines
_LONG = 60.0  # seconds after which there is a line in any case


def bar(progress: Progress | None, total: int | None) -> Bar | None:
    """Starts showing the progress of `total` tasks (None: unknown) if `progress` is true, with a label if it is text;
    or calls it if it is a function.

    Errors while showing progress are not raised; after one, nothing is shown.
    """
    if callable(progress):
        _check_function(progress)
        return _Safe(_Told(progress, total))
    if not isinstance(progress, (bool, str, type(None))):
        raise TypeError(
            "progress must be True, a label, or a function of the number of finished items and the total, "
            f"not {type(progress).__name__}"
        )
    if not progress:
        return None
    label = progress if isinstance(progress, str) else ""
    stream = sys.stderr
    return _Safe(_drawn(label, total, stream) or _Lines(label, total, stream))


def _check_function(function: Callable[..., object]) -> None:
    """Raises TypeError for a function that does not accept the number of finished items and the total.

    A builtin function that takes any number of arguments, such as `print`, is not meant for this.
    """
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # the function has no signature
        return
    try:
        signature.bind(0, 0)
        takes_two = True
    except TypeError:
        takes_two = False
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if not takes_two or (inspect.isbuiltin(function) and inspect.Parameter.VAR_POSITIONAL in kinds):
        name = getattr(function, "__name__", None) or type(function).__name__
        raise TypeError(
            "progress must be a function of two arguments, the number of finished items and the total, "
            f"not {name}{signature}"
        )


def _drawn(label: str, total: int | None, stream: TextIO | None) -> Bar | None:
    """Returns a bar, if it would be visible."""
    if stream is None or not _watched(stream):
        return None
    try:
        return _Tqdm(label, total)
    except Exception:  # tqdm is not installed, or too old
        pass
    try:
        from kettle._bar import Drawn

        return Drawn(label, total, stream)
    except (OSError, ValueError):  # a notebook, whose stream is not a terminal
        return None


def _watched(stream: TextIO | None) -> bool:
    """Returns whether the stream is shown to a user while it is written."""
    ipython = sys.modules.get("IPython")
    if ipython is not None:
        shell = ipython.get_ipython()
        if shell is not None and "IPKernelApp" in shell.config:  # a notebook
            return True
    try:
        if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
            return False
        return os.get_terminal_size(stream.fileno()).columns > 0  # 0 for a terminal in name only
    except (OSError, ValueError):  # closed, or not a stream of the system
        return False


class _Safe:
    """Shows progress until that fails or is closed."""

    def __init__(self, shown: Bar) -> None:
        self._shown: Bar | None = shown

    def update(self, done: int = 0, failed: int = 0) -> None:
        if self._shown is not None:
            try:
                self._shown.update(done, failed)
            except Exception:
                self._shown = None

    def close(self, done: int = 0, failed: int = 0) -> None:
        shown, self._shown = self._shown, None
        if shown is not None:
            try:
                shown.close(done, failed)
            except Exception:
                pass


class _Told:
    """Calls a function of the program's. If it raises, the exception is shown and the calls end."""

    def __init__(self, tell: Callable[[int, int | None], object], total: int | None) -> None:
        self._tell = tell
        self._total = total
        self._done = 0
        self._told: int | None = None

    def update(self, done: int = 0, failed: int = 0) -> None:
        self._done += done
        self._call()

    def close(self, done: int = 0, failed: int = 0) -> None:
        self._done += done
        if self._told != self._done:
            self._call()

    def _call(self) -> None:
        self._told = self._done
        try:
            self._tell(self._done, self._total)
        except Exception:
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
            raise


class _Tqdm:
    def __init__(self, label: str, total: int | None) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, import-not-found, unused-ignore]

        class Bar(tqdm):  # type: ignore[misc]
            monitor_interval = 0  # without tqdm's thread, because this process forks

        self._failed = 0
        # miniters: checked at each update, which are few; tqdm's own estimate would wait for its thread.
        self._bar: Any = Bar(total=total, desc=label or None, unit=" tasks", dynamic_ncols=True, miniters=1)

    def update(self, done: int = 0, failed: int = 0) -> None:
        self._count(failed)
        self._bar.update(done)

    def close(self, done: int = 0, failed: int = 0) -> None:
        self._count(failed)
        self._bar.n += done  # drawn once here, and not by `update` as well
        self._bar.close()

    def _count(self, failed: int) -> None:
        if failed:
            self._failed += failed
            self._bar.set_postfix_str(f"{self._failed} failed", refresh=False)


class _Lines:
    def __init__(
        self, label: str, total: int | None, stream: TextIO | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._start = f"{label}: " if label else ""
        self._total = total
        self._stream = stream
        self._clock = clock
        self._began = self._said = clock()
        self._done = self._failed = self._done_when_said = 0

    def update(self, done: int = 0, failed: int = 0) -> None:
        self._done += done
        self._failed += failed
        passed = self._clock() - self._said
        if passed >= _PAUSE and (passed >= _LONG or self._has_moved()) and self._done != self._total:
            self._say(self._rest())

    def close(self, done: int = 0, failed: int = 0) -> None:
        self._done += done
        self._failed += failed
        self._say(f"in {time_text(self._clock() - self._began)}")

    def _has_moved(self) -> bool:
        return self._total is not None and self._done - self._done_when_said >= _STEP * self._total

    def _rest(self) -> str:
        """Returns the time left, estimated from the time taken until now."""
        passed = self._clock() - self._began
        if not self._total or not self._done:
            return f"after {time_text(passed)}"
        return f"{time_text(passed * (self._total - self._done) / self._done)} left"

    def _say(self, when: str) -> None:
        self._said = self._clock()
        self._done_when_said = self._done
        if self._stream is None:
            return
        count = f"{self._done}"
        if self._total:
            count += f"/{self._total} ({self._done * 100 // self._total} %)"
        failed = f", {self._failed} failed" if self._failed else ""
        rate = self._done / max(self._said - self._began, 1e-3)
        self._stream.write(f"{self._start}{count} tasks{failed}, {_rate(rate)}, {when}\n")
        self._stream.flush()


def _rate(rate: float) -> str:
    if rate >= 100:
        return f"{rate:.0f} per second"
    return f"{rate:.3g} per second" if rate >= 1 else f"{rate * 60:.3g} per minute"


def time_text(seconds: float) -> str:
    """Returns the time in tqdm's format: 00:07, 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
