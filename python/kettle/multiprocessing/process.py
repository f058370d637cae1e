"""The process class. Its registry (the current process, its children, its parent) is kept where the standard library
keeps it, so that `multiprocessing.current_process()` and logging are correct too."""

from __future__ import annotations

import fcntl
import os
import sys
import threading

# The constants of `signal` wrap each number in an enumeration: about twenty pages that a forked child would have to
# copy.
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


#: Functions that each child started from now on runs first, before the program's main module is imported. They can be
#: pickled, and a child does the same for its own children. See `_logging`.
prepare_child: Callable[[], None] | None = None

#: Makes the start method of that name this process's own. Set by `context`, which needs this module.
force_start_method: Callable[[str], None] | None = None

# Held while the standard library must not notice that this process is a daemon.
_as_if_not_daemonic = threading.RLock()


def _after_fork_in_child() -> None:
    # They are the parent's, also after a direct fork: a forked server must not join or end them at its exit.
    _standard._children = set()  # type: ignore[attr-defined]
    _as_if_not_daemonic._at_fork_reinit()  # type: ignore[attr-defined]


os.register_at_fork(after_in_child=_after_fork_in_child)


def __getattr__(name: str) -> Any:
    # _children and similar names are rebound there when a process starts.
    return getattr(_standard, name)


class BaseProcess(_standard.BaseProcess):
    """An activity that runs in a process of its own.

    The parameters are the standard library's, with one addition: a child started with `outlive_parent=True` goes on
    when its parent is killed. Any other child is killed within milliseconds after its parent, whatever it is doing,
    unless it watches `parent_process()` itself, with `is_alive`, `join` or `sentinel`.

    Differences from the standard library: `sentinel` is a pidfd; `exitcode` is never None after an untimed `join` has
    returned (it is 255 if other code reaped the child and took its status); a process can be awaited; a process ended
    by KeyboardInterrupt prints no traceback, since Ctrl-C reaches all processes and the parent prints its own.
    """

    _outlive_parent = False
    _waits_for_server = True  # waits even if the fork server was stopped, until it goes on
    _signal_mask: Collection[int] | None = None  # in a forked child: the signal mask with which `run` begins
    _life_pipe: native.Descriptor | None = (
        None  # in a forked child: the read end of the pipe that ties it to its parent
    )

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
                "instead of passed, target=f, args=(x,)?"
            )
        if type(args) is not tuple:
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
                name=None,  # otherwise an attribute with another name is suggested
                obj=None,
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def start(self) -> None:
        """Starts the process. A daemonic process may start children too; they die with it, so that none is left behind,
        which is the reason why the standard library forbids it."""
        if self._closed:
            self._check_closed()
        if self._popen is not None:
            raise AssertionError("cannot start a process twice: create a new Process for each start")
        if self._parent_pid != os.getpid():
            raise AssertionError("can only start a process object created by current process")
        runs_nothing = type(self).run is BaseProcess.run and "run" not in vars(self)
        if self._target is None and runs_nothing:
            import warnings

            warnings.warn(
                "this process has no target and does nothing: was the function called, target=f(x), instead of passed, "
                "target=f, args=(x,)?",
                RuntimeWarning,
                stacklevel=2,
            )
        mask = pthread_sigmask(SIG_BLOCK, ())
        try:
            if _standard._current_process._config.get("daemon"):  # type: ignore[attr-defined]
                self._start_from_daemon()
            else:
                super().start()
        except Exception as error:
            explained = sys.modules.get("kettle._unpicklable")
            if explained is None or not explained.is_explained(error):
                raise
            # The attempts to pickle the object are of no interest.
            raise error.with_traceback(explained.without_picklers(error.__traceback__)) from None
        finally:
            # A Ctrl-C that came in the middle of a fork raises now, when there is a child to end or join.
            pthread_sigmask(SIG_SETMASK, mask)

    def _start_from_daemon(self) -> None:
        config = current_process()._config  # type: ignore[attr-defined]
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
                raise AssertionError("can only join a child process: this one was created by another process")
            raise AssertionError(_NOT_STARTED)
        if self._popen.wait(timeout) is not None:
            _standard._children.discard(self)  # type: ignore[attr-defined]

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
            raise AssertionError("process has already started: set daemon before start(), or pass Process(daemon=...)")
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
        """A descriptor that is readable once the process has ended: a pidfd. Raises ValueError before the process is
        started."""
        self._check_closed()
        if self._popen is None:
            raise ValueError("process not started")
        fd: int = self._popen.sentinel
        return fd

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        # An interrupt is delayed until `run`: earlier it would be printed, or would interrupt code that must complete.
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
        life, self._life_pipe = self._life_pipe, None
        if life is None and parent_sentinel is not None:
            life = native.Descriptor(parent_sentinel, "life", private=False)
        self.run = partial(_run_until_interrupted, self.run, mask, life)  # type: ignore[method-assign]
        code: int = super()._bootstrap(parent_sentinel=parent_sentinel)  # type: ignore[misc]
        return code


#: Attributes of every process object.
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
    "group argument must be None for now: the function and its arguments are passed by keywords, "
    "Process(target=f, args=(x,))"
)


def _checked(args: str, target: Callable[..., object] | None) -> str:
    """Checks arguments given as a string, each letter of which is one argument. Raises TypeError if the target does not
    accept that many."""
    import inspect

    if target is not None:
        try:
            inspect.signature(target).bind(*args)
        except ValueError:  # the target has no signature
            return args
        except TypeError:
            raise TypeError(
                f"args must be a tuple of arguments: args={args!r} passes {len(args)} of one letter each; a tuple with "
                f"one argument needs a comma: args=({args!r},)"
            ) from None
    return args


class _Parent(_standard._ParentProcess):  # type: ignore[name-defined, misc]
    """The parent, as its child sees it. A child that watches for the end of its parent itself, through `is_alive`,
    `join` or `sentinel`, means to react to it, and is not killed. If the child closed the descriptor for this, these
    methods raise DescriptorLost."""

    _life: native.Descriptor

    def is_alive(self) -> bool:
        """Returns whether the parent process is running."""
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
