"""The log's folder as outsiders read it: tiles, entry bundles, checkpoints (C2SP tlog-tiles).

1. A file appears whole and durable, or not at all; its draft lies outside the folder, which holds nothing but the log.
2. Tiles and bundles are durable before the checkpoint that needs them is there.
3. What a publication left that was cut off is beyond the published size and is removed before the next one, but only
   once it is sure that nothing larger was ever published.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from vestibule.evidence.merkle import TILE_HEIGHT
from vestibule.evidence.tiles import TILE_WIDTH, Tile, entries_path
from vestibule.stores.disk import sync_folder

CHECKPOINT: Final = "checkpoint"
VKEY: Final = "log.vkey"
_READ_ONLY: Final = 0o440
_MUTABLE: Final = 0o600


class LogFolder:
    """`root` is what a mirror copies; drafts lie beside it, on the same file system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._draft = root.parent / f".{root.name}.new"
        (root / "checkpoints").mkdir(mode=0o700, parents=True, exist_ok=True)

    def read(self, path: str) -> bytes:
        """Read a file of the log."""
        return (self.root / path).read_bytes()

    def write(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Put files that never change into the folder, durable on return; the same file again is harmless."""
        folders: set[Path] = set()
        for path, content in files:
            self._put(self.root / path, content, _READ_ONLY)
            folders.update(self._folders(path))
        for folder in sorted(folders):
            sync_folder(folder)

    def put_vkey(self, vkey: str) -> None:
        """Publish the log's verifier key."""
        content = f"{vkey}\n".encode()
        if not (self.root / VKEY).exists() or self.read(VKEY) != content:
            self._replace(VKEY, content)

    def release(self, size: int, note: bytes) -> None:
        """Publish a checkpoint: under its size, then as the newest."""
        self.write([(f"checkpoints/{size}", note)])
        self._replace(CHECKPOINT, note)

    def checkpoint(self) -> bytes | None:
        """Read the newest checkpoint."""
        try:
            return self.read(CHECKPOINT)
        except FileNotFoundError:
            return None

    def checkpoint_age(self) -> float | None:
        """Say how many seconds ago the newest checkpoint was written; None if there is none."""
        try:
            return time.time() - (self.root / CHECKPOINT).stat().st_mtime
        except FileNotFoundError:
            return None

    def sizes(self) -> list[int]:
        """List the sizes of the published checkpoints, ascending."""
        return sorted(int(path.name) for path in (self.root / "checkpoints").iterdir())

    def remove_beyond(self, size: int) -> int:
        """Remove the tiles of larger trees than the published one; tells how many there were."""
        found = list(self._beyond(size))
        for path in found:
            path.unlink()
        self._draft.unlink(missing_ok=True)
        return len(found)

    def _beyond(self, size: int) -> Iterator[Path]:
        yield from self._row_beyond(entries_path, size)
        level = 0
        while (self.root / "tile" / str(level)).is_dir():
            yield from self._row_beyond(partial(_tile_path, level), size >> level * TILE_HEIGHT)
            level += 1

    def _row_beyond(self, name: Callable[[int], str], count: int) -> Iterator[Path]:
        """Find the files of one level that hold more than `count` hashes; a row is written from left to right."""
        n = count // TILE_WIDTH
        while True:
            full = self.root / name(n)
            parts = full.with_name(f"{full.name}.p")
            widths = {path: n * TILE_WIDTH + int(path.name) for path in parts.glob("*")}
            if full.exists():
                widths[full] = (n + 1) * TILE_WIDTH
            if not widths:
                return
            yield from (path for path, end in widths.items() if end > count)
            n += 1

    def _folders(self, path: str) -> Iterator[Path]:
        folder = (self.root / path).parent
        while folder != self.root.parent:
            yield folder
            folder = folder.parent

    def _put(self, path: Path, content: bytes, mode: int) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self._draft.unlink()
        fd = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._draft.rename(path)

    def _replace(self, name: str, content: bytes) -> None:
        self._put(self.root / name, content, _MUTABLE)
        sync_folder(self.root)


def _tile_path(level: int, n: int) -> str:
    return Tile(level, n).path
