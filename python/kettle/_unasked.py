"""Failures of tasks whose results were never asked for: told in a line on standard error, when the program ends.

A program that hands tasks to a pool and never looks at what becomes of them does not learn that they failed, or that
it ended before they were done. The record is of this process; what is asked for later is struck off it. What is told is
for the environment variable KETTLE_UNASKED to say:

"pools": tasks of pools. So it is without the variable. Those of executors are left alone: `submit` and no look at the
    future is how programs and libraries hand over what may fail.
"all": tasks of executors as well.
"off": nothing.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading

from kettle._describe import short
from kettle._errors import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["add", "drop", "remove", "tells_of"]

_TEXTS = 100  # of so many failures it is on record what they were, and of the others how many


class _Record:
    def __init__(self) -> None:
        self.home = os.getpid()
        self.lock = threading.RLock()  # a signal handler may ask for a result meanwhile
        self.failed = 0
        self.texts: dict[int, str] = {}
        self.dropped = 0
        self.is_told = False  # at the end: that is arranged


_record = _Record()
_entries = itertools.count(1)


def tells_of(executors: bool) -> bool:
    """Whether failures of pools, or of executors, are told."""
    setting = os.environ.get("KETTLE_UNASKED", "pools")
    return setting == "all" if executors else setting != "off"


def add(error: BaseException) -> int:
    """Puts an error on record; gives its entry. What Ctrl-C ended is left out (0): the program itself says so."""
    if _is_interrupt(error):
        return 0
    record = _this_process()
    entry = next(_entries)
    text = _text(error) if len(record.texts) < _TEXTS else None
    with record.lock:
        record.failed += 1
        if text is not None:
            record.texts[entry] = text
    return entry


def remove(entry: int) -> None:
    """It has been asked for."""
    record = _this_process()
    with record.lock:
        record.failed -= 1
        record.texts.pop(entry, None)


def drop(tasks: int) -> None:
    """So many tasks are not done because the program ends."""
    if tasks:
        _this_process().dropped += tasks


def _this_process() -> _Record:
    global _record
    if _record.home != os.getpid():
        _record = _Record()  # of a fork: what its parent has on record is its parent's
    record = _record
    if not record.is_told:
        record.is_told = True
        from multiprocessing.util import Finalize

        # After the pools have been ended, and in children of a program as well.
        Finalize(None, _tell, args=(record,), exitpriority=-1)
    return record


def _tell(record: _Record) -> None:
    stream = sys.stderr
    if stream is None:
        return
    lines = []
    if failed := record.failed:
        tasks = "1 task failed and its result was" if failed == 1 else f"{failed} tasks failed and their results were"
        first = next(iter(record.texts.values()), None)
        shown = "" if first is None else f": {first}" if failed == 1 else f"; the first: {first}"
        lines.append(f"{tasks} never asked for{shown}")
    if dropped := record.dropped:
        tasks = "1 task of a pool was" if dropped == 1 else f"{dropped} tasks of pools were"
        lines.append(f"{tasks} not done when the program ended; close() and join() of a pool wait for its tasks")
    try:
        for line in lines:
            stream.write(f"kettle: {line}\n")
        stream.flush()
    except (OSError, ValueError):
        pass  # it is closed, or full


def _is_interrupt(error: BaseException) -> bool:
    if type(error) is RemoteError:
        return bool(error.type_name == KeyboardInterrupt.__name__)
    return type(error) is KeyboardInterrupt


def _text(error: BaseException) -> str:
    """An error in a few words. It runs no code of the error's own."""
    kind = type(error)
    is_plain = all(type(argument) in (str, int, float) for argument in error.args)
    # A `__str__` of CPython's own is a slot, and no function.
    if is_plain and type(kind.__str__) is type(BaseException.__str__):
        text = str(error)
    else:
        text = ", ".join(short(argument) for argument in error.args[:4])
    if len(text) > 200:
        text = f"{text[:197]}..."
    notes: Any = getattr(error, "__notes__", None)
    note = notes[-1] if type(notes) is list and notes else None
    where = f" {note}" if type(note) is str and note.startswith("in ") else ""
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    return f"{name}: {text}{where}" if text else f"{name}{where}"
