"""psql in its usual ways through the gateway, to PostgreSQL 15 and 18."""

from __future__ import annotations

import pytest

from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.signing_in import SignedIn, sign_in

MODERN = "modern-banking"


@pytest.fixture(scope="module")
def both(module_gateways: GatewayFactory, postgres15: PostgresServer, postgres18: PostgresServer) -> Gateway:
    """A gateway to either server."""
    return module_gateways.make({TARGET: postgres15, MODERN: postgres18})


@pytest.fixture(scope="module")
def who(both: Gateway) -> SignedIn:
    """dev1, who may read and write on either."""
    return sign_in(both, "dev1")


@pytest.fixture(scope="module", params=[TARGET, MODERN])
def target(request: pytest.FixtureRequest) -> str:
    """Either target."""
    return request.param


@pytest.mark.parametrize("modern", [False, True])
def test_psql_describes_watches_and_executes_what_it_reads(
    both: Gateway, who: SignedIn, target: str, modern: bool
) -> None:
    psql = both.psql("dev1", who.token, target, modern=modern)

    done = psql.script(
        "\\d customers\n\\dt\n\\df\n\\du\n\\dn\n\\di\n\\dp\n"
        "SELECT format('SELECT %s', n) FROM generate_series(7, 8) n \\gexec\n"
        "\\set FETCH_COUNT 10\nSELECT id FROM transactions ORDER BY id;\n"
    )

    assert done.errors == ""
    assert done.rows[-402:-398] == ["7", "8", "1", "2"]
    assert done.rows[-1] == "400"
