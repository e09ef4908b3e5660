"""Somebody who may only read tries to do more: `python -m tests.fuzz.bypass N SEED [--version 15|18] [--write]`.

The role at the target is a superuser, so whatever does not happen was stopped by the gateway. A direct connection looks
at everything that could have changed: schema, rows, sequences, roles, settings, files, other sessions, notifications,
counters of rows and of functions; and at the answers, which must not hold what stands in a file of the server's.
With `--write` the person may write rows too, which are then the only thing that may change.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from tests.fuzz import evil
from tests.support.certificates import Authority
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresFactory, PostgresServer
from tests.support.providers import LightProvider
from tests.support.raw_client import RawClient, codes
from tests.support.sandbox import Sandbox
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for
from vestibule.protocols.postgres import messages as pg

#: Statements between two looks at the target.
STEP = 20
SECRET = "open-sesame-to-nobody"
SETTINGS = """
track_functions = all
autovacuum = off
wal_level = logical
"""

#: Catalogs whose rows are compared whole, and what of the others.
CATALOGS = """
am attrdef auth_members authid cast collation constraint conversion db_role_setting default_acl depend description enum
event_trigger extension foreign_data_wrapper foreign_server foreign_table init_privs language largeobject_metadata
opclass operator opfamily parameter_acl policy proc publication range rewrite seclabel sequence shdescription shseclabel
statistic_ext subscription tablespace transform trigger ts_config ts_dict type user_mapping
"""
PARTS = {
    "classes": "SELECT relname, relkind, relowner, relfilenode, relacl, relhassubclass, reloptions FROM pg_class",
    "attributes": "SELECT attrelid, attname, atttypid, attnum, attnotnull, attacl FROM pg_attribute",
    "schemas": "SELECT * FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'",
    "databases": "SELECT datname, datdba, datacl FROM pg_database",
    "settings": "SELECT name, setting, source FROM pg_settings WHERE source <> 'client' AND context <> 'internal'",
    "loaded": "SELECT pg_conf_load_time()",
    "slots": "SELECT slot_name FROM pg_replication_slots",
    "prepared": "SELECT gid FROM pg_prepared_xacts",
    "objects": "SELECT count(*) FROM pg_largeobject",
    "functions": "SELECT funcname, calls FROM pg_stat_user_functions",
    "statistics": "SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()",
    "upkeep": "SELECT relname, last_vacuum, last_analyze FROM pg_stat_user_tables",
    **{name: f"SELECT * FROM pg_catalog.pg_{name}" for name in CATALOGS.split()},
}
ROWS = {
    "rows": "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables",
    "sequences": "SELECT last_value, is_called FROM counted",
    **{
        name: f"SELECT * FROM {name}" for name in ("loans", "cards", "customers", "accounts", "transactions", "touched")
    },
}
#: What changes with rows, large objects and upkeep.
WRITTEN = {"largeobject_metadata", "objects", "upkeep"}
#: What must stay as the gateway pinned it in the attacker's own session.
PINNED = {
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
    "backslash_quote": "safe_encoding",
    "session_replication_role": "origin",
    "jit_dump_bitcode": "off",
    "work_mem": "4MB",
    "role": "none",
    "session_authorization": GATEWAY,
}


class Bypassed(AssertionError):
    """Something happened at the target that the policy does not grant."""


@dataclass(slots=True)
class Lab:
    """A target full of traps, a gateway before it, and somebody who means no good."""

    server: PostgresServer
    gateway: Gateway
    person: SignedIn
    folder: Path
    may_write: bool
    canary: psycopg.Connection[tuple[Any, ...]]
    tally: Counter[str] = field(default_factory=Counter)

    def fill(self, text: str) -> str:
        """Put in what only the running server knows."""
        pid = str(self.canary.info.backend_pid)
        return (
            text.replace("{file}", str(self.folder / "secret"))
            .replace("{to}", str(self.out / "x"))
            .replace("{pid}", pid)
        )

    @property
    def out(self) -> Path:
        """A folder into which the server could write."""
        return self.folder / "out"

    def look(self) -> dict[str, str]:
        """Take a picture of the target."""
        with self.server.connect() as connection:
            connection.execute("SELECT pg_stat_clear_snapshot()")
            picture = {name: _digest(connection, query) for name, query in self._parts().items()}
        configuration = (self.server.data / "postgresql.auto.conf").read_bytes()
        picture["configuration"] = sha256(configuration).hexdigest()
        picture["files"] = str(sorted(path.name for path in [*self.out.iterdir(), *self.server.data.rglob("*.bc")]))
        picture["canary"] = str(self.canary.execute("SELECT pg_backend_pid()").fetchall())
        if not self.may_write:
            picture["bell"] = str(list(self.canary.notifies(timeout=0)))
        return picture

    def _parts(self) -> dict[str, str]:
        if not self.may_write:
            return {**PARTS, **ROWS}
        kept = {name: query for name, query in PARTS.items() if name not in WRITTEN}
        return {**kept, "classes": PARTS["classes"].replace("relfilenode, ", "")}

    def connect(self) -> RawClient:
        """Open a session of the attacker's."""
        client = RawClient.connect(self.gateway.port)
        client.start_tls(self.gateway.ca)
        client.log_in(f"{self.person.person}+{TARGET}", self.person.token)
        return client

    def reconnect(self, client: RawClient) -> RawClient:
        """Close a session, wait until the target has forgotten it, and open another."""
        client.stream.close()
        wait_for(lambda: not self.server.backends(), "the end of the attacker's sessions")
        return self.connect()

    def attack(self, client: RawClient, said: evil.Said, number: int) -> bool:
        """Say something and hear all of the answer; tell whether the session goes on."""
        client.messages.clear()
        client.send(*said, pg.Sync(), pg.Query(b"SELECT 'end %d'" % number))
        while (message := client.next()) is not None:
            if isinstance(message, pg.ErrorResponse):
                self.tally[message.text("C")] += 1
            if SECRET.encode() in pg_bytes(message):
                raise Bypassed(f"a file was read: {message}")
            if isinstance(message, pg.DataRow) and message.values == (b"end %d" % number,):
                client.until(pg.ReadyForQuery)
                return True
        return False

    def check_session(self, client: RawClient) -> None:
        """See that the attacker's session still has its pins."""
        for name, value in PINNED.items():
            shown = client.query(f"SHOW {name}")
            if not any(isinstance(each, pg.DataRow) and each.values == (value.encode(),) for each in shown):
                raise Bypassed(f"{name} is no longer {value}: {codes(shown)}")


def pg_bytes(message: pg.BackendMessage) -> bytes:
    """Everything that a message tells."""
    match message:
        case pg.DataRow(values=values):
            return b"\0".join(value or b"" for value in values)
        case pg.CopyData(data=data):
            return data
        case _:
            return repr(message).encode()


def _digest(connection: psycopg.Connection[tuple[Any, ...]], query: str) -> str:
    rows = sorted(map(repr, connection.execute(query.encode()).fetchall()))
    return sha256("\n".join(rows).encode()).hexdigest()[:16]


def run(lab: Lab, count: int, seed: int, show: Callable[[str], object] = lambda _: None) -> Counter[str]:
    """Try `count` statements, the same for the same seed; raise `Bypassed` where one of them got through."""
    random = Random(seed)
    before, client, mark = lab.look(), lab.connect(), lab.server.mark()
    for number in range(count):
        text = evil.text(random, lab.fill)
        try:
            if not lab.attack(client, evil.said(random, text), number):
                lab.tally["ended"] += 1
                client = lab.reconnect(client)
        except TimeoutError:
            raise Bypassed(f"no answer to {text[:300]}") from None
        if number % STEP == STEP - 1 or number == count - 1:
            lab.check_session(client)
            # What is temporary goes with its session.
            client = lab.reconnect(client)
            after = lab.look()
            changed = sorted(name for name in before if before[name] != after[name])
            if changed:
                reached = [text[:300] for text in lab.server.statements(mark)]
                raise Bypassed(f"{', '.join(changed)} changed; this reached the target:\n" + "\n".join(reached))
            mark = lab.server.mark()
        if number % 500 == 499:
            show(f"{number + 1} of {count}: {dict(lab.tally)}")
    client.stream.close()
    return lab.tally


@contextmanager
def laboratory(server: PostgresServer, gateways: GatewayFactory, *, may_write: bool = False) -> Iterator[Lab]:
    """Fill a private server with traps and put a gateway before it."""
    with server.connect(GATEWAY) as connection:
        connection.execute(evil.TRAPS.encode())
    server.execute(f"ALTER ROLE {GATEWAY} SUPERUSER")

    def policy(document: dict[str, Any]) -> None:
        allow = ["read", "write"] if may_write else ["read"]
        document["access"] = [{"name": "some", "groups": ["engineering"], "targets": [TARGET], "allow": allow}]
        document["guardrails"] = []

    gateway = gateways.make({TARGET: server}, policy=policy)
    folder = server.sandbox.folder("lair")
    server.sandbox.write(folder / "secret", SECRET)
    lab_out = server.sandbox.folder("lair-out")
    (folder / "out").symlink_to(lab_out)
    with server.connect() as canary:
        canary.execute("LISTEN bell")
        yield Lab(server, gateway, sign_in(gateway, "dev1"), folder, may_write, canary)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=2_000)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--version", type=int, choices=(15, 18), default=15)
    parser.add_argument("--write", action="store_true", help="the person may write rows too")
    arguments = parser.parse_args()
    with Sandbox() as sandbox:
        authority = Authority(sandbox)
        server = PostgresFactory(sandbox, authority).make(arguments.version, SETTINGS)
        provider = LightProvider(sandbox, authority)
        provider.start()
        factory = GatewayFactory(sandbox, authority, provider)
        try:
            with laboratory(server, factory, may_write=arguments.write) as lab:
                tally = run(lab, arguments.count, arguments.seed, print)
        except Bypassed as bypass:
            print(f"BYPASSED: {bypass}")
            return 1
        finally:
            factory.close()
            provider.stop()
            server.stop()
    print(f"{arguments.count} tried, none got through; {dict(tally)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
