"""pgbench through the gateway: the work of twenty clients at once leaves what it leaves at the server itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.clients import PGBENCH, Psql
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.side_by_side import MODERN, Sides, opening, serve
from tests.support.signing_in import sign_in

#: Much is asked at once, of a machine that may be busy.
pytestmark = pytest.mark.timeout(400)

THROUGH, DIRECT = "bench_through", "bench_direct"
CLIENTS, TURNS = 20, 15
#: The three balances, which are one sum, and how many rows there are; each run of pgbench empties the history first.
BALANCES = """
SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
    (SELECT sum(bbalance) FROM pgbench_branches), (SELECT count(*) FROM pgbench_history),
    (SELECT count(*) FROM pgbench_accounts)
"""


@pytest.fixture(scope="module")
def servers(postgres15: PostgresServer, postgres18: PostgresServer) -> Iterator[dict[str, PostgresServer]]:
    """Both servers, each with two empty databases."""
    made = {TARGET: postgres15, MODERN: postgres18}
    for server in made.values():
        for name in (THROUGH, DIRECT):
            server.create_database(name, template="template0")
    yield made
    for server in made.values():
        for name in (THROUGH, DIRECT):
            server.drop_database(name)


@pytest.fixture(scope="module")
def both(module_gateways: GatewayFactory, servers: dict[str, PostgresServer]) -> Gateway:
    """A gateway to either, where who manages databases may make tables."""
    return serve(module_gateways, *servers.values(), opening(THROUGH, DIRECT))


@pytest.fixture(scope="module", params=[TARGET, MODERN])
def sides(request: pytest.FixtureRequest, both: Gateway, servers: dict[str, PostgresServer]) -> Sides:
    """dora's way, and the direct one, each to a database of its own with pgbench's tables."""
    made = Sides(both, servers[request.param], sign_in(both, "dora"), request.param)
    for psql in (made.through(THROUGH), made.direct(DIRECT)):
        done = psql.program([PGBENCH, "-i", "-s", "1", "--foreign-keys"])
        assert done.status == 0, done.errors
    return made


def run(psql: Psql, *options: str) -> int:
    """Run pgbench with twenty clients; give how many transactions it says were processed."""
    done = psql.program([PGBENCH, "-c", str(CLIENTS), "-j", "2", "-t", str(TURNS), *options], timeout=600)
    assert done.status == 0, done.errors
    assert "aborted" not in done.errors
    found = re.search(r"transactions actually processed: (\d+)/(\d+)", done.output)
    assert found is not None, done.output
    assert found[1] == found[2]
    return int(found[1])


@pytest.mark.case("PG-31")
@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_twenty_clients_leave_the_same_as_directly(sides: Sides, protocol: str) -> None:
    # `-n` leaves out the VACUUM before, and with the same seed each client draws the same numbers.
    found = []
    for psql in (sides.through(THROUGH), sides.direct(DIRECT)):
        processed = run(psql, "-M", protocol, "--random-seed=7")
        found.append((processed, psql.run(BALANCES).rows))

    assert found[0] == found[1]
    assert found[0][0] == CLIENTS * TURNS
    accounts, tellers, branches, *counts = found[0][1][0].split("|")
    assert accounts == tellers == branches
    assert counts == [str(CLIENTS * TURNS), "100000"]


@pytest.mark.parametrize("protocol", ["simple", "prepared"])
def test_reading_alone_works_in_each_protocol(sides: Sides, protocol: str) -> None:
    assert run(sides.through(THROUGH), "-S", "-n", "-M", protocol) == CLIENTS * TURNS


def test_a_script_of_ones_own_with_variables_and_a_pipeline_works(sides: Sides) -> None:
    psql = sides.through(THROUGH)
    (psql.folder / "own.sql").write_text(
        "\\set aid random(1, 100000)\n\\startpipeline\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
        "SELECT 1;\n\\endpipeline\nSELECT count(*) AS n FROM pgbench_branches \\gset\n"
        "\\if :n = 1\nSELECT :n;\n\\else\nSELECT 1/0;\n\\endif\n"
    )
    (psql.folder / "own.sql").chmod(0o644)

    assert run(psql, "-n", "-M", "extended", "-f", "own.sql") == CLIENTS * TURNS


def test_a_guardrail_on_dropping_stops_the_first_step_of_i_and_the_others_can_be_chosen(
    module_gateways: GatewayFactory, servers: dict[str, PostgresServer]
) -> None:
    def guarded(policy: dict[str, object]) -> None:
        guardrails = policy["guardrails"]
        opening(THROUGH, DIRECT)(policy)
        policy["guardrails"] = guardrails

    gateway = module_gateways.make({TARGET: servers[TARGET]}, policy=guarded)
    psql = gateway.psql("dora", sign_in(gateway, "dora").token, TARGET, database=DIRECT)

    refused = psql.program([PGBENCH, "-i"])

    assert refused.status == 1
    assert 'denied by rule "no dropping"' in refused.errors
    servers[TARGET].drop_database(DIRECT)
    servers[TARGET].create_database(DIRECT, template="template0")
    done = psql.program([PGBENCH, "-i", "-I", "tgvp"])
    assert done.status == 0, done.errors
    assert gateway.stop() == 0
