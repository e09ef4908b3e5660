"""What the walk happens on: a bank's PostgreSQL, its OpenID provider and Vestibule, all on this machine's loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from demo.show import Show
from demo.talk import Talk, talking
from tests.support import bank
from tests.support.certificates import Authority
from tests.support.gateway import TARGET, Gateway
from tests.support.ports import free_port
from tests.support.postgres import PostgresFactory, PostgresServer
from tests.support.providers import LightProvider
from tests.support.sandbox import ENVIRONMENT, Sandbox

#: The doors' usual numbers, taken where nobody else has them.
POSTGRES_PORT, CONTROL_PORT = 15432, 8443

PRODUCTION: Final = {"labels": {"env": "production"}}
#: What the walk's policy knows besides the usual.
EMPTYING: Final[dict[str, Any]] = {
    "name": "no emptying",
    "match": {"verbs": ["truncate"], "targets": PRODUCTION},
    "action": "deny",
    "reason": "Tables are emptied by migration only.",
}
DELETING: Final[dict[str, Any]] = {
    "name": "deleting takes two",
    "match": {"verbs": ["delete"], "targets": PRODUCTION},
    "action": "hold",
    "reason": "A second person looks at what is deleted.",
    "approvers": {"groups": ["dba-managers"], "quorum": 1},
    "expires": "15m",
}
MASKS: Final[list[dict[str, Any]]] = [
    {
        "name": "ssn",
        "columns": ["*.customers.ssn"],
        "transform": {"keep_last": 4},
        "unmask": {"groups": ["dba-managers"]},
    },
    {"name": "card", "columns": ["*.cards.pan"], "transform": {"keep_last": 4}},
    {"name": "contact", "columns": ["*.customers.email"], "transform": "hide"},
]


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    sandbox: Sandbox
    server: PostgresServer
    provider: LightProvider
    gateway: Gateway
    #: Ends what the steps leave open.
    rest: ExitStack
    tokens: dict[str, str] = field(default_factory=dict)
    talks: list[Talk] = field(default_factory=list)
    approvals: list[str] = field(default_factory=list)

    def talk(self, person: str, show: Show) -> Talk:
        """Give the psql of `person` that stays open from step to step; start it if there is none."""
        if not self.talks:
            psql = self.gateway.psql(person, self.tokens[person])
            self.talks.append(self.rest.enter_context(talking(psql, show)))
        return self.talks[0]


@contextmanager
def raised(show: Show) -> Iterator[Stage]:
    """Start everything, and end it whatever happens."""
    with Sandbox() as sandbox:
        authority = Authority(sandbox, "Vestibule demo authority")
        what = f"{bank.CUSTOMERS} customers, {bank.CARDS} cards"
        with show.starting(f"PostgreSQL 15 with TLS and a small bank: {what}"):
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
        gateway.policy["guardrails"] += [EMPTYING, DELETING]
        gateway.policy["masks"] = MASKS
        with show.starting("Vestibule"):
            gateway.start()
        with ExitStack() as rest:
            yield Stage(sandbox, server, provider, gateway, rest)


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
