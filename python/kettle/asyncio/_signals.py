"""The pipe to which signals write their numbers while a loop runs in the main thread."""

from __future__ import annotations

import os
import signal
from typing import ClassVar

from kettle._core import native

__all__ = ["WakeUp"]


class WakeUp:
    """Such a pipe. Its `fileno` is what asyncio passes to the interpreter."""

    #: The one to which the interpreter writes at the moment.
    _listening: ClassVar[WakeUp | None] = None

    def __init__(self) -> None:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.reader = read
        self._read = native.Descriptor(read, "signals", private=False)
        self._write = native.Descriptor(write, "signals", private=False)

    def fileno(self) -> int:
        """Returns the write end. Raises DescriptorLost if the program closed it."""
        return self._write.fileno()

    def is_whole(self) -> bool:
        """Returns whether both ends are still open."""
        return self._read.is_ours() and self._write.is_ours()

    def numbers(self) -> bytes:
        """Returns the numbers of the signals that have arrived. Raises DescriptorLost if the pipe was closed."""
        try:
            return os.read(self._read.fileno(), 4096)
        except BlockingIOError:
            return b""

    def listen(self) -> None:
        """Has signals write here, unless the program has set a descriptor of its own for that. In the main thread."""
        number = self.fileno()
        before = signal.set_wakeup_fd(number)
        if before not in (-1, number):
            signal.set_wakeup_fd(before)
        else:
            WakeUp._listening = self

    def stop(self) -> None:
        """Reverts `listen`. In the main thread."""
        if WakeUp._listening is self:
            WakeUp._listening = None
            current = signal.set_wakeup_fd(-1)
            if self._write.is_ours() and current not in (-1, self._write.fileno()):
                signal.set_wakeup_fd(current)

    def close(self) -> None:
        """Closes both ends, unless the program has."""
        self._read.close()
        self._write.close()


def _forked() -> None:
    """The signals of a forked child are not its parent's."""
    if WakeUp._listening is not None:
        WakeUp._listening.stop()


os.register_at_fork(after_in_child=_forked)
