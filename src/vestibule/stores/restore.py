"""A backup becomes a data folder again, and the gateway that starts on it says so in its log.

1. A backup is older than what was lost. Whatever was ended since (log-ins, tokens, approvals) would live again in it:
   all of it is ended before anybody can use it.
2. `restore.json` is there from the first file on. While it does not say that everything is there, no gateway starts.
3. A gateway does not start on a backup itself: there nothing has been ended.
4. The next start records what is not in this log, and only then removes `restore.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from vestibule.model.errors import ConfigurationError
from vestibule.model.names import Instant
from vestibule.stores.backup import check_empty
from vestibule.stores.database import STATE, schema_of
from vestibule.stores.disk import replace, sync_folder
from vestibule.stores.manifest import MANIFEST, Manifest

NOTE: Final = "restore.json"
_SETTLE: Final = (
    "UPDATE login SET revoked_at = :now WHERE revoked_at IS NULL",
    "UPDATE token SET revoked_at = :now WHERE revoked_at IS NULL",
    # They end as those do whose time is up: with a record, at the next start.
    "UPDATE approval SET expires_at = :now WHERE state IN ('pending', 'granted') AND expires_at > :now",
)


def restore(backup: Path, manifest: Manifest, data: Path, known: int | None, clock: Callable[[], Instant]) -> None:
    """Make the data folder `data`, which is new or empty, of a checked backup.

    `known` is the size of the newest checkpoint that was kept elsewhere, None if there is none.
    """
    check_empty(data)
    schema_of(backup / STATE)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)
    _note(data, {"whole": False})
    for name in manifest.files:
        _copy(backup / name, data / name)
    _settle(data / STATE, clock())
    for folder in (data, *(path for path in data.rglob("*") if path.is_dir())):
        sync_folder(folder)
    _note(data, {"whole": True, "taken_at": manifest.taken_at, "leaves": manifest.leaves, "known": known})


def restored(data: Path) -> tuple[str, str] | None:
    """Tell of a folder that was restored and not started since: as of when, and in words what is not in it.

    Raises `ConfigurationError` for a backup itself, and for one that was not restored to the end.
    """
    if (data / MANIFEST).exists():
        raise ConfigurationError(f"{data} is a backup: make a data folder of it with vestibule restore {data}")
    try:
        content = json.loads((data / NOTE).read_bytes())
        if content["whole"] is not True:
            raise ConfigurationError(f"{data} was not restored to the end; empty the folder and restore it again")
        known = "none was given" if content["known"] is None else f"it has {content['known']} leaves"
        return content["taken_at"], (
            f"restored from a backup of {content['taken_at']} with {content['leaves']} signed leaves; the newest "
            f"checkpoint that was kept elsewhere: {known}; what was recorded after the backup is not in this log; "
            "log-ins, tokens and open approvals of the backup were ended"
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{data / NOTE} cannot be read; empty the folder and restore it again") from None


def forget(data: Path) -> None:
    """Remove the note: what it says is recorded."""
    (data / NOTE).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb") as reader, os.fdopen(fd, "wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fchmod(writer.fileno(), os.fstat(reader.fileno()).st_mode & 0o770)
        os.fsync(writer.fileno())


def _settle(state: Path, now: Instant) -> None:
    with closing(sqlite3.connect(state)) as connection, connection:
        for statement in _SETTLE:
            connection.execute(statement, {"now": now})


def _note(data: Path, content: dict[str, object]) -> None:
    replace(data / NOTE, json.dumps(content).encode() + b"\n")
