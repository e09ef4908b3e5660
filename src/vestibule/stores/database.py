"""The state database: SQLite by default, opened for writing by the control process alone.

1. Each store of this package declares its tables on `METADATA` and takes the `AsyncEngine` made here.
2. `PRAGMA user_version` is the version of the schema, and so of the whole data folder. An older one is brought to
   `SCHEMA` by the statements of `LADDER`, all in one transaction, with a copy of the database beside it first.
3. A newer one is refused before anything is written.

Everything in it but logins, tokens and keys can be rebuilt from the journal.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import MetaData, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from vestibule.model.errors import ConfigurationError
from vestibule.stores.disk import sync_folder

log = structlog.get_logger(__name__)

METADATA = MetaData()
STATE: Final = "state.sqlite"
PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "secure_delete=ON",
    "foreign_keys=ON",
    "busy_timeout=5000",
)

#: What leads from the version before to each one. New tables and indexes need no step: what is missing is made.
LADDER: Mapping[int, Sequence[str]] = {
    1: (),  # the version before had no number
}
#: The version that this program reads and writes. A step of the ladder, once released, is never changed.
SCHEMA: Final = max(LADDER)


async def open_database(path: Path) -> AsyncEngine:
    """Open (and create, or bring to this version) the state database with the tables declared so far."""
    _claim(path)
    await asyncio.to_thread(_bring_up, path)
    # An error of the library quotes the values of its statement, and ends in a log.
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _configure)
    return engine


def schema_of(path: Path) -> int:
    """Tell the version of a database, 0 if it has no number; raise `ConfigurationError` if it is newer than ours."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return _version(connection, path)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from None


def refuse_newer(data: Path) -> None:
    """Raise `ConfigurationError` if the data folder was written by a newer program; nothing is changed."""
    if (data / STATE).exists():
        schema_of(data / STATE)


def _bring_up(path: Path) -> None:
    """Make what is missing and climb the ladder: all of it, or nothing."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            # Before anything else: to turn on the WAL would change the file.
            version = _version(connection, path)
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            if version < SCHEMA and _has_tables(connection):
                copy = _keep_copy(connection, path, version)
                log.warning("state_database_upgraded", before=version, after=SCHEMA, copy=str(copy))
            connection.execute("BEGIN IMMEDIATE")
            for step in range(version + 1, SCHEMA + 1) if _has_tables(connection) else ():
                for statement in LADDER[step]:
                    connection.execute(statement)
            for statement in _declared():
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise _unreadable(path, error) from None


def _version(connection: sqlite3.Connection, path: Path) -> int:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA:
        raise ConfigurationError(
            f"{path} was written by a newer Vestibule (its schema is {version}, this program's {SCHEMA}); nothing was "
            "changed: start the newer program, or restore the backup that was made before the upgrade"
        )
    return int(version)


def _has_tables(connection: sqlite3.Connection) -> bool:
    [count] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return int(count) > 0


def _keep_copy(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """Keep the database as it is now beside itself; one that is there was made by an upgrade that was cut off."""
    copy = path.with_name(f"{path.name}.schema-{version}")
    if not copy.exists():
        draft = path.with_name(f".{copy.name}.new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        connection.execute("VACUUM INTO ?", (str(draft),))
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(copy)
        sync_folder(path.parent)
    return copy


def _declared() -> list[str]:
    dialect = sqlite.dialect()
    tables = METADATA.sorted_tables
    indexes = [index for table in tables for index in sorted(table.indexes, key=lambda index: str(index.name))]
    return [
        *(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)) for table in tables),
        *(str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)) for index in indexes),
    ]


def _unreadable(path: Path, error: sqlite3.Error) -> ConfigurationError:
    return ConfigurationError(
        f"the state database {path} cannot be used: {error}; restore it from a backup (docs/guide/operations.md)"
    )


def _claim(path: Path) -> None:
    # Before SQLite opens it: the file is never readable by others, not even for a moment.
    path.touch(mode=0o600)


def _configure(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
