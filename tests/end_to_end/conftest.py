"""What the end-to-end tests share: who is signed in at the shared gateway, its journal, and names for sessions."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.support.certificates import Authority
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.providers import LightProvider
from tests.support.raw_client import RawClient, in_session
from tests.support.sandbox import Sandbox
from tests.support.signing_in import SignedIn, sign_in

People = Callable[[str], SignedIn]
Connect = Callable[..., psycopg.Connection]


@pytest.fixture(scope="session")
def gateway(gateway: Gateway) -> Iterator[Gateway]:
    """The shared gateway; behind all tests its evidence is checked as an outsider would check it."""
    yield gateway
    assert gateway.stop() == 0
    done = gateway.cli("ana", "evidence", "verify", gateway.data, timeout=120)
    assert done.status == 0, done.output + done.errors


@pytest.fixture(scope="session")
def signed_in(gateway: Gateway) -> People:
    """Gives people of the shared gateway, each signed in once: `signed_in("dev1").token`."""
    known: dict[str, SignedIn] = {}

    def person(name: str) -> SignedIn:
        if name not in known:
            known[name] = sign_in(gateway, name)
        return known[name]

    return person


@pytest.fixture(scope="session")
def dev1(signed_in: People) -> SignedIn:
    """dev1, who may read and write."""
    return signed_in("dev1")


@pytest.fixture(scope="session")
def dora(signed_in: People) -> SignedIn:
    """dora, who may change schemas too."""
    return signed_in("dora")


@pytest.fixture
def journal(gateway: Gateway) -> Journal:
    """The shared gateway's evidence."""
    return Journal(gateway.data)


@pytest.fixture
def name() -> str:
    """A name that no other session has, of letters alone, so that it stands in records as it is."""
    return "t" + "".join(random.SystemRandom().choices(string.ascii_lowercase, k=11))


@pytest.fixture(scope="module")
def module_gateways(sandbox: Sandbox, authority: Authority, light_provider: LightProvider) -> Iterator[GatewayFactory]:
    """Makes gateways for the tests of one file."""
    factory = GatewayFactory(sandbox, authority, light_provider)
    yield factory
    factory.close()


@pytest.fixture
def table(postgres15: PostgresServer, name: str) -> Iterator[str]:
    """An empty table of the test's own, `x text`."""
    postgres15.execute(f"CREATE TABLE {name} (x text)")
    postgres15.execute(f"ALTER TABLE {name} OWNER TO {GATEWAY}")
    yield name
    postgres15.execute(f"DROP TABLE {name}")


@pytest.fixture
def raw(gateway: Gateway, dev1: SignedIn, name: str) -> Iterator[RawClient]:
    """A raw session of dev1's at the shared gateway, under `name`."""
    with in_session(gateway.port, gateway.ca, f"dev1+{TARGET}", dev1.token, application_name=name) as client:
        yield client


@pytest.fixture
def connect(gateway: Gateway, dev1: SignedIn, name: str) -> Iterator[Connect]:
    """Opens psycopg connections through the shared gateway, by default dev1's in autocommit and under `name`."""
    opened: list[psycopg.Connection] = []

    def open_one(person: SignedIn = dev1, autocommit: bool = True, target: str = TARGET, **more: object):
        settings = {"application_name": name, "connect_timeout": 20, **more}
        conninfo = gateway.conninfo(person.person, person.token, target, **settings)
        opened.append(psycopg.connect(conninfo, autocommit=autocommit))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()
