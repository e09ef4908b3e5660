"""A real gateway can be started, entered, stopped and killed by tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.support import bank, processes
from tests.support.gateway import CALLBACK, TARGET, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.providers import StrictProvider


def test_a_person_logs_in_and_reads_through_the_shared_gateway(gateway: Gateway) -> None:
    token = gateway.login("dev1")

    done = gateway.psql("dev1", token).run("SELECT name FROM customers WHERE id = 1", "SELECT current_user")

    assert done.rows == [bank.FIRST_CUSTOMER, GATEWAY]


def test_a_private_gateway_takes_a_strict_provider_another_target_and_other_rules(
    gateways: GatewayFactory, postgres18: PostgresServer, make_strict_provider: Callable[..., StrictProvider]
) -> None:
    gateway = gateways.make({"ledger": postgres18}, start=False)
    gateway.provider = make_strict_provider(gateway.public_url + CALLBACK)
    oidc = gateway.policy["identity"][0]["oidc"]
    oidc |= {"issuer": gateway.provider.issuer, "scopes": list(gateway.provider.scopes)}
    gateway.start()

    token = gateway.login("dev2")

    with psycopg.connect(gateway.conninfo("dev2", token, "ledger")) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (bank.CUSTOMERS,)
        assert connection.info.server_version >= 180_000


def test_what_was_logged_in_outlives_a_stop_and_a_crash(gateways: GatewayFactory, postgres15: PostgresServer) -> None:
    gateway = gateways.make({TARGET: postgres15})
    token = gateway.login("dev1")

    gateway.restart()
    assert gateway.psql("dev1", token).run("SELECT 1").rows == ["1"]

    gateway.kill()
    gateway.start()
    assert gateway.psql("dev1", token).run("SELECT 2").rows == ["2"]


def test_a_stopped_gateway_ends_well(gateways: GatewayFactory, postgres15: PostgresServer) -> None:
    gateway = gateways.make({TARGET: postgres15})

    assert gateway.stop() == 0


def test_no_process_of_the_gateway_can_leave_a_core_file(gateway: Gateway) -> None:
    assert gateway.program is not None
    for pid in (gateway.program.pid, *processes.descendants(gateway.program.pid)):
        (limit,) = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in line]
        assert limit.split()[-3:-1] == ["0", "0"]
