"""A gateway that trusts a balancer: who connects is the balancer's client, for records, lists and throttles."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.balancing import balancing
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.proxying import header
from tests.support.signing_in import SignedIn, sign_in

NEAR, FAR = "198.51.100.7", "203.0.113.9"


@pytest.fixture(scope="module")
def house(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Gateway:
    """A gateway that takes a balancer on loopback at its word."""
    return module_gateways.make(
        {TARGET: postgres15}, settings=lambda settings: settings.update(trusted_proxies=["127.0.0.1"])
    )


@pytest.fixture(scope="module")
def dev1(house: Gateway) -> SignedIn:
    """dev1, signed in."""
    return sign_in(house, "dev1")


@pytest.fixture
def near(house: Gateway) -> Iterator[int]:
    """A balancer whose clients come from NEAR."""
    with balancing([house.port], lambda client: header(NEAR, client[1])) as port:
        yield port


def test_records_and_lists_name_the_client_and_not_the_balancer(
    house: Gateway, dev1: SignedIn, near: int, name: str
) -> None:
    conninfo = house.conninfo("dev1", dev1.token, port=near, application_name=name)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        assert connection.execute("SELECT 41 + 1").fetchone() == (42,)
        house.login("ana")
        (listed,) = house.sessions("ana")
    assert NEAR in str(listed)
    assert "127.0.0.1" not in str(listed)
    opened = Journal(house.data).closed_session(name).one("SessionOpened")
    assert opened["client"]["ip"] == NEAR


def test_psql_comes_in_through_the_balancer(house: Gateway, dev1: SignedIn, near: int) -> None:
    done = house.psql("dev1", dev1.token, port=str(near)).run("SELECT 41 + 1")
    assert (done.status, done.output) == (0, "42\n")


def test_whoever_guesses_tokens_is_held_up_and_others_behind_the_same_balancer_are_not(
    house: Gateway, dev1: SignedIn, near: int
) -> None:
    mark = Journal(house.data).mark()
    words = ""
    for _ in range(100):
        words = house.psql("dev1", "vst_" + "x" * 43, port=str(near)).run("SELECT 1").errors
        if "53300" in words or "too many" in words:
            break
    assert "too many" in words
    refused = Journal(house.data).wait_for(mark, "AccessDecided", decision="deny")
    assert refused["client"]["ip"] == NEAR
    with balancing([house.port], lambda client: header(FAR, client[1])) as far:
        assert house.psql("dev1", dev1.token, port=str(far)).run("SELECT 41 + 1").output == "42\n"


def test_without_a_header_nobody_comes_in_from_a_trusted_address(house: Gateway, dev1: SignedIn) -> None:
    mark = Journal(house.data).mark()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(house.conninfo("dev1", dev1.token))
    refused = Journal(house.data).wait_for(mark, "AccessDecided")
    assert refused["cause"] == "no PROXY protocol v2 header from a trusted proxy"


def test_a_header_from_an_address_that_is_not_trusted_names_nobody(
    gateway: Gateway, journal: Journal, signed_in: object
) -> None:
    mark = journal.mark()
    with (
        balancing([gateway.port], lambda client: header(NEAR, client[1])) as port,
        pytest.raises(psycopg.OperationalError),
    ):
        psycopg.connect(gateway.conninfo("dev1", "vst_" + "x" * 43, port=port))
    refused = journal.wait_for(mark, "AccessDecided")
    assert refused["client"]["ip"] == "127.0.0.1"
