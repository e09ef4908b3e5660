"""A gateway that is stopped lets people finish, and a balancer sends new ones elsewhere."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from tests.support.balancing import balancing
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.signing_in import sign_in
from tests.support.waiting import wait_for

#: Longer than any test takes: what ends before it has not ended by it.
HOURS = "2h"


def stopped(house: Gateway) -> None:
    """Ask a gateway to stop, as `systemctl stop` does, and see that it has begun to."""
    assert house.program is not None
    house.program.process.terminate()
    wait_for(lambda: refuses(house.port), "a door that is closed", 60)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False


def has_ended(house: Gateway) -> Callable[[], bool]:
    return lambda: house.program is not None and not house.program.is_running


def made(gateways: GatewayFactory, server: PostgresServer, drain: str, workers: int = 1) -> Gateway:
    return gateways.make({TARGET: server}, settings=lambda settings: settings.update(drain=drain, workers=workers))


@pytest.mark.timeout(240)
def test_a_rolling_restart_behind_a_balancer_costs_no_statement_and_no_transaction(
    gateways: GatewayFactory, postgres15: PostgresServer, table: str
) -> None:
    first, second = made(gateways, postgres15, HOURS, workers=2), made(gateways, postgres15, HOURS)
    here, there = sign_in(first, "dev1"), sign_in(second, "dev1")
    with balancing([first.port, second.port]) as port:

        def connect(who: str, token: str, name: str, autocommit: bool = True) -> psycopg.Connection:
            conninfo = first.conninfo(who, token, port=port, application_name=name)
            return psycopg.connect(conninfo, autocommit=autocommit)

        idle = connect("dev1", here.token, "idle")
        idle.execute("SELECT 1")
        working = connect("dev1", here.token, "working", autocommit=False)
        working.execute(f"INSERT INTO {table} VALUES ('kept')")
        asking = connect("dev1", here.token, "asking")
        answers: list[object] = []
        asks = threading.Thread(
            target=lambda: answers.append(asking.execute("SELECT 41 + 1, pg_sleep(8)").fetchone()), daemon=True
        )
        asks.start()
        wait_for(lambda: is_asleep(postgres15), "the statement at the target", 60)

        stopped(first)
        assert first.get("/readyz")[0] == 503
        assert first.get("/healthz")[0] == 200
        # The balancer takes the other node now.
        with connect("dev1", there.token, "elsewhere") as elsewhere:
            assert elsewhere.execute("SELECT 41 + 1").fetchone() == (42,)
        with pytest.raises(psycopg.errors.AdminShutdown, match="the gateway is shutting down"):
            idle.execute("SELECT 1")
        working.execute(f"INSERT INTO {table} VALUES ('too')")
        assert not has_ended(first)()
        working.commit()
        # libpq makes a notice of the words when they come along with the answer to the COMMIT.
        with pytest.raises(psycopg.OperationalError):
            working.execute("SELECT 1")
        asks.join(120)
        assert answers == [(42, "")]
        wait_for(has_ended(first), "the end of the first node", 120)
        assert first.stop() == 0
        for connection in (idle, working, asking):
            connection.close()
        assert postgres15.execute(f"SELECT count(*) FROM {table}") == [(2,)]

        first.start()
        with connect("dev1", here.token, "back") as back:
            assert back.execute("SELECT 41 + 1").fetchone() == (42,)
    for name in ("idle", "working", "asking"):
        session = Journal(first.data).session(name)
        assert session.one("SessionClosed")["cause"] == "shutdown"
        assert set(session.outcomes) == {"ok"}


@pytest.mark.timeout(180)
def test_at_the_deadline_what_still_runs_is_ended_with_a_word_and_a_record(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    house = made(gateways, postgres15, "2s")
    dev1 = sign_in(house, "dev1")
    with psycopg.connect(house.conninfo("dev1", dev1.token, application_name=name)) as connection:
        connection.execute("SELECT 1")
        stopped(house)
        wait_for(has_ended(house), "the end of the gateway", 120)
        with pytest.raises(psycopg.errors.AdminShutdown, match="the gateway is shutting down"):
            connection.execute("SELECT 1")
    assert house.stop() == 0
    assert Journal(house.data).session(name).one("SessionClosed")["cause"] == "shutdown"


@pytest.mark.timeout(180)
def test_a_second_signal_hurries_a_drain_of_hours(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    house = made(gateways, postgres15, HOURS, workers=2)
    dev1 = sign_in(house, "dev1")
    with psycopg.connect(house.conninfo("dev1", dev1.token, application_name=name)) as connection:
        connection.execute("SELECT 1")
        stopped(house)
        time.sleep(1)
        assert not has_ended(house)()
        assert house.program is not None
        house.program.process.terminate()
        wait_for(has_ended(house), "the end of the gateway", 120)
        with pytest.raises(psycopg.errors.AdminShutdown, match="the gateway is shutting down"):
            connection.execute("SELECT 1")
    assert house.stop() == 0
    assert Journal(house.data).session(name).one("SessionClosed")["cause"] == "shutdown"


def is_asleep(server: PostgresServer) -> bool:
    question = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND state = 'active'"
    return server.execute(question, ["SELECT 41 + 1, pg_sleep%"]) == [(1,)]
