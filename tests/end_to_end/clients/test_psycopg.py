"""psycopg 3 in its usual ways through the gateway: sync, async, pipelines, formats, cursors, COPY, cancels, pools."""

from __future__ import annotations

import asyncio
import decimal
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import psycopg_pool
import pytest
from psycopg import sql
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.json import Jsonb

from tests.support.at_target import backend_of, is_running
from tests.support.every_type import COLUMNS, ROW
from tests.support.evidence import Journal
from tests.support.gateway import Gateway
from tests.support.postgres import PostgresServer
from tests.support.signing_in import SignedIn
from tests.support.waiting import wait_for


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
        one.execute("NOTIFY counter, 'four'")
        heard = list(one.notifies(timeout=60, stop_after=2))
        own = [notice.pid == one.info.backend_pid for notice in heard]

    assert [(notice.channel, notice.payload) for notice in heard] == [("counter", "three"), ("counter", "four")]
    assert own == [False, True]


def test_psycopg_works_in_nested_transactions(conninfo: str, items: str, server: PostgresServer) -> None:
    with psycopg.connect(conninfo) as connection, connection.transaction():
        connection.execute(f"INSERT INTO {items} (label) VALUES ('kept')")
        with connection.transaction(force_rollback=True):
            connection.execute(f"INSERT INTO {items} (label) VALUES ('lost')")
            with connection.transaction():
                connection.execute(f"INSERT INTO {items} (label) VALUES ('lost too')")
        connection.execute(f"INSERT INTO {items} (label) VALUES ('kept too')")

    assert server.execute(f"SELECT label FROM {items} ORDER BY id") == [("kept",), ("kept too",)]


def test_many_asynchronous_psycopg_sessions_work_side_by_side(clients: Gateway, conninfo: str, name: str) -> None:
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
    journal = Journal(clients.data)
    opened = [record for record in journal.records("SessionOpened") if record["client_banner"] == name]
    assert len({record.session for record in opened}) == 20


def test_psycopg_answers_a_pipeline_in_order_and_rolls_back_one_with_a_refusal(conninfo: str, items: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int", [number]) for number in range(200)]
            assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(200)]
            connection.cursor().executemany(f"INSERT INTO {items} (label) VALUES (%s)", [(f"n{n}",) for n in range(50)])
        inserts = (f"INSERT INTO {items} (label) VALUES ('{where}')" for where in ("before", "behind"))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            send_in_one_pipeline(connection, next(inserts), "DO 'BEGIN END'", next(inserts))
        assert connection.execute(f"SELECT count(*) FROM {items}").fetchone() == (50,)


def send_in_one_pipeline(connection: psycopg.Connection, *statements: str) -> None:
    with connection.pipeline():
        for statement in statements:
            connection.execute(statement)


def test_psycopg_streams_and_returns_of_many(conninfo: str, items: str) -> None:
    with psycopg.connect(conninfo) as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {items} (label) VALUES (%s) RETURNING label", [("a",), ("b",)], returning=True)
        returned = [cursor.fetchone()]
        while cursor.nextset():
            returned.append(cursor.fetchone())
        streamed = list(cursor.stream("SELECT id FROM transactions ORDER BY id", size=7))
        client_side = psycopg.ClientCursor(connection).execute("SELECT %s, %s", ["it's", ROW[6]])
        raw = psycopg.RawCursor(connection).execute("SELECT $2::int - $1::int", [1, 43])

        assert returned == [("a",), ("b",)]
        assert streamed == [(number,) for number in range(1, 401)]
        assert client_side.fetchone() == ("it's", ROW[6])
        assert raw.fetchone() == (42,)


def test_psycopg_looks_up_enumerations_and_composites_of_the_target(
    conninfo: str, server: PostgresServer, name: str
) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE TYPE {name}_mood AS ENUM ('sad', 'glad')")
        connection.execute(f"CREATE TYPE {name}_pair AS (mood {name}_mood, n int)")
        try:
            mood, pair = EnumInfo.fetch(connection, f"{name}_mood"), CompositeInfo.fetch(connection, f"{name}_pair")
            assert mood is not None
            assert pair is not None
            register_enum(mood, connection)
            register_composite(pair, connection)
            made = pair.python_type(mood.enum.glad, 7)
            for binary in (False, True):
                cursor = connection.cursor(binary=binary)
                assert cursor.execute("SELECT %s, %s", [made, [made]]).fetchone() == (made, [made])
        finally:
            connection.execute(f"DROP TYPE {name}_pair, {name}_mood")


@pytest.mark.parametrize("way", ["cancel", "cancel_safe"])
def test_psycopg_cancels_by_the_plain_request_and_by_the_encrypted_one(
    conninfo: str, server: PostgresServer, name: str, way: str
) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection, ThreadPoolExecutor() as threads:
        asleep = threads.submit(connection.execute, "SELECT pg_sleep(60)")
        wait_for(lambda: is_running(server, backend_of(server, name), "pg_sleep"), "pg_sleep at the target")
        getattr(connection, way)()
        assert isinstance(asleep.exception(timeout=50), psycopg.errors.QueryCanceled)
        assert connection.execute("SELECT 41 + 1").fetchone() == (42,)


@pytest.mark.asyncio
async def test_psycopg_does_all_that_asynchronously_too(conninfo: str, server: PostgresServer, items: str) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        async with connection.pipeline():
            cursors = [await connection.execute("SELECT %s::int", [number]) for number in range(50)]
            assert [await cursor.fetchone() for cursor in cursors] == [(number,) for number in range(50)]
        async with connection.cursor().copy(f"COPY {items} (label, flag) FROM STDIN") as copy:
            for number in range(300):
                await copy.write_row([f"row\t{number}", number % 2 == 0])
        async with connection.cursor().copy(f"COPY (SELECT label FROM {items} ORDER BY id) TO STDOUT") as copy:
            labels = [row[0] async for row in copy.rows()]
        async with connection.transaction(), connection.cursor(name="portal") as cursor:
            cursor.itersize = 25
            await cursor.execute(f"SELECT id FROM {items} ORDER BY id")
            read = [row[0] async for row in cursor]
        await connection.execute("LISTEN counter")
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as other:
            await other.execute("NOTIFY counter, 'five'")
        heard = [notice.payload async for notice in connection.notifies(timeout=30, stop_after=1)]
        # A task that is given up sends a cancel, and the session stays usable.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.execute("SELECT pg_sleep(60)"), 0.5)
        row = await (await connection.execute("SELECT 41 + 1")).fetchone()

    assert labels == [f"row\t{number}" for number in range(300)]
    assert read == list(range(1, 301))
    assert heard == ["five"]
    assert row == (42,)


def test_psycopgs_pool_hands_out_checked_sessions_and_renews_old_ones(conninfo: str, server: PostgresServer) -> None:
    check = psycopg_pool.ConnectionPool.check_connection
    settings = {"autocommit": True}
    with psycopg_pool.ConnectionPool(conninfo, min_size=1, max_size=1, check=check, kwargs=settings) as pool:
        with pool.connection() as connection:
            first = process_of(connection)
        server.execute("SELECT pg_terminate_backend(%s)", [first])
        with pool.connection(timeout=60) as connection:
            assert process_of(connection) != first

    with psycopg_pool.ConnectionPool(conninfo, min_size=1, max_size=1, max_lifetime=0.5, kwargs=settings) as pool:
        with pool.connection() as connection:
            old = process_of(connection)
            time.sleep(1)
            assert process_of(connection) == old
        with pool.connection(timeout=60) as connection:
            assert process_of(connection) != old


def process_of(connection: psycopg.Connection) -> int:
    """Ask which process of the target's serves a session."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def test_psycopgs_pool_comes_back_with_a_new_token_where_the_old_one_ended(
    clients: Gateway, dev: SignedIn, conninfo: str, name: str
) -> None:
    first, second = dev.another_token(), dev.another_token()
    given = iter([first.token, second.token])
    asked: list[str] = []

    def settings() -> dict[str, object]:
        asked.append(next(given))
        return {"password": asked[-1], "autocommit": True}

    journal = Journal(clients.data)
    check = psycopg_pool.ConnectionPool.check_connection
    with psycopg_pool.ConnectionPool(conninfo, kwargs=settings, min_size=1, max_size=1, check=check) as pool:
        with pool.connection() as connection:
            assert connection.execute("SELECT 41 + 1").fetchone() == (42,)
        first.revoke()
        wait_for(lambda: journal.session(name).is_closed, "the end of the session")
        with pool.connection(timeout=60) as connection:
            assert connection.execute("SELECT 41 + 1").fetchone() == (42,)

    assert asked == [first.token, second.token]


@pytest.mark.asyncio
async def test_psycopgs_asynchronous_pool_serves_more_tasks_than_it_has_sessions(conninfo: str, name: str) -> None:
    async with psycopg_pool.AsyncConnectionPool(conninfo, min_size=2, max_size=3, open=False) as pool:

        async def add(number: int) -> int:
            async with pool.connection() as connection:
                row = await (await connection.execute("SELECT %s::int + 1", [number])).fetchone()
                assert row is not None
                return row[0]

        assert await asyncio.gather(*(add(number) for number in range(30))) == list(range(1, 31))


@pytest.mark.parametrize("binary", [False, True])
def test_psycopg_reads_masked_columns_as_the_types_that_they_are(masked_conninfo: str, binary: bool) -> None:
    with psycopg.connect(masked_conninfo, autocommit=True) as connection:
        cursor = connection.cursor(binary=binary)
        cursor.execute("SELECT id, ssn, email, born, state FROM customers WHERE id = %s", [1])

        assert cursor.fetchone() == (1, "***1120", "***", None, "CA")
        assert cursor.description is not None
        assert [column.type_display for column in cursor.description] == ["int4", "text", "text", "date", "bpchar(2)"]
        with connection.pipeline():
            ends = [cursor.execute("SELECT ssn FROM customers WHERE id = %s", [n]).fetchone() for n in (1, 1)]
        assert ends == [("***1120",), ("***1120",)]
        streamed = list(connection.cursor().stream("SELECT ssn FROM customers ORDER BY id", size=7))
        assert streamed[0] == ("***1120",)
        assert len(streamed) == 40


def test_a_server_cursor_of_psycopgs_shows_no_masked_column(masked_conninfo: str) -> None:
    with psycopg.connect(masked_conninfo) as connection, connection.cursor(name="all") as cursor:
        cursor.execute("SELECT id, name FROM customers ORDER BY id")
        assert len(cursor.fetchmany(10)) == 10
        more = connection.cursor(name="more")
        with more, pytest.raises(psycopg.errors.InsufficientPrivilege, match="ssn is masked for you"):
            more.execute("SELECT ssn FROM customers")
