"""Imported by the fork server. A client that leaves in the middle of a request, by Ctrl-C or because it was killed,
affects neither the server nor other clients, and the output of a child is not lost when the child cannot begin its
work.

CPython's server, before 3.14, ends with an EOFError when a client disappears between `connect` and `sendmsg`. A child
that was forked for a client that disappears before it has sent its instructions would print a traceback. A child whose
main module cannot be imported ends by `os._exit` without flushing the output of that module.
"""

from __future__ import annotations

import errno
import signal
from multiprocessing import forkserver, reduction, util

from kettle._frozen import IS_FROZEN
from kettle.multiprocessing import spawn
from kettle.multiprocessing._unnamed import Instead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from typing import Any

#: The signals that a child blocks because the program does, although the server does not; see `_hears_children`.
blocked_in_children: set[signal.Signals] = set()

# The server's main function looks these names up in its own module, where it expects the standard library's.
_server: Any = forkserver


def _recvfds(sock: socket, size: int) -> list[int]:
    try:
        return reduction.recvfds(sock, size)
    except (EOFError, ConnectionError) as error:
        # The error that the server expects from clients that leave.
        raise ConnectionAbortedError(errno.ECONNABORTED, "the client left") from error


def _main(fd: int, parent_sentinel: int) -> int:
    if blocked_in_children:
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked_in_children)
    try:
        return spawn._main(fd, parent_sentinel)
    except BaseException:
        util._flush_std_streams()  # type: ignore[attr-defined]
        raise


if IS_FROZEN:
    spawn.become_server()
_server.reduction = Instead(reduction, recvfds=_recvfds)
_server.spawn = Instead(_server.spawn, _main=_main)
