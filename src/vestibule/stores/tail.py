"""One writer's journal, read while it grows, by a process that does not write it.

1. A record is given once it is whole and durable. What the writer has not synced yet is synced here first: a record
   that a power cut could still take must not become a leaf.
2. A frame that is not whole may be one that is being written; nothing is concluded from it while its writer may live.
3. A segment is done when a later one was there before it was read to its end: its writer never returns to it.
4. Whatever was written, and is not what a writer writes, is `JournalDamaged`: reading stops there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from vestibule.evidence.canonical import leaf_hash
from vestibule.evidence.errors import DamagedSegment, EvidenceFormatError, TornSegment
from vestibule.evidence.log import Leaf
from vestibule.evidence.segment import Frame, read_frames, segment_name
from vestibule.stores.log import Place
from vestibule.stores.segment_file import JournalDamaged, SegmentFile, is_torn, segment_files

#: Longer than any frame, so that a whole one is always seen whole.
_CHUNK: Final = 1 << 18
#: Nanoseconds after which two changes of a folder cannot bear the same time.
_SETTLED: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """A durable record and where it stands."""

    place: Place
    header: bytes
    body: bytes


class Tail:
    """Reads on behind the last record that became a leaf."""

    def __init__(self, folder: Path) -> None:
        self.node = folder.name
        self._folder = folder
        self._listing = _Listing(folder)
        self._segment: SegmentFile | None = None
        self._fd = -1
        self._offset = 0
        self._read = 0
        self._doubt = -1
        self._distrusted = False

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def seek(self, place: Place, leaf: Leaf) -> None:
        """Go behind a record that is a leaf already; it must still be what it was."""
        segment = SegmentFile(self._folder / segment_name(place.epoch, place.segment), place.epoch, place.segment)
        try:
            self._open(segment)
            chunk = os.pread(self._fd, _CHUNK, place.offset)
            frame = next(read_frames(chunk, whole=False), None)
        except (OSError, EvidenceFormatError) as error:
            raise JournalDamaged(f"the last leaf of {self.node} cannot be read from {segment.path}: {error}") from None
        if frame is None or leaf_hash(frame.header) != leaf.hash:
            raise JournalDamaged(
                f"the last leaf of {self.node} is not at offset {place.offset} of {segment.path} any more"
            )
        self._offset = place.offset + frame.end
        self._read = leaf.n + 1 - place.segment

    def read(self, limit: int) -> list[Found]:
        """Give at most `limit` records that came since, durable ones only; raises `JournalDamaged`, or OSError."""
        found: list[Found] = []
        while len(found) < limit:
            try:
                more = self._more(limit - len(found))
            except (OSError, JournalDamaged):
                # What was read is not lost over what comes behind it; that is met again by the next read.
                if not found:
                    raise
                break
            if more is None:
                break
            found += more
        return found

    def _more(self, limit: int) -> list[Found] | None:
        """Give what the present segment still holds, or open the next one; None if there is nothing."""
        # Asked before the present one is read: if there is a later one, this one is complete.
        later = self._listing.behind(self._segment)
        if self._segment is not None:
            frames = self._frames(self._segment, limit, ended=later is not None)
            if frames:
                return frames
        if later is None:
            return None
        self._open(later)
        return []

    def _frames(self, segment: SegmentFile, limit: int, *, ended: bool) -> list[Found]:
        chunk = os.pread(self._fd, _CHUNK, self._offset)
        frames: list[Frame] = []
        try:
            for frame in islice(read_frames(chunk, whole=False), limit):
                frames.append(frame)
            if not frames and chunk.count(0) < len(chunk):
                raise DamagedSegment(0, "there are bytes behind the end")
        except (TornSegment, DamagedSegment) as error:
            if not frames:
                self._judge(segment, chunk, error, ended=ended)
        if not frames or (not ended and not self._sync()):
            return []
        found = [self._found(segment, frame) for frame in frames]
        self._offset += frames[-1].end
        self._read += len(frames)
        return found

    def _sync(self) -> bool:
        """Make what was read durable; after an error nothing is, until the writer has read it back itself."""
        if not self._distrusted:
            # Set first: a second sync would report success for what the first one lost.
            self._distrusted = True
            os.fdatasync(self._fd)
            self._distrusted = False
        return not self._distrusted

    def _judge(self, segment: SegmentFile, chunk: bytes, error: TornSegment | DamagedSegment, *, ended: bool) -> None:
        """Raise unless the bytes may be a batch that is being written, or was when its writer died."""
        at = self._offset + error.offset
        if not (ended or segment.sealed) and is_torn(chunk, error.offset, segment.first + self._read):
            return
        # While it is written, a page may be seen before the one in front of it, but not for two looks in a row.
        if ended or self._doubt == at:
            raise JournalDamaged(f"the journal segment {segment.path} is damaged at offset {at}: {error}")
        self._doubt = at

    def _found(self, segment: SegmentFile, frame: Frame) -> Found:
        place = Place(self.node, segment.epoch, segment.first, self._offset + frame.offset)
        return Found(place, frame.header, frame.body)

    def _open(self, segment: SegmentFile) -> None:
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self._segment, self._fd = segment, fd
        self._offset = self._read = 0
        self._doubt = -1
        self._distrusted = False


class _Listing:
    """The segments of a folder, listed again only when its names may have changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[SegmentFile] = []
        self._stamp = -1

    def behind(self, segment: SegmentFile | None) -> SegmentFile | None:
        """Find the segment that follows."""
        here = (-1, -1) if segment is None else (segment.epoch, segment.first)
        return next((each for each in self._current() if (each.epoch, each.first) > here), None)

    def _current(self) -> list[SegmentFile]:
        changed = self._folder.stat().st_mtime_ns
        if changed != self._stamp:
            self._segments = segment_files(self._folder)
            # A change right after this one may bear the same time; then the next look lists again.
            self._stamp = changed if time.time_ns() - changed > _SETTLED else -1
        return self._segments


def read_places(journal: Path, places: Sequence[Place]) -> list[bytes]:
    """Read the headers of records that are leaves; raises `JournalDamaged`, or OSError."""
    headers: list[bytes] = []
    opened: dict[Path, int] = {}
    try:
        for place in places:
            path = journal / place.node / segment_name(place.epoch, place.segment)
            if path not in opened:
                opened[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            headers.append(_header_at(path, opened[path], place.offset))
    finally:
        for fd in opened.values():
            os.close(fd)
    return headers


def _header_at(path: Path, fd: int, offset: int) -> bytes:
    lengths = os.pread(fd, 8 + 1_024, offset)
    header = lengths[8 : 8 + int.from_bytes(lengths[:4], "big")]
    if not header or len(header) != int.from_bytes(lengths[:4], "big"):
        raise JournalDamaged(f"the journal segment {path} holds no record at offset {offset} any more")
    return header
