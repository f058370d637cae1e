"""Imported by the fork server: a client that leaves in the middle of a request, by Ctrl-C or because it was killed,
hurts neither the server nor others, and what a child prints is not lost when the child cannot begin its work.

CPython's server, before 3.14, ends with an EOFError when a client goes between `connect` and `sendmsg`. A child that
was forked for a client that is gone before it said what the child is to do would print a traceback. And a child whose
main module cannot be imported is ended by `os._exit` without a look at what that module printed.
"""

from __future__ import annotations

import errno
import signal
from multiprocessing import forkserver, reduction, util

from kettle.multiprocessing import spawn
from kettle.multiprocessing._unnamed import Instead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from typing import Any

#: What a child is to block, as the program does, and the server does not; see `_hears_children`.
blocked_in_children: set[signal.Signals] = set()

# Its main function looks these up in its own module, where it expects theirs.
_server: Any = forkserver


def _recvfds(sock: socket, size: int) -> list[int]:
    try:
        return reduction.recvfds(sock, size)
    except (EOFError, ConnectionError) as error:
        # What the server expects of clients that leave.
        raise ConnectionAbortedError(errno.ECONNABORTED, "the client left") from error


def _main(fd: int, parent_sentinel: int) -> int:
    if blocked_in_children:
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked_in_children)
    try:
        return spawn._main(fd, parent_sentinel)
    except BaseException:
        util._flush_std_streams()  # type: ignore[attr-defined]
        raise


_server.reduction = Instead(reduction, recvfds=_recvfds)
_server.spawn = Instead(_server.spawn, _main=_main)
