"""Conversations byte for byte as a direct connection answers them; and the settings that a session may change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway
from tests.support.postgres import CLEARTEXT, DATABASE, PostgresServer
from tests.support.raw_client import RawClient, codes, extended, in_session
from tests.support.signing_in import SignedIn
from vestibule.protocols.postgres import messages as pg

TEMPORARY = re.compile(r"pg_temp_\d+")
SYNC, FLUSH = pg.Sync(), pg.Flush()
ROWS = "SELECT n FROM generate_series(1, 5) n"


def query(text: str) -> list[pg.FrontendMessage]:
    return [pg.Query(text.encode())]


def execute(portal: str, most: int = 0) -> pg.Execute:
    return pg.Execute(portal, most)


#: Each is what a client says, piece by piece; behind each piece it reads up to the ReadyForQuery.
CONVERSATIONS: dict[str, list[list[pg.FrontendMessage]]] = {
    "nothing": [query(""), query(";"), query("-- nothing"), [*extended(""), SYNC]],
    "several statements": [query("SELECT 1; SELECT 2, 3; VALUES ('a')"), query("SELECT 1; SELECT 1 / 0; SELECT 2")],
    "a suspended portal": [
        [*extended(ROWS, max_rows=2), execute("", 2), execute("", 2), execute("", 2), SYNC],
        [pg.Execute("", 1), SYNC],
    ],
    "a suspended portal in a block": [
        query("BEGIN"),
        [*extended(ROWS, "s", "p", 2), SYNC],
        [execute("p", 1), SYNC],
        query("SELECT 'between'"),
        [pg.Describe("P", "p"), execute("p"), SYNC],
        [pg.Close("P", "p"), execute("p"), SYNC],
        query("ROLLBACK"),
    ],
    "a named statement": [
        [pg.Parse("s", b"SELECT $1::int + $2"), pg.Describe("S", "s"), SYNC],
        [pg.Bind("", "s", (), (b"40", b"2")), pg.Describe("P", ""), execute(""), SYNC],
        [pg.Bind("", "s", (1, 1), (b"\0\0\0\x28", b"\0\0\0\x02"), (1,)), execute(""), SYNC],
        [pg.Bind("", "s", (), (None, b"2")), execute(""), SYNC],
        [pg.Bind("", "s", (), (b"x", b"2")), execute(""), SYNC],
        [pg.Parse("s", b"SELECT 1"), SYNC],
        [pg.Close("S", "s"), pg.Bind("", "s"), SYNC],
    ],
    "PREPARE and EXECUTE": [
        query("PREPARE p (int) AS SELECT $1 * 2"),
        query("EXECUTE p (21)"),
        [pg.Bind("", "p", (), (b"4",)), pg.Describe("P", ""), execute(""), SYNC],
        query("EXPLAIN (COSTS false) EXECUTE p (1)"),
        query("DEALLOCATE p"),
        query("EXECUTE p (21)"),
        query("PREPARE a AS SELECT 1; EXECUTE a; DEALLOCATE a"),
        [pg.Parse("b", b"SELECT 'b'"), SYNC],
        query("EXECUTE b"),
        query("DEALLOCATE ALL"),
        query("EXECUTE b"),
    ],
    "cursors": [
        query("DECLARE c CURSOR FOR SELECT 1"),
        query("BEGIN"),
        query(f"DECLARE c SCROLL CURSOR FOR {ROWS}"),
        query("FETCH 2 FROM c"),
        query("FETCH BACKWARD 1 FROM c; MOVE 2 IN c; FETCH c"),
        [pg.Describe("P", "c"), execute("c", 1), SYNC],
        query("CLOSE c"),
        query("FETCH c"),
        query("ROLLBACK"),
    ],
    "cursors WITH HOLD": [
        query(f"BEGIN; DECLARE h CURSOR WITH HOLD FOR {ROWS}; COMMIT"),
        query("FETCH 2 FROM h"),
        query("BEGIN; SELECT 1 / 0"),
        query("ROLLBACK"),
        query("FETCH 2 FROM h"),
        query("CLOSE ALL"),
        query("FETCH h"),
    ],
    "savepoints": [
        query("BEGIN"),
        query("SAVEPOINT a"),
        query("SELECT 1 / 0"),
        query("SELECT 1"),
        query("ROLLBACK TO a"),
        query("SELECT 1"),
        query("RELEASE a"),
        query("COMMIT"),
        query("ROLLBACK"),
    ],
    "notices": [
        query("COMMIT"),
        query("BEGIN; BEGIN; ROLLBACK"),
        query("ROLLBACK"),
        query("SELECT repeat('x', 70)::name; CREATE TEMP TABLE IF NOT EXISTS v (x int)"),
    ],
    "temporary tables": [
        query("CREATE TEMP TABLE t (x int PRIMARY KEY); INSERT INTO t VALUES (1), (2)"),
        query("INSERT INTO t VALUES (1)"),
        query("SELECT x FROM t ORDER BY x"),
        query("UPDATE t SET x = x + 10 RETURNING x"),
        query("DELETE FROM t"),
    ],
    "errors of every stage": [
        query("SELECT no_such_column FROM customers"),
        [pg.Parse("", b"SELECT no_such_column FROM customers"), pg.Bind("", ""), execute(""), SYNC],
        [pg.Parse("", b"SELECT 1 / $1::int"), pg.Bind("", "", (), (b"0",)), execute(""), SYNC],
        [pg.Parse("", b"SELECT $1::int"), pg.Bind("", "", (), (b"a",)), execute(""), SYNC],
        [pg.Bind("p", "no_such_statement"), SYNC],
        [execute("no_such_portal"), SYNC],
        query("SELECT 1 FROM generate_series(1, 3) n WHERE 1 / (n - 3) < 0"),
    ],
    "a failed pipeline": [
        [*extended("SELECT 1"), *extended("SELECT 1 / 0"), *extended("SELECT 2"), SYNC],
        [*extended("BEGIN"), *extended("SELECT 1 / 0"), SYNC],
        [*extended("SELECT 1"), SYNC],
        [*extended("ROLLBACK"), SYNC],
    ],
    "Flush instead of Sync": [
        [*extended("SELECT 1"), FLUSH, *extended("SELECT 2"), FLUSH, SYNC],
        [FLUSH, SYNC],
        [SYNC],
    ],
    "a Query behind unsynced messages": [
        [*extended("SELECT 1"), *query("SELECT 2")],
        [*extended("SELECT 1 / 0"), *query("SELECT 2"), SYNC],
    ],
    "COPY out": [
        query("COPY (VALUES (1, 'a'), (2, NULL)) TO STDOUT"),
        [*extended("COPY (VALUES (1, 'a')) TO STDOUT (FORMAT CSV)"), SYNC],
        query("COPY (SELECT 1 / 0) TO STDOUT; SELECT 1"),
    ],
    "notifications": [
        query("LISTEN somewhere"),
        query("BEGIN; NOTIFY somewhere, 'word'; NOTIFY somewhere, 'word'; NOTIFY somewhere, 'another'; COMMIT"),
        query("UNLISTEN *"),
    ],
    "settings that are reported": [
        query("SET TimeZone = 'Asia/Tokyo'"),
        query("SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'"),
        query("BEGIN; SET LOCAL TimeZone = 'UTC'; SELECT '2026-01-01 00:00+00'::timestamptz; ROLLBACK"),
        query("SHOW TimeZone; SELECT interval '1 day', date '2026-02-01'"),
        query("RESET TimeZone; RESET DateStyle"),
    ],
    "portals end with their transaction": [
        query("BEGIN"),
        [*extended(ROWS, "", "p", 1), SYNC],
        query("COMMIT"),
        [execute("p"), SYNC],
        [*extended(ROWS, "", "q", 1), SYNC, execute("q"), SYNC],
    ],
}


@pytest.fixture
def direct(postgres15: PostgresServer) -> Iterator[RawClient]:
    """A direct session, by a role that is asked for its password in clear, with the settings that the gateway pins."""
    settings = {
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        "client_encoding": "UTF8",
        "search_path": '"public"',
        "database": DATABASE,
    }
    with RawClient.connect(postgres15.port) as client:
        client.start_tls(postgres15.ca)
        client.log_in(CLEARTEXT, postgres15.passwords[CLEARTEXT], **settings)
        yield client


def read(client: RawClient, said: list[pg.FrontendMessage]) -> list[object]:
    """Say a piece and read its answers, but for what names the process."""
    ends = sum(isinstance(message, pg.Sync | pg.Query) for message in said)
    # A Query behind an unsynced failure is not answered.
    if any(isinstance(message, pg.Query) for message in said) and said[-1] is SYNC:
        ends -= 1
    return [plain(message) for message in client.ask(*said, syncs=ends)]


def plain(message: pg.BackendMessage) -> object:
    """A message without what differs from one server process, or one place in its sources, to the next."""
    match message:
        case pg.ErrorResponse(fields=fields) | pg.NoticeResponse(fields=fields):
            # What the gateway says in the server's stead has a detail for programs behind it.
            kept = (pair for pair in fields if pair[0] not in "FLR" and not pair[1].startswith('{"rule":'))
            return type(message), tuple((key, TEMPORARY.sub("pg_temp", value)) for key, value in kept)
        case pg.RowDescription(fields=fields):
            return [replace(field, table=bool(field.table)) for field in fields]
        case pg.NotificationResponse():
            return message.channel, message.payload
        case _:
            return message


@pytest.mark.parametrize("title", CONVERSATIONS)
def test_a_conversation_is_answered_as_a_direct_connection_answers_it(
    raw: RawClient, direct: RawClient, title: str
) -> None:
    answers = [read(raw, said) for said in CONVERSATIONS[title]]

    for said, answer in zip(CONVERSATIONS[title], answers, strict=True):
        assert answer == read(direct, said), said


def test_all_conversations_in_one_session_leave_it_in_step(
    raw: RawClient, direct: RawClient, journal: Journal, name: str
) -> None:
    said = [piece for conversation in CONVERSATIONS.values() for piece in [*conversation, query("DISCARD ALL")]]

    answers = [read(raw, piece) for piece in said]
    raw.send(pg.Terminate())

    assert answers == [read(direct, piece) for piece in said]
    session = journal.closed_session(name)
    decided = zip(session.decisions, session.outcomes, strict=True)
    assert [text for (_, text), outcome in decided if outcome == "open"] == []
    assert session.one("SessionClosed")["statements"] == len(session.all("StatementDecided"))


# Settings


ALLOWED = [
    "SET application_name = 'me'",
    "SET DateStyle = 'German'",
    "SET TIME ZONE 'Asia/Tokyo'",
    "SET statement_timeout = '30s'",
    "SET LOCAL lock_timeout = 100",
    "SET bytea_output = 'escape'",
    "SET extra_float_digits = 3",
    "SET client_encoding = 'UTF8'",
    "SET NAMES 'utf-8'",
    "SET standard_conforming_strings = on",
    "SET client_min_messages = warning",
    "SET enable_seqscan = off",
    "SET jit = off",
    "SET search_path = public, pg_temp",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SELECT set_config('jit', 'off', false)",
    "RESET ALL",
    "DISCARD ALL",
    "SHOW search_path",
]
REFUSED = [
    "SET ROLE admin",
    "SET SESSION AUTHORIZATION admin",
    "SET standard_conforming_strings = off",
    "SET client_encoding = 'LATIN1'",
    "SET NAMES 'SJIS'",
    "SET client_min_messages = debug5",
    "SET backslash_quote = on",
    'SET search_path = "$user", public',
    "SET session_replication_role = replica",
    "SET log_statement = none",
    "SET work_mem = '100GB'",
    "SET dynamic_library_path = '/tmp'",
    "SELECT set_config('standard_conforming_strings', 'off', false)",
    "SELECT set_config('search' || '_path', 'x', false)",
    "SELECT set_config(name, 'off', false) FROM pg_settings",
    "BEGIN; SET LOCAL standard_conforming_strings = off; COMMIT",
    "ALTER ROLE vestibule_rw SET search_path = x",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_a_listed_setting_may_be_changed(raw: RawClient, text: str) -> None:
    answer = raw.query(text)

    assert not [message for message in answer if isinstance(message, pg.ErrorResponse)], codes(answer)
    assert codes(raw.ask(*extended(text), SYNC))[-1] == "Z I"


@pytest.mark.parametrize("text", REFUSED)
def test_any_other_setting_is_refused_and_never_travels(raw: RawClient, postgres15: PostgresServer, text: str) -> None:
    mark = postgres15.mark()

    assert codes(raw.query(text)) == ["ERROR 42501", "Z I"]
    assert codes(raw.ask(*extended(text), SYNC)) == ["ERROR 42501", "Z I"]
    assert postgres15.statements(mark) == []


@pytest.mark.parametrize(
    ("name_and_value", "answer"),
    [
        ((b"jit", b"off"), ["BindComplete", "row off", "SELECT 1", "Z I"]),
        ((b"standard_conforming_strings", b"off"), ["ERROR 42501", "Z I"]),
    ],
)
def test_a_setting_whose_value_is_a_parameter_is_judged_at_bind(
    raw: RawClient, name_and_value: tuple[bytes, bytes], answer: list[str]
) -> None:
    setting, value = name_and_value
    text = f"SELECT set_config('{setting.decode()}', $1, false)"
    assert codes(raw.ask(pg.Parse("s", text.encode()), SYNC)) == ["ParseComplete", "Z I"]

    assert codes(raw.ask(pg.Bind("", "s", (), (value,)), execute(""), SYNC)) == answer


def test_the_pins_come_back_with_every_reset(gateway: Gateway, dev1: SignedIn) -> None:
    with in_session(gateway.port, gateway.ca, f"dev1+{TARGET}", dev1.token) as client:
        for reset in ("RESET ALL", "DISCARD ALL", "RESET bytea_output", "SET bytea_output TO DEFAULT"):
            client.query("SET bytea_output = 'escape'")
            client.query(reset)
            assert "row hex" in codes(client.query("SHOW bytea_output"))
