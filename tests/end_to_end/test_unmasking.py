"""One statement sees through a mask once people have approved it; nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.end_to_end.test_holding import approve, waiting
from tests.end_to_end.test_recording import rows
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.signing_in import SignedIn, sign_in

MASKS = [
    {
        "name": "ssn",
        "columns": ["*.customers.ssn"],
        "transform": {"keep_last": 4},
        "unmask": {"groups": ["dba-managers"]},
    },
    {"name": "email", "columns": ["*.customers.email"]},
]
ASK = "/* vestibule: unmask ssn */ "


def masking(policy: dict[str, Any]) -> None:
    policy["masks"] = MASKS


@pytest.fixture(scope="module")
def house(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Iterator[Gateway]:
    gateway = module_gateways.make({TARGET: postgres15}, policy=masking)
    gateway.login("dora")
    gateway.login("ana")
    yield gateway
    assert gateway.stop() == 0
    done = gateway.cli("ana", "evidence", "verify", gateway.data, timeout=120)
    assert done.status == 0, done.output + done.errors


@pytest.fixture(scope="module")
def dev(house: Gateway) -> SignedIn:
    return sign_in(house, "dev1")


@pytest.fixture
def connection(house: Gateway, dev: SignedIn, name: str) -> Iterator[psycopg.Connection]:
    conninfo = house.conninfo(dev.person, dev.token, TARGET, application_name=name, connect_timeout=20)
    with psycopg.connect(conninfo, autocommit=True) as made:
        yield made


def test_people_let_one_statement_see_and_the_next_is_masked_again(
    house: Gateway, dev: SignedIn, postgres15: PostgresServer, name: str
) -> None:
    ((ssn, email),) = postgres15.execute("SELECT ssn, email FROM customers WHERE id = 1")
    query = "SELECT ssn, email FROM customers WHERE id = 1;"
    with house.psql("dev1", dev.token, appname=name).terminal("-A", "-t") as terminal:
        terminal.expect("=>")
        terminal.type(query)
        assert ssn not in terminal.expect(f"***{ssn[-4:]}|***")
        terminal.type(ASK + query)
        terminal.expect("held for approval AR-")
        approval = waiting(house, "customers")
        shown = house.cli("dora", "approvals", "show", approval).output
        assert "it would see masked columns as they are" in shown
        approve(house, approval)
        assert email not in terminal.expect(f"{ssn}|***")
        terminal.type(query)
        terminal.expect(f"***{ssn[-4:]}|***")
        terminal.type("\\q")
        terminal.wait()

    journal = Journal(house.data)
    session = journal.closed_session(name)
    requested = session.one("ApprovalRequested")
    assert requested["scope"] == "unmask"
    decided = session.all("StatementDecided")
    assert ["unmask" in each.body.get("flags", []) for each in decided] == [False, True, False]
    # What people let somebody see is stored masked all the same.
    assert [each.body.get("clear_by") for each in decided] == [None, ["ssn"], None]
    assert rows(house, str(requested.session)) == [[f"***{ssn[-4:]}", "***"]] * 3


@pytest.mark.parametrize(
    "text",
    [
        "SELECT upper(ssn) FROM customers WHERE id = 1",
        "SELECT count(*) FROM customers WHERE ssn LIKE '%1'",
        "COPY (SELECT ssn FROM customers WHERE id = 1) TO STDOUT",
    ],
)
def test_what_is_approved_may_compute_on_the_column(
    house: Gateway, connection: psycopg.Connection, postgres15: PostgresServer, text: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="masked for you"):
        run(connection, text)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="required"), connection.transaction():
        run(connection, ASK + text)
    approve(house, waiting(house, "customers"))
    with connection.transaction():
        seen = run(connection, ASK + text)
    if text.startswith("SELECT"):
        assert seen == postgres15.execute(text)


def run(connection: psycopg.Connection, text: str) -> list[Any]:
    if "COPY" not in text:
        return connection.execute(text).fetchall()
    with connection.cursor().copy(text) as copy:
        return [bytes(data) for data in copy]


@pytest.mark.parametrize(
    "text",
    [
        "DECLARE c CURSOR WITH HOLD FOR SELECT upper(ssn) FROM customers",
        "PREPARE p AS SELECT upper(ssn) FROM customers",
        "CREATE TEMP TABLE seen AS SELECT ssn FROM customers",
        "SELECT ssn INTO TEMP seen FROM customers",
        "INSERT INTO loans SELECT length(ssn), 1, 1, 1, 'paid' FROM customers",
        "EXPLAIN ANALYZE SELECT ssn FROM customers",
    ],
)
def test_what_would_keep_or_write_what_it_sees_is_refused_without_asking(
    connection: psycopg.Connection, text: str
) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="only a query that keeps and changes nothing"):
        connection.execute(ASK + text)


@pytest.mark.parametrize("names", ["email", "ssn, email", "nothing"])
def test_a_mask_that_nobody_may_lift_is_denied(connection: psycopg.Connection, names: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="denied by rule"):
        connection.execute(f"/* vestibule: unmask {names} */ SELECT ssn FROM customers")


def test_the_other_masks_stay(house: Gateway, connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="email is masked for you"):
        connection.execute(ASK + "SELECT upper(email) FROM customers")
