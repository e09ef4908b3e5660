"""Drivers in their usual ways through the gateway, to PostgreSQL 15 and 18: psycopg, asyncpg, SQLAlchemy, psql."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import ssl
import uuid
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import DATABASE, GATEWAY, PostgresServer
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for

MODERN = "modern-banking"


@pytest.fixture(scope="module")
def both(module_gateways: GatewayFactory, postgres15: PostgresServer, postgres18: PostgresServer) -> Gateway:
    """A gateway to either server."""
    return module_gateways.make({TARGET: postgres15, MODERN: postgres18})


@pytest.fixture(scope="module")
def who(both: Gateway) -> SignedIn:
    """dev1, who may read and write on either."""
    return sign_in(both, "dev1")


@pytest.fixture(scope="module", params=[TARGET, MODERN])
def target(request: pytest.FixtureRequest) -> str:
    """Either target."""
    return request.param


@pytest.fixture(scope="module")
def server(target: str, postgres15: PostgresServer, postgres18: PostgresServer) -> PostgresServer:
    """The server behind the target."""
    return postgres15 if target == TARGET else postgres18


@pytest.fixture
def items(server: PostgresServer, name: str) -> Iterator[str]:
    """An empty table of the test's own with columns of many types."""
    with server.connect(GATEWAY) as connection:
        connection.execute(f"""CREATE TABLE {name} (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text, many text[], amount numeric, at timestamptz,
            about jsonb, reference uuid, raw bytea, day date, open int4range, flag boolean, ratio float8)""")
    yield name
    server.execute(f"DROP TABLE {name}")


@pytest.fixture
def conninfo(both: Gateway, who: SignedIn, target: str, name: str) -> str:
    """libpq's settings for the target, under the test's name."""
    return both.conninfo("dev1", who.token, target, application_name=name)


COLUMNS = "label, many, amount, at, about, reference, raw, day, flag, ratio"
ROW = (
    "Ünïcode \U0001f3e6 'quoted' \\",
    ["a", None, "{,}"],
    decimal.Decimal("-12345678901234567890.123456789"),
    datetime.datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
    {"nested": [1, None, {"deep": True}]},
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    bytes(range(256)),
    datetime.date(1969, 7, 20),
    None,
    -1.5e300,
)


# psycopg


@pytest.mark.parametrize("binary", [False, True])
def test_psycopg_carries_every_type_there_and_back(conninfo: str, items: str, binary: bool) -> None:
    parameters = [Jsonb(value) if isinstance(value, dict) else value for value in ROW]
    holder = "%b" if binary else "%s"
    with psycopg.connect(conninfo, autocommit=True) as connection, connection.cursor(binary=binary) as cursor:
        cursor.execute(
            f"INSERT INTO {items} ({COLUMNS}) VALUES ({', '.join([holder] * len(ROW))}) RETURNING {COLUMNS}", parameters
        )
        assert cursor.fetchone() == ROW
        cursor.execute(f"SELECT {COLUMNS} FROM {items} WHERE reference = {holder}", [ROW[5]])
        assert cursor.fetchall() == [ROW]


def test_psycopg_prepares_evicts_and_runs_many_as_it_does_directly(
    conninfo: str, server: PostgresServer, items: str
) -> None:
    def work(where: str) -> list[tuple[object, ...]]:
        with psycopg.connect(where, autocommit=True, prepare_threshold=0) as connection:
            connection.prepared_max = 3
            for number in range(10):
                statement = sql.SQL("SELECT {}::int + %s").format(sql.Literal(number))
                assert connection.execute(statement, [1]).fetchone() == (number + 1,)
            names = connection.execute("SELECT name, statement FROM pg_prepared_statements ORDER BY 1").fetchall()
            with connection.cursor() as cursor:
                cursor.executemany(f"INSERT INTO {items} (label) VALUES (%s)", [(f"n{i}",) for i in range(500)])
            return names

    assert work(conninfo) == work(server.conninfo())
    assert server.execute(f"SELECT count(*) FROM {items}") == [(1_000,)]


def test_psycopg_reads_by_server_cursors(conninfo: str) -> None:
    with psycopg.connect(conninfo) as connection:
        with connection.cursor(name="plain") as cursor:
            cursor.itersize = 7
            cursor.execute("SELECT id FROM transactions ORDER BY id")
            assert [row[0] for row in cursor] == list(range(1, 401))
        with connection.cursor(name="Scrolls; a lot", scrollable=True) as cursor:
            cursor.execute("SELECT id FROM transactions ORDER BY id")
            cursor.scroll(10)
            assert cursor.fetchone() == (11,)
            cursor.scroll(-5)
            assert cursor.fetchmany(2) == [(7,), (8,)]
        with connection.cursor(name="held", withhold=True) as cursor:
            cursor.execute("SELECT id FROM transactions ORDER BY id")
            assert cursor.fetchone() == (1,)
            connection.commit()
            assert cursor.fetchone() == (2,)


def test_psycopg_copies_both_ways(conninfo: str, items: str) -> None:
    with psycopg.connect(conninfo) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY {items} (label, amount) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "numeric"])
            for number in range(1_000):
                copy.write_row([f"row {number}", decimal.Decimal(number) / 7])
        with cursor.copy(f"COPY (SELECT label, amount FROM {items} ORDER BY id) TO STDOUT (FORMAT BINARY)") as copy:
            copy.set_types(["text", "numeric"])
            rows = list(copy.rows())

    assert [row[0] for row in rows] == [f"row {number}" for number in range(1_000)]


def test_psycopg_reports_the_servers_errors_and_notices_as_they_are(conninfo: str, items: str) -> None:
    heard: list[str] = []
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: heard.append(f"{notice.severity} {notice.sqlstate}"))
        connection.execute("COMMIT")
        with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
            connection.execute(f"SELECT lable FROM {items}")
        connection.execute(f"DROP TABLE IF EXISTS pg_temp.{items}_not_there")

    assert caught.value.diag.message_hint is not None
    assert caught.value.diag.statement_position == "8"
    assert heard == ["WARNING 25P01", "NOTICE 00000"]


def test_psycopg_listens_and_hears_what_another_session_says(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as one, psycopg.connect(conninfo, autocommit=True) as other:
        one.execute("LISTEN counter")
        other.execute("NOTIFY counter, 'three'")
        other.execute("SELECT 1")
        heard = list(one.notifies(timeout=10, stop_after=1))

    assert [(notice.channel, notice.payload) for notice in heard] == [("counter", "three")]


def test_psycopg_works_in_nested_transactions(conninfo: str, items: str, server: PostgresServer) -> None:
    with psycopg.connect(conninfo) as connection, connection.transaction():
        connection.execute(f"INSERT INTO {items} (label) VALUES ('kept')")
        with connection.transaction(force_rollback=True):
            connection.execute(f"INSERT INTO {items} (label) VALUES ('lost')")
            with connection.transaction():
                connection.execute(f"INSERT INTO {items} (label) VALUES ('lost too')")
        connection.execute(f"INSERT INTO {items} (label) VALUES ('kept too')")

    assert server.execute(f"SELECT label FROM {items} ORDER BY id") == [("kept",), ("kept too",)]


def test_many_asynchronous_psycopg_sessions_work_side_by_side(both: Gateway, conninfo: str, name: str) -> None:
    async def count(number: int) -> int:
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            total = 0
            for addend in range(20):
                cursor = await connection.execute("SELECT %s::int + %s::int", (number, addend))
                row = await cursor.fetchone()
                assert row is not None
                total += row[0]
            return total

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(count(number) for number in range(20)))

    assert asyncio.run(all_of_them()) == [number * 20 + 190 for number in range(20)]
    journal = Journal(both.data)
    opened = [record for record in journal.records("SessionOpened") if record["client_banner"] == name]
    assert len({record.session for record in opened}) == 20


# asyncpg


async def asyncpg_session(both: Gateway, who: SignedIn, target: str, **more: object) -> asyncpg.Connection:
    """Open a session of asyncpg's."""
    return await asyncpg.connect(**asyncpg_settings(both, who, target), **more)


def asyncpg_settings(both: Gateway, who: SignedIn, target: str) -> dict[str, object]:
    """What asyncpg needs to come in."""
    return {
        "host": "localhost",
        "port": both.port,
        "user": f"dev1+{target}",
        "password": who.token,
        "database": DATABASE,
        "ssl": ssl.create_default_context(cafile=str(both.ca)),
    }


@pytest.mark.asyncio
async def test_asyncpg_carries_every_type_there_and_back(both: Gateway, who: SignedIn, target: str, items: str) -> None:
    connection = await asyncpg_session(both, who, target)
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
async def test_asyncpg_uses_portals_savepoints_copies_and_timeouts(
    both: Gateway, who: SignedIn, target: str, items: str
) -> None:
    connection = await asyncpg_session(both, who, target)
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
            await connection.execute(f"DROP TABLE {items}")
    assert await connection.fetchval("SELECT 41 + 1") == 42
    await connection.close()


@pytest.mark.asyncio
async def test_asyncpg_hears_notifications_and_its_pool_resets_sessions(
    both: Gateway, who: SignedIn, target: str
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(*said: object) -> None:
        heard.put_nowait(str(said[-1]))

    async with asyncpg.create_pool(**asyncpg_settings(both, who, target), min_size=2, max_size=3) as pool:
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


# SQLAlchemy


@pytest.fixture
def engine(both: Gateway, who: SignedIn, target: str, name: str) -> Iterator[sa.Engine]:
    """An engine with a pool."""
    url = sa.URL.create(
        "postgresql+psycopg",
        username=f"dev1+{target}",
        password=who.token,
        host="localhost",
        port=both.port,
        database=DATABASE,
        query={"sslmode": "verify-full", "sslrootcert": str(both.ca), "application_name": name},
    )
    made = sa.create_engine(url, pool_size=3, max_overflow=0, pool_pre_ping=True)
    yield made
    made.dispose()


def test_sqlalchemy_reflects_the_whole_bank(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)

    assert {"accounts", "cards", "customers", "loans", "transactions"} <= set(inspector.get_table_names())
    assert [column["name"] for column in inspector.get_columns("customers")] == [
        "id", "name", "ssn", "email", "born", "state",
    ]  # fmt: skip
    assert inspector.get_pk_constraint("cards")["constrained_columns"] == ["id"]
    assert inspector.get_foreign_keys("accounts")[0]["referred_table"] == "customers"
    assert inspector.get_unique_constraints("cards")[0]["column_names"] == ["pan"]
    assert inspector.get_check_constraints("loans")
    assert inspector.get_indexes("transactions")[0]["column_names"] == ["account_id"]
    assert inspector.get_view_names() == []
    assert inspector.get_schema_names()
    assert inspector.get_sequence_names() is not None
    assert inspector.get_table_comment("loans") == {"text": None}
    metadata = sa.MetaData()
    metadata.reflect(engine, only=["customers", "accounts", "cards", "loans", "transactions"])
    assert len(metadata.tables) == 5


def test_sqlalchemy_works_with_its_pool(engine: sa.Engine, items: str, server: PostgresServer) -> None:
    table = sa.Table(items, sa.MetaData(), autoload_with=engine)

    connections = [engine.connect() for _ in range(3)]
    for number, connection in enumerate(connections):
        connection.execute(sa.insert(table), [{"label": f"c{number}", "ratio": n} for n in range(100)])
        connection.commit()
        connection.close()
    with engine.begin() as connection:
        ids = connection.execute(sa.insert(table).returning(table.c.id), [{"label": "more"}] * 50).scalars().all()
        connection.execute(sa.update(table).where(table.c.id.in_(ids)).values(flag=True))
        with connection.begin_nested() as savepoint:
            connection.execute(sa.delete(table))
            savepoint.rollback()
    with engine.connect() as connection:
        streamed = connection.execution_options(yield_per=40).execute(sa.select(table.c.id))
        assert len(list(streamed)) == 350
        assert connection.scalar(sa.select(sa.func.count()).where(table.c.flag)) == 50

    assert server.execute(f"SELECT count(*) FROM {items}") == [(350,)]


def test_sqlalchemys_first_words_are_never_refused(engine: sa.Engine, both: Gateway, name: str) -> None:
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 41 + 1")) == 42
        assert connection.get_isolation_level() == "READ COMMITTED"
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        assert connection.scalar(sa.text("SHOW transaction_isolation")) == "serializable"
    engine.dispose()

    session = Journal(both.data).closed_session(name)
    assert {decision for decision, _ in session.decisions} == {"allow"}


def test_sqlalchemys_pool_gives_up_a_connection_whose_session_was_ended(
    engine: sa.Engine, both: Gateway, who: SignedIn, target: str, name: str
) -> None:
    other = who.another_token()
    fresh = sa.create_engine(engine.url.set(password=other.token), pool_size=1, max_overflow=0, pool_pre_ping=True)
    journal = Journal(both.data)
    with fresh.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    other.revoke()
    wait_for(lambda: journal.session(name).is_closed, "the end of the session")

    with pytest.raises(sa.exc.OperationalError, match="token not accepted"):
        fresh.connect()
    fresh.dispose()


# psql


@pytest.mark.parametrize("modern", [False, True])
def test_psql_describes_watches_and_executes_what_it_reads(
    both: Gateway, who: SignedIn, target: str, modern: bool
) -> None:
    psql = both.psql("dev1", who.token, target, modern=modern)

    done = psql.script(
        "\\d customers\n\\dt\n\\df\n\\du\n\\dn\n\\di\n\\dp\n"
        "SELECT format('SELECT %s', n) FROM generate_series(7, 8) n \\gexec\n"
        "\\set FETCH_COUNT 10\nSELECT id FROM transactions ORDER BY id;\n"
    )

    assert done.errors == ""
    assert done.rows[-402:-398] == ["7", "8", "1", "2"]
    assert done.rows[-1] == "400"
