"""psycopg 2 in its usual ways through the gateway: many values, named cursors, COPY, polling, cancel, pool."""

from __future__ import annotations

import decimal
import io
import select
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool
import psycopg2.sql
import pytest
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE

from tests.support.at_target import backend_of, is_running
from tests.support.every_type import COLUMNS, ROW
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for

Connection = psycopg2.extensions.connection


@pytest.fixture
def connection(conninfo: str) -> Iterator[Connection]:
    """A session in psycopg 2's usual mode: a transaction begins with the first statement."""
    made = psycopg2.connect(conninfo)
    yield made
    made.close()


def test_psycopg2_carries_every_type_there_and_back(connection: Connection, items: str) -> None:
    psycopg2.extras.register_uuid(conn_or_curs=connection)
    row = [psycopg2.extras.Json(value) if isinstance(value, dict) else value for value in ROW]
    with connection, connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {items} ({COLUMNS}) VALUES %s RETURNING {COLUMNS}", [tuple(row)])
        found = [bytes(value) if isinstance(value, memoryview) else value for value in cursor.fetchone()]
        assert tuple(found) == ROW
        assert isinstance(found[5], uuid.UUID)
        assert isinstance(found[2], decimal.Decimal)
        cursor.execute("SELECT %s::int4range", [psycopg2.extras.NumericRange(1, 5)])
        assert cursor.fetchone() == (psycopg2.extras.NumericRange(1, 5),)


def test_psycopg2_inserts_many_values_and_batches(connection: Connection, items: str) -> None:
    rows = [(f"it's {number}", number) for number in range(2_500)]
    with connection, connection.cursor() as cursor:
        insert = f"INSERT INTO {items} (label, amount) VALUES %s RETURNING id"
        keys = psycopg2.extras.execute_values(cursor, insert, rows, page_size=1_000, fetch=True)
        assert [key for (key,) in keys] == list(range(1, 2_501))
        update = f"UPDATE {items} SET amount = %s WHERE id = %s"
        psycopg2.extras.execute_batch(cursor, update, [(-1, key) for key in range(1, 301)], page_size=100)
        cursor.executemany(f"DELETE FROM {items} WHERE id = %s", [(key,) for key in range(1, 51)])
        cursor.execute(f"SELECT count(*) FROM {items} WHERE amount = -1")
        assert cursor.fetchone() == (250,)


def test_psycopg2_reads_by_named_cursors(connection: Connection) -> None:
    with connection, connection.cursor("batches") as cursor:
        cursor.itersize = 7
        cursor.execute("SELECT id FROM transactions ORDER BY id")
        assert [row[0] for row in cursor] == list(range(1, 401))
    with connection, connection.cursor("Scrolls; a lot", scrollable=True) as cursor:
        cursor.execute("SELECT id FROM transactions ORDER BY id")
        cursor.scroll(10)
        assert cursor.fetchone() == (11,)
        cursor.scroll(-5)
        assert cursor.fetchmany(2) == [(7,), (8,)]
    held = connection.cursor("held", withhold=True, cursor_factory=psycopg2.extras.DictCursor)
    held.execute("SELECT id, memo FROM transactions ORDER BY id")
    connection.commit()
    assert held.fetchone()["id"] == 1
    held.close()
    connection.commit()


def test_psycopg2_copies_both_ways(connection: Connection, items: str) -> None:
    with connection, connection.cursor() as cursor:
        lines = "".join(f"row {number},{number}\n" for number in range(1_000))
        cursor.copy_expert(f"COPY {items} (label, amount) FROM STDIN (FORMAT csv)", io.StringIO(lines))
        cursor.copy_from(io.StringIO("a\t1\nb\t\\N\n"), items, columns=("label", "amount"))
        out = io.StringIO()
        cursor.copy_expert(f"COPY (SELECT label, amount FROM {items} ORDER BY id) TO STDOUT (FORMAT csv)", out)
        assert out.getvalue() == lines + "a,1\nb,\n"
        table = io.BytesIO()
        cursor.copy_to(table, items, columns=("label",))
        assert len(table.getvalue().splitlines()) == 1_002
    with pytest.raises(psycopg2.errors.InvalidTextRepresentation), connection, connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {items} (amount) FROM STDIN", io.StringIO("not a number\n"))
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {items}")
        assert cursor.fetchone() == (1_002,)


def test_psycopg2_is_refused_in_a_transaction_as_by_an_error_of_the_server(connection: Connection, items: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {items} (label) VALUES ('kept')")
        cursor.execute("SAVEPOINT here")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege) as caught:
            cursor.execute("DO 'BEGIN END'")
        assert caught.value.pgcode == "42501"
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            cursor.execute("SELECT 1")
        cursor.execute("ROLLBACK TO here")
        connection.commit()
        cursor.execute(f"SELECT label FROM {items}")
        assert cursor.fetchall() == [("kept",)]
        connection.rollback()


def test_psycopg2_hears_notifications_and_notices(connection: Connection, conninfo: str) -> None:
    connection.autocommit = True
    other = psycopg2.connect(conninfo)
    with connection.cursor() as cursor, other, other.cursor() as speaker:
        cursor.execute("LISTEN counter")
        cursor.execute("DROP TABLE IF EXISTS pg_temp.not_there")
        speaker.execute("NOTIFY counter, 'six'")
    other.close()
    assert select.select([connection], [], [], 60)[0]
    connection.poll()
    assert [(notice.channel, notice.payload) for notice in connection.notifies] == [("counter", "six")]
    assert connection.notices[-1].startswith("NOTICE:")


def test_psycopg2_cancels_a_statement(connection: Connection, server: PostgresServer, name: str) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor, ThreadPoolExecutor() as threads:
        asleep = threads.submit(cursor.execute, "SELECT pg_sleep(60)")
        wait_for(lambda: is_running(server, backend_of(server, name), "pg_sleep"), "pg_sleep at the target")
        connection.cancel()
        assert isinstance(asleep.exception(timeout=50), psycopg2.errors.QueryCanceled)
        cursor.execute("SELECT 41 + 1")
        assert cursor.fetchone() == (42,)


def test_psycopg2_works_by_polling(conninfo: str) -> None:
    connection = psycopg2.connect(conninfo, async_=True)
    wait_until_done(connection)
    cursor = connection.cursor()
    cursor.execute("SELECT n FROM generate_series(1, %s) n", [50_000])
    wait_until_done(connection)
    assert cursor.rowcount == 50_000
    cursor.execute("DO 'BEGIN END'")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        wait_until_done(connection)
    cursor.execute("SELECT 41 + 1")
    wait_until_done(connection)
    assert cursor.fetchone() == (42,)
    connection.close()


def wait_until_done(connection: Connection) -> None:
    """Poll as psycopg 2's documentation shows it."""
    while (state := connection.poll()) != POLL_OK:
        waits = ([connection], []) if state == POLL_READ else ([], [connection])
        assert state in (POLL_READ, POLL_WRITE)
        assert any(select.select(*waits, [], 60))


def test_psycopg2s_pool_serves_threads(conninfo: str) -> None:
    pool = psycopg2.pool.ThreadedConnectionPool(1, 4, conninfo)

    def add(number: int) -> int:
        connection = pool.getconn()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT %s + 1", [number])
                return int(cursor.fetchone()[0])
        finally:
            pool.putconn(connection)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(add, range(40))) == list(range(1, 41))
    pool.closeall()


def test_psycopg2_reads_masked_columns_as_the_types_that_they_are(masked_conninfo: str) -> None:
    connection = psycopg2.connect(masked_conninfo)
    with connection, connection.cursor(cursor_factory=psycopg2.extras.NamedTupleCursor) as cursor:
        cursor.execute("SELECT id, ssn, email, born, state FROM customers WHERE id = %s", [1])
        assert cursor.fetchone() == (1, "***1120", "***", None, "CA")
        types = [column.type_code for column in cursor.description]
        assert types == [psycopg2.NUMBER, psycopg2.STRING, psycopg2.STRING, psycopg2.extensions.DATE, psycopg2.STRING]
    named = connection.cursor("named")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="ssn is masked for you"):
        named.execute("SELECT ssn FROM customers")
    connection.rollback()
    with connection, connection.cursor() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.copy_expert("COPY customers TO STDOUT", io.StringIO())
    connection.close()
