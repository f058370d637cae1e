"""asyncio's transport for connections, without two faults that some versions of it have."""

from __future__ import annotations

import asyncio.selector_events
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

__all__ = ["_SelectorSocketTransport"]

if TYPE_CHECKING:
    _Base = Any
else:
    _Base = asyncio.selector_events._SelectorSocketTransport


class _SelectorSocketTransport(_Base):  # type: ignore[misc]  # the name is part of its repr
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Writes data. What the caller changes afterwards is not changed here."""
        # asyncio keeps what cannot be sent at once, and up to 3.11 copied it.
        if type(data) is not bytes and isinstance(data, (bytearray, memoryview)):
            data = bytes(data)
        super().write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Writes data in several parts."""
        # In some versions since 3.12 asyncio's ignores the write buffer limits, and fails after the connection is lost.
        self.write(b"".join(list_of_data))
