"""Live sessions end: by revocation, expiry, an administrator, a limit, the operator; in the middle of a query too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.at_target import backend_is_gone, backend_of
from tests.support.clients import Outcome
from tests.support.evidence import Journal, SessionEvidence
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for
from vestibule.model.names import SECOND

#: What an end may take, from its cause to the client's error and the target's end of the session.
SECONDS = 60.0
SLEEP = "SELECT 'before', pg_sleep(90)"
MAXIMUM, IDLE = 4, 3


@pytest.fixture(scope="module")
def house(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Gateway:
    """A gateway at which auditors may be silent for a while only, and the platform's people may not stay for long."""

    def policy(document: dict[str, Any]) -> None:
        document["access"] += [
            may_read("auditors look", "internal-audit", idle=f"{IDLE}s"),
            may_read("operators look", "platform", max=f"{MAXIMUM}s"),
        ]

    return module_gateways.make({TARGET: postgres15}, policy=policy)


def may_read(name: str, group: str, **session: str) -> dict[str, Any]:
    return {"name": name, "groups": [group], "targets": [TARGET], "allow": ["read"], "session": session}


@pytest.fixture
def dev1(house: Gateway) -> SignedIn:
    """dev1, signed in for this test alone."""
    return sign_in(house, "dev1")


def revoke(who: SignedIn, session: SessionEvidence) -> None:
    who.revoke()


def log_out(who: SignedIn, session: SessionEvidence) -> None:
    who.log_out()


def kill(who: SignedIn, session: SessionEvidence) -> None:
    who.gateway.login("pat")
    done = who.gateway.cli("pat", "sessions", "kill", str(session.id))
    assert done.status == 0, done.errors


ENDS: dict[Callable[[SignedIn, SessionEvidence], None], tuple[str, str]] = {
    revoke: ("revoked", "revoked"),
    log_out: ("revoked", "revoked"),
    kill: ("killed", "ended by an administrator"),
}


@pytest.mark.case("PG-29")
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_session_is_ended_in_the_middle_of_a_query(
    house: Gateway,
    dev1: SignedIn,
    postgres15: PostgresServer,
    name: str,
    end: Callable[[SignedIn, SessionEvidence], None],
) -> None:
    cause, words = ENDS[end]
    journal = Journal(house.data)
    token = dev1 if end is log_out else dev1.another_token()
    with sleeping(house, token, postgres15, name) as (backend, outcome):
        began = time.monotonic()
        end(token, journal.session(name))
        done = outcome()
        took = time.monotonic() - began

    assert took < SECONDS
    assert f"FATAL:  57P01: vestibule: session ended: {words}\n" in done.errors
    assert done.status != 0
    assert backend_is_gone(postgres15, backend)
    session = journal.closed_session(name)
    assert session.one("SessionClosed")["cause"] == cause
    assert session.one("StatementFinished")["outcome"] in ("unknown", "cancelled")
    assert was_cancelled(postgres15, backend)


@pytest.mark.case("PG-29")
def test_a_login_that_expires_ends_its_sessions_in_the_middle_of_a_query_and_between_queries(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    def policy(document: dict[str, Any]) -> None:
        document["identity"][0]["login"] = {"max": "7s"}

    house = gateways.make({TARGET: postgres15}, policy=policy)
    began = time.monotonic()
    dev1 = sign_in(house, "dev1")
    with psycopg.connect(house.conninfo("dev1", dev1.token, application_name="idle"), autocommit=True) as idle:
        with sleeping(house, dev1, postgres15, name) as (backend, outcome):
            done = outcome()
            took = time.monotonic() - began
        wait_for(lambda: Journal(house.data).session("idle").is_closed, "the end of the idle session", SECONDS)
        with pytest.raises(psycopg.errors.AdminShutdown, match="session ended: login expired"):
            idle.execute("SELECT 1")

    assert 6 < took < 7 + SECONDS
    assert "FATAL:  57P01: vestibule: session ended: login expired\n" in done.errors
    assert backend_is_gone(postgres15, backend)
    assert was_cancelled(postgres15, backend)
    assert Journal(house.data).closed_session(name).one("SessionClosed")["cause"] == "login_expired"
    assert "token expired" in house.psql("dev1", dev1.token).run("SELECT 1").errors


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_session_is_ended_while_it_is_idle(
    house: Gateway, dev1: SignedIn, name: str, end: Callable[[SignedIn, SessionEvidence], None]
) -> None:
    cause, words = ENDS[end]
    journal = Journal(house.data)
    with psycopg.connect(house.conninfo("dev1", dev1.token, application_name=name), autocommit=True) as connection:
        connection.execute("SELECT 1")
        end(dev1, journal.session(name))
        session = journal.closed_session(name)
        with pytest.raises(psycopg.errors.AdminShutdown, match=f"session ended: {words}"):
            connection.execute("SELECT 1")

    assert session.one("SessionClosed")["cause"] == cause


def test_a_revoked_token_ends_no_session_of_another_person(house: Gateway, dev1: SignedIn, name: str) -> None:
    dev2 = sign_in(house, "dev2")
    with psycopg.connect(house.conninfo("dev2", dev2.token, application_name=name), autocommit=True) as connection:
        dev1.log_out()

        assert connection.execute("SELECT 41 + 1").fetchone() == (42,)


def test_the_open_transaction_of_a_session_that_is_ended_is_rolled_back(
    house: Gateway, dev1: SignedIn, postgres15: PostgresServer, name: str, table: str
) -> None:
    connection = psycopg.connect(house.conninfo("dev1", dev1.token, application_name=name))
    connection.execute(f"INSERT INTO {table} VALUES ('never')")
    backend = backend_of(postgres15, name)

    dev1.log_out()

    assert backend_is_gone(postgres15, backend)
    with pytest.raises(psycopg.errors.AdminShutdown):
        connection.commit()
    connection.close()
    assert postgres15.execute(f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_session_ends_at_its_longest_and_says_so(house: Gateway, postgres15: PostgresServer, name: str) -> None:
    pat = sign_in(house, "pat")
    began = time.monotonic()

    with sleeping(house, pat, postgres15, name) as (backend, outcome):
        done = outcome()

    assert MAXIMUM - 1 < time.monotonic() - began < MAXIMUM + SECONDS
    assert f"FATAL:  57P01: vestibule: session ended: maximum {MAXIMUM}s\n" in done.errors
    assert backend_is_gone(postgres15, backend)
    assert Journal(house.data).closed_session(name).one("SessionClosed")["cause"] == "max_time"


def test_a_silent_session_ends_and_one_whose_statement_runs_does_not(house: Gateway, name: str) -> None:
    ana = sign_in(house, "ana")
    journal = Journal(house.data)
    with psycopg.connect(house.conninfo("ana", ana.token, application_name=name), autocommit=True) as connection:
        connection.execute("SELECT pg_sleep(%s)", [IDLE + 1])
        session = journal.closed_session(name)
        with pytest.raises(psycopg.errors.AdminShutdown, match=f"session ended: idle {IDLE}s"):
            connection.execute("SELECT 1")

    assert session.outcomes == ["ok"]
    # By the gateway's own clock: how long this test takes to look is nothing of the session's.
    silent = session.one("SessionClosed").header.t - session.one("StatementFinished").header.t
    assert silent > (IDLE - 1) * SECOND
    assert session.one("SessionClosed")["cause"] == "idle"


def test_an_operator_who_stops_the_gateway_ends_sessions_with_a_word_and_a_record(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    house = gateways.make({TARGET: postgres15})
    who = sign_in(house, "dev1")
    with sleeping(house, who, postgres15, name) as (backend, outcome):
        assert house.stop() == 0
        done = outcome()

    assert "FATAL:  57P01: vestibule: session ended: the gateway is shutting down\n" in done.errors
    assert backend_is_gone(postgres15, backend)
    session = Journal(house.data).session(name)
    assert session.one("SessionClosed")["cause"] == "shutdown"
    assert [record["cause"] for record in Journal(house.data).records("NodeStopped")] == ["operator", "operator"]


@contextmanager
def sleeping(
    house: Gateway, who: SignedIn, server: PostgresServer, name: str
) -> Iterator[tuple[int, Callable[[], Outcome]]]:
    """A psql whose statement sleeps at the target; give the target's process, and the way to psql's end."""
    outcomes: list[Outcome] = []
    psql = house.psql(who.person, who.token, appname=name)
    thread = threading.Thread(target=lambda: outcomes.append(psql.run(SLEEP, timeout=100)), daemon=True)
    thread.start()

    def end() -> Outcome:
        thread.join(60)
        assert outcomes, "psql did not end"
        return outcomes[0]

    backend = wait_for(lambda: asleep(server, name), "the statement at the target")
    yield backend, end


def asleep(server: PostgresServer, name: str) -> int:
    """The target's process that sleeps for a session, 0 while there is none."""
    question = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s AND query LIKE %s AND state = 'active'"
    found = server.execute(question, [f"{name} %", f"%{SLEEP[:16]}%"])
    return found[0][0] if found else 0


def was_cancelled(server: PostgresServer, backend: int) -> bool:
    """Whether the target's log says that this process's statement was cancelled on request."""
    lines = [line.message for line in server.since(0) if line.pid == backend and line.severity == "ERROR"]
    return lines == ["canceling statement due to user request"]
