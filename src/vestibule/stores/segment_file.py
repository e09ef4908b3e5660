"""One segment file, read: what is whole, what is torn, what is damaged.

1. A segment that is being written, or whose writer died, may end in a torn batch. Nobody was told that a record of
   it is durable, so it is cut.
2. Pages of one batch may reach the disk in any order, so good frames may stand behind a bad one. They belong to the
   torn batch if the ids say that it began at or before the bad frame (`chain`, rule 4). Anything else is damage.
3. A sealed segment (read-only) was whole when it was closed: whatever is wrong in it is damage.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vestibule.evidence.canonical import Header, decode_header, leaf_hash
from vestibule.evidence.errors import DamagedSegment, EvidenceFormatError, TornSegment
from vestibule.evidence.segment import Frame, parse_segment_name, read_frames
from vestibule.model.errors import EvidenceUnavailable
from vestibule.stores.chain import PLACE_LIMIT, place_in_batch

SEALED: Final = 0o440
_FRAME_START: Final = b'{"v":1,"kind":"'
_LENGTHS: Final = 8


class JournalDamaged(EvidenceUnavailable):
    """A segment was changed after it was written; a person must look before anything is added."""


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment by its place: `<folder>/<epoch>-<first n>.seg`."""

    path: Path
    epoch: int
    first: int

    @property
    def sealed(self) -> bool:
        """Whether its writer closed it."""
        return stat.S_IMODE(self.path.stat().st_mode) == SEALED


@dataclass(frozen=True, slots=True)
class Survey:
    """The records of a segment by their leaves, where the last batch starts and ends, and what is torn behind it.

    Every batch but the last is known to be durable: writing went on after it.
    """

    leaves: tuple[bytes, ...]
    last: Header | None
    batch: int
    end: int
    torn: int


def segment_files(folder: Path) -> list[SegmentFile]:
    """List the segments of one writer, oldest first."""
    found = []
    for path in folder.iterdir():
        try:
            found.append(SegmentFile(path, *parse_segment_name(path.name)))
        except EvidenceFormatError:
            continue
    return sorted(found, key=lambda segment: (segment.epoch, segment.first))


def survey(segment: SegmentFile) -> Survey:
    """Read a segment whole; raise `JournalDamaged` where it is neither whole nor torn."""
    content = segment.path.read_bytes()
    leaves: list[bytes] = []
    last: Frame | None = None
    torn = batch = 0
    try:
        for last in read_frames(content):
            leaves.append(leaf_hash(last.header))
            batch = last.offset if place_in_batch(last.header) == 0 else batch
    except (TornSegment, DamagedSegment) as error:
        if segment.sealed or not is_torn(content, error.offset, segment.first + len(leaves)):
            raise _damaged(segment, error.offset, str(error)) from None
        torn = len(content.rstrip(b"\0")) - error.offset
    end = last.end if last is not None else 0
    return Survey(tuple(leaves), _last_header(segment, last, len(leaves)), batch, end, torn)


def is_torn(view: bytes, offset: int, expected: int) -> bool:
    """Tell whether the bad bytes at `offset`, where record `expected` should be, are those of one torn batch."""
    try:
        return all(_batch_start(frame) <= expected for frame in _good_frames(view, offset + 1))
    except EvidenceFormatError:
        return False


def _last_header(segment: SegmentFile, last: Frame | None, count: int) -> Header | None:
    if last is None:
        return None
    header = decode_header(last.header)
    if (header.epoch, header.n) != (segment.epoch, segment.first + count - 1):
        raise _damaged(segment, last.offset, "the records do not have the numbers that the file's name says")
    return header


def _damaged(segment: SegmentFile, offset: int, reason: str) -> JournalDamaged:
    return JournalDamaged(
        f"the journal segment {segment.path} is damaged at offset {offset}: {reason}; keep the file, compare it with "
        f"a copy or with the log, and start again when that offset is explained"
    )


def _batch_start(frame: Frame) -> int:
    place = place_in_batch(frame.header)
    n = decode_header(frame.header).n
    return n - place if place < PLACE_LIMIT else n


def _good_frames(view: bytes, offset: int) -> Iterator[Frame]:
    found = view.find(_FRAME_START, offset + _LENGTHS)
    while found != -1:
        frame = _frame(view, found - _LENGTHS)
        if frame is not None:
            yield frame
        # The frame's own offsets count from its start.
        found = view.find(_FRAME_START, found + (1 if frame is None else frame.end))


def _frame(view: bytes, offset: int) -> Frame | None:
    # Cut to the longest frame there can be, so that a bad start costs no search through the rest.
    try:
        return next(read_frames(memoryview(view)[offset : offset + 65_536], whole=False), None)
    except EvidenceFormatError:
        return None
