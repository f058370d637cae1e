"""Imported by the fork server: whoever leaves in the middle of a request, by Ctrl-C or because he was killed, hurts
neither it nor anybody else.

CPython's server, before 3.14, ends with an EOFError when a client goes between `connect` and `sendmsg`. And a child
that was forked for one who is gone before he said what it is to do would print a traceback.
"""

from __future__ import annotations

import errno
from multiprocessing import forkserver, reduction
from types import SimpleNamespace

from kettle.multiprocessing import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from typing import Any

# Its main function looks these up in its own module, where it expects theirs.
_server: Any = forkserver


def _recvfds(sock: socket, size: int) -> list[int]:
    try:
        return reduction.recvfds(sock, size)
    except (EOFError, ConnectionError) as error:
        # What the server expects of clients that leave.
        raise ConnectionAbortedError(errno.ECONNABORTED, "the client left") from error


_server.reduction = SimpleNamespace(**{**vars(reduction), "recvfds": _recvfds})
_server.spawn = SimpleNamespace(**{**vars(_server.spawn), "_main": spawn._main})
