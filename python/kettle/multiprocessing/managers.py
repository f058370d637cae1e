"""Managers: objects in a server process, used by others through proxies.

They are the standard library's. Their server is a process of this package, so that it ends with its parent, whatever
happens; inside it, as there, one process's threads share ordinary objects.
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


# Managers and proxies of this process send through our connections, which speak the standard format: a handle in
# what they send lives as long as the message, and not as long as the session.
_standard.listener_client["pickle"] = (Listener, Client)  # type: ignore[attr-defined]


# That of the class itself, also if this module is loaded once more.
_call_standard: Any = getattr(BaseProxy._callmethod, "standard", BaseProxy._callmethod)


def _call(self: Any, methodname: str, args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006
    """As the standard library calls a method, for a thread whose signal handlers and finalizers may use proxies: all
    those of one manager share a connection, and the first to read would get the answer."""
    shared = self._tls
    if not getattr(shared, "is_in_call", False):
        shared.is_in_call = True
        try:
            return _call_standard(self, methodname, args, kwds)
        finally:
            shared.is_in_call = False
    # In the middle of a call: over a connection of its own.
    self._tls = util.ForkAwareLocal()
    try:
        return _call_standard(self, methodname, args, kwds)
    finally:
        self._tls = shared


_call.standard = _call_standard  # type: ignore[attr-defined]
BaseProxy._callmethod = _call  # type: ignore[method-assign]


class _Server(_standard.Server):
    """A server that goes on when it cannot take a client: the standard one takes no others after that, and these wait
    for ever to be answered."""

    def accepter(self) -> None:
        while True:
            try:
                connection = self.listener.accept()  # type: ignore[attr-defined]
            except OSError:
                continue
            try:
                threading.Thread(target=self.handle_request, args=(connection,), daemon=True).start()
            except (MemoryError, RuntimeError):  # there is no room for a thread
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
        """Starts the process of the server, which calls `initializer(*initargs)` first."""
        try:
            super().start(initializer, initargs)
        except EOFError:
            if not _main_guard.is_missing():
                raise
            raise RuntimeError(f"the process of the manager has ended: {_main_guard.CURE}") from None


class SyncManager(BaseManager, _standard.SyncManager):
    """A manager of lists, dicts, namespaces, queues, locks and the like."""


SyncManager.register("Pool", pool.Pool, _standard.PoolProxy)  # type: ignore[attr-defined]


class SharedMemoryManager(BaseManager, _standard.SharedMemoryManager):
    """A manager that removes the named shared memory made through it when it shuts down."""

    _Server = _SharedMemoryServer

    def SharedMemory(self, size: int) -> shared_memory.SharedMemory:
        """A new block of `size` bytes, tracked by the manager."""
        block = super().SharedMemory(size)
        block.__class__ = shared_memory.SharedMemory
        return block  # type: ignore[return-value]

    def ShareableList(self, sequence: Any) -> shared_memory.ShareableList:
        """A new shareable list, tracked by the manager."""
        shareable = super().ShareableList(sequence)
        shareable.shm.__class__ = shared_memory.SharedMemory
        shareable.__class__ = shared_memory.ShareableList
        return shareable  # type: ignore[return-value]
