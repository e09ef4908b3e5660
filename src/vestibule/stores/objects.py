"""Objects in a folder, each under the SHA-256 of its bytes: one name can only mean one content.

1. An object is durable, and has its name, only when all of it is on disk. Putting it again changes nothing.
2. Nothing is ever written to an object that has its name.
3. What a crash left unfinished lies apart, in `new/`, and belongs to nobody.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from vestibule.model.errors import VestibuleError
from vestibule.stores.disk import Disk, sync_folder

#: What `ChunkSealed` calls this kind of store.
NAME: Final = "directory"
_MODE: Final = 0o440
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class ObjectMissing(VestibuleError):
    """The store has no object of this name."""


class ObjectStore(Protocol):
    """Where objects are put; the methods block, and raise `OSError` where the store cannot."""

    def put(self, data: bytes) -> str:
        """Keep an object and give its name; it is durable on return."""
        ...

    def get(self, name: str) -> bytes:
        """Give an object, or raise `ObjectMissing`."""
        ...

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of this name."""
        ...


class Directory:
    """The objects below `folder`."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Use `folder`, which is made with the first object."""
        self._folder = folder
        self._disk = disk or Disk()

    def put(self, data: bytes) -> str:
        """Keep an object and give its name; it is durable on return."""
        name = sha256(data).hexdigest()
        path = self._path(name)
        if not path.exists():
            self._write(path, data)
        elif path.read_bytes() != data:
            raise OSError(f"the object {name} is not what its name says")
        return name

    def get(self, name: str) -> bytes:
        """Give an object, or raise `ObjectMissing`."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(f"the object {name} is not in the store") from None

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of this name."""
        return self._path(name).is_file()

    def drop_unfinished(self) -> None:
        """Remove what crashes left; for a time when nobody writes."""
        for path in (self._folder / "new").glob("*"):
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if not _DIGEST.fullmatch(name):
            raise ObjectMissing("an object is named by a SHA-256 in hexadecimal")
        return self._folder / "obj" / name[:2] / name

    def _write(self, path: Path, data: bytes) -> None:
        new = self._folder / "new" / secrets.token_hex(16)
        for folder in (new.parent, path.parent):
            _make(folder)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            self._disk.write(fd, data, 0)
            os.fchmod(fd, _MODE)
            os.fsync(fd)
            # Fails if somebody else was first: then the same bytes are there already.
            with suppress(FileExistsError):
                os.link(new, path)
        finally:
            os.close(fd)
            new.unlink(missing_ok=True)
        sync_folder(path.parent)


def _make(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(folder.parent)
