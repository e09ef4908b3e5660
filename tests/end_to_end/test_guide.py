"""The guide's own policy and statements, with a real bank behind: what it says one sees is what one sees."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.support import bank
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for

GUIDE = (Path(__file__).parents[2] / "docs/guide/getting-started.md").read_text()


def block(language: str, start: str) -> str:
    found = re.findall(rf"^```{language}\n({re.escape(start)}.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    [text] = found
    return str(text)


POLICY: dict[str, Any] = yaml.safe_load(block("yaml", "version:"))
FINDING = block("sql", "SELECT table_schema")
[SELECT] = re.findall(r"^core=> (SELECT name, ssn, email .*;)$", GUIDE, re.MULTILINE)
[DELETE] = re.findall(r"^core=> (DELETE .*;)$", GUIDE, re.MULTILINE)


@pytest.fixture(scope="module")
def house(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Gateway:
    """A gateway with the guide's guardrails, before anything is masked."""
    gateway = module_gateways.make(
        {TARGET: postgres15}, policy=lambda policy: policy.update(guardrails=POLICY["guardrails"])
    )
    gateway.login("dora")
    return gateway


@pytest.fixture(scope="module")
def dev(house: Gateway) -> SignedIn:
    return sign_in(house, "dev1")


@pytest.fixture
def connection(house: Gateway, dev: SignedIn, name: str) -> Iterator[psycopg.Connection]:
    conninfo = house.conninfo(dev.person, dev.token, TARGET, application_name=name, connect_timeout=20)
    with psycopg.connect(conninfo, autocommit=True) as opened:
        yield opened


def test_masks_of_the_guide_are_found_written_and_in_force_in_a_session_that_is_open(
    house: Gateway, connection: psycopg.Connection
) -> None:
    found = {(table, column) for _, table, column in connection.execute(FINDING)}
    assert {("customers", "ssn"), ("customers", "email"), ("cards", "pan")} <= found
    assert connection.execute(SELECT).fetchone()[1] == bank.FIRST_SSN

    mark = Journal(house.data).mark()
    house.change_policy(lambda policy: policy.update(masks=POLICY["masks"]))
    Journal(house.data).wait_for(mark, "PolicyApplied")

    shown = f"***{bank.FIRST_SSN[-4:]}"
    # A policy is recorded before it is in force, a moment later.
    wait_for(lambda: connection.execute(SELECT).fetchone()[1] == shown, "the masks in the open session")
    assert connection.execute(SELECT).fetchone() == (bank.FIRST_CUSTOMER, shown, "***")
    assert shown in GUIDE
    assert len(connection.execute(FINDING).fetchall()) == len(found)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="masked for you"):
        connection.execute("SELECT name FROM customers WHERE ssn LIKE '078%'")


def test_the_delete_of_the_guide_waits_and_is_approved_by_the_guides_command(
    house: Gateway, dev: SignedIn, name: str
) -> None:
    with house.psql("dev1", dev.token, appname=name).terminal() as terminal:
        terminal.expect("=>")
        # The bank stays as it is for other tests.
        terminal.type(DELETE.replace("= 17", "= 0"))
        terminal.expect("held for approval AR-")

        def waiting() -> str:
            listed = json.loads(house.cli("dora", "approvals", "list", "--json").output)
            return next((row["approval"] for row in listed), "")

        approval = wait_for(waiting, "a request")
        [command] = re.findall(r"^vestibule (approvals approve) AR-\w+ --comment \"(.*)\"$", GUIDE, re.MULTILINE)
        done = house.cli("dora", *command[0].split(), approval, "--comment", command[1])
        assert done.status == 0, done.output + done.errors
        terminal.expect("DELETE 0")
