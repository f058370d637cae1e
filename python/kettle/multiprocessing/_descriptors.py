"""Descriptors that belong to this process alone, and that a forked child must not keep.

The write end of a life pipe is what a child lives by: were a sibling to hold a copy, the child would outlive its
parent. A pidfd in a fork would merely be a leak.

All, also those that are needed for a moment, are kept as `native.Descriptor`, which a forked child closes, and which is
known again: a program may close it, as daemons close everything, and open a file of its own that gets the number.
"""

import os
import threading

from kettle._core import native
from kettle._frozen import IS_FROZEN

__all__ = ["Inherited", "close_all", "keep", "life_pipe", "pipe_to_child", "set_life_line", "take_life_line"]

_life_line: int | None = None
_forking = threading.RLock()  # reentrant: a signal handler may fork within a fork


class Inherited:
    """A descriptor that an exec'ed child inherits under the same number. It is here because the child, which is sent
    one, has this module but need not have that of `Popen`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def detach(self) -> int:
        return self.fd


def life_pipe() -> tuple[native.Descriptor, native.Descriptor]:
    """The two ends (read, write) of a new pipe whose write end no other process will inherit."""
    with _forking:
        life_r, life_w = os.pipe()
        return native.Descriptor(life_r, "life", private=False), keep(life_w, "life")


def set_life_line(fd: int) -> None:
    """In an exec'ed child: `fd` is the read end of its life pipe, until somebody takes it."""
    global _life_line
    _life_line = fd


def take_life_line() -> int | None:
    """The read end of this exec'ed child's life pipe, once; None in a process that has another, or none."""
    global _life_line
    life, _life_line = _life_line, None
    return life


def pipe_to_child() -> tuple[native.Descriptor, native.Descriptor]:
    """The two ends (read, write) of a new pipe through which a child is told what to do. In a frozen program it is a
    pair of sockets: what stands in there can be looked at, and read later."""
    if IS_FROZEN:
        import socket

        child_r, parent_w = (end.detach() for end in socket.socketpair())
    else:
        child_r, parent_w = os.pipe()
    return native.Descriptor(child_r, "start", private=False), native.Descriptor(parent_w, "start", private=False)


def keep(fd: int, purpose: str) -> native.Descriptor:
    """Keeps `fd` as this process's own, to be closed in whatever it forks; see `native.Descriptor` for the purposes."""
    return native.Descriptor(fd, purpose)


def close_all(descriptors: list[native.Descriptor]) -> None:
    """Closes them; twice is once."""
    for descriptor in descriptors:
        descriptor.close()


# As few functions as can be: each one that a forked child calls has it copy the pages where that function is.
os.register_at_fork(
    before=_forking.acquire,
    after_in_parent=_forking.release,
    after_in_child=_forking._at_fork_reinit,  # type: ignore[attr-defined]
)
