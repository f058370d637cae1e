"""asyncio's transport for connections, whose reads and writes are native.

Everything else (closing, half-closing, errors, limits, what is shown) is the code of the running Python's asyncio. It
finds its attributes as ever: those that the native half needs are stored there.
"""

from __future__ import annotations

import asyncio.constants
import asyncio.protocols
import asyncio.selector_events
import logging
import socket
from typing import TYPE_CHECKING, Any

from kettle._core import native

__all__ = ["_SelectorSocketTransport"]

if TYPE_CHECKING:
    _Base = Any
else:
    _Base = asyncio.selector_events._SelectorSocketTransport

# From 3.12 on asyncio keeps a method of the transport in the transport, which then refers to itself.
_KEEPS_A_METHOD = not hasattr(asyncio.selector_events._SelectorSocketTransport, "_write_ready")  # type: ignore[attr-defined]
_log = logging.getLogger("asyncio")
_LOSSES_BEFORE_WARNING: int = asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES


def _kept(name: str) -> Any:
    """An attribute that is stored natively, under this name."""

    def get(transport: Any) -> Any:
        return getattr(transport._kettle_stream, name)

    def set_(transport: Any, value: Any) -> None:
        setattr(transport._kettle_stream, name, value)

    return property(get, set_)


@native.stream_transport
class _SelectorSocketTransport(_Base):  # type: ignore[misc]  # the name is part of its repr
    __slots__ = ("_kettle_stream",)

    _conn_lost = _kept("lost")
    _closing = _kept("closing")
    _paused = _kept("paused")
    _eof = _kept("eof")
    _protocol = _kept("protocol")
    _empty_waiter = _kept("empty_waiter")
    max_size = _kept("most")

    def __init__(self, loop: Any, sock: Any, *args: Any, **options: Any) -> None:
        self._kettle_stream = native.Stream(sock)
        super().__init__(loop, sock, *args, **options)
        if _KEEPS_A_METHOD:
            del self._write_ready

    @property
    def _sock(self) -> Any:
        # Also asked for by a destructor, of a transport that was never initialized.
        stream = getattr(self, "_kettle_stream", None)
        return None if stream is None else stream.sock

    @_sock.setter
    def _sock(self, sock: Any) -> None:
        self._kettle_stream.sock = sock

    @property
    def _buffer(self) -> Any:
        """What waits to be sent: asyncio asks whether there is something, and clears it."""
        return self._kettle_stream

    @_buffer.setter
    def _buffer(self, _buffer: Any) -> None:
        """It is made natively."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._kettle_stream.connect(protocol, isinstance(protocol, asyncio.protocols.BufferedProtocol))
        self._protocol_connected = True  # type: ignore[misc]

    def _add_reader(self, fd: int, callback: Any, *args: Any) -> None:
        try:
            super()._add_reader(fd, callback, *args)
        except OSError as e:
            # The program has closed the socket. Otherwise the protocol would never hear of its end.
            self._fatal_error(e, "Fatal read error on socket transport")

    # ------------------------------------------------------------ what the native half calls

    def _kettle_watch(self) -> None:
        """Something waits to be sent."""
        try:
            self._loop._add_writer(self._sock_fd, self._kettle_write_ready)
        except OSError as e:
            self._fatal_error(e, "Fatal write error on socket transport")

    def _kettle_drained(self) -> None:
        """Everything was sent."""
        self._loop._remove_writer(self._sock_fd)
        waiter = self._empty_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._conn_lost:
            return  # closed by the protocol when it was told to go on
        if self._closing:
            self._call_connection_lost(None)
        elif self._eof:
            self._sock.shutdown(socket.SHUT_WR)

    def _kettle_fail(self, exception: BaseException, message: str) -> None:
        """Ends the connection because of an error. asyncio logs the exception that is being handled."""
        try:
            raise exception
        except BaseException as e:
            self._fatal_error(e, message)
        finally:
            del exception

    def _kettle_write_failed(self, exception: BaseException, message: str) -> None:
        """The same for what waited to be sent."""
        self._loop._remove_writer(self._sock_fd)
        self._kettle_stream.clear()
        self._kettle_fail(exception, message)
        waiter = self._empty_waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(exception)

    def _kettle_lost_write(self) -> None:
        """Something was written to a lost connection."""
        if self._conn_lost >= _LOSSES_BEFORE_WARNING:
            _log.warning("socket.send() raised exception.")
        self._conn_lost += 1


for _name in ("_write_ready", "_write_sendmsg", "_write_send"):
    # What asyncio calls for the same, in different versions.
    setattr(_SelectorSocketTransport, _name, _SelectorSocketTransport._kettle_write_ready)
