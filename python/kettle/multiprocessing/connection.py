"""Pipes, and connections over sockets.

A `Pipe` keeps messages whole: a process that dies while sending leaves nothing behind, and large messages pass through
shared memory. Over any other descriptor a `Connection` uses the standard library's format.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import connection as _standard
from multiprocessing import context, reduction, util

from kettle import _parameters
from kettle._later import aio
from kettle._session import Mirror, look_for_pickler, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

    from typing_extensions import Buffer

__all__ = ["Client", "Listener", "Pipe", "wait"]

AuthenticationError = context.AuthenticationError
BufferTooShort = context.BufferTooShort


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


sys.modules[__name__].__class__ = Mirror
look_for_pickler()


# The function of the module itself, even if this module is loaded again.
_make_temp_dir: Any = getattr(util.get_temp_dir, "standard", util.get_temp_dir)


def _get_temp_dir() -> str:
    """Like the standard library's function: for sockets of all kinds, including its own."""
    from kettle.multiprocessing import _folder

    return _folder.held(_make_temp_dir)


_get_temp_dir.standard = _make_temp_dir  # type: ignore[attr-defined]
util.get_temp_dir = _get_temp_dir


class Connection(native.Connection, _standard.Connection):
    """One end of a pipe, or a connection over any descriptor that can be read or written.

    It adds awaitable methods, which wait until the descriptor is ready. Over a foreign stream, the rest of a message
    that has only begun to arrive is then waited for in the ordinary, blocking way.
    """

    async def asend(self, obj: Any) -> None:
        """Like `send`, without blocking the event loop while the pipe is full."""
        await self._room()
        self.send(obj)

    async def arecv(self) -> Any:
        """Like `recv`, without blocking the event loop."""
        await self._arrival()
        return self.recv()

    async def asend_bytes(self, buf: Buffer, offset: int = 0, size: int | None = None) -> None:
        """Like `send_bytes`, without blocking the event loop while the pipe is full."""
        await self._room()
        self.send_bytes(buf, offset, size)

    async def arecv_bytes(self, maxlength: int | None = None) -> bytes:
        """Like `recv_bytes`, without blocking the event loop."""
        await self._arrival()
        return self.recv_bytes(maxlength)

    async def arecv_bytes_into(self, buf: Buffer, offset: int = 0) -> int:
        """Like `recv_bytes_into`, without blocking the event loop."""
        await self._arrival()
        return self.recv_bytes_into(buf, offset)

    async def _room(self) -> None:
        if not self._kettle_has_room():
            await aio.writable(self.fileno())

    async def _arrival(self) -> None:
        while not self.poll(0.0):
            await aio.readable(self.fileno())

    def __reduce__(self) -> tuple[Any, ...]:
        channel = self._channel_token()
        return _rebuild, (type(self), reduction.DupFd(self.fileno()), self.readable, self.writable, channel)

    def __del__(self) -> None:
        """The core closes the descriptor."""


def _rebuild(cls: type[Connection], handle: Any, readable: bool, writable: bool, channel: bytes | None) -> Connection:
    fd = handle.detach()
    os.set_inheritable(fd, False)  # it had to be inheritable to get here
    connection = cls(fd, readable, writable)
    connection._set_channel(channel)
    return connection


def _adopt(connection: Any) -> Connection:
    """Returns the same descriptor as a connection of Kettle's."""
    handle, connection._handle = connection._handle, None
    return Connection(handle)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Returns two connected ends; with `duplex=False` the first only receives and the second only sends."""
    look_for_pickler()
    return native.pipe(Connection, duplex)


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Waits until an object of `object_list` (connections, sockets, sentinels...) is ready, and returns all that are
    ready; an empty list after `timeout` seconds. `kettle.multiprocessing.wait` also waits for locks, events and
    queues."""
    _parameters.must_be_iterable("object_list", object_list)
    return _standard.wait(object_list, _parameters.seconds("timeout", timeout))


class Listener(_standard.Listener):
    """A socket that waits for connections. See the standard library for the parameters."""

    def accept(self) -> Connection:
        """Waits for a client to connect, and returns the connection.

        Raises `multiprocessing.AuthenticationError` if the client does not know the key.
        """
        return _adopt(super().accept())

    def __enter__(self) -> Self:
        return self


def Client(address: Any, family: str | None = None, authkey: bytes | None = None) -> Connection:
    """Connects to the `Listener` at `address`.

    Raises `multiprocessing.AuthenticationError` if the keys differ.
    """
    return _adopt(_standard.Client(address, family, authkey))
