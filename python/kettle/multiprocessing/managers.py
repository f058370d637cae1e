"""Managers: objects in a server process, which other processes use through proxies.

They are the standard library's. Their server is a process of this package, so it always ends with its parent; inside
it, as in the standard library, the threads of one process share ordinary objects.
"""

import threading
from multiprocessing import managers as _standard
from multiprocessing import util
from multiprocessing.managers import BaseProxy, Token
from typing import Any

from kettle.multiprocessing import _main_guard, pool, shared_memory
from kettle.multiprocessing.connection import Client, Listener
from kettle.multiprocessing.context import _default_context

__all__ = ["BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token"]


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


# Managers and proxies of this process send through Kettle's connections, which use the standard format: a handle in
# what they send lives as long as the message, not as long as the session.
_standard.listener_client["pickle"] = (Listener, Client)  # type: ignore[attr-defined]


# The method of the class itself, even if this module is loaded again.
_call_standard: Any = getattr(BaseProxy._callmethod, "standard", BaseProxy._callmethod)


def _call(self: Any, methodname: str, args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006
    """Calls a method like the standard library, for a thread whose signal handlers and finalizers may use proxies. All
    proxies of a manager share a connection, so the first reader would get the answer."""
    shared = self._tls
    if not getattr(shared, "is_in_call", False):
        shared.is_in_call = True
        try:
            return _call_standard(self, methodname, args, kwds)
        finally:
            shared.is_in_call = False
    # In the middle of another call: uses a separate connection.
    self._tls = util.ForkAwareLocal()
    try:
        return _call_standard(self, methodname, args, kwds)
    finally:
        self._tls = shared


_call.standard = _call_standard  # type: ignore[attr-defined]
BaseProxy._callmethod = _call  # type: ignore[method-assign]


class _Server(_standard.Server):
    """A server that goes on when it cannot accept a client. The standard server accepts no other clients after that,
    and these wait forever for an answer."""

    def accepter(self) -> None:
        while True:
            try:
                connection = self.listener.accept()  # type: ignore[attr-defined]
            except OSError:
                continue
            try:
                threading.Thread(target=self.handle_request, args=(connection,), daemon=True).start()
            except (MemoryError, RuntimeError):  # there is no memory for a thread
                connection.close()


class _SharedMemoryServer(_Server, _standard.SharedMemoryServer):
    pass


class BaseManager(_standard.BaseManager):
    """A manager without types: `register` them. See the standard library for the parameters."""

    _Server = _Server

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        *,
        shutdown_timeout: float = 1.0,
    ) -> None:
        super().__init__(
            address, authkey, serializer, ctx or _default_context.get_context(), shutdown_timeout=shutdown_timeout
        )

    def start(self, initializer: Any = None, initargs: Any = ()) -> None:
        """Starts the process of the server, which first calls `initializer(*initargs)`."""
        try:
            super().start(initializer, initargs)
        except EOFError:
            if not _main_guard.is_missing():
                raise
            raise RuntimeError(f"the process of the manager has ended: {_main_guard.cure()}") from None


class SyncManager(BaseManager, _standard.SyncManager):
    """A manager of lists, dicts, namespaces, queues, locks and similar objects."""


SyncManager.register("Pool", pool.Pool, _standard.PoolProxy)  # type: ignore[attr-defined]


class SharedMemoryManager(BaseManager, _standard.SharedMemoryManager):
    """A manager that, when it shuts down, removes the named shared memory created through it."""

    _Server = _SharedMemoryServer

    def SharedMemory(self, size: int) -> shared_memory.SharedMemory:
        """Returns a new block of `size` bytes, tracked by the manager."""
        block = super().SharedMemory(size)
        block.__class__ = shared_memory.SharedMemory
        return block  # type: ignore[return-value]

    def ShareableList(self, sequence: Any) -> shared_memory.ShareableList:
        """Returns a new shareable list, tracked by the manager."""
        shareable = super().ShareableList(sequence)
        shareable.shm.__class__ = shared_memory.SharedMemory
        shareable.__class__ = shared_memory.ShareableList
        return shareable  # type: ignore[return-value]
