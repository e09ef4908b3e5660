"""What the walk happens on: a bank's PostgreSQL, its OpenID provider and Vestibule, all on this machine's loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from demo.show import Show
from tests.support import bank
from tests.support.certificates import Authority
from tests.support.gateway import TARGET, Gateway
from tests.support.ports import free_port
from tests.support.postgres import PostgresFactory, PostgresServer
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox

#: The doors' usual numbers, taken where nobody else has them.
POSTGRES_PORT, CONTROL_PORT = 15432, 8443


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    sandbox: Sandbox
    server: PostgresServer
    provider: LightProvider
    gateway: Gateway
    tokens: dict[str, str] = field(default_factory=dict)


@contextmanager
def raised(show: Show) -> Iterator[Stage]:
    """Start everything, and end it whatever happens."""
    with Sandbox() as sandbox:
        authority = Authority(sandbox, "Vestibule demo authority")
        what = f"{bank.CUSTOMERS} customers, {bank.CARDS} cards, {bank.TRANSACTIONS} transactions"
        with show.starting(f"PostgreSQL 15 with TLS and a small bank ({what})"):
            server = PostgresFactory(sandbox, authority).make(15)
        provider = LightProvider(sandbox, authority)
        with show.starting("an OpenID provider that knows the bank's people"):
            provider.start()
        gateway = Gateway(
            sandbox,
            authority,
            provider,
            {TARGET: server},
            port=_wanted(POSTGRES_PORT),
            control_port=_wanted(CONTROL_PORT),
        )
        # Engineers may change schemas here, so that it is the guardrail that keeps the tables.
        gateway.policy["access"][0]["allow"].append("schema")
        with show.starting("Vestibule"):
            gateway.start()
        yield Stage(sandbox, server, provider, gateway)


def _wanted(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
    return port
