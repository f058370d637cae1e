"""The layout of messages in the stream of a pipe: see crates/kettle-core/src/shared/pipe/record.rs."""

from __future__ import annotations

import struct

INLINE = 1
_REST = 3
_SLOT, _HEADER, _REST_HEADER = 704, 8, 16
_IN_SLOT = _SLOT - _HEADER


def record_of(kind: int, body: bytes, sort: int = INLINE) -> bytes:
    """Returns the record of a message."""
    slot, rest = body[:_IN_SLOT], body[_IN_SLOT:]
    record = (struct.pack("=BBxxI", sort, kind, len(body)) + slot).ljust(_SLOT, b"\0")
    if rest:
        record += (struct.pack("=BxxxIxxxxxxxx", _REST, len(rest)) + rest).ljust(_SLOT, b"\0")
    return record


def message_of(record: bytes) -> tuple[int, bytes]:
    """Returns the kind and the bytes of a message."""
    sort, kind, length = struct.unpack_from("=BBxxI", record)
    assert sort == INLINE, "it stands in a block"
    body = record[_HEADER:_SLOT] + record[_SLOT + _REST_HEADER :]
    return kind, body[:length]
