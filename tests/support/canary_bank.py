"""The leak battery's bank behind a real gateway, and the battery as a command that is run against both.

1. The gateway's credential is the superuser, so whatever did not come through was stopped by the gateway.
2. Some attacks make the server connect to itself, so `postgres` comes in from 127.0.0.1 without a password, but
   outside TLS alone: the gateway, which comes in by TLS, proves itself by SCRAM.
3. Attacks write files and leave slots behind: nobody else shares this server.
"""

from __future__ import annotations

import ast
import json
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.certificates import Authority
from tests.support.gateway import Change, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresServer, programs_of
from tests.support.providers import LightProvider
from tests.support.sandbox import CHECKOUT, ENVIRONMENT, Sandbox
from tests.support.signing_in import SignedIn, sign_in

BATTERY = CHECKOUT / "tests" / "leak_battery"
BANK, SUPERUSER = "bank", "postgres"
SETTINGS = "wal_level = logical\nlog_statement = none\nautovacuum = off\n"
ACCESS = f"""
local     all all                      reject
hostssl   all {SUPERUSER} 127.0.0.1/32 scram-sha-256
hostnossl all all         127.0.0.1/32 trust
hostnossl replication all 127.0.0.1/32 trust
"""
#: How the server's own clients (dblink, psql) connect: by the rule above that asks for no password.
ITS_CLIENTS = {"PGSSLMODE": "disable", "PGUSER": SUPERUSER, "PGDATABASE": BANK}

#: What the battery protects, and nothing more: where the values are carried on to is for the gateway to find.
MASKS: Sequence[dict[str, Any]] = (
    {
        "name": "numbers",
        "columns": ["*.customers.ssn", "*.accounts.account_number", "*.cards.pan"],
        "transform": {"keep_last": 4},
    },
    {
        "name": "personal",
        "columns": [
            *(f"*.customers.{name}" for name in ("full_name", "email", "dob", "profile", "phones", "home", "attrs")),
            *(f"*.kyc.{name}" for name in ("doc", "scan", "lo")),
            "*.cards.cvv",
            "*.transactions.memo",
        ],
    },
)
#: A refusal tells the session's id: its random digits hit a fragment of a canary in one of 70 refusals. What has leaked
#: leaks again in another session, so such a case is tried so many times more.
TRIES, FRAGMENT = 3, 6


def policy(masks: Sequence[dict[str, Any]]) -> Change:
    """Let engineers read and write in the bank, without anything that holds or denies; mask what `masks` say."""

    def change(document: dict[str, Any]) -> None:
        target = document["targets"][BANK]
        target |= {"databases": [BANK], "credential": {**target["credential"], "username": SUPERUSER}}
        allow = {"groups": ["engineering"], "targets": [BANK], "allow": ["read", "write"]}
        document["access"] = [{"name": "engineers work in the bank", **allow}]
        document["guardrails"] = []
        if masks:
            document["masks"] = list(masks)

    return change


def serve_bank(sandbox: Sandbox, authority: Authority) -> PostgresServer:
    """Start a server with the battery's bank in it; the caller stops it."""
    password = secrets.token_urlsafe(18)
    server = PostgresServer(
        sandbox,
        15,
        programs_of(15),
        sandbox.folder("bank", 0o755),
        authority.ca,
        # The gateway's files take the password from the role that it has elsewhere.
        {SUPERUSER: password, GATEWAY: password},
        authority.issue("bank"),
        superuser=SUPERUSER,
        access=ACCESS,
        environment=ITS_CLIENTS,
    )
    secret = sandbox.write(server.folder / "password", password)
    options = ["-U", SUPERUSER, f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
    _run(sandbox, [server.programs / "initdb", "-D", server.data, *options, "--no-sync"])
    server.configure(SETTINGS)
    server.start()
    written = _run(sandbox, [sys.executable, BATTERY / "gen_schema.py"])
    psql, address = server.programs / "psql", ["-h", "127.0.0.1", "-p", str(server.port)]
    _run(sandbox, [psql, *address, "-X", "-d", SUPERUSER, "-c", f"CREATE DATABASE {BANK}"])
    _run(sandbox, [psql, *address, "-X", "-q", "-v", "ON_ERROR_STOP=1"], written)
    return server


def _run(sandbox: Sandbox, command: Sequence[str | Path], typed: str = "") -> str:
    done = sandbox.run(command, folder=sandbox.root, environment=ITS_CLIENTS, typed=typed)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the battery says of one case."""

    id: str
    kind: str
    category: str
    status: str
    ok: bool
    info: str
    closed: bool

    @property
    def is_doubtful(self) -> bool:
        """Whether all that leaked are a few characters in an error, which may be digits of the session's id."""
        if self.status != "LEAK" or self.kind != "leak":
            return False
        return all(frame == "E" and len(trace) <= FRAGMENT for frame, trace in ast.literal_eval(self.info))

    @property
    def is_late(self) -> bool:
        """Whether an oracle did not tell where it must: one reads a clock, which a busy machine spoils."""
        return self.kind == "oracle" and not self.ok


@dataclass(frozen=True, slots=True)
class Bank:
    """The server, a gateway before it, and somebody who may read and write there."""

    server: PostgresServer
    gateway: Gateway
    person: SignedIn

    @property
    def direct(self) -> str:
        """The server itself, for its superuser."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.server.port}/{BANK}?sslmode=disable"

    @property
    def through(self) -> str:
        """The same database through the gateway; the token is not in it."""
        trust = f"sslmode=verify-full&sslrootcert={quote(str(self.gateway.ca))}"
        return f"postgresql://{self.person.person}+{BANK}@localhost:{self.gateway.port}/{BANK}?{trust}"

    @property
    def by_privilege(self) -> str:
        """The server itself, for a role that sees masked views and nothing else."""
        return self.direct.replace(f"{SUPERUSER}@", "bank_masked@")

    def attack(self, *options: str, side: str = "") -> list[Verdict]:
        """Run the battery against the server itself, or against another side; give all its verdicts."""
        verdicts = self._run(*options, side=side)
        for _ in range(TRIES):
            doubtful = [each.id for each in verdicts if (each.is_doubtful if side else each.is_late)]
            if not doubtful:
                break
            again = {each.id: each for each in self._run("--only", ",".join(doubtful), side=side)}
            verdicts = [again.get(each.id, each) for each in verdicts]
        return verdicts

    def _run(self, *options: str, side: str) -> list[Verdict]:
        sandbox = self.server.sandbox
        found = sandbox.folder("verdicts") / "found.json"
        sides = ["--direct", self.direct, *(["--gateway", side] if side else [])]
        command: list[str | Path] = [ENVIRONMENT / "bin" / "python", BATTERY / "run.py", *options, *sides]
        secret = {"LEAK_GATEWAY_PASSWORD": self.person.token}
        done = sandbox.run([*command, "--json", found], folder=found.parent, environment=secret, timeout=600)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"the battery could not run to its end:\n{done.stdout}{done.stderr}")
        return [Verdict(**each) for each in json.loads(found.read_text())]


@contextmanager
def canary_bank(
    sandbox: Sandbox, authority: Authority, provider: LightProvider, masks: Sequence[dict[str, Any]]
) -> Iterator[Bank]:
    """Start the bank and a gateway before it that knows these masks; end both."""
    server, gateways = serve_bank(sandbox, authority), GatewayFactory(sandbox, authority, provider)
    try:
        gateway = gateways.make({BANK: server}, policy=policy(masks))
        yield Bank(server, gateway, sign_in(gateway, "dev1"))
    finally:
        gateways.close()
        server.stop()
