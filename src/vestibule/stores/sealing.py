"""From a part of the spool to a chunk in the object store, and what its record says of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vestibule.evidence.cobblestone import SALT_BYTES
from vestibule.evidence.recording import PLAIN_SALT_BYTES, RESULTS, Place, Span, Stored, seal, span
from vestibule.evidence.spool import decode_frames, decode_head
from vestibule.model.record import Json
from vestibule.stores.objects import NAME, ObjectStore


@dataclass(frozen=True, slots=True)
class Sealed:
    """A chunk that is durable in the object store."""

    place: Place
    about: Stored
    covers: Span
    #: Bytes of the part that were torn, and are not in the chunk.
    torn: int = 0

    def members(self, *, recovered: bool) -> dict[str, Json]:
        """Write the members of its `ChunkSealed`."""
        covers = self.covers
        return {
            "stream": RESULTS,
            "seq": self.place.seq,
            "object": self.about.members(),
            "stores": [{"store": NAME}],
            "first_us": covers.first_us,
            "last_us": covers.last_us,
            "events": covers.events,
            "statements": [covers.first_statement, covers.last_statement],
            "recovered": recovered,
        }


def seal_part(path: Path, data_key: bytes, store: ObjectStore, random: Callable[[int], bytes] = os.urandom) -> Sealed:
    """Put what is whole of a part into the store as a chunk; the part itself is left.

    Raises `OSError` if either cannot be read or written, `EvidenceFormatError` for a file that is no part.
    """
    data = path.read_bytes()
    place = decode_head(data).place
    plain, end = decode_frames(data, data_key)
    chunk, about = seal(place, data_key, random(SALT_BYTES), random(PLAIN_SALT_BYTES), plain)
    name = store.put(chunk)
    if name != about.sha256 or not store.exists(name):
        raise OSError("the object store does not have what was put there")
    return Sealed(place, about, span(plain), len(data) - end)
