"""The spool of one writer: what was shown and is not in a chunk yet, encrypted, one file for each chunk to be.

1. A file is `<session>.<seq>`; it is removed once the record of its chunk is durable, never before.
2. What is written together is one frame. After an error the same bytes are written to the same place again, and
   nothing else before them: a frame's number is used for one content only.
3. All files together take at most `limit` bytes; beyond it writing fails as on a full disk.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final
from uuid import UUID, uuid4

from vestibule.evidence.recording import Place
from vestibule.evidence.spool import HEAD_BYTES, Frames, Head
from vestibule.stores.disk import Disk, sync_folder

_FILE: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(0|[1-9][0-9]{0,15})")


class Spool:
    """The files of one writer; parts of it may be written in several threads."""

    def __init__(self, folder: Path, limit: int, disk: Disk | None = None) -> None:
        """Use `folder`, which is made now; what is in it already counts."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._limit = folder, limit
        self.disk = disk or Disk()
        self._lock = Lock()
        self._used = sum(path.stat().st_size for path, _, _ in files(folder))

    @property
    def used(self) -> int:
        """How many bytes it holds."""
        return self._used

    @property
    def is_full(self) -> bool:
        """Whether nothing more fits."""
        return self._used >= self._limit

    def begin(self, place: Place, data_key: bytes) -> SpoolPart:
        """Start the part that becomes the chunk at `place`; `OSError` if it cannot be."""
        self.take(HEAD_BYTES)
        try:
            return SpoolPart(self, self._folder / f"{place.session}.{place.seq}", Head(place, uuid4()), data_key)
        except BaseException:
            self.give(HEAD_BYTES)
            raise

    def take(self, size: int) -> None:
        """Count bytes that are about to be written; `OSError` if they do not fit."""
        with self._lock:
            if self._used + size > self._limit:
                raise OSError(errno.ENOSPC, "the spool is full")
            self._used += size

    def give(self, size: int) -> None:
        """Count bytes that are not there any more."""
        with self._lock:
            self._used -= size


class SpoolPart:
    """One file that is being written; used by one thread at a time."""

    def __init__(self, spool: Spool, path: Path, head: Head, data_key: bytes) -> None:
        """Make the file with its head."""
        self.path, self.place = path, head.place
        self._spool = spool
        self._frames = Frames(head, data_key)
        self._failed = b""
        self.size = HEAD_BYTES
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            spool.disk.write(self._fd, head.encode(), 0)
            sync_folder(path.parent)
        except BaseException:
            os.close(self._fd)
            path.unlink(missing_ok=True)
            raise

    def write(self, offset_us: int, events: bytes) -> None:
        """Write events as one frame; after an `OSError` call `write_again`."""
        if self._failed:
            raise AssertionError("what failed is written first")
        self._failed = self._frames.encode(offset_us, events)
        self.write_again()

    def write_again(self) -> None:
        """Write what failed, if anything did."""
        if not self._failed:
            return
        self._spool.take(len(self._failed))
        try:
            self._spool.disk.write(self._fd, self._failed, self.size)
        except BaseException:
            self._spool.give(len(self._failed))
            raise
        self.size += len(self._failed)
        self._failed = b""

    def sync(self) -> None:
        """Return once what was written survives a power cut."""
        self._spool.disk.sync(self._fd)

    def close(self) -> None:
        """Let go of the file; nothing more is written."""
        os.close(self._fd)

    def drop(self) -> None:
        """Remove the file: its chunk is in the log."""
        self.path.unlink(missing_ok=True)
        self._spool.give(self.size)
        self.size = 0


def files(folder: Path) -> Iterator[tuple[Path, UUID, int]]:
    """List the parts in a folder with their session and seq, in that order; other files are left alone."""
    found = [(path, match) for path in folder.glob("*.*") if (match := _FILE.fullmatch(path.name))]
    yield from sorted(((path, UUID(match[1]), int(match[2])) for path, match in found), key=lambda part: part[1:])
