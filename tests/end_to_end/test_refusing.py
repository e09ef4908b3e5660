"""Refused statements against a real server: nothing of them runs, and the session is where a real error leaves it."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.end_to_end.conftest import Connect
from tests.support.at_target import backend_is_gone, backend_of, texts_in
from tests.support.evidence import Journal
from tests.support.gateway import Gateway
from tests.support.postgres import PostgresServer
from tests.support.raw_client import RawClient, codes, extended
from tests.support.signing_in import SignedIn
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0

DROP = "DROP TABLE loans"
#: Fails when it is executed, not before.
FAILS = "SELECT 1 / count(*) FROM loans WHERE false"


# The simple protocol


@pytest.mark.case("PG-17")
def test_one_denied_statement_refuses_the_whole_message(
    raw: RawClient, postgres15: PostgresServer, journal: Journal, name: str, table: str
) -> None:
    mark = postgres15.mark()

    answer = raw.query(f"INSERT INTO {table} VALUES ('a'); DROP TABLE {table}")

    assert codes(answer) == ["ERROR 42501", "Z I"]
    assert postgres15.statements(mark) == []
    assert codes(raw.query("SELECT 1"))[1:] == ["row 1", "SELECT 1", "Z I"]
    raw.send(pg.Terminate())
    session = journal.closed_session(name)
    assert session.one("AccessDecided")["who"]["name"] == "dev1"
    assert [decision for decision, _ in session.decisions] == ["deny", "allow"]
    assert session.outcomes == ["refused", "ok"]
    denied = session.all("StatementDecided")[0]
    assert denied["ops"] == [
        {"verb": "insert", "object": table, "impact": "write"},
        {"verb": "drop", "object": table, "impact": "schema"},
    ]


@pytest.mark.case("PG-17")
def test_psql_is_told_which_rule_denied_and_goes_on(
    gateway: Gateway, dora: SignedIn, journal: Journal, name: str
) -> None:
    done = gateway.psql("dora", dora.token, appname=name).run("SELECT 1 \\; DROP TABLE loans", "SELECT 41 + 1")

    session = journal.closed_session(name)
    error, detail = done.errors.splitlines()[:2]
    assert done.rows == ["42"]
    assert error == (
        'ERROR:  42501: vestibule: denied by rule "no dropping": Schema objects are dropped by migration only.'
    )
    assert json.loads(detail.removeprefix("DETAIL:  ")) == {
        "rule": "no dropping",
        "session": str(session.id),
        "statement": 1,
        "approval": None,
    }
    assert session.all("StatementDecided")[0]["rule"]["name"] == "no dropping"


@pytest.mark.case("PG-18")
def test_a_refusal_inside_a_block_fails_the_block(
    gateway: Gateway, dev1: SignedIn, postgres15: PostgresServer, journal: Journal, name: str, table: str
) -> None:
    mark = postgres15.mark()

    done = gateway.psql("dev1", dev1.token, appname=name).run(
        "BEGIN", f"INSERT INTO {table} VALUES ('a')", DROP, "SELECT 1", "ROLLBACK", "SELECT 41 + 1"
    )

    assert [line[:14] for line in done.errors.splitlines() if line.startswith("ERROR")] == [
        "ERROR:  42501:",
        "ERROR:  25P02:",
    ]
    assert done.rows == ["42"]
    assert texts_in(postgres15, table) == []
    assert not [text for text in postgres15.statements(mark) if "DROP" in text]
    session = journal.closed_session(name)
    assert [decision for decision, _ in session.decisions] == ["allow", "allow", "deny", "allow", "allow", "allow"]
    assert session.outcomes == ["ok", "ok", "refused", "error", "ok", "ok"]


@pytest.mark.case("PG-18")
def test_the_status_after_a_refusal_in_a_block_is_that_of_a_real_error(raw: RawClient) -> None:
    assert codes(raw.query("BEGIN")) == ["BEGIN", "Z T"]
    assert codes(raw.query(DROP)) == ["ERROR 42501", "Z E"]
    assert codes(raw.query(DROP)) == ["ERROR 42501", "Z E"]
    assert codes(raw.query("SELECT 1")) == ["ERROR 25P02", "Z E"]
    assert codes(raw.query("ROLLBACK")) == ["ROLLBACK", "Z I"]


def test_a_savepoint_saves_a_block_from_a_refusal(connect: Connect, postgres15: PostgresServer, table: str) -> None:
    connection = connect(autocommit=False)
    connection.execute(f"INSERT INTO {table} VALUES ('kept')")

    def lose() -> None:
        with connection.transaction():
            connection.execute(f"INSERT INTO {table} VALUES ('lost')")
            connection.execute(DROP)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        lose()
    connection.execute(f"INSERT INTO {table} VALUES ('too')")
    connection.commit()

    assert texts_in(postgres15, table) == ["kept", "too"]


# The extended protocol


@pytest.mark.case("PG-19")
def test_a_refusal_in_a_pipeline_undoes_the_segment(
    raw: RawClient, postgres15: PostgresServer, journal: Journal, name: str, table: str
) -> None:
    mark = postgres15.mark()
    insert = f"INSERT INTO {table} VALUES ('%s')"

    answer = raw.ask(*extended(insert % "a"), *extended(DROP), *extended(insert % "b"), pg.Sync())

    assert codes(answer) == ["ParseComplete", "BindComplete", "INSERT 0 1", "ERROR 42501", "Z I"]
    assert texts_in(postgres15, table) == []
    assert postgres15.statements(mark) == [insert % "a"]
    assert codes(raw.ask(*extended("SELECT 1"), pg.Sync())) == [
        "ParseComplete",
        "BindComplete",
        "row 1",
        "SELECT 1",
        "Z I",
    ]
    raw.send(pg.Terminate())
    session = journal.closed_session(name)
    assert session.decisions == [("allow", insert % "a"), ("deny", DROP), ("allow", "SELECT 1")]
    assert session.outcomes == ["ok", "refused", "ok"]


@pytest.mark.case("PG-19")
def test_psycopg_sees_a_refusal_in_its_pipeline_where_it_belongs(
    connect: Connect, postgres15: PostgresServer, table: str
) -> None:
    connection = connect()
    mark = postgres15.mark()

    first = connection.cursor()

    def pipe() -> None:
        with connection.pipeline():
            first.execute(f"INSERT INTO {table} VALUES ('a') RETURNING x")
            connection.execute(DROP)
            connection.execute(f"INSERT INTO {table} VALUES ('b')")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        pipe()

    assert first.fetchone() == ("a",)
    assert texts_in(postgres15, table) == []
    assert not [text for text in postgres15.statements(mark) if DROP in text]
    assert connection.execute("SELECT 41 + 1").fetchone() == (42,)


def test_a_refused_parse_leaves_the_unnamed_statement(raw: RawClient) -> None:
    raw.ask(pg.Parse("", b"SELECT 41 + 1"), pg.Sync())

    assert codes(raw.ask(pg.Parse("other", DROP.encode()), pg.Sync())) == ["ERROR 42501", "Z I"]
    assert codes(raw.ask(pg.Bind("", ""), pg.Execute(""), pg.Sync())) == ["BindComplete", "row 42", "SELECT 1", "Z I"]


def test_a_refusal_is_told_at_a_flush_already(raw: RawClient) -> None:
    raw.send(*extended("SELECT 1"), *extended(DROP), pg.Flush())

    assert codes(raw.until(pg.ErrorResponse)) == [
        "ParseComplete",
        "BindComplete",
        "row 1",
        "SELECT 1",
        "ERROR 42501",
    ]
    assert codes(raw.ask(pg.Query(b"SELECT 2"), pg.Sync())) == ["Z I"]


def test_what_failed_before_a_refusal_is_what_the_client_sees(raw: RawClient, journal: Journal, name: str) -> None:
    answer = raw.ask(*extended(FAILS), *extended(DROP), pg.Sync())

    assert codes(answer) == ["ParseComplete", "BindComplete", "ERROR 22012", "Z I"]
    raw.send(pg.Terminate())
    session = journal.closed_session(name)
    assert session.decisions == [("allow", FAILS), ("deny", DROP)]
    assert session.outcomes == ["error", "refused"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_refused_query_behind_unsynced_messages_undoes_them(
    raw: RawClient, postgres15: PostgresServer, table: str, fails: bool
) -> None:
    first = f"INSERT INTO {table} VALUES ({'1 / 0' if fails else chr(39) + 'a' + chr(39)})"

    raw.send(*extended(first), pg.Query(DROP.encode()))
    if fails:
        raw.send(pg.Sync())
    answer = codes(raw.until(pg.ReadyForQuery))

    assert answer[-2:] == (["ERROR 22012", "Z I"] if fails else ["ERROR 42501", "Z I"])
    assert texts_in(postgres15, table) == []
    assert codes(raw.query("SELECT 1"))[-1] == "Z I"


# What never travels


@pytest.mark.case("PG-30")
def test_a_function_call_by_number_is_refused_and_the_session_goes_on(
    raw: RawClient, postgres15: PostgresServer
) -> None:
    mark = postgres15.mark()

    answer = raw.ask(pg.FunctionCall(1598, (), (), 0))

    assert codes(answer) == ["ERROR 0A000", "Z I"]
    assert codes(raw.query("SELECT 1"))[-2:] == ["SELECT 1", "Z I"]
    assert postgres15.statements(mark) == ["SELECT 1"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELEC 1", "42601"),
        ("SELECT 1; SELEC 1", "42601"),
        ("SELECT " + "(SELECT " * 2_000 + "1" + ")" * 2_000, "54001"),
        ("SELECT " + "+".join("1" * 100_000), "54001"),
        ("SELECT '" + "x" * (2 << 20) + "'", "54000"),
    ],
    ids=["no SQL", "no SQL behind SQL", "nested", "a chain", "too large"],
)
def test_a_text_that_is_not_understood_never_travels(
    raw: RawClient, postgres15: PostgresServer, text: str, code: str
) -> None:
    mark = postgres15.mark()

    assert codes(raw.query(text)) == [f"ERROR {code}", "Z I"]
    assert codes(raw.ask(pg.Parse("", text.encode()), pg.Sync())) == [f"ERROR {code}", "Z I"]
    assert codes(raw.query("SELECT 41 + 1"))[1:] == ["row 42", "SELECT 1", "Z I"]
    assert postgres15.statements(mark) == ["SELECT 41 + 1"]


def test_a_large_text_is_analysed_outside_the_pump_and_runs(raw: RawClient) -> None:
    text = "SELECT length('" + "y" * (1 << 20) + "')"

    assert codes(raw.query(text))[1:] == [f"row {1 << 20}", "SELECT 1", "Z I"]


def test_a_portal_that_was_never_bound_here_is_refused(raw: RawClient, postgres15: PostgresServer) -> None:
    mark = postgres15.mark()

    assert codes(raw.ask(pg.Execute("elsewhere"), pg.Sync())) == ["ERROR 34000", "Z I"]
    assert codes(raw.ask(pg.Describe("P", "elsewhere"), pg.Sync())) == ["ERROR 34000", "Z I"]
    assert codes(raw.ask(pg.Bind("", "elsewhere"), pg.Sync())) == ["ERROR 26000", "Z I"]
    assert codes(raw.ask(pg.Parse("vestibule_x", b"SELECT 1"), pg.Sync())) == ["ERROR 42602", "Z I"]
    assert postgres15.statements(mark) == []


def test_the_poison_shows_at_the_target_as_the_one_error_that_is_documented(
    raw: RawClient, postgres15: PostgresServer
) -> None:
    mark = postgres15.mark()

    raw.ask(*extended(DROP), pg.Sync())

    errors = [line.message for line in postgres15.since(mark) if line.severity == "ERROR"]
    assert len(errors) == 1
    assert errors[0].startswith('portal "vestibule_')


# Frames


HEAD = b"\0\0\0"


@pytest.mark.case("PG-25")
@pytest.mark.parametrize(
    "said",
    [
        *(b"Q" + length.to_bytes(4) for length in (0, 1, 2, 3)),
        b"S" + (65_537).to_bytes(4),
        b"Q" + ((16 << 20) + 1).to_bytes(4),
        b"B" + ((64 << 20) + 1).to_bytes(4),
        b"Q" + (2**32 - 1).to_bytes(4),
        b"y\0\0\0\x04",
        b"\0\0\0\0\x04",
        b"Q\0\0\0\x0eSELECT 1\0x",
        b"Q\0\0\0\x0cSELECT 1",
        b"Q\0\0\0\x0eSEL\0ECT 1\0",
        b"Q\0\0\0\x07\xff\xfe\0",
        b"S\0\0\0\x05x",
        b"p\0\0\0\x08vst\0",
        b"d\0\0\0\x04" + b"D\0\0\0\x06X\0",
    ],
    ids=lambda said: said[:10].hex(),
)
def test_a_frame_that_cannot_be_closes_both_sides(
    raw: RawClient, postgres15: PostgresServer, journal: Journal, name: str, said: bytes
) -> None:
    backend = backend_of(postgres15, name)

    raw.send(said)

    (answer,) = codes(raw.rest())
    assert answer == "FATAL 08P01"
    assert journal.closed_session(name).one("SessionClosed")["cause"] == "protocol_error"
    assert backend_is_gone(postgres15, backend)


@pytest.mark.case("PG-25")
@pytest.mark.parametrize(
    "body",
    [
        b"\0\0" + b"\0\0" + b"\0\0" + b"\0\0" + b"x",
        b"\0\0" + b"\0\0" + b"\xff\xff" + b"\0\0",
        b"\0\0" + b"\0\0" + b"\xff\xff" + b"\xff\xff\xff\xff" * 65_535,
        b"\0\0" + b"\0\0" + b"\0\x01" + b"\xff\xff\xff\xfe" + b"\0\0",
        b"\0\0" + b"\0\x02\0\0\0\0" + b"\0\x01" + b"\0\0\0\x01x" + b"\0\0",
        b"\0\0" + b"\0\x01\0\x02" + b"\0\0" + b"\0\0",
        b"\0\0" + b"\0\0" + b"\0\x01" + b"\0\0\0\x05ab" + b"\0\0",
        b"\0",
        b"",
    ],
    ids=[
        "a trailing byte",
        "65,535 parameters and none there",
        "65,535 parameters, all NULL, and no result formats",
        "a parameter of length -2",
        "two formats for one parameter",
        "format 2",
        "a parameter cut short",
        "no statement name",
        "nothing",
    ],
)
def test_a_bind_that_does_not_add_up_closes_both_sides(
    raw: RawClient, postgres15: PostgresServer, journal: Journal, name: str, body: bytes
) -> None:
    backend = backend_of(postgres15, name)
    mark = postgres15.mark()

    raw.send(pg.Parse("", b"SELECT $1::text"), b"B" + (len(body) + 4).to_bytes(4) + body)

    assert codes(raw.rest())[-1] == "FATAL 08P01"
    assert backend_is_gone(postgres15, backend)
    assert postgres15.statements(mark) == []
    assert journal.closed_session(name).one("SessionClosed")["cause"] == "protocol_error"


@pytest.mark.case("PG-25")
def test_a_bind_with_another_number_of_parameters_is_the_targets_error(raw: RawClient) -> None:
    answer = raw.ask(pg.Parse("", b"SELECT $1::text"), pg.Bind("", "", (), (b"a",) * 65_535), pg.Execute(""), pg.Sync())

    assert codes(answer) == ["ParseComplete", "ERROR 08P01", "Z I"]
    assert codes(raw.query("SELECT 1"))[-1] == "Z I"


def test_a_startup_packet_in_a_session_ends_it(raw: RawClient) -> None:
    raw.send(pg.StartupMessage(PROTOCOL_3_0, (("user", "dev1"),)))

    assert codes(raw.rest()) == ["FATAL 08P01"]
