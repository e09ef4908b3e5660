"""Statements that wait for people, with real clients: held in an open psql, approved elsewhere, run once."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.end_to_end.conftest import Connect
from tests.support.balancer import balancer
from tests.support.evidence import Journal, SessionEvidence
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.raw_client import RawClient, codes, in_session
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for
from vestibule.protocols.postgres import messages as pg

HOLD = {
    "name": "deleting needs a second person",
    "match": {"verbs": ["delete"]},
    "action": "hold",
    "approvers": {"groups": ["dba-managers"], "quorum": 1},
    "expires": "15m",
}
#: Within which a client that has gone is noticed.
NOTICED = 5.0


def holding(policy: dict[str, Any]) -> None:
    policy["guardrails"].append(HOLD)


@pytest.fixture(scope="module")
def house(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Iterator[Gateway]:
    """A gateway where deleting is held; behind all tests its evidence is checked as an outsider would check it."""
    gateway = module_gateways.make({TARGET: postgres15}, policy=holding)
    gateway.login("dora")
    yield gateway
    assert gateway.stop() == 0
    done = gateway.cli("ana", "evidence", "verify", gateway.data, timeout=120)
    assert done.status == 0, done.output + done.errors
    assert "V12" in done.output
    assert "0 self-approved" in done.output


@pytest.fixture(scope="module")
def dev(house: Gateway) -> SignedIn:
    return sign_in(house, "dev1")


@pytest.fixture
def evidence(house: Gateway) -> Journal:
    return Journal(house.data)


@pytest.fixture
def rows(postgres15: PostgresServer, table: str) -> str:
    """A table of the test's own with three rows."""
    postgres15.execute(f"INSERT INTO {table} VALUES ('a'), ('b'), ('c')")
    return table


@pytest.fixture
def open_one(house: Gateway, dev: SignedIn, name: str) -> Iterator[Connect]:
    opened: list[psycopg.Connection] = []

    def one(**more: Any) -> psycopg.Connection:
        conninfo = house.conninfo(dev.person, dev.token, TARGET, application_name=name, connect_timeout=20)
        opened.append(psycopg.connect(conninfo, autocommit=True, **more))
        return opened[-1]

    yield one
    for connection in opened:
        connection.close()


def waiting(house: Gateway, about: str) -> str:
    """Wait until people can see a request about a table, and give its id."""

    def found() -> str:
        listed: list[dict[str, Any]] = json.loads(house.cli("dora", "approvals", "list", "--json").output)
        return next((row["approval"] for row in listed if about in json.dumps(row)), "")

    return wait_for(found, f"a request about {about}")


def approve(house: Gateway, approval: str) -> None:
    done = house.cli("dora", "approvals", "approve", approval, "--comment", "as agreed")
    assert done.status == 0, done.output + done.errors


def count(server: PostgresServer, table: str) -> int:
    (found,) = server.execute(f"SELECT count(*) FROM {table}")[0]
    return int(found)


@pytest.mark.case("PG-15")
def test_a_delete_in_an_open_psql_waits_is_approved_elsewhere_and_its_row_count_arrives_there(
    house: Gateway, dev: SignedIn, postgres15: PostgresServer, evidence: Journal, rows: str, name: str
) -> None:
    with house.psql("dev1", dev.token, appname=name).terminal() as terminal:
        terminal.expect("=>")
        terminal.type(f"DELETE FROM {rows} WHERE x = 'a';")
        shown = terminal.expect("held for approval AR-")
        assert "NOTICE" in shown
        approval = waiting(house, rows)
        terminal.expect(f"{house.public_url}/approvals/{approval}")
        assert count(postgres15, rows) == 3
        approve(house, approval)
        terminal.expect("DELETE 1")
        terminal.type("SELECT 41 + 1 AS answer;")
        terminal.expect("42")
        terminal.type("\\q")
        terminal.wait()

    assert count(postgres15, rows) == 2
    session = evidence.closed_session(name)
    assert_released(session)
    assert session.one("SessionClosed")["held"] == 1


def assert_released(session: SessionEvidence) -> None:
    """The decision, the request and the use of the permit name each other and one commitment."""
    requested, used = session.all("ApprovalRequested")[0], session.one("PermitUsed")
    assert "hold" in [each["decision"] for each in session.all("StatementDecided")]
    assert requested["approval"].startswith("AR-")
    assert (used["bytes_mac"], used["bind_key"]) == (requested["bytes_mac"], requested["bind_key"])
    assert (used["result"], used["equal"]) == ("spent", True)


@pytest.mark.case("PG-14")
def test_control_c_withdraws_what_is_held_and_a_later_approval_executes_nothing(
    house: Gateway, dev: SignedIn, postgres15: PostgresServer, evidence: Journal, rows: str, name: str
) -> None:
    with house.psql("dev1", dev.token, appname=name).terminal() as terminal:
        terminal.expect("=>")
        terminal.type(f"DELETE FROM {rows};")
        terminal.expect("held for approval AR-")
        approval = waiting(house, rows)
        terminal.interrupt()
        terminal.expect("57014")
        late = house.cli("dora", "approvals", "approve", approval)
        assert late.status == 1
        assert "withdrawn" in late.errors
        terminal.type("SELECT 41 + 1 AS answer;")
        terminal.expect("42")
        terminal.type("\\q")
        terminal.wait()

    assert count(postgres15, rows) == 3
    assert evidence.closed_session(name).outcomes == ["refused", "ok"]


@pytest.mark.parametrize("buffered", [0, 3 << 20], ids=["with nothing behind", "with a full buffer"])
def test_a_client_that_is_killed_while_it_waits_withdraws_its_request_in_time(
    house: Gateway, dev: SignedIn, postgres15: PostgresServer, evidence: Journal, rows: str, name: str, buffered: int
) -> None:
    mark = evidence.mark()
    user = f"dev1+{TARGET}"
    with in_session(house.port, house.ca, user, dev.token, application_name=name) as client:
        client.send(pg.Query(f"DELETE FROM {rows}".encode()))
        client.expect(pg.NoticeResponse)
        client.stream.settimeout(2)
        filler = pg.Query(b"SELECT '" + b"x" * 60_000 + b"'")
        try:
            for _ in range(buffered // 60_000):
                client.send(filler)
        except TimeoutError:
            pass
    gone = time.monotonic()
    answered = evidence.wait_for(mark, "ApprovalAnswered", answer="withdrawn")
    assert time.monotonic() - gone < NOTICED
    assert answered["answer"] == "withdrawn"
    assert count(postgres15, rows) == 3


def test_a_psql_that_is_killed_executes_nothing(
    house: Gateway, dev: SignedIn, postgres15: PostgresServer, evidence: Journal, rows: str, name: str
) -> None:
    mark = evidence.mark()
    with house.psql("dev1", dev.token, appname=name).terminal() as terminal:
        terminal.expect("=>")
        terminal.type(f"DELETE FROM {rows};")
        terminal.expect("held for approval AR-")
        os.kill(terminal.process.pid, signal.SIGKILL)
        evidence.wait_for(mark, "ApprovalAnswered", answer="withdrawn", timeout=NOTICED)
    assert count(postgres15, rows) == 3


def test_inside_a_transaction_it_is_refused_at_once_and_spent_by_the_same_statement_run_again(
    house: Gateway, postgres15: PostgresServer, evidence: Journal, open_one: Connect, rows: str, name: str
) -> None:
    connection = open_one()
    text = f"DELETE FROM {rows} WHERE x = 'b'"
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught, connection.transaction():
        connection.execute(text)
    approval = waiting(house, rows)
    assert f"approval {approval} required" in str(caught.value)
    assert f"{house.public_url}/approvals/{approval}; run it again after approval" in str(caught.value)
    assert json.loads(caught.value.diag.message_detail or "{}")["approval"] == approval
    approve(house, approval)

    with connection.transaction():
        assert connection.execute(text).rowcount == 1

    assert count(postgres15, rows) == 2
    with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
        connection.execute(text)
    connection.close()
    assert_released(evidence.closed_session(name))


@pytest.mark.case("E-20")
@pytest.mark.parametrize(
    "change",
    ["WHERE x = 'c'", "WHERE x = 'b' ", "/* */ WHERE x = 'b'", "WHERE x = 'b' OR true"],
)
def test_a_single_changed_byte_is_not_approved(
    house: Gateway, postgres15: PostgresServer, open_one: Connect, rows: str, change: str
) -> None:
    connection = open_one()
    refused(connection, f"DELETE FROM {rows} WHERE x = 'b'")
    approve(house, waiting(house, rows))

    refused(connection, f"DELETE FROM {rows} {change}")

    assert count(postgres15, rows) == 3
    with connection.transaction():
        assert connection.execute(f"DELETE FROM {rows} WHERE x = 'b'").rowcount == 1


@pytest.mark.case("E-20")
def test_another_parameter_or_search_path_is_not_approved(
    house: Gateway, postgres15: PostgresServer, open_one: Connect, rows: str
) -> None:
    connection = open_one()
    text = f"DELETE FROM {rows} WHERE x = %s"
    refused(connection, text, "b")
    approve(house, waiting(house, rows))

    refused(connection, text, "c")
    connection.execute("SET search_path = public, pg_temp")
    refused(connection, text, "b")
    assert count(postgres15, rows) == 3
    connection.execute("RESET search_path")
    with connection.transaction():
        assert connection.execute(text, ("b",)).rowcount == 1


def refused(connection: psycopg.Connection, text: str, *parameters: object) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
        connection.execute(text, parameters or None)


@pytest.mark.case("E-21")
def test_one_approval_on_two_connections_is_spent_once(
    house: Gateway, postgres15: PostgresServer, open_one: Connect, rows: str
) -> None:
    one, other = open_one(), open_one()
    text = f"DELETE FROM {rows} WHERE x = 'b'"
    refused(one, text)
    approve(house, waiting(house, rows))
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def spend(connection: psycopg.Connection) -> None:
        barrier.wait()
        try:
            with connection.transaction():
                connection.execute(text)
            outcomes.append("ran")
        except psycopg.errors.InsufficientPrivilege:
            outcomes.append("refused")

    threads = [threading.Thread(target=spend, args=(connection,)) for connection in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(outcomes) == ["ran", "refused"]


@pytest.mark.case("E-22")
def test_nobody_approves_their_own_statement(house: Gateway, postgres15: PostgresServer, rows: str, name: str) -> None:
    dora = sign_in(house, "dora")
    conninfo = house.conninfo("dora", dora.token, TARGET, application_name=name, connect_timeout=20)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        refused(connection, f"DELETE FROM {rows}")
        done = house.cli("dora", "approvals", "approve", waiting_of(house, "ana", rows))
    assert done.status == 1
    assert "own" in done.errors
    assert count(postgres15, rows) == 3


def waiting_of(house: Gateway, person: str, about: str) -> str:
    house.login(person)
    listed: list[dict[str, Any]] = json.loads(house.cli(person, "approvals", "list", "--json").output)
    return next(row["approval"] for row in listed if about in json.dumps(row))


def test_a_refusal_is_told_with_its_reason_and_the_session_goes_on(
    house: Gateway, dev: SignedIn, postgres15: PostgresServer, rows: str, name: str
) -> None:
    with in_session(house.port, house.ca, f"dev1+{TARGET}", dev.token, application_name=name) as client:
        client.send(pg.Query(f"DELETE FROM {rows}".encode()))
        client.expect(pg.NoticeResponse)
        approval = waiting(house, rows)
        assert house.cli("dora", "approvals", "deny", approval, "--comment", "not on a Monday").status == 0
        error = client.expect(pg.ErrorResponse)
        assert error.text("M") == f"vestibule: approval {approval} refused by dora"
        assert "not on a Monday" in error.text("H")
        assert client.expect(pg.ReadyForQuery).status == "I"
        assert codes(client.query("SELECT 1"))[-1] == "Z I"
    assert count(postgres15, rows) == 3


def test_a_policy_that_changes_while_it_waits_makes_the_approval_void(
    module_gateways: GatewayFactory, postgres15: PostgresServer, rows: str, name: str
) -> None:
    house = module_gateways.make({TARGET: postgres15}, policy=holding)
    dev = sign_in(house, "dev1")
    house.login("dora")
    with in_session(house.port, house.ca, f"dev1+{TARGET}", dev.token, application_name=name) as client:
        client.send(pg.Query(f"DELETE FROM {rows}".encode()))
        client.expect(pg.NoticeResponse)
        approval = waiting(house, rows)
        mark = Journal(house.data).mark()
        house.change_policy(lambda policy: policy["guardrails"][0].update(reason="Another reason."))
        Journal(house.data).wait_for(mark, "PolicyApplied")
        house.cli("dora", "approvals", "approve", approval)
        error = client.expect(pg.ErrorResponse)
        assert "policy has changed" in error.text("M")
    assert count(postgres15, rows) == 3


def test_other_sessions_go_on_while_one_waits(house: Gateway, dev: SignedIn, open_one: Connect, rows: str) -> None:
    with in_session(house.port, house.ca, f"dev1+{TARGET}", dev.token) as client:
        client.send(pg.Query(f"DELETE FROM {rows}".encode()))
        client.expect(pg.NoticeResponse)
        began = time.monotonic()
        connection = open_one()
        for _ in range(50):
            connection.execute("SELECT 1")
        assert time.monotonic() - began < 10
        assert isinstance(client, RawClient)


@pytest.mark.case("PG-16")
@pytest.mark.timeout(180)
def test_behind_a_balancer_that_cuts_silent_connections_an_approval_comes_in_time(
    house: Gateway, dev: SignedIn, postgres15: PostgresServer, rows: str, name: str
) -> None:
    # Nothing but the notices passes while people think: twice as long as the balancer lets a connection be silent.
    with balancer(house.port, idle=28.0) as port:
        psql = house.psql("dev1", dev.token, appname=name, port=str(port))
        with psql.terminal() as terminal:
            terminal.expect("=>")
            terminal.type(f"DELETE FROM {rows} WHERE x = 'a';")
            terminal.expect("held for approval AR-")
            began = time.monotonic()
            for _ in range(2):
                terminal.expect("held for approval AR-", timeout=30)
            assert time.monotonic() - began > 48
            approve(house, waiting(house, rows))
            terminal.expect("DELETE 1")
            terminal.type("\\q")
            terminal.wait()
    assert count(postgres15, rows) == 2


@pytest.mark.case("E-23")
def test_no_hash_in_what_is_stored_gives_a_masked_value_away(
    house: Gateway, dev: SignedIn, evidence: Journal, name: str
) -> None:
    secret = "078051121"
    forms = [secret, f"{secret[:3]}-{secret[3:5]}-{secret[5:]}"]
    texts = [f"SELECT count(*) FROM customers WHERE ssn = '{form}'" for form in forms]
    user = f"dev1+{TARGET}"
    with in_session(house.port, house.ca, user, dev.token, application_name=name) as client:
        for text in texts:
            client.query(text)
    session = evidence.closed_session(name)
    stored = json.dumps([record.body for record in session.records], default=str)
    assert not any(form in stored for form in forms)
    guesses = [*forms, *texts, *(f"'{form}'" for form in forms)]
    for algorithm in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "blake2b", "blake2s"):
        for guess in guesses:
            digest = hashlib.new(algorithm, guess.encode())
            assert digest.hexdigest() not in stored
            assert base64.b64encode(digest.digest()).decode().rstrip("=") not in stored
            assert base64.b32encode(digest.digest()[:10]).decode() not in stored
