"""The fork server's listener, without a name.

CPython's server listens at a path in the temporary directory. This requires a writable directory, and the path remains
if the server is killed. Here the server inherits one end of a socket pair, and its client keeps the other: to connect
is to send the server one end of a new pair. Nothing exists in any file system, and only the process that started the
server can send it requests, regardless of its privileges and namespaces.

The server and its clients continue to use sockets in CPython's way; `put_into` makes them use these.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from multiprocessing import connection, forkserver, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

__all__ = ["Channel", "Instead", "put_into"]

#: Whether the server speaks first, so that a client must have connected before it sends (since Python 3.14).
_SERVER_SPEAKS_FIRST = hasattr(forkserver.ForkServer(), "_forkserver_authkey")
#: The address of a socket without a name: like those of abstract sockets, it is not a path to be removed.
_NO_NAME = "\0kettle"


class Channel:
    """A client's connection to the server that it started."""

    def __init__(self, keep: Callable[[int], Any]) -> None:
        """keep: creates a `native.Descriptor` from the client's end."""
        self._keep = keep
        self._end: Any = None
        self._opens = False

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """In this context, a server that is started gets this channel."""
        self._opens = True
        try:
            yield
        finally:
            self._opens = False

    @property
    def opens(self) -> bool:
        """Returns whether the server that is being started gets this channel."""
        return self._opens

    def open(self) -> socket.socket:
        """Returns the server's end of a new channel."""
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._end = self._keep(ours.detach())
        return theirs

    def is_lost(self) -> bool:
        """Returns whether the program closed it."""
        return self._end is not None and not self._end.is_ours()

    def close(self) -> None:
        """Closes the channel to the server."""
        if self._end is not None:
            self._end.close()
            self._end = None

    def send(self, end: socket.socket) -> None:
        """Sends `end` to the server."""
        if self._end is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "the fork server belongs to another process")
        with socket.socket(fileno=os.dup(self._end.fileno())) as channel:
            socket.send_fds(channel, [b"+"], [end.fileno()])


class _Socket(socket.socket):
    """A socket that may have no name: for the listener and its clients."""

    _channel: Channel
    _client_left = False
    _not_sent: socket.socket | None = None

    def bind(self, address: Any) -> None:
        if address == _NO_NAME:
            self._become(self._channel.open())
        else:
            super().bind(address)

    def listen(self, *backlog: int) -> None:
        if not self._has_no_name():
            super().listen(*backlog)

    def connect(self, address: Any) -> None:
        if address != _NO_NAME:
            super().connect(address)
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._not_sent = theirs
        self._become(ours)
        if _SERVER_SPEAKS_FIRST:
            self._send_end()

    def sendmsg(self, *args: Any) -> int:
        # The server waits for the request of a client that has connected, and for nothing else meanwhile. A signal
        # handler that runs before the request is sent, and starts a process itself, would wait forever. So the server
        # gets its end with the request already in it.
        sent = super().sendmsg(*args)
        self._send_end()
        return sent

    def close(self) -> None:
        if self._not_sent is not None:
            self._not_sent.close()
        super().close()

    def _send_end(self) -> None:
        end, self._not_sent = self._not_sent, None
        if end is not None:
            with end:
                self._channel.send(end)

    def accept(self) -> tuple[socket.socket, Any]:
        if self._client_left:
            # A child that was forked just before still has the old end, and until the child closes it, the server keeps
            # being notified of it.
            time.sleep(0.01)
            raise ConnectionAbortedError(errno.ECONNABORTED, "the client left")
        if not self._has_no_name():
            return super().accept()
        said, ends, _, _ = socket.recv_fds(self, 1, 1)
        if not said:
            # The client is gone, and with it all others that there could be. Its children may still be running and must
            # be waited for, and this end must not be checked again.
            nothing, other = socket.socketpair()
            other.detach()  # stays open until the server ends
            self._become(nothing)
            self._client_left = True
        if not ends:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the client left")
        return socket.socket(fileno=ends[0]), ""

    def _has_no_name(self) -> bool:
        return self.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_SEQPACKET

    def _become(self, other: socket.socket) -> None:
        with other:
            os.dup2(other.fileno(), self.fileno(), inheritable=False)


class Instead:
    """A module with some of its names replaced."""

    def __init__(self, module: ModuleType, **others: Any) -> None:
        self._module = module
        vars(self).update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def put_into(module: Any, channel: Channel | None = None) -> None:
    """Makes `module`, the standard library's `multiprocessing.forkserver`, use such sockets: those of a server or, with
    its `channel`, of a client."""
    if channel is None:
        # A client's sockets can be a server's, too: a server is a client if its children start another one.
        if not isinstance(module.socket, Instead):
            module.socket = Instead(socket, socket=_Socket)
        return

    def arbitrary_address(family: str) -> Any:
        library: Any = connection
        return _NO_NAME if channel.opens else library.arbitrary_address(family)

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = spawn.get_preparation_data(name)
        if channel.opens:
            # It is passed in another way: here it would be part of a command, in which not everything can be written.
            del data["sys_path"]
        return data

    module.socket = Instead(socket, socket=type("_Socket", (_Socket,), {"_channel": channel}))
    module.connection = Instead(module.connection, arbitrary_address=arbitrary_address)
    module.spawn = Instead(module.spawn, get_preparation_data=get_preparation_data)
