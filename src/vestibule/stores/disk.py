"""The calls to the operating system whose failure decides about evidence.

1. A file is durable after `sync`; a name in a folder after `sync_folder`.
2. `replace` shows a reader the old content or the new one, never a part, even across a power cut.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class Disk:
    """The file system under a journal; tests put one that fails in its place."""

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`; OSError if not every byte was taken."""
        taken = os.pwrite(fd, data, offset)
        if taken != len(data):
            raise OSError(f"only {taken} of {len(data)} bytes were written")

    def sync(self, fd: int) -> None:
        """Return once the content of `fd` survives a power cut."""
        os.fdatasync(fd)

    def allocate(self, fd: int, size: int) -> None:
        """Give `fd` real room for `size` bytes, so that writing there cannot run out of space."""
        os.posix_fallocate(fd, 0, size)

    def free(self, fd: int) -> int:
        """Bytes that an ordinary user may still allocate on the volume of `fd`."""
        volume = os.fstatvfs(fd)
        return volume.f_bavail * volume.f_frsize


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put `content` at `path` in one step, durable on return."""
    draft = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        draft.unlink()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
