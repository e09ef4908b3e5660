"""Segment files of the journal, as bytes: frames one after the other, then zeros.

Frame = `u32be header length, u32be body length, header, body, u32be CRC-32C of all that`. The check value finds torn
writes; changes are found by the hashes. A header length of 0 ends a segment, and only zeros follow.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from google_crc32c import value as crc32c

from vestibule.evidence.canonical import BODY_LIMIT, HEADER_LIMIT
from vestibule.evidence.errors import DamagedSegment, EvidenceFormatError, TornSegment

#: A preallocated segment has a multiple of this many bytes; one that was cut ends with its last frame.
PREALLOCATION_UNIT: Final = 4_096
FRAME_OVERHEAD: Final = 12

_LENGTHS: Final = struct.Struct(">II")
_CHECK: Final = struct.Struct(">I")
_NAME: Final = re.compile(r"(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})\.seg")
#: Every header starts like this, which is how a frame behind a bad one is looked for.
_HEADER_START: Final = b'{"v":1,"kind":"'
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One record in a segment, from `offset` to before `end`."""

    offset: int
    end: int
    header: bytes
    body: bytes


def segment_name(epoch: int, first_n: int) -> str:
    """Name the segment whose first record is `first_n` of `epoch`."""
    return f"{epoch}-{first_n}.seg"


def parse_segment_name(name: str) -> tuple[int, int]:
    """Read epoch and first n from a segment's name."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise EvidenceFormatError("a segment is named <epoch>-<first n>.seg")
    return int(found[1]), int(found[2])


def encode_frame(header: bytes, body: bytes) -> bytes:
    """Put a record into a frame."""
    if not 0 < len(header) <= HEADER_LIMIT or len(body) > BODY_LIMIT:
        raise EvidenceFormatError("a frame holds a header of 1 to 1,024 bytes and a body of at most 60,000")
    content = _LENGTHS.pack(len(header), len(body)) + header + body
    return content + _CHECK.pack(crc32c(content))


def read_frames(view: bytes | bytearray | memoryview, offset: int = 0, *, whole: bool = True) -> Iterator[Frame]:
    """Walk the frames from `offset` to the end.

    Ends cleanly, or raises `TornSegment` (the last frame was not written whole) or `DamagedSegment` (it cannot be a
    torn write). With `whole` False the bytes behind the end are not looked at: for a segment that is being written.
    """
    while (frame := _frame_at(view, offset)) is not None:
        yield frame
        offset = frame.end
    if _is_end(view, offset):
        if whole and not _all_zero(view, offset):
            raise DamagedSegment(offset, "there are bytes behind the end")
        return
    behind = _next_good(view, offset + 1)
    if behind is not None:
        raise DamagedSegment(offset, f"a bad frame with a good one behind it, at offset {behind}")
    raise TornSegment(offset)


def _frame_at(view: bytes | bytearray | memoryview, offset: int) -> Frame | None:
    if offset + FRAME_OVERHEAD > len(view):
        return None
    header_length, body_length = _LENGTHS.unpack_from(view, offset)
    middle = offset + 8 + header_length
    end = middle + body_length
    if not 0 < header_length <= HEADER_LIMIT or body_length > BODY_LIMIT or end + 4 > len(view):
        return None
    if crc32c(bytes(view[offset:end])) != _CHECK.unpack_from(view, end)[0]:
        return None
    return Frame(offset, end + 4, bytes(view[offset + 8 : middle]), bytes(view[middle:end]))


def _is_end(view: bytes | bytearray | memoryview, offset: int) -> bool:
    return not any(view[offset : offset + 4])


def _all_zero(view: bytes | bytearray | memoryview, offset: int) -> bool:
    blocks = (bytes(view[start : start + _BLOCK]) for start in range(offset, len(view), _BLOCK))
    return all(block.count(0) == len(block) for block in blocks)


def _next_good(view: bytes | bytearray | memoryview, offset: int) -> int | None:
    rest = bytes(view[offset:])
    found = rest.find(_HEADER_START, 8)
    while found != -1:
        if _frame_at(view, offset + found - 8) is not None:
            return offset + found - 8
        found = rest.find(_HEADER_START, found + 1)
    return None
