"""Masked columns with real servers, 15 and 18, and real clients: what they show, in every format and way of asking."""

from __future__ import annotations

import asyncio
import ssl
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa

from tests.support import jdbc
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import DATABASE, GATEWAY, PostgresServer
from tests.support.raw_client import RawClient, codes, extended, in_session
from tests.support.signing_in import SignedIn, sign_in
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

MODERN = "modern-banking"
CLEAR = {"groups": ["dba-managers"]}
HIDDEN = ("label", "n", "reference", "amount", "at", "about", "many", "big", "kind", "extra", "c7")
MASKS = [
    {
        "name": "numbers",
        "columns": ["*.customers.ssn", "*.vip_*.ssn"],
        "transform": {"keep_last": 4},
        "clear_for": CLEAR,
    },
    {"name": "hidden", "columns": [f"*.vip_*.{name}" for name in HIDDEN], "clear_for": CLEAR},
]
#: Every protected value has this in it, in one form or another; in binary, the ten digits as a number.
MARK = "7391846205"
REFERENCE = uuid.UUID(f"{MARK[:8]}-{MARK[8:]}00-4000-8000-{MARK}00")
SSN = f"739-18-{MARK[-4:]}"
SCHEMA = f"""
CREATE TABLE vip_people (id int PRIMARY KEY, ssn text UNIQUE, city text);
INSERT INTO vip_people SELECT n, lpad(n::text, 4, '0') || '-{MARK}-' || lpad(n::text, 4, '0'), 'c' || n
  FROM generate_series(1, 1000) n;
INSERT INTO vip_people VALUES (0, NULL, 'nowhere');
CREATE TABLE vip_types (id int PRIMARY KEY, label text, n bigint, reference uuid, amount numeric, at timestamptz,
  about jsonb, many text[], open text);
INSERT INTO vip_types VALUES (1, '{MARK}', {MARK}, '{REFERENCE}', {MARK}.5,
  to_timestamp({MARK}), '{{"a": "{MARK}"}}', ARRAY['{MARK}', 'b'], 'seen');
INSERT INTO vip_types (id) VALUES (2);
CREATE VIEW vip_view AS SELECT id AS number, ssn AS tax, city FROM vip_people;
CREATE TABLE vip_parent (id int, ssn text);
CREATE TABLE vip_child (level int) INHERITS (vip_parent);
INSERT INTO vip_child VALUES (1, '{SSN}-{MARK}', 3);
CREATE TABLE vip_parts (id int, ssn text) PARTITION BY RANGE (id);
CREATE TABLE vip_part1 PARTITION OF vip_parts FOR VALUES FROM (0) TO (10);
INSERT INTO vip_parts VALUES (1, '{SSN}-{MARK}');
CREATE TABLE vip_later (id int, ssn text UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO vip_later VALUES (1, '{SSN}-{MARK}');
CREATE TABLE vip_none ();
INSERT INTO vip_none DEFAULT VALUES;
CREATE TABLE vip_large (id int, big text, beside text);
"""
#: The same value in every binary form of the types above.
BYTES = (
    MARK.encode(),
    int(MARK).to_bytes(8),
    REFERENCE.bytes,
    b"\x00\x49\x0f\x56\x18\x1d",
)


def masking(policy: dict[str, Any]) -> None:
    policy["masks"] = MASKS


@pytest.fixture(scope="module")
def both(module_gateways: GatewayFactory, postgres15: PostgresServer, postgres18: PostgresServer) -> Iterator[Gateway]:
    """A gateway to either server that masks; behind all tests its evidence is checked as an outsider would check it."""
    wide = ", ".join(f"c{number} text" for number in range(1600))
    for server in (postgres15, postgres18):
        with server.connect(GATEWAY) as connection:
            connection.execute(SCHEMA)  # type: ignore[arg-type]  # a text of this file
            connection.execute(f"CREATE TABLE vip_wide ({wide})")  # type: ignore[arg-type]
            connection.execute("INSERT INTO vip_wide (c6, c7, c1599) VALUES ('six', %s, 'last')", [MARK])
    gateway = module_gateways.make({TARGET: postgres15, MODERN: postgres18}, policy=masking)
    yield gateway
    names = ("view", "people", "types", "parent", "parts", "later", "none", "large", "wide")
    for server in (postgres15, postgres18):
        for name in names:
            server.execute(f"DROP {'VIEW' if name == 'view' else 'TABLE'} IF EXISTS vip_{name} CASCADE")
    assert gateway.stop() == 0
    done = gateway.cli("ana", "evidence", "verify", gateway.data, timeout=120)
    assert done.status == 0, done.output + done.errors


@pytest.fixture(scope="module")
def dev(both: Gateway) -> SignedIn:
    """dev1, for whom all of it is masked."""
    return sign_in(both, "dev1")


@pytest.fixture(scope="module")
def cleared(both: Gateway) -> SignedIn:
    """dora, for whom none is."""
    return sign_in(both, "dora")


@pytest.fixture(scope="module", params=[TARGET, MODERN])
def target(request: pytest.FixtureRequest) -> str:
    """Either target."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(target: str, postgres15: PostgresServer, postgres18: PostgresServer) -> PostgresServer:
    """The server behind the target."""
    return postgres15 if target == TARGET else postgres18


@pytest.fixture
def connection(both: Gateway, dev: SignedIn, target: str, name: str) -> Iterator[psycopg.Connection[Any]]:
    """A psycopg session of dev1's."""
    conninfo = both.conninfo("dev1", dev.token, target, application_name=name)
    with psycopg.connect(conninfo, autocommit=True) as made:
        yield made


@pytest.fixture
def raw(both: Gateway, dev: SignedIn, target: str, name: str) -> Iterator[RawClient]:
    """A raw session of dev1's."""
    with in_session(both.port, both.ca, f"dev1+{target}", dev.token, application_name=name) as client:
        yield client


def heard(client: RawClient) -> bytes:
    """Every byte that the client was told."""
    return b"".join(map(encode, client.messages))


def is_clean(data: bytes) -> bool:
    """Whether no form of the protected value is in it."""
    return not any(form in data for form in BYTES)


TYPES = "SELECT id, label, n, reference, amount, at, about, many, open FROM vip_types ORDER BY id"


# psql


def test_psql_shows_masks_where_they_are_and_everything_else(both: Gateway, dev: SignedIn, target: str) -> None:
    done = both.psql("dev1", dev.token, target).run(
        "SELECT ssn, city FROM vip_people WHERE id < 2 ORDER BY id",
        TYPES,
        "SELECT count(ssn), count(*) FROM vip_people",
    )
    assert done.errors == ""
    first, second, types, nulls, counts = done.rows
    assert (first, second, nulls, counts) == ("|nowhere", "***0001|c1", "2||||||||", "1000|1001")
    assert types.startswith("1|***|||||")
    assert types.endswith("|seen")
    assert MARK not in done.output


COMMANDS = (
    *("d customers", "d+ vip_people", "d vip_parts", "d", "dt", "dt+", "df", "l", "dn+", "du", "di", "dv", "dT", "dp"),
    *("ds", "dx", "dD", "ddp", "dL", "sv vip_view", "do", "dc", "db", "dg"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_psqls_own_commands_work_and_show_what_they_show_at_the_server(
    both: Gateway, dev: SignedIn, server: PostgresServer, target: str, command: str
) -> None:
    direct = both.psql("dev1", "", target)
    direct.settings = {
        "host": "127.0.0.1",
        "port": str(server.port),
        "user": GATEWAY,
        "password": server.passwords[GATEWAY],
        "database": DATABASE,
        "sslmode": "require",
    }
    through = both.psql("dev1", dev.token, target)
    wanted, found = direct.script(f"\\{command}\n"), through.script(f"\\{command}\n")
    # psql 15 asks a server 18 for what it has not, in either case.
    assert (found.output, found.errors) == (wanted.output, wanted.errors)


def test_psqls_copy_is_refused_for_masked_columns_and_works_for_others(
    both: Gateway, dev: SignedIn, target: str
) -> None:
    psql = both.psql("dev1", dev.token, target)
    for text in ("\\copy vip_people TO STDOUT", "\\copy (SELECT ssn FROM vip_people) TO STDOUT CSV"):
        done = psql.script(text + "\n")
        assert "42501" in done.errors
        assert done.output == ""
    assert psql.script("\\copy (SELECT id, city FROM vip_people WHERE id = 3) TO STDOUT\n").rows == ["3\tc3"]


# psycopg


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.case("PG-21")
def test_psycopg_reads_masked_columns_of_every_type_in_either_format(
    connection: psycopg.Connection[Any], binary: bool
) -> None:
    first, second = connection.execute(TYPES, binary=binary).fetchall()
    assert first[0] == 1
    assert first[-1] == "seen"
    assert first[1] == "***"
    assert first[2:6] == (None, None, None, None)
    assert MARK not in str(first)
    assert second == (2, *[None] * 8)


def test_psycopgs_server_side_cursors_are_refused_for_masked_columns_and_work_for_others(
    connection: psycopg.Connection[Any],
) -> None:
    with connection.transaction(), connection.cursor("c") as cursor:
        cursor.execute("SELECT id, city FROM vip_people ORDER BY id")
        assert cursor.fetchmany(2) == [(0, "nowhere"), (1, "c1")]
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        connection.transaction(),
        connection.cursor("m") as cursor,
    ):
        cursor.execute("SELECT ssn FROM vip_people")


def test_psycopgs_pipeline_masks_each_statement_by_itself(connection: psycopg.Connection[Any]) -> None:
    texts = ("SELECT ssn FROM vip_people WHERE id = %s", "SELECT city, ssn FROM vip_people WHERE id = %s")
    with connection.pipeline():
        cursors = [connection.execute(texts[number % 2], [number], prepare=True) for number in range(1, 21)]
    for number, cursor in enumerate(cursors, 1):
        ssn = f"***{number:04}"
        assert cursor.fetchone() == ((f"c{number}", ssn) if number % 2 else (ssn,))


def test_psycopgs_stream_of_rows_is_masked(connection: psycopg.Connection[Any]) -> None:
    rows = list(connection.cursor().stream("SELECT ssn FROM vip_people WHERE id > 0 ORDER BY id"))
    assert rows == [(f"***{number:04}",) for number in range(1, 1001)]


@pytest.mark.case("PG-22")
@pytest.mark.parametrize("form", ["text", "csv", "binary"])
@pytest.mark.parametrize(
    "what", ["vip_people", "vip_people (ssn)", "(SELECT ssn FROM vip_people)", "vip_view", "vip_part1"]
)
def test_masked_columns_are_not_copied_out(raw: RawClient, form: str, what: str) -> None:
    assert "ERROR 42501" in codes(raw.query(f"COPY {what} TO STDOUT (FORMAT {form})"))
    assert codes(raw.ask(*extended(f"COPY {what} TO STDOUT (FORMAT {form})"), pg.Sync()))[0] == "ERROR 42501"
    assert is_clean(heard(raw))


# raw bytes


@pytest.mark.case("PG-21")
@pytest.mark.parametrize("form", [0, 1])
def test_no_form_of_a_protected_value_is_on_the_wire(raw: RawClient, form: int) -> None:
    raw.query(TYPES)
    raw.ask(pg.Parse("", TYPES.encode()), pg.Bind("", "", (), (), (form,)), pg.Execute("", 0), pg.Sync())
    rows = [each for each in raw.messages if isinstance(each, pg.DataRow)]
    assert len(rows) == 4
    assert is_clean(heard(raw))


def test_the_forms_of_the_value_are_those_of_the_server(
    both: Gateway, cleared: SignedIn, target: str, name: str
) -> None:
    with in_session(both.port, both.ca, f"dora+{target}", cleared.token, application_name=name) as client:
        client.ask(pg.Parse("", TYPES.encode()), pg.Bind("", "", (), (), (1,)), pg.Execute("", 0), pg.Sync())
        told = heard(client)
    assert [form for form in BYTES[:3] if form not in told] == []


@pytest.mark.case("PG-20")
def test_jdbc_reads_a_thousand_rows_ten_at_a_time_and_every_batch_is_masked(
    both: Gateway, dev: SignedIn, server: PostgresServer, target: str, name: str
) -> None:
    text, mark = "SELECT id, ssn FROM vip_people WHERE id > 0 ORDER BY id", server.mark()
    address, properties = both.jdbc("dev1", dev.token, target, ApplicationName=name)
    answer = jdbc.ask(both.sandbox, jdbc.Job(address, properties, [text], autocommit=False, fetch_size=10))
    assert answer.rows() == [[str(number), f"***{number:04}"] for number in range(1, 1001)]
    asked = [line.message for line in server.since(mark) if line.statement is not None and text in line.statement]
    assert [message.startswith("execute fetch from ") for message in asked] == [False] + [True] * 100


def test_masks_go_through_views_children_and_partitions(connection: psycopg.Connection[Any]) -> None:
    texts = [f"SELECT ssn FROM {table} WHERE id = 1" for table in ("vip_parent", "vip_child", "vip_parts", "vip_part1")]
    for text in ("SELECT tax FROM vip_view WHERE number = 1", *texts):
        row = connection.execute(text).fetchone()  # type: ignore[arg-type]  # a text of this file
        assert row is not None
        assert row[0].startswith("***")
        assert MARK not in row[0]


def test_a_relation_of_1600_columns_and_one_of_none(connection: psycopg.Connection[Any]) -> None:
    row = connection.execute("SELECT * FROM vip_wide").fetchone()
    assert row is not None
    assert (len(row), row[6], row[7], row[8], row[1599]) == (1600, "six", "***", None, "last")
    assert connection.execute("SELECT FROM vip_none").rowcount == 1
    assert connection.execute("TABLE vip_none").rowcount == 1


def test_a_cell_of_64_mib_in_and_beside_a_masked_column(
    connection: psycopg.Connection[Any], server: PostgresServer
) -> None:
    server.execute("INSERT INTO vip_large SELECT 1, repeat('x', 64 << 20), 'small'")
    server.execute("INSERT INTO vip_large SELECT 2, 'small', repeat('y', 64 << 20)")
    for binary in (False, True):
        assert connection.execute("SELECT * FROM vip_large WHERE id = 1", binary=binary).fetchone() == (
            1,
            "***",
            "small",
        )
        row = connection.execute("SELECT * FROM vip_large WHERE id = 2", binary=binary).fetchone()
        assert row is not None
        assert (row[1], len(row[2])) == ("***", 64 << 20)
    server.execute("TRUNCATE vip_large")


# errors


WRONG = (
    f"INSERT INTO vip_people SELECT 2000, (SELECT '0001-{MARK}-0001')",
    "INSERT INTO vip_people (id, ssn) VALUES (1, 'other')",
    "UPDATE vip_people SET id = NULL WHERE id = 1",
    "UPDATE vip_people SET ssn = DEFAULT, id = 1 WHERE id = 2",
    "SELECT ssn::int FROM vip_people",
    "SELECT 1 / (ssn = 'x')::int FROM vip_people",
    "UPDATE vip_people SET city = ssn::int",
    "SELECT id FROM vip_people WHERE ssn::int = 1",
)


@pytest.mark.parametrize("text", WRONG)
def test_no_error_quotes_a_protected_value(raw: RawClient, text: str) -> None:
    for messages in (raw.query(text), raw.ask(*extended(text), pg.Sync())):
        assert any(each.startswith("ERROR") for each in codes(messages)), text
        told = b"".join(map(encode, messages))
        assert is_clean(told), text
        assert b"Failing row" not in told
    assert codes(raw.query("SELECT 1"))[-1] == "Z I"


def test_nor_does_one_that_comes_at_the_end_of_a_transaction(raw: RawClient) -> None:
    text = f"INSERT INTO vip_later VALUES (2, '{SSN}-{MARK}')"
    for said in ([pg.Query(text.encode())], [*extended(text), pg.Sync()]):
        messages = raw.ask(*said)
        assert "ERROR 23505" in codes(messages)
        assert is_clean(b"".join(map(encode, messages)))
    raw.query("BEGIN")
    assert "INSERT 0 1" in codes(raw.query(text))
    assert "ERROR 23505" in codes(raw.query("COMMIT"))
    # Before PostgreSQL 18 such a Query ends the transaction of what is before it, then the Sync does.
    raw.ask(*extended(text), pg.Query(b"SELECT 1"), pg.Sync(), syncs=2)
    assert is_clean(heard(raw))


# asyncpg and SQLAlchemy


def asyncpg_settings(both: Gateway, who: SignedIn, target: str) -> dict[str, Any]:
    return {
        "host": "localhost",
        "port": both.port,
        "user": f"{who.person}+{target}",
        "password": who.token,
        "database": DATABASE,
        "ssl": ssl.create_default_context(cafile=str(both.ca)),
    }


@pytest.mark.case("PG-21")
def test_asyncpg_reads_masked_columns_in_its_binary_formats(both: Gateway, dev: SignedIn, target: str) -> None:
    async def read() -> tuple[list[Any], list[Any], list[Any]]:
        session = await asyncpg.connect(**asyncpg_settings(both, dev, target))
        try:
            rows = await session.fetch(TYPES)
            prepared = await session.prepare("SELECT ssn FROM vip_people WHERE id = $1")
            one = [await prepared.fetchval(number) for number in (1, 2, 0)]
            async with session.transaction():
                batches = [
                    row["ssn"]
                    async for row in session.cursor("SELECT ssn FROM vip_people WHERE id > 0 ORDER BY id", prefetch=10)
                ]
            # A type of its own is looked up in the catalog.
            assert await session.fetchval("SELECT ARRAY['a', 'b']::information_schema.sql_identifier[]") == ["a", "b"]
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.copy_from_table("vip_people", output=lambda _: asyncio.sleep(0))
            return [tuple(row) for row in rows], one, batches
        finally:
            await session.close()

    rows, one, batches = asyncio.run(read())
    assert rows[0][:6] == (1, "***", None, None, None, None)
    assert (rows[0][-1], rows[1]) == ("seen", (2, *[None] * 8))
    assert one == ["***0001", "***0002", None]
    assert batches == [f"***{number:04}" for number in range(1, 1001)]


def test_sqlalchemy_reflects_and_reads(both: Gateway, dev: SignedIn, target: str) -> None:
    url = sa.URL.create(
        "postgresql+psycopg",
        username=f"dev1+{target}",
        password=dev.token,
        host="localhost",
        port=both.port,
        database=DATABASE,
        query={"sslmode": "verify-full", "sslrootcert": str(both.ca)},
    )
    engine = sa.create_engine(url)
    try:
        inspector = sa.inspect(engine)
        assert {"customers", "vip_people", "vip_parts"} <= set(inspector.get_table_names())
        assert "vip_view" in inspector.get_view_names()
        assert [each["name"] for each in inspector.get_columns("vip_people")] == ["id", "ssn", "city"]
        assert inspector.get_pk_constraint("vip_people")["constrained_columns"] == ["id"]
        assert inspector.get_foreign_keys("accounts")[0]["referred_table"] == "customers"
        assert inspector.get_unique_constraints("vip_people")
        assert inspector.get_indexes("transactions")
        assert inspector.get_check_constraints("accounts")
        assert "FROM vip_people" in str(inspector.get_view_definition("vip_view"))
        assert inspector.get_table_comment("customers") == {"text": None}
        assert {"public"} <= set(inspector.get_schema_names())
        assert inspector.get_sequence_names() == []
        people = sa.Table("vip_people", sa.MetaData(), autoload_with=engine)
        with engine.connect() as connection:
            rows = connection.execute(sa.select(people).where(people.c.id == 7)).all()
            version = connection.scalar(sa.text("select pg_catalog.version()"))
    finally:
        engine.dispose()
    assert [tuple(row) for row in rows] == [(7, "***0007", "c7")]
    assert str(version).startswith("PostgreSQL")


CATALOGS = (
    "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_name = 'vip_people'",
    "SELECT * FROM information_schema.tables WHERE table_schema = 'public'",
    "SELECT * FROM information_schema.table_constraints WHERE table_name = 'vip_people'",
    "SELECT * FROM information_schema.key_column_usage WHERE table_name = 'vip_people'",
    "SELECT relname, relkind FROM pg_catalog.pg_class WHERE relname LIKE 'vip%'",
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'vip_people'::regclass",
    "SELECT oid, typname FROM pg_type WHERE typname = 'text'",
    "SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'vip_people'::regclass",
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'vip_people'::regclass",
    "SELECT nspname FROM pg_namespace",
    "SELECT datname FROM pg_database",
    "SELECT rolname FROM pg_roles",
    "SELECT name, setting FROM pg_settings WHERE name = 'DateStyle'",
    "SELECT current_database(), current_user, version(), pg_backend_pid() > 0",
    "SHOW server_version",
    "SELECT obj_description('vip_people'::regclass)",
    "SELECT count(*) FROM pg_proc",
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
)


@pytest.mark.parametrize("text", CATALOGS)
def test_catalogs_answer_a_masked_identity_as_they_answer_at_the_server(
    connection: psycopg.Connection[Any], server: PostgresServer, text: str
) -> None:
    with server.connect(GATEWAY) as direct:
        wanted = direct.execute(text).fetchall()  # type: ignore[arg-type]
    assert sorted(map(str, connection.execute(text).fetchall())) == sorted(map(str, wanted))  # type: ignore[arg-type]


# who sees what, and when


def test_who_is_cleared_and_who_is_not_read_at_the_same_time(
    both: Gateway, dev: SignedIn, cleared: SignedIn, target: str
) -> None:
    wrong: list[object] = []

    def read(who: SignedIn, begins: str) -> None:
        with psycopg.connect(both.conninfo(who.person, who.token, target), autocommit=True) as session:
            for number in range(1, 101):
                row = session.execute("SELECT ssn FROM vip_people WHERE id = %s", [number]).fetchone()
                if row is None or not row[0].startswith(begins.format(number)):
                    wrong.append((who.person, row))

    sessions = [(dev, "***{:04}"), (cleared, "{:04}-" + MARK)] * 2
    threads = [threading.Thread(target=read, args=each) for each in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
