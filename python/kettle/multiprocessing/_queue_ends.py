"""The two ends of a queue, for code written for the standard library's, where they are connections."""

import os
from typing import TYPE_CHECKING, Any

from kettle import _own_pickler
from kettle._session import native

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Reader", "Writer"]


class Reader:
    """The receiving end.

    Its descriptor is created on first access. It is a doorbell's: an item that arrives makes it readable, and it stays
    readable until the queue is found empty.
    """

    def __init__(self, items: native.Queue) -> None:
        self._items = items
        self._bell: native.Doorbell | None = None
        self._owner = 0
        self.closed = False

    def fileno(self) -> int:
        """Returns a descriptor that can be polled."""
        if self.closed:
            raise OSError("handle is closed")
        if self._bell is None or self._owner != os.getpid() or not self._bell.is_ours():
            self._bell, self._owner = native.Doorbell(), os.getpid()
        self._settle()
        return self._bell.fileno()

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Returns whether there is an item, waiting up to `timeout` seconds for one (None: forever)."""
        ready = self._items._kettle_ready() or bool(timeout != 0.0 and native.wait_any((self._items,), (), timeout)[0])
        self._settle()
        return ready

    def recv(self) -> Any:
        """Takes the next item, waiting for one."""
        item = self._items.get()
        self._settle()
        return item

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Takes the next item, and returns it pickled."""
        return bytes(_own_pickler.dumps(self.recv()))

    def close(self) -> None:
        """Releases the descriptor; the queue does not change."""
        self.closed = True
        bell, self._bell = self._bell, None
        if bell is not None and self._owner == os.getpid():
            self._items._kettle_disarm(bell.door)
            bell.close()

    def _settle(self) -> None:
        """Makes the descriptor reflect the state of the queue, and registers it for changes."""
        bell = self._bell
        if bell is None or self._owner != os.getpid():
            return
        self._items._kettle_arm(bell.door)
        bell.drain()
        if self._items._kettle_ready():  # checked last: items that arrive from now on ring
            bell.ring()


class Writer:
    """The sending end."""

    closed = False

    def __init__(self, items: native.Queue) -> None:
        self.send = items.put

    def send_bytes(self, buf: "Buffer") -> None:
        """Puts the object whose pickle is `buf`."""
        self.send(_own_pickler.loads(buf))

    def close(self) -> None:
        """Only marks the end as closed: there is no descriptor."""
        self.closed = True
