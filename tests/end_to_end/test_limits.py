"""Sessions are limited by person and target over all data processes of a node, with words that say which."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tests.support.balancing import balancing
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.proxying import header
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for

PER_PERSON, PER_TARGET = 3, 5


@pytest.fixture(scope="module")
def house(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Gateway:
    """Two data processes; three sessions for a person, five at the target."""

    def settings(document: dict[str, Any]) -> None:
        document["workers"] = 2
        document["limits"] = {"sessions_per_person": PER_PERSON, "sessions_per_target": {TARGET: PER_TARGET}}

    return module_gateways.make({TARGET: postgres15}, settings=settings)


def test_persons_and_targets_have_as_many_sessions_as_they_may_and_places_come_back(house: Gateway) -> None:
    dev1, dev2 = sign_in(house, "dev1"), sign_in(house, "dev2")

    def connect(who: SignedIn, stack: ExitStack) -> psycopg.Connection:
        return stack.enter_context(psycopg.connect(house.conninfo(who.person, who.token), autocommit=True))

    with ExitStack() as all_open:
        for _ in range(PER_PERSON):
            first = connect(dev1, all_open)
        mark = Journal(house.data).mark()
        for person_is_full in (dev1, dev1.another_token()):
            with pytest.raises(psycopg.OperationalError, match="as many sessions as one person may have"):
                connect(person_is_full, all_open)
        refused = Journal(house.data).wait_for(mark, "AccessDecided", decision="deny")
        assert refused["cause"] == "limit reached: sessions of one person"
        for _ in range(PER_TARGET - PER_PERSON):
            connect(dev2, all_open)
        full = house.psql("dev2", dev2.token).run("SELECT 1").errors
        assert "53300" in full or "as many sessions as it may have through this gateway" in full

        first.close()
        wait_for(lambda: house.psql("dev2", dev2.token).run("SELECT 41 + 1").output == "42\n", "a place", 60)

    # Neither wrong tokens nor log-ins that fail behind the proof keep a place.
    for _ in range(PER_TARGET):
        house.psql("dev1", dev1.token, database="nowhere").run("SELECT 1")
    with ExitStack() as all_open:

        def is_in() -> bool:
            try:
                connect(dev1, all_open)
            except psycopg.OperationalError:
                return False
            return True

        for _ in range(PER_PERSON):
            wait_for(is_in, "a place", 60)


def test_an_address_behind_a_balancer_has_as_many_sessions_as_it_may(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    def settings(document: dict[str, Any]) -> None:
        document["trusted_proxies"] = ["127.0.0.1"]
        document["limits"] = {"sessions_per_address": 1}

    house = gateways.make({TARGET: postgres15}, settings=settings)
    dev1 = sign_in(house, "dev1")
    with (
        balancing([house.port], lambda client: header("198.51.100.7", client[1])) as near,
        balancing([house.port], lambda client: header("203.0.113.9", client[1])) as far,
        psycopg.connect(house.conninfo("dev1", dev1.token, port=near)),
    ):
        with pytest.raises(psycopg.OperationalError, match="your address has as many sessions"):
            psycopg.connect(house.conninfo("dev1", dev1.token, port=near))
        with psycopg.connect(house.conninfo("dev1", dev1.token, port=far)) as other:
            assert other.execute("SELECT 41 + 1").fetchone() == (42,)
