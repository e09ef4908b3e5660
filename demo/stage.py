"""What the walk happens on: a bank's PostgreSQL, its OpenID provider and Vestibule, all on this machine's loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo.show import Show
from tests.support import bank
from tests.support.certificates import Authority
from tests.support.gateway import TARGET, Gateway
from tests.support.ports import free_port
from tests.support.postgres import PostgresFactory, PostgresServer
from tests.support.providers import LightProvider
from tests.support.sandbox import ENVIRONMENT, Sandbox

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


def environment_file(stage: Stage, person: str) -> Path:
    """Write a file for a shell to read, by which psql and the command line are `person`'s."""
    gateway = stage.gateway
    settings = gateway.psql(person, stage.tokens[person]).settings
    variables = {
        **{f"PG{name.upper()}": value for name, value in settings.items()},
        **gateway.client_environment(),
        "XDG_CONFIG_HOME": str(gateway.home(person) / ".config"),
        "PATH": f"{ENVIRONMENT / 'bin'}:$PATH",
    }
    path = stage.sandbox.root / f"{person}.env"
    path.touch(mode=0o600)
    path.write_text("".join(f'export {name}="{value}"\n' for name, value in variables.items()))
    return path


def _wanted(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
    return port
