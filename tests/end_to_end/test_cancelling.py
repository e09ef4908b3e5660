"""Stopping a statement from outside: psql's Ctrl-C in plaintext, libpq 18's over TLS, and keys that lead nowhere."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from tests.end_to_end.conftest import Connect
from tests.support.at_target import backend_of, is_running
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway
from tests.support.postgres import PostgresServer
from tests.support.raw_client import RawClient, codes, in_session
from tests.support.signing_in import SignedIn
from tests.support.waiting import wait_for
from vestibule.protocols.postgres import messages as pg

#: Within a second, and what a busy machine adds.
AT_ONCE = 3.0


@pytest.mark.case("PG-12")
def test_control_c_in_psql_stops_the_statement_and_the_session_goes_on(
    gateway: Gateway, dev1: SignedIn, postgres15: PostgresServer, journal: Journal, name: str
) -> None:
    with gateway.psql("dev1", dev1.token, appname=name).terminal() as terminal:
        terminal.expect("=>")
        terminal.type("SELECT 'slept', pg_sleep(60);")
        wait_until_asleep(postgres15, name)
        pressed = time.monotonic()
        terminal.interrupt()
        terminal.expect("57014")
        assert time.monotonic() - pressed < AT_ONCE
        terminal.type("SELECT 41 + 1 AS answer;")
        terminal.expect("42")
        terminal.type("\\q")
        terminal.wait()

    session = journal.closed_session(name)
    assert session.outcomes == ["cancelled", "ok"]
    assert session.all("StatementFinished")[0]["error"]["code"] == "57014"


@pytest.mark.case("PG-13")
def test_libpq_18_cancels_over_tls_without_an_unexpected_end(
    connect: Connect, postgres15: PostgresServer, journal: Journal, name: str
) -> None:
    connection = connect()
    assert psycopg.pq.version() >= 180_000
    failed: list[BaseException] = []

    def sleep() -> None:
        try:
            connection.execute("SELECT pg_sleep(60)")
        except psycopg.Error as error:
            failed.append(error)

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    wait_until_asleep(postgres15, name)
    asked = time.monotonic()
    connection.cancel_safe(timeout=10)
    sleeper.join(20)

    assert time.monotonic() - asked < AT_ONCE
    assert [type(error) for error in failed] == [psycopg.errors.QueryCanceled]
    assert connection.execute("SELECT 41 + 1").fetchone() == (42,)
    connection.close()
    assert journal.closed_session(name).outcomes == ["cancelled", "ok"]


def test_a_late_cancel_does_not_hit_the_next_statement(connect: Connect) -> None:
    connection = connect()

    for number in range(20):
        connection.cancel_safe(timeout=10)
        assert connection.execute("SELECT %s::int", (number,)).fetchone() == (number,)


def test_a_key_that_nobody_has_stops_nothing_and_is_not_answered(
    gateway: Gateway, raw: RawClient, postgres15: PostgresServer, name: str
) -> None:
    (key,) = [message for message in raw.messages if isinstance(message, pg.BackendKeyData)]
    backend = backend_of(postgres15, name)
    raw.send(pg.Query(b"SELECT pg_sleep(2)"))
    wait_until_asleep(postgres15, name)

    for wrong in (bytes(4), bytes([key.secret_key[0] ^ 1]) + key.secret_key[1:]):
        with RawClient.connect(gateway.port) as other:
            other.send(pg.CancelRequest(key.process_id, wrong))
            assert other.rest_of_bytes() == b""

    assert is_running(postgres15, backend, "pg_sleep")
    assert codes(raw.until(pg.ReadyForQuery))[-2:] == ["SELECT 1", "Z I"]


def test_one_session_cannot_stop_anothers_statement_by_the_targets_functions(
    gateway: Gateway, raw: RawClient, dev1: SignedIn, postgres15: PostgresServer, name: str
) -> None:
    backend = backend_of(postgres15, name)

    with in_session(gateway.port, gateway.ca, f"dev1+{TARGET}", dev1.token) as other:
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            assert codes(other.query(f"SELECT {function}({backend})")) == ["ERROR 42501", "Z I"]

    assert codes(raw.query("SELECT 1"))[-1] == "Z I"


def test_what_the_client_gets_as_its_key_is_not_the_targets(raw: RawClient, postgres15: PostgresServer) -> None:
    (key,) = [message for message in raw.messages if isinstance(message, pg.BackendKeyData)]

    with RawClient.connect(postgres15.port) as direct:
        direct.send(pg.CancelRequest(key.process_id, key.secret_key))
        direct.rest_of_bytes()

    assert len(key.secret_key) == 4
    assert codes(raw.query("SELECT pg_backend_pid()"))[1] != f"row {key.process_id}"


def test_who_leaves_in_the_middle_of_a_statement_has_it_stopped(
    raw: RawClient, postgres15: PostgresServer, journal: Journal, name: str
) -> None:
    raw.send(pg.Query(b"SELECT pg_sleep(60)"))
    wait_until_asleep(postgres15, name)
    left = time.monotonic()

    raw.stream.close()

    session = journal.closed_session(name)
    wait_for(
        lambda: not postgres15.execute("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE %s", [f"{name} %"]),
        "the target's end of the session",
        10,
    )
    assert time.monotonic() - left < 2 * AT_ONCE
    assert session.one("SessionClosed")["cause"] == "client_closed"
    assert session.all("StatementFinished")[0]["outcome"] in ("unknown", "cancelled")


def wait_until_asleep(server: PostgresServer, name: str) -> None:
    """Wait until the target sleeps for the session under `name`."""
    backend = wait_for(lambda: backend_of(server, name), "the session at the target")
    wait_for(lambda: is_running(server, backend, "pg_sleep"), "pg_sleep at the target")
