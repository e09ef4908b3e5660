"""The golden data folders: what gateways of released schemas left behind, laid out as it was."""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Final

from vestibule.stores.database import STATE

FOLDER: Final = Path(__file__).parents[1] / "golden" / "data"
#: What the gateways that made them were called, and their logs.
NODE: Final = "golden"
ORIGIN: Final = "vestibule.example/golden"


def schemas() -> list[int]:
    """List the schemas that there is a folder of."""
    return sorted(int(path.stem) for path in FOLDER.glob("*.sql"))


def dump(schema: int) -> str:
    """Give the state database of a folder as SQL."""
    return (FOLDER / f"{schema}.sql").read_text()


def lay_out(schema: int, data: Path) -> None:
    """Make the data folder as the gateway left it."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tarfile.open(FOLDER / f"{schema}.tar.xz") as archive:
        for member in archive:
            _extract(archive, member, data / member.name)
    make_database(dump(schema), data / STATE)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    # By hand: each Python has filters of its own, and a mode says whether a segment is sealed.
    content = archive.extractfile(member)
    if content is None:
        path.mkdir(exist_ok=True)
    else:
        path.write_bytes(content.read())
    path.chmod(member.mode)


def make_database(sql: str, path: Path) -> None:
    """Make a state database of a dump."""
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as made:
        made.executescript(sql)
