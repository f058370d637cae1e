"""Descriptors that belong to this process alone, and that a forked child must not keep.

The write end of a life pipe keeps a child alive: if a sibling held a copy, the child would outlive its parent. A pidfd
in a fork would merely be a leak.

All of them, even those that are needed only briefly, are kept as `native.Descriptor`. A forked child closes these, and
they are verified before use: a program may close them, as daemons close everything, and open its own files under the
same numbers.
"""

import os
import threading

from kettle._core import native
from kettle._frozen import IS_FROZEN

__all__ = ["Inherited", "close_all", "keep", "life_pipe", "pipe_to_child", "set_life_line", "take_life_line"]

_life_line: int | None = None
_forking = threading.RLock()  # reentrant: a signal handler may fork within a fork


class Inherited:
    """A descriptor that an exec'ed child inherits under the same number. It is in this module because the child, which
    receives one, has this module but may not have that of `Popen`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def detach(self) -> int:
        return self.fd


def life_pipe() -> tuple[native.Descriptor, native.Descriptor]:
    """Returns the two ends (read, write) of a new pipe whose write end no other process will inherit."""
    with _forking:
        return native.life_pipe()


def set_life_line(fd: int) -> None:
    """In an exec'ed child: sets `fd` as the read end of its life pipe, until it is taken."""
    global _life_line
    _life_line = fd


def take_life_line() -> int | None:
    """Returns the read end of this exec'ed child's life pipe, once; None in a process that has another pipe or none."""
    global _life_line
    life, _life_line = _life_line, None
    return life


def pipe_to_child() -> tuple[native.Descriptor, native.Descriptor]:
    """Returns the two ends (read, write) of a new pipe for instructions to a child. In a frozen program it is a pair of
    sockets, whose contents can be peeked at and read later."""
    if IS_FROZEN:
        import socket

        child_r, parent_w = (end.detach() for end in socket.socketpair())
    else:
        child_r, parent_w = os.pipe()
    return native.Descriptor(child_r, "start", private=False), native.Descriptor(parent_w, "start", private=False)


def keep(fd: int, purpose: str) -> native.Descriptor:
    """Keeps `fd` as this process's own, to be closed in every fork; see `native.Descriptor` for the purposes."""
    return native.Descriptor(fd, purpose)


def close_all(descriptors: list[native.Descriptor]) -> None:
    """Closes the descriptors; closing them twice is harmless."""
    for descriptor in descriptors:
        descriptor.close()


# As few functions as possible: each one that a forked child calls makes it copy the pages that contain the function.
os.register_at_fork(
    before=_forking.acquire,
    after_in_parent=_forking.release,
    after_in_child=_forking._at_fork_reinit,  # type: ignore[attr-defined]
)
