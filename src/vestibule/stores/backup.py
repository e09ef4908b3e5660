"""A copy of a data folder that could have been left by a crash, taken while the gateway works or while it stands.

The order is the proof; what comes later may know more than what came before, never less.

1. Keys and memories (what was signed, what was released), then the spool: its parts vanish only when their chunk's
   record is durable, and that record is copied below.
2. The database, in one read transaction: no leaf in it is younger than the moment T that is taken now.
3. The journals, up to T. Who refers to a record has seen it durable, so nothing before T refers to something behind T.
4. The published log, cut back to the newest checkpoint of the copied database.
5. Objects: whatever a copied record names was put before the record was written.
6. Data keys that came since 2, so that every copied session has its key.
7. `manifest.json`, when all of that is durable.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from vestibule import __version__
from vestibule.evidence.canonical import decode_header
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.merkle import TILE_HEIGHT
from vestibule.evidence.segment import read_frames
from vestibule.evidence.tiles import TILE_WIDTH
from vestibule.model.errors import ConfigurationError, VestibuleError
from vestibule.model.names import Instant, stamp
from vestibule.stores.data_keys import DATA_KEY
from vestibule.stores.database import STATE, schema_of
from vestibule.stores.disk import sync_folder
from vestibule.stores.manifest import Manifest
from vestibule.stores.segment_file import SEALED, SegmentFile, segment_files
from vestibule.stores.tiles import CHECKPOINT, LogFolder

#: A file that was not written to for this long before T holds nothing behind T, whatever its clock's grain.
SETTLED_NS: Final = 2_000_000_000
_BLOCK: Final = 1 << 20


class BackupFailed(VestibuleError):
    """No backup was made; the text says why and what to do."""


def back_up(data: Path, to: Path, clock: Callable[[], Instant]) -> Manifest:
    """Copy the data folder `data` to the folder `to`, which must be new or empty."""
    _check(data, to)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _Backup(data, to, clock).take()


def check_owner(folder: Path) -> None:
    """Refuse to work on the files of somebody else: what is made beside them would be in their way."""
    if folder.exists() and folder.stat().st_uid != os.geteuid():
        raise ConfigurationError(f"{folder} belongs to user {folder.stat().st_uid}; run this command as that user")


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there and not empty; name a new folder")


def _check(data: Path, to: Path) -> None:
    if not (data / "journal").is_dir() or not (data / STATE).is_file():
        raise ConfigurationError(f"{data} is no data folder: it has no journal or no {STATE}")
    check_owner(data)
    check_empty(to)
    if to.resolve().is_relative_to(data.resolve()):
        raise ConfigurationError(f"{to} is inside the data folder; name a folder on another volume")


class _Backup:
    """One backup that is being made."""

    def __init__(self, data: Path, to: Path, clock: Callable[[], Instant]) -> None:
        self._data, self._to, self._clock = data, to, clock
        self._files: dict[str, str] = {}

    def take(self) -> Manifest:
        """Do it, in the order that the head of this file proves."""
        for name in ("keys", "spool"):
            self._copy_all(path for path in (self._data / name).rglob("*") if not path.name.startswith("."))
        self._copy_all([self._data / "guard.json"])
        try:
            self._snapshot()
            until = self._clock()
            for writer in sorted(path for path in (self._data / "journal").iterdir() if path.is_dir()):
                self._journal(writer, until)
            leaves = self._log()
            self._copy_all((self._data / "objects" / "obj").rglob("*"))
            self._late_keys()
        except sqlite3.Error as error:
            raise BackupFailed(f"the state database cannot be copied: {error}; nothing was changed in it") from None
        self._note(STATE)
        self._sync()
        manifest = Manifest(stamp(until), __version__, schema_of(self._to / STATE), leaves, self._files)
        manifest.write(self._to)
        return manifest

    # --- the parts

    def _snapshot(self) -> None:
        (self._to / STATE).touch(mode=0o600)
        with closing(self._open()) as state:
            state.execute("VACUUM INTO ?", (str(self._to / STATE),))

    def _open(self) -> sqlite3.Connection:
        # Never writing: of two who write or checkpoint at one moment, an old SQLite can damage the file.
        uri = f"{(self._data / STATE).absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, timeout=30)

    def _journal(self, writer: Path, until: Instant) -> None:
        kept = -1, -1
        for segment in segment_files(writer):
            end, whole = self._segment(segment, until)
            kept = max(kept, end)
            if not whole:
                break
        with closing(sqlite3.connect(self._to / STATE)) as state:
            query = "SELECT epoch, integrated_n FROM node_epoch WHERE node = ? ORDER BY epoch DESC LIMIT 1"
            integrated = state.execute(query, (writer.name,)).fetchone() or (-1, -1)
        if integrated > kept and integrated[1] >= 0:
            raise BackupFailed(
                f"records of {writer.name} bear a later time than now: the clock was set back; make the backup again"
            )

    def _segment(self, segment: SegmentFile, until: Instant) -> tuple[tuple[int, int], bool]:
        """Copy a segment as far as it goes; give its last record, and whether the next one may follow."""
        if segment.sealed and segment.path.stat().st_mtime_ns + SETTLED_NS < until * 1_000:
            self._copy(segment.path)
            return (segment.epoch, sys.maxsize), True
        content = segment.path.read_bytes()
        end, last = 0, segment.first - 1
        with suppress(EvidenceFormatError):  # of a segment that is being written the end may be half there
            for frame in read_frames(content, whole=False):
                if decode_header(frame.header).t > until:
                    break
                end, last = frame.end, last + 1
        whole = segment.sealed and end == len(content)
        if end:
            self._put(segment.path, content[:end], SEALED if whole else 0o600)
        return (segment.epoch, last), whole

    def _log(self) -> int:
        """Copy the published log, as far as the copied database knows it; give its leaves."""
        with closing(sqlite3.connect(self._to / STATE)) as state:
            [size] = state.execute("SELECT published_size FROM log_state").fetchone() or (0,)
            [note] = state.execute("SELECT note FROM checkpoint WHERE size = ?", (size,)).fetchone() or (b"",)
        root = self._data / "log"
        self._copy_all([root / "log.vkey"])
        self._copy_all(path for path in (root / "checkpoints").glob("*") if int(path.name) <= size)
        # One by one: a listing that is made while tiles are written may have any of the new ones, and lack any.
        self._copy_all(path for path in (root / "tile").rglob("*") if path.is_file() and _is_within(path, root, size))
        copied = LogFolder(self._to / "log")
        if size:
            copied.release(size, note)
        for name in (f"checkpoints/{size}", CHECKPOINT) if size else ():
            self._note(f"log/{name}")
        return int(size)

    def _late_keys(self) -> None:
        with closing(self._open()) as live, closing(sqlite3.connect(self._to / STATE)) as state, state:
            columns = ", ".join(f'"{column.name}"' for column in DATA_KEY.columns)
            places = ", ".join("?" for _ in DATA_KEY.columns)
            rows = live.execute(f"SELECT {columns} FROM data_key")  # noqa: S608 - the names of our own table
            state.executemany(f"INSERT OR IGNORE INTO data_key ({columns}) VALUES ({places})", rows)  # noqa: S608

    # --- files

    def _copy_all(self, paths: Iterable[Path]) -> None:
        for path in paths:
            # What vanishes meanwhile is a part that was sealed, or a tile of a publication that was cut off.
            with suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink():
                    self._copy(path)

    def _copy(self, path: Path) -> None:
        digest = sha256()
        with path.open("rb") as source:
            to, fd = self._create(path)
            with os.fdopen(fd, "wb") as target:
                for block in iter(lambda: source.read(_BLOCK), b""):
                    digest.update(block)
                    target.write(block)
            to.chmod(os.fstat(source.fileno()).st_mode & 0o770)
        self._files[path.relative_to(self._data).as_posix()] = digest.hexdigest()

    def _put(self, path: Path, content: bytes, mode: int) -> None:
        to, fd = self._create(path)
        with os.fdopen(fd, "wb") as target:
            target.write(content)
        to.chmod(mode)
        self._files[path.relative_to(self._data).as_posix()] = sha256(content).hexdigest()

    def _create(self, path: Path) -> tuple[Path, int]:
        to = self._to / path.relative_to(self._data)
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return to, os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _note(self, name: str) -> None:
        self._files[name] = sha256((self._to / name).read_bytes()).hexdigest()

    def _sync(self) -> None:
        for folder in _folders(self._to):
            for path in folder.iterdir():
                if path.is_file():
                    fd = os.open(path, os.O_RDONLY)
                    try:
                        os.fsync(fd)
                    finally:
                        os.close(fd)
            sync_folder(folder)


def _is_within(tile: Path, root: Path, size: int) -> bool:
    """Tell whether a tile or a bundle holds nothing beyond the tree of `size` leaves: `tile/1/x001/067.p/12`."""
    level, *groups = tile.relative_to(root / "tile").parts
    width = TILE_WIDTH
    if len(groups) > 1 and groups[-2].endswith(".p"):
        width = int(groups.pop())
    n = int("".join(group.removeprefix("x").removesuffix(".p") for group in groups))
    count = size if level == "entries" else size >> TILE_HEIGHT * int(level)
    return n * TILE_WIDTH + width <= count


def _folders(root: Path) -> Iterator[Path]:
    yield root
    yield from (path for path in root.rglob("*") if path.is_dir())
