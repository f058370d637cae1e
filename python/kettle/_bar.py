"""A progress bar on a terminal, where tqdm is not installed.

fetch:  42%|████████▍           | 42/100 [00:03<00:04, 13.3 tasks/s, 1 failed]
"""

from __future__ import annotations

import os
import time

from kettle._progress import time_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

__all__ = ["Drawn"]

_PAUSE = 0.1  # minimum seconds between two drawings
_FRESH = 0.3  # weight of the latest drawing in the rate
_BLOCKS = " ▏▎▍▌▋▊▉█"
_ASCII = " #"


class Drawn:
    """A bar that is drawn over itself until it is closed. Then it stays, and further output goes below it."""

    def __init__(
        self, label: str, total: int | None, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        os.get_terminal_size(stream.fileno())  # OSError: not a terminal
        label = " ".join(label.split())  # in one line
        self._start = f"{label}: " if label else ""
        self._wide = _wide(label)
        self._total = total
        self._stream = stream
        self._clock = clock
        self._began = self._drawn_at = clock()
        self._done = self._failed = self._done_when_drawn = 0
        self._rate: float | None = None
        self._blocks = _BLOCKS if _can_show(stream, _BLOCKS) else _ASCII
        self._draw(self._began)

    def update(self, done: int = 0, failed: int = 0) -> None:
        self._done += done
        self._failed += failed
        now = self._clock()
        if now - self._drawn_at >= _PAUSE:
            self._draw(now)

    def close(self, done: int = 0, failed: int = 0) -> None:
        self._done += done
        self._failed += failed
        # The final rate is about the whole time.
        now = self._clock()
        self._rate = None
        self._draw(now, "\n")

    def _draw(self, now: float, end: str = "") -> None:
        passed = now - self._drawn_at
        if passed > 0 and not end:
            rate = (self._done - self._done_when_drawn) / passed
            self._rate = rate if self._rate is None else _FRESH * rate + (1 - _FRESH) * self._rate
        self._drawn_at, self._done_when_drawn = now, self._done
        columns = os.get_terminal_size(self._stream.fileno()).columns
        # Some terminals would continue a line that fills the last column on the next line.
        line = self._line(now - self._began, max(columns - 1 - self._wide, 10))
        self._stream.write(f"\r{line}\x1b[K{end}")
        self._stream.flush()

    def _line(self, passed: float, width: int) -> str:
        overall = self._done / passed if passed > 0 else 0.0
        rate = overall if self._rate is None else self._rate
        failed = f", {self._failed} failed" if self._failed else ""
        speed = f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}"
        if not self._total:
            return f"{self._start}{self._done} tasks [{time_text(passed)}, {speed} tasks/s{failed}]"[:width]
        left = time_text((self._total - self._done) / rate) if rate > 0 else "?"
        part = min(self._done / self._total, 1.0)
        before = f"{self._start}{int(part * 100):3}%"
        after = f" {self._done}/{self._total} [{time_text(passed)}<{left}, {speed} tasks/s{failed}]"
        room = width - len(before) - len(after) - 2
        middle = f"|{self._filled(part, room)}|" if room >= 4 else ""
        return (before + middle + after)[:width]

    def _filled(self, part: float, room: int) -> str:
        finest = len(self._blocks) - 1
        full, rest = divmod(int(part * room * finest), finest)
        return (self._blocks[-1] * full + (self._blocks[rest] if rest else "")).ljust(room)


def _wide(text: str) -> int:
    """Returns how many characters take two columns."""
    if text.isascii():
        return 0
    from unicodedata import east_asian_width

    return sum(east_asian_width(character) in "WF" for character in text)


def _can_show(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
