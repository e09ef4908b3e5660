"""Records as leaves of a log, written by a real journal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vestibule.evidence.canonical import decode_header
from vestibule.evidence.segment import read_frames
from vestibule.model.names import Instant
from vestibule.model.record import Record
from vestibule.stores.index import Leaf
from vestibule.stores.segments import Journal

START = 1_800_000_000_000_000


def leaves(folder: Path, records: Iterable[Record]) -> list[Leaf]:
    """Write records, a second apart, and give them as leaves from 0."""
    ticks = iter(range(START, START + 10**12, 1_000_000))
    journal = Journal.open(
        folder / "journal", "n.0", lambda: Instant(next(ticks)), segment_bytes=1 << 20, min_free=0, stop_free=0
    )
    for record in records:
        journal.append([record])
    journal.close()
    frames = [
        frame for segment in sorted((folder / "journal").glob("*.seg")) for frame in read_frames(segment.read_bytes())
    ]
    return [Leaf(index, decode_header(frame.header), frame.body) for index, frame in enumerate(frames)]
