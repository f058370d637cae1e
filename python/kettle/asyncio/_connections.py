"""How the loop makes transports for connections, and accepts them."""

from __future__ import annotations

import asyncio
import asyncio.constants
import asyncio.sslproto
import asyncio.trsock
import contextvars
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from kettle._core import native
from kettle.asyncio._transports import _SelectorSocketTransport

__all__ = ["Connections"]

_log = logging.getLogger("asyncio")
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RETRY_DELAY: float = asyncio.constants.ACCEPT_RETRY_DELAY


class Connections(asyncio.SelectorEventLoop):
    """asyncio's loop, with native transports for connections."""

    # asyncio's, without types.
    _accept_connection2: Any
    _ensure_fd_no_transport: Any
    _remove_reader: Any
    _start_serving: Any

    def _make_socket_transport(self, sock: Any, protocol: Any, waiter: Any = None, **options: Any) -> asyncio.Transport:
        self._ensure_fd_no_transport(sock)
        return _SelectorSocketTransport(self, sock, protocol, waiter, **options)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        ssl_handshake_timeout: Any = None,
        ssl_shutdown_timeout: Any = None,
        **options: Any,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol: Any = asyncio.sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        _SelectorSocketTransport(self, rawsock, ssl_protocol, extra=extra, server=server, **options)
        transport: asyncio.Transport = ssl_protocol._app_transport
        return transport

    async def start_tls(
        self,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Continues a connection with TLS.

        What a server's stream has read but its program has not, such as a ClientHello right behind the command, is the
        beginning of TLS.
        """
        if server_side and isinstance(protocol, asyncio.StreamReaderProtocol):
            # It runs after asyncio's method has replaced the protocol, and before the handshake.
            self.call_soon(_pass_on, protocol, transport)
        return await super().start_tls(
            transport,
            protocol,
            sslcontext,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )

    def _accept_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *options: Any,
    ) -> None:
        """Accepts the connections that wait, at most `backlog` of them."""
        kind = sock.family, sock.type, sock.proto
        for _ in range(backlog):
            try:
                accepted = native.accept(sock.fileno())
            except OSError as e:
                if e.errno not in _EXHAUSTED:
                    raise
                # The listener stays readable, so it is left alone for a while.
                self.call_exception_handler(
                    {
                        "message": "socket.accept() out of system resource",
                        "exception": e,
                        "socket": asyncio.trsock.TransportSocket(sock),
                    }
                )
                self._remove_reader(sock.fileno())
                serving = (protocol_factory, sock, sslcontext, server, backlog, *options)
                self.call_later(_RETRY_DELAY, self._kettle_serve_again, serving)
                return
            if accepted is None:
                return
            number, peer = accepted
            connection = socket.socket(*kind, fileno=number)
            connection.setblocking(False)
            if peer is None:
                peer = _peer(connection)
            if self.get_debug():
                _log.debug("%r got a new connection from %r: %r", server, peer, connection)
            # More options than these two belong to a version of asyncio that knows what they are for.
            if sslcontext is None and len(options) <= 2:
                context = contextvars.copy_context()
                context.run(self._kettle_serve, protocol_factory, connection, {"peername": peer}, server)
            else:
                extra = {"peername": peer}
                self.create_task(
                    self._accept_connection2(protocol_factory, connection, extra, sslcontext, server, *options)
                )

    def _kettle_serve(self, protocol_factory: Any, connection: socket.socket, extra: Any, server: Any) -> None:
        """Makes the protocol and the transport of an accepted connection, which needs no task if there is no TLS."""
        protocol = None
        try:
            protocol = protocol_factory()
            self._make_socket_transport(connection, protocol, extra=extra, server=server)
        except (SystemExit, KeyboardInterrupt):
            connection.close()
            raise
        except BaseException as e:
            connection.close()
            if self.get_debug():
                context = {"message": "Error on transport creation for incoming connection", "exception": e}
                if protocol is not None:
                    context["protocol"] = protocol
                self.call_exception_handler(context)

    def _kettle_serve_again(self, serving: tuple[Any, ...]) -> None:
        """Goes on accepting, unless the server was closed meanwhile."""
        if serving[1].fileno() >= 0:
            self._start_serving(*serving)


def _pass_on(protocol: Any, transport: Any) -> None:
    """Moves what a stream has buffered to the TLS that begins on its transport. Later versions of asyncio do it too."""
    tls: Any = transport.get_protocol()
    buffer = getattr(getattr(protocol, "_stream_reader", None), "_buffer", None)
    if buffer and isinstance(tls, asyncio.sslproto.SSLProtocol):
        tls._incoming.write(buffer)  # type: ignore[attr-defined]
        buffer.clear()


def _peer(connection: socket.socket) -> Any:
    """The address of the peer, as `accept` returns it."""
    try:
        return connection.getpeername()
    except OSError:
        return ""
