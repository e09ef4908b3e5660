"""Where the chain of a writer ends on disk, once what a crash left behind has been cut.

1. Segments that no writer closed are read whole, cut behind their last good frame, made durable and sealed.
2. Only the last records can be torn: anything torn with records behind it is damage.
3. The next epoch follows the highest that any file names, whether or not something was written in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from vestibule.evidence.canonical import ZERO_LEAF
from vestibule.stores.folder import Folder
from vestibule.stores.segment_file import JournalDamaged, SegmentFile, Survey, segment_files, survey


@dataclass(frozen=True, slots=True)
class Position:
    """One record of a writer."""

    epoch: int
    n: int
    leaf: bytes


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The last record (None in a new folder), the highest epoch, and in which state the last writer left it."""

    last: Position | None
    epoch: int
    torn_bytes: int
    clean: bool

    @property
    def leaf(self) -> bytes:
        """What the next record links to."""
        return ZERO_LEAF if self.last is None else self.last.leaf


def find_end(folder: Folder, node: str) -> ChainEnd:
    """Close what was left open and find the last record."""
    segments = segment_files(folder.path)
    clean = not segments or segments[-1].sealed
    last: Position | None = None
    torn = 0
    for segment in reversed(segments):
        if last is not None and segment.sealed:
            break
        found = survey(segment)
        if found.torn and last is not None:
            raise JournalDamaged(f"the journal segment {segment.path} is torn although later segments hold records")
        torn += found.torn
        if last is None:
            last = _position(found, node, segment)
        if not segment.sealed:
            folder.cut(segment, found)
    return ChainEnd(last, segments[-1].epoch if segments else 0, torn, clean and not torn)


def _position(found: Survey, node: str, segment: SegmentFile) -> Position | None:
    if found.last is None:
        return None
    if found.last.node != node:
        raise JournalDamaged(f"the journal segment {segment.path} was written by {found.last.node!r}, not by {node!r}")
    return Position(found.last.epoch, found.last.n, found.leaves[-1])
