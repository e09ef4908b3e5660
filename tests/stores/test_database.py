import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.identities import START, bytes_in, login
from vestibule.model.names import Instant
from vestibule.stores.database import METADATA, open_database
from vestibule.stores.logins import LoginStore

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = await open_database(tmp_path / "state.db")
    yield made
    await made.dispose()


async def test_every_declared_table_is_there_and_opening_again_loses_nothing(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    kept = login()
    await LoginStore(engine).add_login(kept)
    again = await open_database(tmp_path / "state.db")

    async with again.connect() as connection:
        names = set((await connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars())
    assert set(METADATA.tables) <= names
    assert await LoginStore(again).login(kept.who.login) == kept
    await again.dispose()


async def test_nobody_else_can_read_the_files(engine: AsyncEngine, tmp_path: Path) -> None:
    await LoginStore(engine).add_login(login())

    assert {name: stat.S_IMODE(mode) for name, mode in _modes(tmp_path).items()} == {
        "state.db": 0o600,
        "state.db-wal": 0o600,
        "state.db-shm": 0o600,
    }


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1), ("foreign_keys", 1), ("busy_timeout", 5000)],
)
async def test_every_connection_is_durable_and_keeps_its_references(
    engine: AsyncEngine, pragma: str, value: object
) -> None:
    for _ in range(3):
        async with engine.connect() as one, engine.connect() as other:
            for connection in (one, other):
                assert (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar() == value


async def test_what_is_deleted_is_gone_from_the_file(engine: AsyncEngine, tmp_path: Path) -> None:
    store = LoginStore(engine)
    await store.add_login(login("somebody-to-forget", life=10))
    assert b"somebody-to-forget" in bytes_in(tmp_path)

    await store.purge(Instant(START + 20))
    async with engine.connect() as connection:
        await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"somebody-to-forget" not in bytes_in(tmp_path)


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode for path in folder.iterdir()}


async def test_an_error_does_not_quote_what_was_to_be_stored(engine: AsyncEngine) -> None:
    with pytest.raises(SQLAlchemyError) as caught:
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": "hunter2"})
    assert "nowhere" in str(caught.value)
    assert "hunter2" not in str(caught.value)
