"""The `logging` records of child processes, handled by the parent: `log_to_parent`.

    child:   logger ── root logger ── Forwarder ──┐   (shared memory: safe when the call to the logger returns,
                                                queue    whatever happens to the child)
    parent:  handlers ── logger of that name ── LogListener

A child starts with the parent's logger levels and with one handler, the root logger's `Forwarder`, in place of the
handlers that it inherited: the parent's handlers run only in the parent, and receive each record once. In the parent a
record goes to the logger of its name as if it had been created there: that logger's level, filters and handlers apply.
The process, thread and source position in the record are the child's; its exception is sent as text (`exc_text`).
Anything that the child itself configures later, such as its own handlers, applies in the child, too.

The number of records that wait for the parent is bounded. A child that finds no room waits for a limited time. If the
parent is stuck or dead, the child goes on, and only its warnings and errors are shown, on the standard error stream.
"""

from __future__ import annotations

import logging
import os
import threading
import traceback
from multiprocessing import util
from queue import Full

from kettle._session import ForkingPickler
from kettle.multiprocessing import process
from kettle.multiprocessing.queues import Queue, ShutDown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LogListener", "log_to_parent"]

_ROOM = 10_000  # records that may wait for the parent; about 500 bytes each
_PATIENCE = 10.0  # seconds that a child waits for room
_BATCH = 256  # records that the listener takes at a time
_AFTER_CHILDREN = -100  # exit priority: multiprocessing runs finalizers below 0 after it has joined the children
_PLAIN = {type(None), bool, int, float, str, bytes}


# ---------------------------------------------------------------- in the parent


class LogListener:
    """A thread that passes the records of child processes to this process's loggers, until it is stopped."""

    def __init__(self, level: int | str) -> None:
        self._owner = os.getpid()
        self._queue: Queue[Any] = Queue(_ROOM)
        self._before = process.prepare_child
        self.link = _Link(self._queue, logging.Handler(level).level)
        # Milliseconds before this process's logging began to count.
        now = logging.makeLogRecord({})
        self._epoch = now.created * 1000 - now.relativeCreated
        self._thread = threading.Thread(target=self._run, name="kettle-logging", daemon=True)
        self._thread.start()
        # The listener outlives the children, and ends before `logging` closes its handlers.
        self._at_exit = util.Finalize(None, self.stop, exitpriority=_AFTER_CHILDREN)

    @property
    def running(self) -> bool:
        """Whether it accepts records: it belongs to the process that created it, until it is stopped."""
        return self._owner == os.getpid() and not self._queue._items.is_shutdown

    def stop(self) -> None:
        """Returns when all records that were sent are handled. Processes started afterwards run without it. Records of
        those that are still running are lost, except for warnings and errors, which they print. Stopping it again is
        harmless."""
        if self._owner != os.getpid():
            return
        if process.prepare_child is self.link:
            process.prepare_child = self._before
        self._at_exit.cancel()
        self._queue.shutdown()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> LogListener:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self) -> None:
        while True:
            try:
                batch = self._queue.get_many(_BATCH)
            except ShutDown:
                return
            for fields, objects in batch:
                with _handling:
                    try:
                        self._handle(fields, objects)
                    except Exception:  # for example of a filter: handlers catch their own errors
                        if logging.raiseExceptions:
                            traceback.print_exc()

    def _handle(self, fields: dict[str, Any], objects: dict[str, bytes]) -> None:
        for name, data in objects.items():
            try:
                fields[name] = ForkingPickler.loads(data)
            except Exception as error:
                fields[name] = f"<cannot be rebuilt: {error!r}>"
        record = logging.makeLogRecord(fields)
        record.relativeCreated = record.created * 1000 - self._epoch
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


_listener: LogListener | None = None


def log_to_parent(level: int | str = logging.NOTSET) -> LogListener:
    """See `kettle.multiprocessing.log_to_parent`."""
    global _listener
    if _listener is None or not _listener.running:
        _listener = LogListener(level)
    else:
        _listener.link.level = logging.Handler(level).level
    process.prepare_child = _listener.link
    return _listener


# Held while a record is being handled. A process is not forked in the meantime: its child would inherit the locks of
# streams and handlers as held by the listener's thread, which the child does not have.
_handling = threading.RLock()
_forking = threading.local()


def _before_fork() -> None:
    # Not forever: the handler may be waiting for something that the forking thread holds.
    _forking.held = _handling.acquire(timeout=1.0)


def _after_fork_in_parent() -> None:
    if _forking.held:
        _handling.release()


def _after_fork_in_child() -> None:
    global _handling
    _handling = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


# ---------------------------------------------------------------- in a child


class _Link:
    """What a child needs to send its records; calling it once in the child starts that."""

    def __init__(self, queue: Queue[Any], level: int) -> None:
        self.queue = queue
        self.level = level
        self._levels: _Levels | None = None  # a forked child already has them

    def __getstate__(self) -> tuple[Queue[Any], int, _Levels]:
        return self.queue, self.level, _Levels()

    def __setstate__(self, state: tuple[Queue[Any], int, _Levels]) -> None:
        self.queue, self.level, self._levels = state

    def __call__(self) -> None:
        if self._levels is not None:
            self._levels.apply()
        for logger in _loggers():
            # Not closed, because the open files in it are the parent's.
            logger.handlers.clear()
            logger.propagate = True
        logging.getLogger().handlers[:] = [Forwarder(self)]


class _Levels:
    """The levels of this process's loggers, for a child that starts with none."""

    def __init__(self) -> None:
        self._disable = logging.root.manager.disable
        self._levels = {logger.name: logger.level for logger in _loggers() if logger.level}
        self._disabled = [logger.name for logger in _loggers() if logger.disabled]

    def apply(self) -> None:
        logging.disable(self._disable)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        for name in self._disabled:
            logging.getLogger(name).disabled = True


def _loggers() -> list[logging.Logger]:
    named = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(logger for logger in named if isinstance(logger, logging.Logger))]


class Forwarder(logging.Handler):
    """Sends records to the process that listens."""

    def __init__(self, link: _Link) -> None:
        super().__init__(link.level)
        self._put = link.queue.put
        self._patience = _PATIENCE

    def emit(self, record: logging.LogRecord) -> None:
        """Puts the record where the listener finds it, waiting for room if necessary."""
        try:
            self._put(_packed(record), timeout=self._patience)
            self._patience = _PATIENCE
        except ShutDown:
            self._in_want_of_a_listener(record)
        except Full:
            if self._patience:  # warned once; from now on calls do not wait until there is room again
                self._patience = 0.0
                self.handleError(record)
            else:
                self._in_want_of_a_listener(record)
        except Exception:
            self.handleError(record)

    def _in_want_of_a_listener(self, record: logging.LogRecord) -> None:
        last = logging.lastResort
        if last is not None and record.levelno >= last.level:
            last.handle(record)


_formatter = logging.Formatter()


def _packed(record: logging.LogRecord) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Returns a record's fields with the formatted message, and separately the pickles of those fields that are
    objects."""
    fields = dict(vars(record))
    fields["msg"] = record.getMessage()
    fields["args"] = None
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = _formatter.formatException(record.exc_info)
    fields["exc_info"] = None
    objects = {}
    for name, value in fields.items():
        if type(value) not in _PLAIN:  # an object in a program's `extra`
            try:
                objects[name] = bytes(ForkingPickler.dumps(value))
                fields[name] = None
            except Exception:
                from kettle._describe import short

                fields[name] = short(value)
    return fields, objects
