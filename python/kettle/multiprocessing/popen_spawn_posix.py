"""Starts a process as a fresh interpreter, and sends it the process object through a pipe.

No resource tracker is started: what the child shares with its parent is in the session's arena, which the kernel frees.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
from collections.abc import Callable, Collection
from multiprocessing import context, resource_tracker, util
from multiprocessing.context import get_spawning_popen, set_spawning_popen

from kettle import _session
from kettle._frozen import IS_FROZEN
from kettle._session import ForkingPickler, native
from kettle.multiprocessing import _descriptors, popen_fork, spawn
from kettle.multiprocessing._ties import forget_lost_tracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Popen"]


class Popen(popen_fork.Popen):
    """A process that begins with an exec."""

    method = "spawn"
    #: Whether the child learns from its introduction when to unblock Ctrl-C. Otherwise its command says so, unless that
    #: is the standard library's command.
    tells_when_to_unblock = IS_FROZEN
    DupFd: Callable[[int], Any] = _descriptors.Inherited

    def __init__(self, process_obj: Any) -> None:
        self._fds: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Returns what `DupFd` needs to find `fd` in the child."""
        self._fds.append(fd)
        return fd

    def _launch(self, process_obj: Any) -> None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        life_r, life_w = _descriptors.life_pipe()
        try:
            data = self._pickled(process_obj, life_r.fileno(), mask)
            to_child = self._start(mask)
        except BaseException:
            self._unreserve()
            life_w.close()
            raise
        finally:
            life_r.close()
        try:
            self._started(life_w)
        except BaseException:
            life_w.close()
            to_child.close()
            raise
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            # Unbuffered: the rest of a buffer would go to a child that was killed.
            left = memoryview(data)
            while left:
                left = left[os.write(to_child.fileno(), left) :]
        except BaseException:
            self.kill()
            self.wait()
            raise
        finally:
            to_child.close()

    def _pickled(self, process_obj: Any, life: int, mask: Collection[int]) -> bytes:
        """Returns what the child reads: its introduction, then the process object. Handles in these are granted to the
        child. `mask` is as in `_start`."""
        ticket = self._ticket = native.reserve_child()
        previous = native.sending_to(ticket)
        # A signal handler may start another process in the meantime.
        outer = get_spawning_popen()
        set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            unblock = self.tells_when_to_unblock and signal.SIGINT not in mask
            introduction = spawn.Introduction(process_obj._name, life, ticket, process_obj._outlive_parent, unblock)
            introduced = dump(introduction)
            try:
                return introduced + dump(process_obj)
            except Exception as error:
                from kettle import _unpicklable

                # Pickling by value fails for the same reason, unless cloudpickle is missing.
                refused = error.__context__ if isinstance(error, ImportError) else error
                _unpicklable.raise_explained(refused if isinstance(refused, Exception) else error, process_obj)
        finally:
            set_spawning_popen(outer)
            native.sending_to(previous)

    def _unreserve(self) -> None:
        if self._ticket is not None:
            native.release_child(self._ticket)
            self._ticket = None

    def _start(self, mask: Collection[int]) -> native.Descriptor:
        """Starts the interpreter; `mask` is the set of signals that it has blocked in the end. Returns the descriptor
        to which its instructions are written, and leaves Ctrl-C blocked."""
        # Ctrl-C waits in the parent until the child is known, and in the child until it can handle it instead of
        # printing a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        child_r, parent_w = _descriptors.pipe_to_child()
        try:
            pipe_handle = child_r.fileno()
            self._fds.append(pipe_handle)
            arguments: dict[str, Any] = {"pipe_handle": pipe_handle}
            if signal.SIGINT not in mask and not self.tells_when_to_unblock:
                arguments["unblock"] = 1
            forget_lost_tracker()
            tracker_fd = resource_tracker._resource_tracker._fd  # type: ignore[attr-defined]
            if tracker_fd is not None:
                self._fds.append(tracker_fd)
                arguments["tracker_fd"] = tracker_fd
            command = spawn.get_command_line(**arguments)
            self.pid = util.spawnv_passfds(spawn.get_executable(), command, self._fds)  # type: ignore[arg-type]
        except BaseException:
            parent_w.close()
            raise
        finally:
            child_r.close()
        return parent_w


def dump(obj: Any) -> bytes:
    """Pickles start data; by value (with cloudpickle) where pickling by name fails."""
    out = io.BytesIO()
    try:
        if type(obj) is spawn.Introduction:
            ForkingPickler(out).dump(obj)
        else:
            # This uses what the program substituted for `ForkingPickler`, or is the program's own.
            context.reduction.dump(obj, out)  # type: ignore[attr-defined]
    except (pickle.PicklingError, AttributeError, TypeError):
        return _session.fallback_dumps(obj)
    return out.getvalue()
