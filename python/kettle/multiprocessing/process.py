"""The process class. What it is about (who am I, who are my children, who is my parent) is kept where the standard
library keeps it, so that `multiprocessing.current_process()` and logging tell the truth too."""

from __future__ import annotations

import fcntl
import os
import sys
import threading

# Those of `signal` wrap each number in an enumeration: some twenty pages that a forked child would have to copy.
from _signal import SIG_BLOCK, SIG_SETMASK, SIGINT, pthread_sigmask  # type: ignore[import-not-found]
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from functools import partial
from multiprocessing import process as _standard
from multiprocessing.process import active_children, current_process, parent_process

from kettle import _parameters
from kettle._core import native
from kettle._later import aio
from kettle.multiprocessing import _descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]


#: What each child that is started from now on does first of all, before the program's main module is imported: a
#: function that can be pickled. A child does the same to its own. See `_logging`.
prepare_child: Callable[[], None] | None = None

#: Makes the start method of that name this process's own. `context`, which needs this module, puts it here.
force_start_method: Callable[[str], None] | None = None

# Held while the standard library is to overlook that this process is a daemon.
_as_if_not_daemonic = threading.RLock()


def _after_fork_in_child() -> None:
    # They are the parent's, also after a fork by hand: a forked server must not join or end them at its exit.
    _standard._children = set()  # type: ignore[attr-defined]
    _as_if_not_daemonic._at_fork_reinit()  # type: ignore[attr-defined]


os.register_at_fork(after_in_child=_after_fork_in_child)


def __getattr__(name: str) -> Any:
    # _children and its like are rebound there when a process starts.
    return getattr(_standard, name)


class BaseProcess(_standard.BaseProcess):
    """An activity that runs in a process of its own.

    The parameters are the standard library's, and one more: a child that is started with `outlive_parent=True` goes on
    when its parent is killed. Any other is killed within milliseconds after its parent, whatever it is doing, unless it
    watches `parent_process()` by itself, with `is_alive`, `join` or `sentinel`.

    Differences from the standard library: `sentinel` is a pidfd; `exitcode` is never None once an untimed `join`
    returned (it is 255 if somebody else reaped the child and took its status along); a process can be awaited; one that
    is ended by KeyboardInterrupt prints no traceback, since Ctrl-C reaches all processes and the parent prints its own.
    """

    _outlive_parent = False
    _waits_for_server = True  # also if the fork server was stopped, until it goes on
    _signal_mask: Collection[int] | None = None  # in a forked child: what `run` is to begin with

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] = {},
        *,
        daemon: bool | None = None,
        outlive_parent: bool = False,
    ) -> None:
        if group is not None:
            raise AssertionError(_WITHOUT_TARGET)
        if target is not None and not callable(target):
            raise TypeError(
                f"target must be a function, not {_parameters.shown(target)}: was the function called, target=f(x), "
                "instead of given, target=f, args=(x,)?"
            )
        args = _parameters.arguments("args", _checked(args, target) if isinstance(args, str) else args)
        try:
            kwargs = dict(kwargs)
        except (TypeError, ValueError) as error:
            shown = _parameters.shown(kwargs)
            raise type(error)(f"kwargs must be a mapping of names to values, not {shown}") from None
        super().__init__(None, target, name, args, kwargs, daemon=daemon)
        self._outlive_parent = outlive_parent

    def __getattr__(self, name: str) -> Any:
        if name in _OF_EACH and name not in vars(self):
            raise AttributeError(
                f"{type(self).__name__}.__init__() has not called super().__init__(), which a subclass of Process must "
                "do before anything else",
                name=None,  # else an attribute with another name is suggested
                obj=None,
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def start(self) -> None:
        """Starts the process. A daemonic process may start some as well: they die with it, so that none is left behind,
        which is what the standard library forbids it for."""
        self._check_closed()
        if self._popen is not None:
            raise AssertionError("cannot start a process twice: make a new Process for each start")
        if self._parent_pid != os.getpid():
            raise AssertionError("can only start a process object created by current process")
        runs_nothing = type(self).run is BaseProcess.run and "run" not in vars(self)
        if self._target is None and runs_nothing:
            import warnings

            warnings.warn(
                "this process has no target and does nothing: was the function called, target=f(x), instead of given, "
                "target=f, args=(x,)?",
                RuntimeWarning,
                stacklevel=2,
            )
        mask = pthread_sigmask(SIG_BLOCK, ())
        try:
            self._start()
        except Exception as error:
            explained = sys.modules.get("kettle._unpicklable")
            if explained is None or not explained.is_explained(error):
                raise
            # How it was to be pickled is of no interest.
            raise error.with_traceback(explained.without_picklers(error.__traceback__)) from None
        finally:
            # A Ctrl-C that came in the middle of a fork raises now, when there is a child to be ended or joined.
            pthread_sigmask(SIG_SETMASK, mask)

    def _start(self) -> None:
        config = current_process()._config  # type: ignore[attr-defined]
        if not config.get("daemon"):
            super().start()
            return
        with _as_if_not_daemonic:
            config["daemon"] = False
            try:
                super().start()
            finally:
                config["daemon"] = True

    def join(self, timeout: float | None = None) -> None:
        """Waits until the process ends, or `timeout` seconds have passed."""
        if self._popen is None or self._parent_pid != os.getpid():
            self._check_closed()
            if self is current_process():
                raise AssertionError(
                    "can only join a child process: a process that waited for its own end would never end"
                )
            if self._parent_pid != os.getpid():
                raise AssertionError("can only join a child process: this one was made by another process")
            raise AssertionError(_NOT_STARTED)
        super().join(timeout)

    def terminate(self) -> None:
        """Ends the process by SIGTERM."""
        self._require_start("terminate")
        super().terminate()

    def kill(self) -> None:
        """Ends the process by SIGKILL."""
        self._require_start("kill")
        super().kill()

    def _require_start(self, what: str) -> None:
        self._check_closed()
        if self._popen is None:
            raise AttributeError(f"can only {what} a started process: call start() first")

    @property
    def daemon(self) -> bool:
        """Whether the process is ended when its parent ends."""
        daemonic: bool = self._config.get("daemon", False)
        return daemonic

    @daemon.setter
    def daemon(self, daemonic: bool) -> None:
        if self._popen is not None:
            raise AssertionError("process has already started: set daemon before start(), or give Process(daemon=...)")
        self._config["daemon"] = daemonic

    async def ajoin(self, timeout: float | None = None) -> None:
        """Waits, without blocking the event loop, until the process ends or `timeout` seconds have passed."""
        self._check_closed()
        if self._popen is None:
            raise AssertionError(_NOT_STARTED)
        if await aio.readable(self.sentinel, timeout):
            self.join()

    def __await__(self) -> Generator[Any, None, None]:
        return self.ajoin().__await__()

    @property
    def sentinel(self) -> int:
        """A descriptor that is readable once the process has ended: a pidfd. Raises ValueError before it is started."""
        self._check_closed()
        if self._popen is None:
            raise ValueError("process not started")
        fd: int = self._popen.sentinel
        return fd

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        # An interrupt waits until `run`: before, it would be printed, or cut in two what must be done.
        blocked = pthread_sigmask(SIG_BLOCK, {SIGINT})
        mask = blocked if self._signal_mask is None else self._signal_mask
        if self._start_method is not None and force_start_method is not None:
            force_start_method(self._start_method)
        life_line = _descriptors.take_life_line()
        if life_line is not None:
            if parent_sentinel is not None:
                os.close(parent_sentinel)
            parent_sentinel = life_line
            from kettle import _main_names  # imported with the first process, and not before

            _main_names.begin()
        else:
            if parent_sentinel is not None and not self._outlive_parent:
                native.die_with(parent_sentinel)
            if prepare_child is not None:
                prepare_child()
        life = None if parent_sentinel is None else native.Descriptor(parent_sentinel, "life", private=False)
        self.run = partial(_run_until_interrupted, self.run, mask, life)  # type: ignore[method-assign]
        code: int = super()._bootstrap(parent_sentinel=parent_sentinel)  # type: ignore[misc]
        return code


#: Attributes that each process object has.
_OF_EACH = {
    "_identity",
    "_config",
    "_parent_pid",
    "_parent_name",
    "_popen",
    "_closed",
    "_target",
    "_args",
    "_kwargs",
    "_name",
}
_NOT_STARTED = "can only join a started process: call start() before join()"
_WITHOUT_TARGET = (
    "group argument must be None for now: the function and its arguments are given by keywords, "
    "Process(target=f, args=(x,))"
)


def _checked(args: str, target: Callable[..., object] | None) -> str:
    """A text for the arguments, each letter of which is one. Raises TypeError if the target does not take so many."""
    import inspect

    if target is not None:
        try:
            inspect.signature(target).bind(*args)
        except ValueError:  # it does not tell
            return args
        except TypeError:
            raise TypeError(
                f"args must be a tuple of arguments: args={args!r} gives {len(args)} of a letter each; one of a single "
                f"argument is written with a comma: args=({args!r},)"
            ) from None
    return args


class _Parent(_standard._ParentProcess):  # type: ignore[name-defined, misc]
    """The parent, for its child to ask about. A child that watches for its end by itself, through `is_alive`, `join` or
    `sentinel`, means to do something then, and is not killed by it. If it closed the descriptor that tells, these raise
    DescriptorLost."""

    _life: native.Descriptor

    def is_alive(self) -> bool:
        """Whether the parent process runs."""
        self._spare_me()
        alive: bool = super().is_alive()
        return alive

    @property
    def sentinel(self) -> int:
        self._spare_me()
        fd: int = super().sentinel
        return fd

    def join(self, timeout: float | None = None) -> None:
        """Waits until the parent process ends, or `timeout` seconds have passed."""
        self._spare_me()
        super().join(timeout)

    def _spare_me(self) -> None:
        life = self._life.fileno()
        flags = fcntl.fcntl(life, fcntl.F_GETFL)
        fcntl.fcntl(life, fcntl.F_SETFL, flags & ~os.O_ASYNC)


def _run_until_interrupted(run: Callable[[], object], mask: Collection[int], life: native.Descriptor | None) -> None:
    parent = parent_process()
    assert parent is not None
    if life is not None:
        parent.__class__ = _Parent
        parent._life = life  # type: ignore[attr-defined]
    try:
        pthread_sigmask(SIG_SETMASK, mask)
        run()
    except KeyboardInterrupt:
        from multiprocessing import util

        util.info("interrupted")
        raise SystemExit(1) from None
