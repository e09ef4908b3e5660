"""One database from both sides: through a gateway as a person, and at the server itself as the gateway's own role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.clients import Psql
from tests.support.gateway import TARGET, Change, Gateway, GatewayFactory
from tests.support.postgres import DATABASE, GATEWAY, PostgresServer
from tests.support.signing_in import SignedIn

#: The second target, a PostgreSQL 18.
MODERN = "modern-banking"
#: What clients' tests mask, where they mask: a column of the bank, and one of the zoo.
MASKS: Sequence[Mapping[str, Any]] = (
    {
        "name": "numbers",
        "columns": ["*.customers.ssn", "*.animals.name"],
        "transform": {"keep_last": 4},
        "clear_for": {"groups": ["dba-managers"]},
    },
)


def opening(*databases: str, masks: Sequence[Mapping[str, Any]] = (), allow: Sequence[str] = ()) -> Change:
    """Write the change of a policy that opens `databases` besides the bank, masks, and lets engineers do `allow` only.

    Who manages databases may do anything but what nobody can judge, without guardrails.
    """

    def change(policy: dict[str, Any]) -> None:
        for target in policy["targets"].values():
            target["databases"] = [DATABASE, *databases]
        policy["guardrails"] = []
        if masks:
            policy["masks"] = [dict(mask) for mask in masks]
        if allow:
            policy["access"][0]["allow"] = list(allow)

    return change


def serve(factory: GatewayFactory, old: PostgresServer, new: PostgresServer, policy: Change | None = None) -> Gateway:
    """Start a gateway to either server."""
    return factory.make({TARGET: old, MODERN: new}, policy=policy)


@dataclass(frozen=True, slots=True)
class Sides:
    """The two ways to one database."""

    gateway: Gateway
    server: PostgresServer
    person: SignedIn
    target: str
    database: str = DATABASE

    def through(self, database: str = "", person: SignedIn | None = None) -> Psql:
        """Give a libpq client that comes in through the gateway."""
        who = person or self.person
        return self.gateway.psql(who.person, who.token, self.target, database=database or self.database)

    def direct(self, database: str = "") -> Psql:
        """Give one that goes to the server itself."""
        settings = {
            "host": "localhost",
            "port": str(self.server.port),
            "user": GATEWAY,
            "password": self.server.passwords[GATEWAY],
            "database": database or self.database,
            "sslmode": "verify-full",
            "sslrootcert": str(self.server.ca),
        }
        return Psql(self.server.sandbox, settings)

    def conninfo(self, **more: str | int) -> str:
        """Write a libpq connection string for the way through the gateway."""
        settings = {"dbname": self.database, **more}
        return self.gateway.conninfo(self.person.person, self.person.token, self.target, **settings)
