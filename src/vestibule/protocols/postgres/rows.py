"""The row kernel: tells whether a run of bytes is exactly what re-encoding its rows would give.

1. `scan` is one plain loop over a buffer, made for a compiler to take; it makes no object per row or field.
2. A DataRow whose header, column count and field lengths agree with its frame to the byte is canonical, so
   a run of them may be handed on as it is.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import Final

from vestibule.model.errors import TargetProtocolError

#: Type byte and length of a frame; the same and the column count of a row.
HEADER: Final = 5
ROW_HEADER: Final = 7

DATA_ROW: Final = ord("D")
COPY_DATA: Final = ord("d")

_head = Struct("!BI").unpack_from
_row_head = Struct("!BIH").unpack_from
_length = Struct("!i").unpack_from


def scan(buffer: bytes, offset: int, end: int, columns: int) -> tuple[int, int]:
    """Walk the whole DataRow frames from `offset`; return where they end, and how many they are."""
    count = 0
    try:
        while end - offset >= ROW_HEADER:
            tag, size, fields = _row_head(buffer, offset)
            stop = offset + 1 + size
            if tag != DATA_ROW or stop > end:
                break
            if fields != columns:
                raise TargetProtocolError(f"a row of {fields} columns where {columns} were described")
            at = offset + ROW_HEADER
            for _ in range(columns):
                (length,) = _length(buffer, at)
                if length >= 0:
                    at += 4 + length
                # A NULL field has length -1 and no bytes; anything less would move backwards.
                elif length == -1:
                    at += 4
                else:
                    raise TargetProtocolError(f"a field of {length} bytes")
            # Positions only grow, so a field that left its frame is caught here, at the latest.
            if at != stop:
                raise TargetProtocolError("a row's fields are not as long as its frame")
            offset = stop
            count += 1
    except struct.error:
        raise TargetProtocolError("a row's fields are longer than its frame") from None
    return offset, count


def scan_copy(buffer: bytes, offset: int, end: int, largest: int) -> tuple[int, int]:
    """Walk the whole CopyData frames of at most `largest` bytes; return where they end, and how many they are."""
    count = 0
    while end - offset >= HEADER:
        tag, size = _head(buffer, offset)
        stop = offset + 1 + size
        if tag != COPY_DATA or stop > end or not 4 <= size <= largest:
            break
        offset = stop
        count += 1
    return offset, count


class LongRow:
    """A row that is handed on in pieces, checked as it passes."""

    __slots__ = ("_field", "_fields", "_left")

    def __init__(self, size: int, fields: int) -> None:
        """Begin behind the row's header; `size` is the frame's length field."""
        self._left = size - 6
        self._fields = fields
        self._field = 0

    @property
    def is_over(self) -> bool:
        """Whether the row's last byte has passed."""
        return self._left == 0

    def advance(self, buffer: bytes, offset: int, end: int) -> int:
        """Check what is there from `offset`; return where the checked part ends."""
        while True:
            step = min(self._field, end - offset)
            offset += step
            self._field -= step
            self._left -= step
            if self._field or not self._fields or end - offset < 4:
                break
            self._begin(_length(buffer, offset)[0])
            offset += 4
        if not self._field and not self._fields and self._left:
            raise TargetProtocolError("a row's fields are not as long as its frame")
        return offset

    def _begin(self, length: int) -> None:
        # The lengths of the fields behind it have their place too.
        if length < -1 or max(length, 0) > self._left - 4 * self._fields:
            raise TargetProtocolError("a row's fields are longer than its frame")
        self._fields -= 1
        self._field = max(length, 0)
        self._left -= 4
