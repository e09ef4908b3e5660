"""The ways to write a statement so that it looks like another one: each is decided as the plain form would be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresFactory, PostgresServer
from tests.support.raw_client import RawClient, codes, extended, in_session
from tests.support.signing_in import SignedIn, sign_in
from vestibule.protocols.postgres import messages as pg

CLOSED = "customers are closed"

#: Ways to read the table that a guardrail closes.
READS = [
    "SELECT * FROM customers",
    "TABLE customers",
    "select*from customers",
    'SELECT * FROM "customers"',
    'SELECT * FROM U&"c\\0075stomers"',
    "SELECT * FROM U&\"c!0075stomers\" UESCAPE '!'",
    'SELECT * FROM public . "customers"',
    "SELECT * FROM core.public.customers",
    "SELECT * FROM/* */customers",
    "SELECT * /* /* nested */ from loans */ FROM -- loans\n customers",
    "SELECT\f*\vFROM\rcustomers",
    "SELECT (SELECT max(ssn) FROM customers)",
    "SELECT 1 WHERE EXISTS (SELECT FROM customers)",
    "WITH loans AS (SELECT * FROM customers) SELECT * FROM loans",
    "SELECT c.ssn FROM loans JOIN customers c ON true",
    "SELECT * FROM loans, LATERAL (SELECT ssn FROM customers) x",
    "SELECT 1 UNION ALL SELECT id FROM customers",
    "SELECT $q$ $q$, x.* FROM customers AS x",
    "VALUES ((SELECT ssn FROM customers LIMIT 1))",
    "EXPLAIN ANALYZE SELECT * FROM customers",
    "DECLARE c CURSOR FOR SELECT * FROM customers",
    "PREPARE p AS SELECT * FROM customers",
    "COPY customers TO STDOUT",
    "COPY (SELECT ssn FROM customers) TO STDOUT",
    "SELECT 1; SELECT 2; SELECT * FROM customers",
    "SELECT E'\\'; SELECT 1; --' FROM customers",
    "SELECT '\\' , ssn FROM customers -- '",
    "SELECT count(*) FROM customers TABLESAMPLE SYSTEM (10)",
    "SELECT * FROM ONLY customers",
]

#: Ways to change something, for somebody who may only read.
WRITES = [
    "DELETE FROM loans",
    "DELETE/**/FROM/**/loans",
    'dElEtE\nfrom ONLY "loans"',
    "WITH x AS (DELETE FROM loans RETURNING *) SELECT * FROM x",
    "WITH a AS (SELECT 1), b AS (INSERT INTO loans SELECT * FROM loans RETURNING 1) TABLE a",
    "EXPLAIN ANALYZE DELETE FROM loans",
    "EXPLAIN (ANALYZE true, VERBOSE) UPDATE loans SET rate = 0",
    "EXPLAIN (ANALYZE 1) DELETE FROM loans",
    "PREPARE p AS DELETE FROM loans",
    "SELECT 1; DELETE FROM loans",
    "BEGIN; DELETE FROM loans; COMMIT",
    "SELECT '\\'; DELETE FROM loans; --'; DELETE FROM loans",
    "SELECT $$'$$; DELETE FROM loans; --'",
    "SELECT E'\\''; DELETE FROM loans; --'",
    "MERGE INTO loans USING cards ON false WHEN MATCHED THEN DELETE",
    "UPDATE loans SET rate = 0",
    "INSERT INTO loans SELECT * FROM loans ON CONFLICT DO NOTHING",
    "TRUNCATE loans",
    "LOCK TABLE loans",
    "SELECT * FROM loans FOR UPDATE",
    "SELECT * INTO TEMP t FROM loans",
    "CREATE TEMP TABLE t AS SELECT 1",
    "COPY loans FROM STDIN",
    "SELECT setval('s', 1)",
    "NOTIFY somebody",
    "DO $tag$ BEGIN DELETE FROM loans; END $tag$",
    "DO LANGUAGE plpgsql 'BEGIN DELETE FROM loans; END'",
    "CALL something()",
    "SELECT query_to_xml('delete from loans', true, true, '')",
    "SELECT pg_catalog.query_to_xml('delete from loans', true, true, '')",
    'SELECT "query_to_xml"($q$delete from loans$q$, true, true, $q$$q$)',
    "SELECT U&\"query_to_xm\\006c\"('delete from loans', true, true, '')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT dblink('dbname=core', 'delete from loans')",
    "SELECT empties_loans()",
    "SELECT public.empties_loans()",
    "SELECT 1 WHERE empties_loans() IS NULL",
    "SELECT * FROM empties_loans()",
    "SELECT 1 ORDER BY empties_loans()",
    "SELECT 1 OPERATOR(public.@@@) 2",
    "SELECT pg_terminate_backend(pg_backend_pid())",
    "SELECT pg_cancel_backend(1)",
    "SELECT set_config('role', 'admin', false)",
    "SELECT pg_catalog.set_config('ro' || 'le', 'admin', false)",
    "SET ROLE admin",
    "SET SESSION AUTHORIZATION admin",
    "SET LOCAL standard_conforming_strings = off",
    'SET search_path = "$user"',
    "ALTER ROLE vestibule_rw SUPERUSER",
    "COPY loans TO '/tmp/loans'",
    "COPY loans FROM PROGRAM 'id'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'delete from loans returning 1'",
    "VACUUM loans",
    "ALTER SYSTEM SET archive_command = 'id'",
    "LOAD 'something'",
]

#: What looks like a change and is none.
HARMLESS = [
    ("SELECT '; DELETE FROM loans; --'", "; DELETE FROM loans; --"),
    ("SELECT $$; DELETE FROM loans; $$", "; DELETE FROM loans; "),
    ("SELECT 'a\\'", "a\\"),
    ("SELECT 'x' /* ; DELETE FROM loans */", "x"),
    ("SELECT 'x' -- ; DELETE FROM loans", "x"),
    ("SELECT 'x' AS \"DELETE FROM loans\"", "x"),
    ("EXPLAIN (ANALYZE false, COSTS false) DELETE FROM cards", "Delete on cards"),
    ("EXPLAIN (COSTS false) DELETE FROM cards", "Delete on cards"),
    ("SELECT upper('delete from loans')", "DELETE FROM LOANS"),
    ("SELECT state_count('NY') >= 0", "t"),
]

#: What the server itself would not take for white space, for a quote or for the end of a text.
NO_SQL = ["DELETE\u00a0FROM loans", "DELETE\u2003FROM loans", "DELETE FROM\ufeff loans", "SELECT \u2018x\u2019 FROM"]


@pytest.fixture(scope="module")
def server(postgres_factory: PostgresFactory) -> Iterator[PostgresServer]:
    """A server with a function and an operator of somebody's own that change something."""
    made = postgres_factory.make(15)
    with made.connect("vestibule_rw") as connection:
        connection.execute("CREATE SEQUENCE s")
        connection.execute("CREATE FUNCTION empties_loans() RETURNS int LANGUAGE sql AS 'delete from loans; select 1'")
        connection.execute("CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE sql AS 'delete from loans; select 1'")
        connection.execute("CREATE OPERATOR @@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = adds)")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def reading(server: PostgresServer, module_gateways: GatewayFactory) -> Gateway:
    """A gateway at which engineers may read, but not the customers."""

    def policy(document: dict[str, Any]) -> None:
        document["access"] = [
            {"name": "engineers read", "groups": ["engineering"], "targets": [TARGET], "allow": ["read"]}
        ]
        document["guardrails"] = [
            {
                "name": CLOSED,
                "match": {"objects": ["public.customers"]},
                "action": "deny",
                "reason": "Ask the privacy office.",
            }
        ]

    return module_gateways.make({TARGET: server}, policy=policy)


@pytest.fixture(scope="module")
def reader(reading: Gateway) -> SignedIn:
    """dev1, who only reads there."""
    return sign_in(reading, "dev1")


@pytest.fixture(scope="module")
def session(reading: Gateway, reader: SignedIn) -> Iterator[RawClient]:
    """One session for all that is refused: each must leave it usable."""
    with in_session(reading.port, reading.ca, f"dev1+{TARGET}", reader.token) as client:
        yield client


def refused(session: RawClient, text: str) -> tuple[str, str]:
    """Try a text by both protocols; give the code and the message of its refusal."""
    simple, prepared = session.query(text), session.ask(*extended(text), pg.Sync())
    error = simple[0]
    assert isinstance(error, pg.ErrorResponse), codes(simple)
    assert codes(simple) == codes(prepared) == [f"ERROR {error.text('C')}", "Z I"]
    assert codes(session.query("SELECT 1"))[1:] == ["row 1", "SELECT 1", "Z I"]
    return error.text("C"), error.text("M")


@pytest.mark.case("PG-24")
@pytest.mark.parametrize("text", READS)
def test_a_closed_table_is_closed_however_it_is_named(session: RawClient, server: PostgresServer, text: str) -> None:
    mark = server.mark()

    code, message = refused(session, text)

    assert (code, message) == ("42501", f'vestibule: denied by rule "{CLOSED}": Ask the privacy office.')
    assert server.statements(mark) == ["SELECT 1"]


@pytest.mark.case("PG-24")
@pytest.mark.parametrize("text", WRITES)
def test_who_may_only_read_changes_nothing_however_it_is_written(
    session: RawClient, server: PostgresServer, text: str
) -> None:
    mark = server.mark()

    code, message = refused(session, text)

    assert code == "42501", message
    assert server.statements(mark) == ["SELECT 1"]


@pytest.mark.case("PG-24")
@pytest.mark.parametrize("text", NO_SQL)
def test_what_the_server_would_not_read_as_sql_never_travels(
    session: RawClient, server: PostgresServer, text: str
) -> None:
    mark = server.mark()

    assert refused(session, text)[0] == "42601"
    assert server.statements(mark) == ["SELECT 1"]


@pytest.mark.case("PG-24")
@pytest.mark.parametrize(("text", "value"), HARMLESS)
def test_what_only_looks_like_a_change_is_let_through(session: RawClient, text: str, value: str) -> None:
    answer = session.query(text)

    assert f"row {value}" in codes(answer)


@pytest.mark.case("PG-24")
def test_psql_splits_and_joins_statements_and_is_decided_alike(reading: Gateway, reader: SignedIn) -> None:
    psql = reading.psql("dev1", reader.token)

    done = psql.script(
        "SELECT 1 \\; SELECT 2 \\; DELETE FROM loans;\n"
        "SELECT 'DELETE FROM loans' \\gexec\n"
        "\\set evil 'DELETE FROM loans'\n:evil;\n"
        "\\copy customers to '/dev/null'\n"
        "SELECT 41 + 1;\n"
    )

    assert [line[:14] for line in done.errors.splitlines() if line.startswith("ERROR")] == ["ERROR:  42501:"] * 4
    assert done.rows == ["42"]


@pytest.mark.case("PG-24")
def test_nothing_was_changed_and_every_attempt_is_recorded(reading: Gateway, server: PostgresServer) -> None:
    journal = Journal(reading.data)

    assert server.execute("SELECT count(*) FROM loans") == [(25,)]
    assert server.execute("SELECT count(*) FROM customers") == [(40,)]
    decided = journal.records("StatementDecided")
    finished = {record["decided"]["id"]: record for record in journal.records("StatementFinished")}
    denied = [record for record in decided if record["decision"] == "deny"]
    assert denied
    assert all(record["bytes_mac"] and record["rule"]["policy"] for record in decided)
    assert not [record for record in denied if finished[str(record.header.id)]["forwarded"]]
