"""A policy that changes while people work: prepared statements, open portals, lost grants, and a file that is wrong."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.support.at_target import backend_is_gone, backend_of, texts_in
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.raw_client import RawClient, codes, extended, in_session
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for
from vestibule.protocols.postgres import messages as pg

RULE = "nobody touches loans"
Document = dict[str, Any]


def close_loans(document: Document) -> None:
    document["guardrails"].append(
        {"name": RULE, "match": {"objects": ["public.loans"]}, "action": "deny", "reason": "Closed for the audit."}
    )


def only_read(document: Document) -> None:
    document["access"][0]["allow"] = ["read"]


def nobody(document: Document) -> None:
    document["access"] = [entry for entry in document["access"] if entry["groups"] != ["engineering"]]


@pytest.fixture(scope="module")
def own(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Gateway:
    """A gateway whose policy these tests change."""
    return module_gateways.make({TARGET: postgres15})


@pytest.fixture
def house(own: Gateway) -> Iterator[Gateway]:
    """That gateway; its policy is put back behind a test."""
    before = copy.deepcopy(own.policy)
    yield own
    if own.policy != before:
        apply(own, lambda document: document.update(copy.deepcopy(before)))


@pytest.fixture
def dev1(house: Gateway) -> SignedIn:
    """dev1, signed in for this test."""
    return sign_in(house, "dev1")


@pytest.fixture
def client(house: Gateway, dev1: SignedIn, name: str) -> Iterator[RawClient]:
    """A raw session that must outlive the change."""
    with in_session(house.port, house.ca, f"dev1+{TARGET}", dev1.token, application_name=name) as made:
        yield made


def apply(house: Gateway, change: Callable[[Document], object]) -> str:
    """Change the policy's file and wait until it has taken effect; give its digest."""
    journal = Journal(house.data)
    mark = journal.mark()
    house.change_policy(change)
    return journal.wait_for(mark, "PolicyApplied")["policy"]


def until_denied(client: RawClient, *said: pg.FrontendMessage) -> list[str]:
    """Say it until the new policy answers, which is within a moment of its record."""
    ends = [] if isinstance(said[-1], pg.Query) else [pg.Sync()]
    for _ in range(200):
        answer = codes(client.ask(*said, *ends))
        if answer[-2].startswith("ERROR"):
            return answer
        time.sleep(0.05)
    raise AssertionError(f"the new policy never answered; the last answer was {answer}")


def test_a_statement_prepared_before_is_decided_by_the_new_policy_at_its_next_bind(
    house: Gateway, client: RawClient, postgres15: PostgresServer, name: str
) -> None:
    client.ask(pg.Parse("s", b"SELECT count(*) FROM loans"), pg.Sync())
    assert codes(client.ask(pg.Bind("", "s"), pg.Execute(""), pg.Sync()))[-3:] == ["row 25", "SELECT 1", "Z I"]
    before = Journal(house.data).records("PolicyApplied")[-1]["policy"]

    after = apply(house, close_loans)
    until_denied(client, pg.Bind("", "s"), pg.Execute(""))
    mark = postgres15.mark()

    assert codes(client.ask(pg.Bind("", "s"), pg.Execute(""), pg.Sync())) == ["ERROR 42501", "Z I"]
    assert codes(client.ask(*extended("SELECT 41 + 1"), pg.Sync()))[2:] == ["row 42", "SELECT 1", "Z I"]
    assert postgres15.statements(mark) == ["SELECT 41 + 1"]
    client.send(pg.Terminate())
    session = Journal(house.data).closed_session(name)
    decided = session.all("StatementDecided")
    assert (decided[0]["rule"]["policy"], decided[-2]["rule"]["policy"]) == (before, after)
    assert (decided[-2]["rule"]["name"], decided[-2]["decision"]) == (RULE, "deny")
    assert session.one("SessionClosed")["cause"] == "client_closed"


def test_a_driver_that_prepares_behind_ones_back_meets_the_new_policy(house: Gateway, dev1: SignedIn) -> None:
    with psycopg.connect(house.conninfo("dev1", dev1.token), autocommit=True, prepare_threshold=0) as connection:
        for _ in range(3):
            connection.execute("SELECT count(*) FROM loans WHERE id > %s", [0])

        apply(house, close_loans)

        def until_told() -> None:
            for _ in range(200):
                connection.execute("SELECT count(*) FROM loans WHERE id > %s", [0])
                time.sleep(0.05)

        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=RULE):
            until_told()
        assert connection.execute("SELECT count(*) FROM cards").fetchone() == (50,)


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        ("PREPARE p AS SELECT id FROM loans ORDER BY id", "EXECUTE p"),
        ("DECLARE p CURSOR WITH HOLD FOR SELECT id FROM loans ORDER BY id", "FETCH p"),
    ],
)
def test_what_sql_has_prepared_or_declared_is_decided_anew_when_it_runs(
    house: Gateway, client: RawClient, begin: str, again: str
) -> None:
    client.query(begin)
    assert "row 1" in codes(client.query(again))

    apply(house, close_loans)
    until_denied(client, pg.Query(again.encode()))

    assert codes(client.query(again)) == ["ERROR 42501", "Z I"]
    assert codes(client.query("SELECT 41 + 1"))[1:] == ["row 42", "SELECT 1", "Z I"]


def test_a_portal_that_was_bound_before_is_decided_anew_at_its_next_execute(
    house: Gateway, client: RawClient, postgres15: PostgresServer
) -> None:
    client.query("BEGIN")
    client.ask(*extended("SELECT id FROM loans ORDER BY id", "s", "p", 2), pg.Sync())

    apply(house, close_loans)
    answer = until_denied(client, pg.Execute("p", 1))

    assert answer[-2:] == ["ERROR 42501", "Z E"]
    assert codes(client.query("ROLLBACK")) == ["ROLLBACK", "Z I"]


def test_a_right_that_is_taken_away_is_gone_and_the_session_stays(
    house: Gateway, client: RawClient, postgres15: PostgresServer, table: str
) -> None:
    insert = f"INSERT INTO {table} VALUES ('x')"
    assert codes(client.query(insert)) == ["INSERT 0 1", "Z I"]

    apply(house, only_read)
    until_denied(client, *extended(insert))
    count = len(texts_in(postgres15, table))

    assert codes(client.query(insert)) == ["ERROR 42501", "Z I"]
    assert codes(client.query("SELECT 41 + 1"))[1:] == ["row 42", "SELECT 1", "Z I"]
    assert len(texts_in(postgres15, table)) == count


def test_a_right_that_is_given_is_there_without_a_new_session(
    house: Gateway, client: RawClient, postgres15: PostgresServer, table: str
) -> None:
    create = f"CREATE INDEX ON {table} (x)"
    assert codes(client.query(create)) == ["ERROR 42501", "Z I"]

    apply(house, lambda document: document["access"][0]["allow"].append("schema"))

    for _ in range(200):
        answer = codes(client.query(create))
        if answer == ["CREATE INDEX", "Z I"]:
            return
    raise AssertionError(answer)


def test_a_lost_grant_ends_the_session_and_lets_nobody_in_again(
    house: Gateway, client: RawClient, dev1: SignedIn, postgres15: PostgresServer, name: str
) -> None:
    backend = backend_of(postgres15, name)

    apply(house, nobody)

    assert codes(client.rest()) == ["FATAL 57P01"]
    assert client.messages[-1].text("M") == "vestibule: session ended: revoked"
    assert backend_is_gone(postgres15, backend)
    assert Journal(house.data).closed_session(name).one("SessionClosed")["cause"] == "revoked"
    with pytest.raises(psycopg.OperationalError, match="you may use: none"):
        psycopg.connect(house.conninfo("dev1", dev1.token))


def test_a_policy_that_is_wrong_changes_nothing(house: Gateway, client: RawClient) -> None:
    journal = Journal(house.data)
    mark = journal.mark()
    output = len(house.program.output())
    fresh = house.sandbox.write(house.folder / "policy.yaml.new", "version: 1\nacess: []\n")
    fresh.replace(house.policy_file)
    try:
        wait_for(lambda: "policy_not_applied" in house.program.output()[output:], "the word of the gateway")
        assert codes(client.query("SELECT count(*) FROM loans"))[1:] == ["row 25", "SELECT 1", "Z I"]
        assert journal.since(mark, "PolicyApplied") == []
        assert "did you mean" in house.program.output()[output:] or "acess" in house.program.output()[output:]
    finally:
        house.write_files()
