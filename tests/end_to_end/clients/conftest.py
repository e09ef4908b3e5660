"""What the tests of real clients share: one gateway to PostgreSQL 15 and 18, and somebody who may change schemas.

Each server is behind two targets: as it is, and with masks (`masked`). Tests work in tables of their own.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox
from tests.support.signing_in import SignedIn, sign_in

MODERN = "modern-banking"
#: The same servers behind masks.
MASKED = {TARGET: "masked-banking", MODERN: "masked-modern"}
#: What dev1 sees of customer 1 at a masked target: the end of the number, no date, no address.
MASKS = [
    {"name": "ssn", "columns": ["*.customers.ssn"], "transform": {"keep_last": 4}},
    {"name": "contact", "columns": ["*.customers.born", "*.customers.email"]},
]


def _policy(policy: dict[str, Any]) -> None:
    engineers, _ = policy["access"]
    policy["access"] = [{**engineers, "allow": ["read", "write", "schema"]}]
    policy["guardrails"] = []
    policy["masks"] = [{**mask, "targets": list(MASKED.values())} for mask in MASKS]


@pytest.fixture(scope="session")
def clients(
    sandbox: Sandbox,
    authority: Authority,
    light_provider: LightProvider,
    postgres15: PostgresServer,
    postgres18: PostgresServer,
) -> Iterator[Gateway]:
    """The gateway; behind all tests its evidence is checked as an outsider would check it."""
    factory = GatewayFactory(sandbox, authority, light_provider)
    servers = {TARGET: postgres15, MODERN: postgres18}
    behind = {**servers, **{masked: servers[plain] for plain, masked in MASKED.items()}}
    gateway = factory.make(behind, policy=_policy)
    yield gateway
    assert gateway.stop() == 0
    done = gateway.cli("ana", "evidence", "verify", gateway.data, timeout=120)
    assert done.status == 0, done.output + done.errors


@pytest.fixture(scope="session")
def dev(clients: Gateway) -> SignedIn:
    """dev1, who may read, write and change schemas."""
    return sign_in(clients, "dev1")


@pytest.fixture(scope="session", params=[TARGET, MODERN])
def target(request: pytest.FixtureRequest) -> str:
    """Either target."""
    return str(request.param)


@pytest.fixture(scope="session")
def masked(target: str) -> str:
    """The same server behind masks."""
    return MASKED[target]


@pytest.fixture(scope="session")
def server(target: str, postgres15: PostgresServer, postgres18: PostgresServer) -> PostgresServer:
    """The server behind the target."""
    return postgres15 if target == TARGET else postgres18


@pytest.fixture(scope="session")
def trust(clients: Gateway) -> ssl.SSLContext:
    """TLS as `verify-full` means it, for drivers that are no libpq."""
    return ssl.create_default_context(cafile=str(clients.ca))


@pytest.fixture
def conninfo(clients: Gateway, dev: SignedIn, target: str, name: str) -> str:
    """libpq's settings for the target, under the test's name."""
    return clients.conninfo(dev.person, dev.token, target, application_name=name)


@pytest.fixture
def masked_conninfo(clients: Gateway, dev: SignedIn, masked: str, name: str) -> str:
    """libpq's settings for the same server behind masks."""
    return clients.conninfo(dev.person, dev.token, masked, application_name=name)


@pytest.fixture
def items(server: PostgresServer, name: str) -> Iterator[str]:
    """An empty table of the test's own with columns of many types."""
    with server.connect(GATEWAY) as connection:
        connection.execute(f"""CREATE TABLE {name} (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text, many text[], amount numeric, at timestamptz,
            about jsonb, reference uuid, raw bytea, day date, open int4range, flag boolean, ratio float8)""")
    yield name
    server.execute(f"DROP TABLE IF EXISTS {name}")
