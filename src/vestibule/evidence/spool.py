"""What of a recording is not in a chunk yet, as bytes: a head in clear, then encrypted frames.

1. One part of the spool becomes one chunk. Its head names the session, its data key, the chunk's place, and an id of
   the part that makes its key its own.
2. Frames are numbered by their nonce: one that is missing, doubled or moved does not open, nor what is behind it.
3. A torn end is cut off; what is before it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.recording import CHUNK_LIMIT, Place

_MAGIC: Final = b"VSP1"
_LABEL: Final = b"vestibule/spool/v1"
_TAG_BYTES: Final = 16
#: The stream of results; others have other numbers.
_RESULTS: Final = 1
_head = Struct("!4s16s16s16sQ")
_frame = Struct("!IQB")

HEAD_BYTES: Final = _head.size
FRAME_OVERHEAD: Final = _frame.size + _TAG_BYTES


@dataclass(frozen=True, slots=True)
class Head:
    """What stands in front of a part: which chunk it becomes, and the part's own id."""

    place: Place
    id: UUID

    def encode(self) -> bytes:
        """Write it."""
        place = self.place
        return _head.pack(_MAGIC, place.session.bytes, place.key.bytes, self.id.bytes, place.seq)


def decode_head(data: bytes) -> Head:
    """Read the head of a part."""
    if len(data) < HEAD_BYTES:
        raise EvidenceFormatError("a part of the spool is shorter than its head")
    magic, session, key, part, seq = _head.unpack_from(data)
    if magic != _MAGIC:
        raise EvidenceFormatError("a part of the spool is not of this version")
    return Head(Place(UUID(bytes=session), UUID(bytes=key), seq), UUID(bytes=part))


class Frames:
    """Encrypts the frames of one part, in order."""

    def __init__(self, head: Head, data_key: bytes) -> None:
        """Derive the part's own key."""
        self._cipher = _cipher(head, data_key)
        self._number = 0

    def encode(self, offset_us: int, plain: bytes) -> bytes:
        """Write the next frame; what is encoded takes its place, whether it is written or not."""
        front = _frame.pack(len(plain) + _TAG_BYTES, offset_us, _RESULTS)
        sealed = self._cipher.encrypt(self._number.to_bytes(12, "big"), plain, front)
        self._number += 1
        return front + sealed


def decode_frames(data: bytes, data_key: bytes) -> tuple[bytes, int]:
    """Give the events of a part, and how many bytes of it are whole; what is behind those is torn."""
    head = decode_head(data)
    cipher = _cipher(head, data_key)
    found = list(_frames(data, cipher))
    return b"".join(plain for plain, _ in found), found[-1][1] if found else HEAD_BYTES


def _frames(data: bytes, cipher: AESGCM) -> Iterator[tuple[bytes, int]]:
    at, number = HEAD_BYTES, 0
    while at + _frame.size <= len(data):
        length, _, _ = _frame.unpack_from(data, at)
        end = at + _frame.size + length
        if length > CHUNK_LIMIT + _TAG_BYTES or end > len(data):
            return
        front, sealed = data[at : at + _frame.size], data[at + _frame.size : end]
        try:
            plain = cipher.decrypt(number.to_bytes(12, "big"), sealed, front)
        except (InvalidTag, ValueError):
            return
        yield plain, end
        at, number = end, number + 1


def _cipher(head: Head, data_key: bytes) -> AESGCM:
    return AESGCM(HKDFExpand(algorithm=SHA256(), length=32, info=_LABEL + head.id.bytes).derive(data_key))
