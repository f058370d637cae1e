"""Reports failures of tasks whose results were never retrieved, in a line on standard error when the program ends.

A program that submits tasks to a pool and never looks at their results does not learn that they failed, or that it
ended before they were done. The record belongs to this process; failures that are retrieved later are removed from it.
The environment variable KETTLE_UNASKED selects what is reported:

"pools": tasks of pools. This is the default. Tasks of executors are not reported, because many programs and libraries
    use `submit` for tasks that may fail, and never look at the future.
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

_TEXTS = 100  # the texts of this many failures are recorded, and the number of the others


class _Record:
    def __init__(self) -> None:
        self.home = os.getpid()
        self.lock = threading.RLock()  # a signal handler may retrieve a result in the meantime
        self.failed = 0
        self.texts: dict[int, str] = {}
        self.dropped = 0
        self.is_told = False  # whether the report at the end is arranged


_record = _Record()
_entries = itertools.count(1)


def tells_of(executors: bool) -> bool:
    """Returns whether failures of pools, or of executors, are reported."""
    setting = os.environ.get("KETTLE_UNASKED", "pools")
    return setting == "all" if executors else setting != "off"


def add(error: BaseException) -> int:
    """Records an error and returns its entry. Failures caused by Ctrl-C are left out (0): the program itself reports
    them."""
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
    """The error has been retrieved."""
    record = _this_process()
    with record.lock:
        record.failed -= 1
        record.texts.pop(entry, None)


def drop(tasks: int) -> None:
    """This many tasks are not done because the program ends."""
    if tasks:
        _this_process().dropped += tasks


def _this_process() -> _Record:
    global _record
    if _record.home != os.getpid():
        _record = _Record()  # in a fork: the parent's record belongs to the parent
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
        lines.append(f"{tasks} never retrieved{shown}")
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
    """Returns a short text for an error. Runs no code of the error's own."""
    kind = type(error)
    is_plain = all(type(argument) in (str, int, float) for argument in error.args)
    # A `__str__` of CPython's own is a slot, not a function.
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
