"""Reaching targets as they are configured: certificates, ways to prove oneself, hosts that are down, restarts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support import processes
from tests.support.at_target import backend_of
from tests.support.certificates import Authority
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.ports import free_port
from tests.support.postgres import CLEARTEXT, GATEWAY, MD5, PostgresFactory, PostgresServer
from tests.support.raw_client import RawClient
from tests.support.sandbox import Sandbox
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for
from vestibule.protocols.postgres import messages as pg

PLUS, SCRAM = "scram-sha-256-plus", "scram-sha-256"


@pytest.fixture(scope="module")
def elsewhere(postgres_factory: PostgresFactory, authority: Authority) -> Iterator[PostgresServer]:
    """A server whose certificate is good for its name and not for its address; these tests stop and start it."""
    made = postgres_factory.make(15, certificate=authority.issue("elsewhere", ["localhost"]))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def house(
    module_gateways: GatewayFactory,
    sandbox: Sandbox,
    postgres15: PostgresServer,
    postgres18: PostgresServer,
    elsewhere: PostgresServer,
) -> Gateway:
    """A gateway to one server after the other, each configured in another way."""
    another = Authority(sandbox, "Another authority")
    down = f"127.0.0.1:{free_port()}"
    made = module_gateways.make({TARGET: postgres15}, start=False)

    def target(server: PostgresServer, user: str = GATEWAY, **changes: Any) -> dict[str, Any]:
        usual = {"mode": "verify-full", "ca": f"file:{server.ca}"}
        secret = sandbox.write(made.folder / f"{user}.secret", server.passwords[user])
        return {
            "protocol": "postgres",
            "hosts": [f"localhost:{server.port}"],
            "databases": ["core"],
            "credential": {"username": user, "password": f"file:{secret}"},
            "labels": {"env": "production"},
            **changes,
            "tls": {**usual, **changes.get("tls", {})},
        }

    wrong = sandbox.write(made.folder / "wrong.secret", "not-the-password-0815")
    made.policy["targets"] |= {
        "bound": target(postgres15, tls={"channel_binding": "require"}, authentication=[PLUS]),
        "unbound": target(postgres15, authentication=[SCRAM]),
        "md5": target(postgres15, MD5, authentication=["md5"]),
        "md5-unasked": target(postgres15, MD5),
        "clear": target(postgres15, CLEARTEXT, authentication=["cleartext"]),
        "clear-unasked": target(postgres15, CLEARTEXT, authentication=[PLUS, SCRAM, "md5"]),
        "direct": target(postgres18, tls={"direct": True}),
        "direct-too-old": target(postgres15, tls={"direct": True}),
        "second-host": target(postgres15, hosts=[down, f"localhost:{postgres15.port}"]),
        "down": target(postgres15, hosts=[down]),
        "unknown-host": target(postgres15, hosts=["no-such-host.invalid:5432"]),
        "wrong-authority": target(postgres15, tls={"ca": f"file:{another.ca}"}),
        "wrong-host": target(elsewhere, hosts=[f"127.0.0.1:{elsewhere.port}"]),
        "any-host": target(elsewhere, hosts=[f"127.0.0.1:{elsewhere.port}"], tls={"mode": "verify-ca"}),
        "wrong-password": target(postgres15, credential={"username": GATEWAY, "password": f"file:{wrong}"}),
        "wrong-database": target(postgres15, databases=["not-there"]),
    }
    made.policy["targets"]["plaintext"] = {**target(postgres15), "tls": {"mode": "disable"}}
    made.start()
    return made


@pytest.fixture(scope="module")
def dev1(house: Gateway) -> SignedIn:
    """dev1, who may use them all."""
    return sign_in(house, "dev1")


@pytest.mark.parametrize("target", ["bound", "unbound", "md5", "clear", "direct", "second-host", "any-host"])
def test_a_target_is_reached_as_it_is_configured(house: Gateway, dev1: SignedIn, target: str) -> None:
    assert house.psql("dev1", dev1.token, target).run("SELECT 41 + 1").rows == ["42"]


FAILS = {
    "md5-unasked": "demands md5",
    "clear-unasked": "demands cleartext",
    "direct-too-old": "",
    "down": "Connection refused",
    "unknown-host": "not resolved",
    "wrong-authority": "certificate not accepted",
    "wrong-host": "certificate not accepted",
    "wrong-password": "28P01",
    "wrong-database": "3D000",
    "plaintext": "28000",
}


@pytest.mark.parametrize("target", FAILS)
def test_a_target_that_is_not_as_configured_is_not_available_and_nobody_but_the_record_and_the_log_say_why(
    house: Gateway, dev1: SignedIn, postgres15: PostgresServer, target: str
) -> None:
    journal = Journal(house.data)
    mark, logged = journal.mark(), len(house.program.output())

    with RawClient.connect(house.port) as client:
        client.start_tls(house.ca)
        client.begin(f"dev1+{target}")
        client.expect(pg.AuthenticationCleartextPassword)
        client.send(pg.PasswordMessage(dev1.token.encode() + b"\0"))
        (refused,) = client.rest()

    assert isinstance(refused, pg.ErrorResponse)
    assert dict(refused.fields) == {
        "S": "FATAL",
        "V": "FATAL",
        "C": "08001",
        "M": f"vestibule: target {target} is not available",
    }
    record = journal.wait_for(mark, "AccessDecided", decision="deny", target=target)
    assert record["who"]["name"] == "dev1"
    assert FAILS[target] in record["cause"]
    assert journal.since(mark, "SessionOpened") == []
    log = house.program.output()[logged:]
    assert target in log
    assert FAILS[target] in log
    for secret in (*postgres15.passwords.values(), "not-the-password-0815", dev1.token):
        assert secret not in log + str(record.body)


def test_psql_says_it_in_the_same_words(house: Gateway, dev1: SignedIn) -> None:
    done = house.psql("dev1", dev1.token, "down").run("SELECT 1")

    assert done.status == 2
    assert done.errors.endswith("failed: FATAL:  vestibule: target down is not available\n")


def test_a_target_that_dies_in_a_session_is_told_as_lost_and_can_be_reached_again(
    house: Gateway, dev1: SignedIn, elsewhere: PostgresServer, name: str
) -> None:
    conninfo = house.conninfo("dev1", dev1.token, "any-host", application_name=name)
    logged = len(house.program.output())
    neighbour = psycopg.connect(house.conninfo("dev1", dev1.token), autocommit=True)
    lost = psycopg.connect(conninfo, autocommit=True)
    lost.execute("SELECT 1")

    processes.kill_all([backend_of(elsewhere, name)])

    with pytest.raises(psycopg.OperationalError, match="vestibule: target any-host is not available") as caught:
        lost.execute("SELECT 1")
    assert caught.value.sqlstate == "08006"
    session = Journal(house.data).closed_session(name)
    assert session.one("SessionClosed")["cause"] == "target_closed"
    assert "the target closed the connection" in house.program.output()[logged:]
    assert neighbour.execute("SELECT 41 + 1").fetchone() == (42,)
    neighbour.close()
    wait_for(lambda: house.psql("dev1", dev1.token, "any-host").run("SELECT 1").rows == ["1"], "the target's recovery")


def test_a_target_that_is_shut_down_says_so_itself(
    house: Gateway, dev1: SignedIn, elsewhere: PostgresServer, name: str
) -> None:
    conninfo = house.conninfo("dev1", dev1.token, "any-host", application_name=name)
    connection = psycopg.connect(conninfo, autocommit=True)

    elsewhere.restart()

    with pytest.raises(psycopg.errors.AdminShutdown):
        connection.execute("SELECT 1")
    assert Journal(house.data).closed_session(name).one("SessionClosed")["cause"] == "target_closed"


def test_an_administrator_of_the_target_finds_the_session_by_its_name(
    house: Gateway, dev1: SignedIn, postgres15: PostgresServer
) -> None:
    long = "x" * 80
    with psycopg.connect(house.conninfo("dev1", dev1.token, application_name=long)) as connection:
        (shown,) = connection.execute("SELECT current_setting('application_name')").fetchone()
        backend = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
        opened = Journal(house.data).records("SessionOpened")[-1]

    assert len(shown) == 63
    assert shown == "x" * 44 + f" vestibule:{str(opened.session)[:8]}"
    assert opened["target_session"]["pid"] == backend
    assert opened["target_account"] == GATEWAY
