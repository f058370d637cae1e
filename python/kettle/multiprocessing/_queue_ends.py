"""The two ends of a queue, for code made for the standard library's, where they are connections."""

import os
from typing import TYPE_CHECKING, Any

from kettle import _own_pickler
from kettle._session import native

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Reader", "Writer"]


class Reader:
    """The receiving end.

    Its descriptor exists once somebody asks for it. It is a doorbell's, which an item that comes makes readable, and
    which stays so until the queue is found empty.
    """

    def __init__(self, items: native.Queue) -> None:
        self._items = items
        self._bell: native.Doorbell | None = None
        self._owner = 0
        self.closed = False

    def fileno(self) -> int:
        """A descriptor that can be polled."""
        if self.closed:
            raise OSError("handle is closed")
        if self._bell is None or self._owner != os.getpid() or not self._bell.is_ours():
            self._bell, self._owner = native.Doorbell(), os.getpid()
        self._settle()
        return self._bell.fileno()

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is an item, waiting `timeout` seconds for one (None: for ever)."""
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
        """Gives the descriptor back; the queue stays as it is."""
        self.closed = True
        bell, self._bell = self._bell, None
        if bell is not None and self._owner == os.getpid():
            self._items._kettle_disarm(bell.door)
            bell.close()

    def _settle(self) -> None:
        """Makes the descriptor say what is so, and has it rung when that changes."""
        bell = self._bell
        if bell is None or self._owner != os.getpid():
            return
        self._items._kettle_arm(bell.door)
        bell.drain()
        if self._items._kettle_ready():  # looked at last: what comes from now on rings
            bell.ring()


class Writer:
    """The sending end."""

    closed = False

    def __init__(self, items: native.Queue) -> None:
        self.send = items.put

    def send_bytes(self, buf: "Buffer") -> None:
        """Puts the object of which `buf` is the pickle."""
        self.send(_own_pickler.loads(buf))

    def close(self) -> None:
        """Only says so: there is no descriptor."""
        self.closed = True
