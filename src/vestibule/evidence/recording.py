"""Recordings as bytes: events, and the chunk that is stored of them.

1. An event is what a client was shown at one moment under one statement: protocol frames as sent, after the storage
   mask. Events stand behind each other, in the order in which they were shown.
2. A chunk is an object of its own: an envelope of 48 bytes that says whose it is, then the events, compressed and
   encrypted. The envelope is the context of the encryption, so a chunk opens only as the one that it says it is.
3. `sha256` is over the object as stored and needs no key. `plain_sha256` is over a salt and the events, for whoever is
   given those; the salt keeps it from telling what is in them.
4. A chunk is read by itself: it begins with the description of the rows in it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from struct import Struct
from typing import Final
from uuid import UUID

import zstandard

from vestibule.evidence import cobblestone
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.model.record import Json

ENVELOPE_BYTES: Final = 48
PLAIN_SALT_BYTES: Final = 16
#: What one chunk may hold at most, whatever an object says: a reader never takes more memory than that for it.
CHUNK_LIMIT: Final = 16 * 1024 * 1024
RESULTS: Final = "results"

_MAGIC: Final = b"VSO1"
_RECORDING: Final = 1
_COBBLESTONE: Final = 1
_ZSTD: Final = 1
_WINDOW_LOG: Final = 20
_envelope = Struct("!4sBBBB16s16sQ")
_event = Struct("!QIBI")


class Part(IntEnum):
    """What the bytes of an event are."""

    #: The description by which the rows behind it are read.
    HEAD = 0
    #: Frames; the first one begins here.
    FRAMES = 1
    #: The inside of a frame that an earlier event began.
    PIECE = 2


@dataclass(frozen=True, slots=True)
class Event:
    """Bytes that were shown `offset_us` after the session opened, under the statement of this number."""

    offset_us: int
    statement: int
    part: Part
    data: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """What a run of events covers."""

    events: int
    first_us: int
    last_us: int
    first_statement: int
    last_statement: int


@dataclass(frozen=True, slots=True)
class Place:
    """Which chunk this is: the session, its data key, and the chunk's place in the session's stream."""

    session: UUID
    key: UUID
    seq: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What a record says of a stored object (`object`)."""

    sha256: str
    size: int
    plain_salt: bytes
    plain_sha256: str
    plain_bytes: int
    key: UUID

    def members(self) -> dict[str, Json]:
        """Write it as the member `object`."""
        return {
            "sha256": self.sha256,
            "bytes": self.size,
            "plain_salt": b64encode(self.plain_salt).decode(),
            "plain_sha256": self.plain_sha256,
            "plain_bytes": self.plain_bytes,
            "key": str(self.key),
        }


def stored(members: Mapping[str, Json]) -> Stored:
    """Read the member `object` of a record."""
    return Stored(
        str(members["sha256"]),
        int(str(members["bytes"])),
        b64decode(str(members["plain_salt"])),
        str(members["plain_sha256"]),
        int(str(members["plain_bytes"])),
        UUID(str(members["key"])),
    )


# --- events ----------------------------------------------------------------------------------------------------------


def encode_event(event: Event) -> bytes:
    """Write one event."""
    return _event.pack(event.offset_us, event.statement, event.part, len(event.data)) + event.data


def decode_events(plain: bytes, start: int = 0) -> Iterator[tuple[int, Event]]:
    """Read events one by one, each with the place behind it; `start` is such a place."""
    at = start
    while at < len(plain):
        if at + _event.size > len(plain):
            raise EvidenceFormatError("a recording ends in the middle of an event")
        offset, statement, part, length = _event.unpack_from(plain, at)
        at += _event.size
        if part not in _PARTS or at + length > len(plain):
            raise EvidenceFormatError("an event of a recording is not one of this version")
        yield at + length, Event(offset, statement, Part(part), plain[at : at + length])
        at += length


def span(plain: bytes) -> Span:
    """Say what encoded events cover."""
    events, first_us, last_us, first, last = 0, 0, 0, 0, 0
    for _, event in decode_events(plain):
        if events == 0:
            first_us, first = event.offset_us, event.statement
        events += 1
        last_us = max(last_us, event.offset_us)
        first, last = min(first, event.statement), max(last, event.statement)
    return Span(events, first_us, last_us, first, last)


_PARTS: Final = frozenset(Part)


# --- chunks ----------------------------------------------------------------------------------------------------------


def encode_envelope(place: Place) -> bytes:
    """Write the 48 bytes in front of an encrypted, compressed recording chunk."""
    kinds = (_RECORDING, _COBBLESTONE, _ZSTD, 0)
    return _envelope.pack(_MAGIC, *kinds, place.session.bytes, place.key.bytes, place.seq)


def decode_envelope(data: bytes) -> Place:
    """Read the envelope of a recording chunk."""
    if len(data) < ENVELOPE_BYTES:
        raise EvidenceFormatError("an object is shorter than its envelope")
    magic, *kinds, session, key, seq = _envelope.unpack_from(data)
    if magic != _MAGIC or kinds != [_RECORDING, _COBBLESTONE, _ZSTD, 0]:
        raise EvidenceFormatError("an object is not a recording chunk of this version")
    return Place(UUID(bytes=session), UUID(bytes=key), seq)


def seal(place: Place, data_key: bytes, salt: bytes, plain_salt: bytes, plain: bytes) -> tuple[bytes, Stored]:
    """Make a chunk of encoded events; the salts are fresh random bytes (24 and 16)."""
    if len(plain) > CHUNK_LIMIT:
        raise EvidenceFormatError(f"a chunk holds at most {CHUNK_LIMIT} bytes")
    envelope = encode_envelope(place)
    data = envelope + cobblestone.seal(data_key, salt, envelope, _compressed(plain))
    about = Stored(
        sha256(data).hexdigest(), len(data), plain_salt, sha256(plain_salt + plain).hexdigest(), len(plain), place.key
    )
    return data, about


def unseal(data: bytes, place: Place, data_key: bytes, about: Stored) -> bytes:
    """Give the events of a stored chunk, every commitment checked; raise `EvidenceFormatError` if one fails."""
    if sha256(data).hexdigest() != about.sha256:
        raise EvidenceFormatError("a chunk is not the object that its record names")
    if decode_envelope(data) != place:
        raise EvidenceFormatError("a chunk belongs to another place")
    if about.plain_bytes > CHUNK_LIMIT:
        raise EvidenceFormatError(f"a chunk holds at most {CHUNK_LIMIT} bytes")
    packed = cobblestone.unseal(data_key, data[:ENVELOPE_BYTES], data[ENVELOPE_BYTES:])
    plain = _expanded(packed, about.plain_bytes)
    if sha256(about.plain_salt + plain).hexdigest() != about.plain_sha256:
        raise EvidenceFormatError("the content of a chunk is not the one that its record names")
    return plain


def _compressed(plain: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=_WINDOW_LOG)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(plain)


def _expanded(packed: bytes, size: int) -> bytes:
    try:
        # The frame's own claim is judged before any memory is taken for it.
        if zstandard.frame_content_size(packed) != size:
            raise EvidenceFormatError("a chunk holds more or less than its record says")
        return zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG).decompress(packed)
    except zstandard.ZstdError:
        raise EvidenceFormatError("the content of a chunk cannot be expanded") from None
