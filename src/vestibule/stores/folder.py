"""The folder of one writer: its lock, its segments, and the room that is kept for bad times.

1. `lock` is held by one process at a time; it is what makes a writer the only one.
2. `spare` is the next segment, allocated while the present one still has room.
3. `reserve` becomes a segment when no other room is left; only records that end things are written then.
4. A file gets its name when all its room is allocated, so a name never promises room that is not there.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from vestibule.evidence.segment import PREALLOCATION_UNIT, segment_name
from vestibule.model.errors import EvidenceUnavailable
from vestibule.stores.disk import Disk, sync_folder
from vestibule.stores.segment_file import SEALED, SegmentFile, Survey

SPARE: Final = "spare"
RESERVE: Final = "reserve"
#: The smallest segment that is worth starting on a full disk.
SMALLEST_SEGMENT: Final = 64 * PREALLOCATION_UNIT


class JournalInUse(EvidenceUnavailable):
    """Another process writes this chain."""


class Segment:
    """The segment that is being written."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.used = 0
        self._disk = disk
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self.capacity = os.fstat(self._fd).st_size

    @property
    def room(self) -> int:
        """Bytes that can still be written."""
        return self.capacity - self.used

    def append(self, data: bytes) -> None:
        """Make `data` durable behind what is there; after an error nothing may be appended any more."""
        self._disk.write(self._fd, data, self.used)
        self._disk.sync(self._fd)
        if not self.is_in_place:
            raise FileNotFoundError("the journal's folder or segment was removed or replaced")
        self.used += len(data)

    def grow(self, capacity: int) -> None:
        """Take room for `capacity` bytes in all; OSError if there is none."""
        self._disk.allocate(self._fd, capacity)
        os.fsync(self._fd)
        self.capacity = max(self.capacity, capacity)

    @property
    def is_in_place(self) -> bool:
        """Whether the path still leads to the file that is being written."""
        try:
            there = self.path.stat()
        except OSError:
            return False
        here = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def free(self) -> int:
        """Bytes left on the volume."""
        return self._disk.free(self._fd)

    def seal(self) -> None:
        """Give back what is not used, make the file durable and read-only."""
        os.ftruncate(self._fd, self.used)
        os.fchmod(self._fd, SEALED)
        os.fsync(self._fd)
        self.close()

    def close(self) -> None:
        """Let go of the file as it is."""
        os.close(self._fd)


class Folder:
    """The files of one writer; one process holds it at a time."""

    def __init__(self, path: Path, disk: Disk, segment_bytes: int, reserve_bytes: int) -> None:
        self.path = path
        self._disk = disk
        self._sizes = {SPARE: _whole_units(segment_bytes), RESERVE: _whole_units(reserve_bytes)}
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._number = os.fstat(self._lock).st_ino
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise JournalInUse(
                f"the journal {path} is being written by another process; stop that one, or give this one another name"
            ) from None

    def release(self) -> None:
        """Let another process write."""
        os.close(self._lock)

    def confirm(self) -> None:
        """Raise FileNotFoundError unless the path still leads to the lock that is held, which keeps others out."""
        try:
            there = (self.path / "lock").stat().st_ino
        except OSError:
            there = -1
        if there != self._number:
            raise FileNotFoundError("the journal's folder or its lock was removed or replaced")

    def has(self, name: str) -> bool:
        """Tell whether `spare` or `reserve` is there."""
        return (self.path / name).exists()

    def allocate(self, name: str) -> None:
        """Allocate `spare` or `reserve` unless it is there; OSError if there is no room."""
        if not self.has(name):
            self._allocate(name, self._sizes[name])

    def drop_unfinished(self) -> None:
        """Remove what a crash left of an allocation."""
        for name in (SPARE, RESERVE):
            (self.path / f"{name}.new").unlink(missing_ok=True)

    def begin(self, epoch: int, first: int, *, reserve: bool) -> Segment:
        """Start a segment in the spare room, new room, or with `reserve` whatever is left; OSError if none is."""
        name = self._room(reserve=reserve)
        path = self.path / segment_name(epoch, first)
        if path.exists():
            raise FileExistsError(f"the segment {path} is there already")
        (self.path / name).rename(path)
        sync_folder(self.path)
        return Segment(path, self._disk)

    def cut(self, segment: SegmentFile, found: Survey) -> None:
        """Leave of a segment what is whole, make that durable and seal it."""
        batch = segment.path.read_bytes()[found.batch : found.end]
        fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # The last batch is written again: after a failed sync the kernel may hold its pages as clean though they
            # never reached the disk, and then no later sync would write them.
            if batch:
                self._disk.write(fd, batch, found.batch)
            os.ftruncate(fd, found.end)
            self._disk.sync(fd)
            os.fchmod(fd, SEALED)
            os.fsync(fd)
        finally:
            os.close(fd)

    def _room(self, *, reserve: bool) -> str:
        try:
            self.allocate(SPARE)
        except OSError:
            if not reserve:
                raise
        else:
            return SPARE
        if self.has(RESERVE):
            return RESERVE
        self._allocate_any()
        return SPARE

    def _allocate_any(self) -> None:
        size = self._sizes[SPARE] // 2
        while size > SMALLEST_SEGMENT:
            with suppress(OSError):
                return self._allocate(SPARE, size)
            size //= 2
        return self._allocate(SPARE, SMALLEST_SEGMENT)

    def _allocate(self, name: str, size: int) -> None:
        draft = self.path / f"{name}.new"
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._disk.allocate(fd, size)
            os.fsync(fd)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        draft.rename(self.path / name)
        sync_folder(self.path)


def is_written(path: Path) -> bool:
    """Tell whether a process writes in the folder `path` now."""
    try:
        lock = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def _whole_units(size: int) -> int:
    return -(-size // PREALLOCATION_UNIT) * PREALLOCATION_UNIT
