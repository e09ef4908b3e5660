"""A target with several hosts: one that is down, silent or not ready leaves the others to serve, and comes back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.ports import free_port
from tests.support.postgres import PostgresFactory, PostgresServer
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for

NOT_READY = "\nhot_standby = off\n"


@pytest.fixture
def spare(postgres_factory: PostgresFactory) -> Iterator[PostgresServer]:
    """A server of the test's own."""
    server = postgres_factory.make(15)
    yield server
    server.stop()


def made(gateways: GatewayFactory, server: PostgresServer, *before: str) -> Gateway:
    def policy(document: dict[str, Any]) -> None:
        document["targets"][TARGET]["hosts"] = [*before, server.address]

    return gateways.make(
        {TARGET: server}, policy=policy, settings=lambda each: each.update(limits={"dial_timeout": "6s"})
    )


def reached(house: Gateway, who: SignedIn) -> int:
    """The port at which the target itself says that it serves, 0 if nobody was let in."""
    try:
        with psycopg.connect(house.conninfo("dev1", who.token), autocommit=True) as connection:
            row = connection.execute("SHOW port").fetchone()
            return 0 if row is None else int(row[0])
    except psycopg.OperationalError:
        return 0


def test_a_host_that_is_down_or_silent_costs_the_first_log_in_its_time_and_later_ones_none(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        house = made(gateways, postgres15, f"localhost:{free_port()}", f"localhost:{silent.getsockname()[1]}")
        dev1 = sign_in(house, "dev1")
        assert [reached(house, dev1) for _ in range(4)] == [postgres15.port] * 4
        # Whoever was dialled left a connection in the silent one's backlog.
        silent.setblocking(False)
        dialled = 0
        try:
            while True:
                silent.accept()[0].close()
                dialled += 1
        except BlockingIOError:
            pass
    assert 1 <= dialled < 4
    assert house.program is not None
    assert "target_host_failed" in house.program.output()


@pytest.mark.timeout(240)
def test_a_host_that_refuses_log_ins_is_passed_by_and_no_client_hears_of_it(
    gateways: GatewayFactory, postgres15: PostgresServer, spare: PostgresServer
) -> None:
    let_nobody_in(spare)
    house = made(gateways, postgres15, spare.address)
    dev1 = sign_in(house, "dev1")
    assert [reached(house, dev1) for _ in range(3)] == [postgres15.port] * 3
    assert house.program is not None
    assert f"{spare.address}: the target refused the log-in: 57P03" in house.program.output()


@pytest.mark.timeout(240)
def test_where_every_host_refuses_log_ins_the_client_is_told_that_there_is_no_target(
    gateways: GatewayFactory, spare: PostgresServer
) -> None:
    let_nobody_in(spare)
    house = made(gateways, spare)
    dev1 = sign_in(house, "dev1")
    with pytest.raises(psycopg.OperationalError, match=f"{TARGET} is not available"):
        psycopg.connect(house.conninfo("dev1", dev1.token))
    assert house.program is not None
    assert "the target refused the log-in: 57P03" in house.program.output()


def let_nobody_in(server: PostgresServer) -> None:
    """Start it again as a standby that has not caught up."""
    server.stop()
    server.configure(NOT_READY)
    server.sandbox.write(server.data / "standby.signal", "")
    command = [server.programs / "postgres", "-D", server.data]
    server.program = server.sandbox.start(command, name="standby", folder=server.folder, environment=server.environment)
    wait_for(lambda: is_not_ready(server), "a server that refuses log-ins", 60)


def is_not_ready(server: PostgresServer) -> bool:
    try:
        psycopg.connect(server.conninfo(server.superuser, "postgres")).close()
    except psycopg.OperationalError as error:
        return "not accepting connections" in str(error) or "not yet accepting" in str(error)
    return False
