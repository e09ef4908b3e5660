"""COPY both ways through the gateway: in bounded memory, in step after whatever goes wrong, recorded."""

from __future__ import annotations

import psycopg
import pytest

from tests.end_to_end.conftest import Connect
from tests.support.at_target import backend_is_gone, backend_of, texts_in
from tests.support.evidence import Journal
from tests.support.gateway import Gateway
from tests.support.memory import MIB, growth
from tests.support.postgres import PostgresServer
from tests.support.raw_client import RawClient, codes, extended
from tests.support.signing_in import SignedIn
from tests.support.waiting import wait_for
from vestibule.protocols.postgres import messages as pg

COPIED = 1024 * MIB
LINE = b"x" * ((32 << 10) - 1) + b"\n"
BLOCK = LINE * 32


@pytest.mark.case("PG-23")
def test_a_large_copy_from_the_client_runs_in_bounded_memory(
    gateway: Gateway, connect: Connect, postgres15: PostgresServer, journal: Journal, name: str, table: str
) -> None:
    connection = connect()
    lines = COPIED // len(LINE)
    with growth(gateway) as grown, connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for _ in range(lines // 32):
                copy.write(BLOCK)
        assert cursor.rowcount == lines
    assert grown.mib < 100
    assert postgres15.execute(f"SELECT count(*), sum(length(x)) FROM {table}") == [(lines, lines * (len(LINE) - 1))]
    connection.close()
    session = journal.closed_session(name)
    finished = session.one("StatementFinished")
    assert session.decisions == [("allow", f"COPY {table} FROM STDIN")]
    assert (finished["outcome"], finished["rows"]) == ("ok", lines)
    assert session.one("SessionClosed")["bytes_to_target"] > COPIED


@pytest.mark.case("PG-23")
def test_psql_copies_a_file_in_and_out_again(
    gateway: Gateway, dev1: SignedIn, journal: Journal, name: str, table: str
) -> None:
    psql = gateway.psql("dev1", dev1.token, appname=name)
    gateway.sandbox.write(psql.folder / "in.csv", "".join(f'"line {number}, quoted"\n' for number in range(5_000)))

    done = psql.script(
        f"\\copy {table} from in.csv csv\n\\copy {table} to out.csv csv\nSELECT count(*) FROM {table};\n"
    )

    assert (done.status, done.rows) == (0, ["5000"]), done.errors
    assert len((psql.folder / "out.csv").read_text().splitlines()) == 5_000
    session = journal.closed_session(name)
    assert [record["rows"] for record in session.all("StatementFinished")] == [5_000, 5_000, 1]
    assert [record["ops"] for record in session.all("StatementDecided")[:2]] == [
        [{"verb": "copy", "object": table, "impact": "write"}],
        [{"verb": "copy", "object": table, "impact": "read"}],
    ]


@pytest.mark.case("PG-23")
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_a_copy_that_the_client_gives_up_copies_nothing_and_the_session_goes_on(
    raw: RawClient, postgres15: PostgresServer, journal: Journal, name: str, table: str, protocol: str
) -> None:
    begin_copy(raw, table, protocol)

    raw.send(pg.CopyData(b"one\ntwo\n"), pg.CopyFail("changed my mind"))
    if protocol == "extended":
        raw.send(pg.Sync())

    assert codes(raw.until(pg.ReadyForQuery)) == ["ERROR 57014", "Z I"]
    assert codes(raw.query("SELECT 1"))[-2:] == ["SELECT 1", "Z I"]
    assert texts_in(postgres15, table) == []
    raw.send(pg.Terminate())
    assert journal.closed_session(name).outcomes == ["cancelled", "ok"]


@pytest.mark.case("PG-23")
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_an_error_of_the_target_in_the_middle_of_a_copy_leaves_the_session_in_step(
    raw: RawClient, postgres15: PostgresServer, journal: Journal, name: str, table: str, protocol: str
) -> None:
    begin_copy(raw, table, protocol)

    raw.send(pg.CopyData(b"one\n"), pg.CopyData(b"two\tcolumns\n"), *[pg.CopyData(b"more\n")] * 1_000, pg.CopyDone())
    if protocol == "extended":
        raw.send(pg.Sync())

    assert codes(raw.until(pg.ReadyForQuery)) == ["ERROR 22P04", "Z I"]
    assert codes(raw.query("SELECT 41 + 1"))[1:] == ["row 42", "SELECT 1", "Z I"]
    assert texts_in(postgres15, table) == []
    raw.send(pg.Terminate())
    session = journal.closed_session(name)
    assert session.outcomes == ["error", "ok"]
    assert session.all("StatementFinished")[0]["error"]["code"] == "22P04"


@pytest.mark.case("PG-23")
def test_the_target_fails_early_in_a_large_copy_and_the_client_hears_it(connect: Connect, table: str) -> None:
    connection = connect()

    def copy() -> None:
        with connection.cursor().copy(f"COPY {table} FROM STDIN") as out:
            out.write(b"two\tcolumns\n")
            for _ in range(64):
                out.write(BLOCK)

    with pytest.raises(psycopg.errors.BadCopyFileFormat):
        copy()
    assert connection.execute("SELECT 41 + 1").fetchone() == (42,)


@pytest.mark.case("PG-23")
def test_a_client_that_dies_in_a_copy_leaves_nothing_behind(
    raw: RawClient, postgres15: PostgresServer, journal: Journal, name: str, table: str
) -> None:
    backend = backend_of(postgres15, name)
    begin_copy(raw, table, "simple")
    raw.send(pg.CopyData(b"one\n"))
    wait_for(lambda: progress(postgres15, backend), "the copy at the target")

    raw.stream.close()

    assert backend_is_gone(postgres15, backend)
    assert texts_in(postgres15, table) == []
    session = journal.closed_session(name)
    assert session.one("SessionClosed")["cause"] == "client_closed"
    assert session.outcomes[0] in ("unknown", "cancelled", "error")


@pytest.mark.case("PG-23")
def test_in_a_copy_nothing_else_may_be_said(
    raw: RawClient, postgres15: PostgresServer, journal: Journal, name: str, table: str
) -> None:
    backend = backend_of(postgres15, name)
    begin_copy(raw, table, "simple")

    raw.send(pg.CopyData(b"one\n"), pg.Query(b"SELECT 1"))

    assert codes(raw.rest()) == ["FATAL 08P01"]
    assert backend_is_gone(postgres15, backend)
    assert texts_in(postgres15, table) == []
    assert journal.closed_session(name).one("SessionClosed")["cause"] == "protocol_error"


def test_sync_and_flush_in_a_copy_are_ignored_as_the_server_ignores_them(
    raw: RawClient, postgres15: PostgresServer, table: str
) -> None:
    raw.send(*extended(f"COPY {table} FROM STDIN"), pg.Sync())
    raw.until(pg.CopyInResponse)

    answer = raw.ask(pg.Flush(), pg.CopyData(b"one\n"), pg.Sync(), pg.CopyDone(), pg.Sync())

    assert codes(answer) == ["COPY 1", "Z I"]
    assert texts_in(postgres15, table) == ["one"]
    assert codes(raw.query("SELECT 41 + 1"))[1:] == ["row 42", "SELECT 1", "Z I"]


def test_a_denied_copy_never_begins(raw: RawClient, postgres15: PostgresServer) -> None:
    mark = postgres15.mark()

    for text in ("COPY loans FROM PROGRAM 'cat'", "COPY loans TO '/tmp/loans'", "COPY pg_authid TO PROGRAM 'cat'"):
        assert codes(raw.query(text)) == ["ERROR 42501", "Z I"]

    assert postgres15.statements(mark) == []


@pytest.mark.parametrize("form", ["TEXT", "CSV", "BINARY"])
def test_psycopg_copies_out_and_in_again_in_every_form(
    connect: Connect, postgres15: PostgresServer, table: str, form: str
) -> None:
    connection = connect()
    source = f"COPY (SELECT memo FROM transactions ORDER BY id) TO STDOUT (FORMAT {form})"

    with connection.cursor() as cursor, cursor.copy(source) as out:
        data = b"".join(bytes(piece) for piece in out)
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT {form})") as copy:
        copy.write(data)

    assert postgres15.execute(f"SELECT count(*) FROM {table}") == [(400,)]
    assert texts_in(postgres15, table) == sorted(row[0] for row in postgres15.execute("SELECT memo FROM transactions"))


def begin_copy(raw: RawClient, table: str, protocol: str) -> None:
    """Begin a COPY from the client, up to the target's word that it may begin."""
    text = f"COPY {table} FROM STDIN"
    raw.send(*([pg.Query(text.encode())] if protocol == "simple" else [*extended(text), pg.Flush()]))
    raw.until(pg.CopyInResponse)


def progress(server: PostgresServer, backend: int) -> bool:
    """Whether the target is in the middle of a COPY for this session."""
    return bool(server.execute("SELECT 1 FROM pg_stat_progress_copy WHERE pid = %s", [backend]))
