"""The state database: SQLite by default, opened for writing by the control process alone.

Each store of this package declares its tables on `METADATA` and takes the `AsyncEngine` made here.
Everything in it but logins, tokens and keys can be rebuilt from the journal.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import MetaData, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

METADATA = MetaData()


async def open_database(path: Path) -> AsyncEngine:
    """Open (and create) the state database with the tables declared so far."""
    _claim(path)
    # An error of the library quotes the values of its statement, and ends in a log.
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _configure)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    return engine


def _claim(path: Path) -> None:
    # Before SQLite opens it: the file is never readable by others, not even for a moment.
    path.touch(mode=0o600)


def _configure(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
