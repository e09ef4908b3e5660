import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support import golden
from tests.support.identities import START, bytes_in, login
from vestibule import stores
from vestibule.model.errors import ConfigurationError
from vestibule.model.names import Instant
from vestibule.stores import database
from vestibule.stores.database import METADATA, SCHEMA, open_database, refuse_newer, schema_of
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


# --- versions of the schema ------------------------------------------------------------------------------------------

#: A step that changes a table, one that moves what is in it, and one that fails.
NEXT = ("ALTER TABLE login ADD COLUMN shade TEXT", "UPDATE login SET shade = name || ' in blue'")
BROKEN = (*NEXT, "UPDATE nowhere SET a = 1")


def asked(path: Path, question: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchall()


def shape(path: Path) -> set[tuple]:
    """Every table and index with its text, in which blanks do not count."""
    found = asked(path, "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(kind, name, " ".join(sql.replace("\t", " ").split())) for kind, name, sql in found}


def copies(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.schema-*")]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The database of the newest golden folder, as it was before schemas had numbers."""
    path = tmp_path / "state.sqlite"
    golden.make_database(golden.dump(golden.schemas()[-1]), path)
    asked(path, "PRAGMA user_version = 0")
    return path


@pytest.fixture
def climbs(monkeypatch: pytest.MonkeyPatch):
    """Give the ladder one more step."""

    def add(statements: tuple[str, ...]) -> int:
        monkeypatch.setattr(database, "LADDER", {**database.LADDER, SCHEMA + 1: statements})
        monkeypatch.setattr(database, "SCHEMA", SCHEMA + 1)
        return SCHEMA + 1

    return add


async def test_the_schema_is_the_one_of_the_newest_golden_folder(tmp_path: Path) -> None:
    """Whoever changes a table adds a step to LADDER and makes the golden folder of the new schema."""
    for module in iter_modules(stores.__path__):
        import_module(f"vestibule.stores.{module.name}")
    await (await open_database(tmp_path / "new.sqlite")).dispose()
    assert golden.schemas()[-1] == SCHEMA == schema_of(tmp_path / "new.sqlite")
    golden.make_database(golden.dump(SCHEMA), tmp_path / "golden.sqlite")
    assert shape(tmp_path / "new.sqlite") == shape(tmp_path / "golden.sqlite")


@pytest.mark.parametrize("schema", golden.schemas())
async def test_every_golden_database_becomes_one_of_this_schema(schema: int, tmp_path: Path) -> None:
    golden.make_database(golden.dump(schema), tmp_path / "golden.sqlite")
    await (await open_database(tmp_path / "golden.sqlite")).dispose()
    await (await open_database(tmp_path / "new.sqlite")).dispose()
    assert shape(tmp_path / "golden.sqlite") == shape(tmp_path / "new.sqlite")


async def test_an_old_database_is_brought_up_once_with_a_copy_of_what_it_was(old: Path, climbs) -> None:
    before, newest = shape(old), climbs(NEXT)
    for _ in range(2):
        await (await open_database(old)).dispose()
    assert schema_of(old) == newest
    assert set(asked(old, "SELECT shade FROM login")) == {("dev1 in blue",), ("dora in blue",)}
    copy = old.with_name("state.sqlite.schema-0")
    assert shape(copy) == before
    assert schema_of(copy) == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert copies(old.parent) == [copy.name]


async def test_a_step_that_fails_changes_nothing_and_the_next_attempt_keeps_the_first_copy(old: Path, climbs) -> None:
    before, rows = shape(old), asked(old, "SELECT * FROM login ORDER BY login_id")
    climbs(BROKEN)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="cannot be used: no such table: nowhere"):
            await open_database(old)
    assert (shape(old), schema_of(old)) == (before, 0)
    assert asked(old, "SELECT * FROM login ORDER BY login_id") == rows
    climbs(NEXT)
    await (await open_database(old)).dispose()
    assert asked(old.with_name("state.sqlite.schema-0"), "SELECT * FROM login ORDER BY login_id") == rows


async def test_a_new_database_climbs_no_step_and_leaves_no_copy(tmp_path: Path, climbs) -> None:
    newest = climbs(BROKEN)
    await (await open_database(tmp_path / "state.sqlite")).dispose()
    assert schema_of(tmp_path / "state.sqlite") == newest
    assert copies(tmp_path) == []


async def test_a_newer_database_is_refused_with_what_to_do_and_not_touched(old: Path) -> None:
    asked(old, f"PRAGMA user_version = {SCHEMA + 1}")
    before = bytes_in(old.parent, "state.sqlite")
    told = r"newer Vestibule.*start the newer program, or restore the backup"
    with pytest.raises(ConfigurationError, match=told):
        refuse_newer(old.parent)
    with pytest.raises(ConfigurationError, match=told):
        await open_database(old)
    assert bytes_in(old.parent, "state.sqlite") == before
    assert copies(old.parent) == []


async def test_a_file_that_is_no_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError, match=r"state\.sqlite cannot be used.*restore it"):
        await open_database(tmp_path / "state.sqlite")


async def test_a_folder_without_a_database_is_not_refused(tmp_path: Path) -> None:
    refuse_newer(tmp_path)
