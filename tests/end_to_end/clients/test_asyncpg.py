"""asyncpg in its usual ways through the gateway: pool, prepared statements, codecs, COPY, cursors, listeners."""

from __future__ import annotations

import asyncio
import datetime
import io
import ssl
from typing import Any

import asyncpg
import pytest

from tests.support.every_type import COLUMNS, ROW
from tests.support.evidence import Journal
from tests.support.gateway import Gateway
from tests.support.postgres import DATABASE
from tests.support.signing_in import SignedIn
from tests.support.waiting import wait_for

Settings = dict[str, Any]


@pytest.fixture
def settings(clients: Gateway, dev: SignedIn, target: str, trust: ssl.SSLContext, name: str) -> Settings:
    """What asyncpg needs to come in."""
    return {
        "host": "localhost",
        "port": clients.port,
        "user": f"{dev.person}+{target}",
        "password": dev.token,
        "database": DATABASE,
        "ssl": trust,
        "server_settings": {"application_name": name},
    }


@pytest.fixture
def masked_settings(settings: Settings, dev: SignedIn, masked: str) -> Settings:
    """The same, to the same server behind masks."""
    return {**settings, "user": f"{dev.person}+{masked}"}


@pytest.mark.asyncio
async def test_asyncpg_carries_every_type_there_and_back(settings: Settings, items: str) -> None:
    connection = await asyncpg.connect(**settings)
    holders = ", ".join(f"${number}" for number in range(1, len(ROW) + 1))
    await connection.set_type_codec("jsonb", encoder=str, decoder=str, schema="pg_catalog", format="text")
    row = [*ROW[:4], '{"a": [1, 2]}', *ROW[5:]]

    inserted = await connection.fetchrow(
        f"INSERT INTO {items} ({COLUMNS}) VALUES ({holders}) RETURNING {COLUMNS}", *row
    )

    assert tuple(inserted) == tuple(row)
    assert await connection.fetchval("SELECT $1::int4range", asyncpg.Range(1, 5)) == asyncpg.Range(1, 5)
    assert await connection.fetchval("SELECT ROW(1, 'a')") == (1, "a")
    assert await connection.fetchval("SELECT c FROM customers c WHERE id = 1") is not None
    await connection.close()


@pytest.mark.asyncio
async def test_asyncpg_uses_portals_savepoints_copies_and_timeouts(settings: Settings, items: str) -> None:
    connection = await asyncpg.connect(**settings)
    async with connection.transaction():
        read = [row["id"] async for row in connection.cursor("SELECT id FROM transactions ORDER BY id", prefetch=9)]
        statement = await connection.prepare("SELECT id FROM transactions WHERE id > $1 ORDER BY id")
        cursor = await statement.cursor(10)
        assert await cursor.forward(5) == 5
        assert (await cursor.fetchrow())["id"] == 16
    assert read == list(range(1, 401))

    copied = await connection.copy_records_to_table(
        items, records=[(f"r{n}", n % 2 == 0) for n in range(300)], columns=["label", "flag"]
    )
    assert copied == "COPY 300"
    with pytest.raises(TimeoutError):
        await connection.execute("SELECT pg_sleep(30)", timeout=0.3)
    assert await connection.fetchval(f"SELECT count(*) FROM {items}") == 300

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with connection.transaction():
            await connection.execute(f"GRANT SELECT ON {items} TO PUBLIC")
    assert await connection.fetchval("SELECT 41 + 1") == 42
    await connection.close()


@pytest.mark.asyncio
async def test_asyncpg_hears_notifications_and_its_pool_resets_sessions(settings: Settings) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(*said: object) -> None:
        heard.put_nowait(str(said[-1]))

    async with asyncpg.create_pool(**settings, min_size=2, max_size=3) as pool:
        async with pool.acquire() as listener:
            await listener.add_listener("counter", hear)
            async with pool.acquire() as speaker:
                await speaker.execute("NOTIFY counter, 'four'")
            assert await asyncio.wait_for(heard.get(), 10) == "four"
            await listener.remove_listener("counter", hear)
        async with pool.acquire() as connection:
            await connection.execute("SET statement_timeout = '5s'")
        values = [await pool.fetchval("SHOW statement_timeout") for _ in range(4)]
    assert set(values) == {"0"}


@pytest.mark.asyncio
async def test_asyncpg_looks_up_types_of_the_target_and_speaks_them(settings: Settings, name: str) -> None:
    connection = await asyncpg.connect(**settings)
    mood, pair, small = f"{name}_mood", f"{name}_pair", f"{name}_small"
    await connection.execute(f"CREATE TYPE {mood} AS ENUM ('sad', 'glad')")
    await connection.execute(f"CREATE TYPE {pair} AS (mood {mood}, n int, many numeric[])")
    await connection.execute(f"CREATE DOMAIN {small} AS int")
    try:
        statement = await connection.prepare(f"SELECT $1::{pair}, $2::{pair}[], $3::{small}, $4::{mood}")
        assert [each.name for each in statement.get_parameters()] == [pair, f"{pair}[]", "int4", mood]
        assert [each.type.kind for each in statement.get_attributes()] == ["composite", "array", "scalar", "scalar"]
        assert await statement.fetchrow(("glad", 7, [1, None]), [("sad", None, None)], 3, "glad") == (
            ("glad", 7, [1, None]), [("sad", None, None)], 3, "glad",
        )  # fmt: skip
        await connection.set_type_codec(mood, encoder=str.lower, decoder=str.upper)
        assert await connection.fetchval(f"SELECT $1::{mood}", "GLAD") == "GLAD"
        await connection.set_type_codec(
            "timestamptz",
            schema="pg_catalog",
            encoder=lambda at: (at,),
            decoder=lambda parts: parts[0],
            format="tuple",
        )
        assert await connection.fetchval("SELECT $1::timestamptz", 1_000_000) == 1_000_000
        await connection.reset_type_codec(mood)
        assert await connection.fetchval(f"SELECT $1::{mood}", "glad") == "glad"
        # A type that changes under a prepared statement is looked up anew.
        await connection.execute(f"ALTER TYPE {pair} ADD ATTRIBUTE extra text")
        await connection.reload_schema_state()
        assert await connection.fetchval(f"SELECT ROW('sad', 1, NULL, 'x')::{pair}") == ("sad", 1, None, "x")
    finally:
        await connection.execute(f"DROP TYPE {pair}, {mood}")
        await connection.execute(f"DROP DOMAIN {small}")
        await connection.close()


@pytest.mark.asyncio
async def test_asyncpg_prepares_with_and_without_its_cache(settings: Settings, items: str) -> None:
    for cache in (0, 2):
        connection = await asyncpg.connect(**settings, statement_cache_size=cache)
        for number in range(6):
            assert await connection.fetchval(f"SELECT $1::int + {number}", 1) == number + 1
        statement = await connection.prepare("SELECT n FROM generate_series(1, $1) AS n")
        assert await statement.fetchval(3, column=0) == 1
        assert len(await statement.fetch(250)) == 250
        assert statement.get_statusmsg() == "SELECT 250"
        plan = await statement.explain(5)
        assert plan[0]["Plan"]["Node Type"] == "Function Scan"
        await connection.executemany(f"INSERT INTO {items} (label) VALUES ($1)", [(f"n{n}",) for n in range(400)])
        returned = await connection.fetchmany(
            f"INSERT INTO {items} (label) VALUES ($1) RETURNING label", [("a",), ("b",)]
        )
        assert [row["label"] for row in returned] == ["a", "b"]
        with pytest.raises(asyncpg.NotNullViolationError):
            await connection.executemany(
                f"INSERT INTO {items} (id) OVERRIDING SYSTEM VALUE VALUES ($1)", [(-1,), (None,)]
            )
        assert await connection.fetchval(f"SELECT count(*) FROM {items} WHERE id < 0") == 0
        await connection.close()


@pytest.mark.asyncio
async def test_asyncpg_copies_in_and_out_in_every_form(settings: Settings, items: str) -> None:
    connection = await asyncpg.connect(**settings)
    day = datetime.date(2026, 2, 28)
    await connection.copy_records_to_table(
        items, records=((f"r{n}", day, b"\x00" * n) for n in range(500)), columns=["label", "day", "raw"]
    )
    for form in ("text", "csv", "binary"):
        copied = io.BytesIO()
        status = await connection.copy_from_query(
            f"SELECT label, day FROM {items} WHERE id BETWEEN $1 AND 500 ORDER BY id", 401, output=copied, format=form
        )
        assert status == "COPY 100"
        copied.seek(0)
        assert await connection.copy_to_table(items, source=copied, columns=["label", "day"], format=form) == "COPY 100"
    table = io.BytesIO()
    assert await connection.copy_from_table(items, columns=["label"], output=table) == "COPY 800"
    assert await connection.fetchval(f"SELECT count(*) FROM {items} WHERE day = $1", day) == 800
    with pytest.raises(asyncpg.DataError):
        await connection.copy_to_table(items, source=io.BytesIO(b"not a date\n"), columns=["day"])
    assert await connection.fetchval("SELECT 41 + 1") == 42
    await connection.close()


@pytest.mark.asyncio
async def test_asyncpg_sets_what_a_start_up_may_set_and_is_told_of_the_rest(settings: Settings, name: str) -> None:
    wanted = {"application_name": name, "statement_timeout": "5min", "search_path": "public", "jit": "off"}
    wanted |= {"bytea_output": "escape", "default_transaction_read_only": "on"}
    connection = await asyncpg.connect(**{**settings, "server_settings": wanted})
    assert await connection.fetchval("SHOW statement_timeout") == "5min"
    assert (await connection.fetchval("SHOW application_name")).startswith(f"{name} vestibule:")
    for setting, value in (("jit", "off"), ("bytea_output", "escape"), ("default_transaction_read_only", "on")):
        assert await connection.fetchval(f"SHOW {setting}") == value
        await connection.execute(f"RESET {setting}")
        assert await connection.fetchval(f"SHOW {setting}") == value
    await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match='startup parameter "work_mem" is not allowed: May be'):
        await asyncpg.connect(**{**settings, "server_settings": {"work_mem": "1GB"}})
    # One name of it for each version: the other is refused by the server, in its own words.
    told = ""
    for setting in ("force_parallel_mode", "debug_parallel_query"):
        try:
            await (await asyncpg.connect(**{**settings, "server_settings": {setting: "off"}})).close()
        except asyncpg.UndefinedObjectError as error:
            told += str(error)
    assert told.count("unrecognized configuration parameter") == 1


@pytest.mark.asyncio
async def test_asyncpg_cancels_what_is_given_up(settings: Settings) -> None:
    connection = await asyncpg.connect(**settings)
    asleep = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.5)
    asleep.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asleep
    assert await connection.fetchval("SELECT 41 + 1") == 42
    await connection.close()


@pytest.mark.asyncio
async def test_asyncpgs_pool_takes_a_new_token_for_new_sessions(
    clients: Gateway, dev: SignedIn, settings: Settings, name: str
) -> None:
    first, second = dev.another_token(), dev.another_token()
    given = iter([first.token, second.token])
    journal = Journal(clients.data)

    async with asyncpg.create_pool(**{**settings, "password": lambda: next(given)}, min_size=1, max_size=1) as pool:
        assert await pool.fetchval("SELECT 41 + 1") == 42
        session = journal.session(name).id
        first.revoke()
        await asyncio.to_thread(wait_for, lambda: journal.session_of(session).is_closed, "the end of the session")
        # Its end is recorded before the driver has read that it came: until then the pool lends the old connection.
        assert await until_lent(pool, "SELECT 41 + 1") == 42
        assert next(given, None) is None, "the second token was asked for"


async def until_lent(pool: asyncpg.Pool, question: str) -> object:
    """Ask until the pool lends a connection that lives."""
    for _ in range(100):
        try:
            return await pool.fetchval(question)
        except (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.InterfaceError, OSError):
            await asyncio.sleep(0.1)
    raise AssertionError("the pool lends no connection that lives")


@pytest.mark.asyncio
async def test_a_session_that_asyncpg_holds_ends_with_the_code_of_an_administrators_command(
    clients: Gateway, dev: SignedIn, settings: Settings, name: str
) -> None:
    other = dev.another_token()
    journal = Journal(clients.data)
    connection = await asyncpg.connect(**{**settings, "password": other.token})
    asleep = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.5)
    other.revoke()

    with pytest.raises(asyncpg.ConnectionDoesNotExistError, match="session ended: revoked") as caught:
        await asleep
    assert isinstance(caught.value.__cause__, asyncpg.AdminShutdownError)
    await asyncio.to_thread(wait_for, lambda: journal.session(name).is_closed, "the end of the session")
    assert connection.is_closed()


@pytest.mark.asyncio
async def test_asyncpg_reads_masked_columns_as_the_types_that_they_are(masked_settings: Settings) -> None:
    connection = await asyncpg.connect(**masked_settings)
    statement = await connection.prepare("SELECT id, ssn, email, born, state FROM customers WHERE id = $1")
    assert [each.type.name for each in statement.get_attributes()] == ["int4", "text", "text", "date", "bpchar"]
    assert tuple(await statement.fetchrow(1)) == (1, "***1120", "***", None, "CA")
    async with connection.transaction():
        cursor = await connection.cursor("SELECT ssn FROM customers ORDER BY id")
        assert [row["ssn"] for row in await cursor.fetch(1)] == ["***1120"]
        assert all(row["ssn"].startswith("***") for row in await cursor.fetch(100))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="masked"):
        await connection.copy_from_query("SELECT ssn FROM customers", output=io.BytesIO())
    assert await connection.fetchval("SELECT 41 + 1") == 42
    await connection.close()
