"""Any messages in any order, through the gateway and straight to a server: `python -m tests.fuzz.in_step N SEED`.

Where `tests/support/pg_model.py` knows a handful of texts, this speaks all of SQL's own ways to make names and
portals, with savepoints, cursors and COPY, and compares with a real server: the same answers, the same rows kept. There
are two exceptions. A conversation that one side ends with FATAL is compared up to there. And the gateway may say that a
name does not exist (26000, 34000) where the server would still find it, as it does for portals of failed transactions.
"""

from __future__ import annotations

import argparse
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.support.certificates import Authority
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import CLEARTEXT, DATABASE, PostgresFactory, PostgresServer
from tests.support.providers import LightProvider
from tests.support.raw_client import RawClient, codes
from tests.support.sandbox import Sandbox
from tests.support.signing_in import SignedIn, sign_in
from vestibule.protocols.postgres import messages as pg

Said = list[pg.FrontendMessage]

PLAIN = """
SELECT 1|VALUES ('a'), ('b'), ('c')|SELECT 1/0|INSERT INTO played VALUES ('x')
INSERT INTO played VALUES ('y') RETURNING x|INSERT INTO played VALUES (NULL)|SELECT count(*) FROM played
SELECT $1::text|SELECT * FROM nonexistent
SELECT 1 / n FROM generate_series(0, 1) n
""".strip().replace("\n", "|")
OTHERS = """
BEGIN|COMMIT|ROLLBACK|SAVEPOINT a|ROLLBACK TO a|RELEASE a|PREPARE q1 AS VALUES (1), (2)|PREPARE s1 AS SELECT 's1'
PREPARE q1 AS INSERT INTO played VALUES ('q') RETURNING x|DEALLOCATE q1|DEALLOCATE s1|DEALLOCATE ALL
DECLARE c1 CURSOR FOR VALUES (1), (2), (3)|DECLARE c1 CURSOR WITH HOLD FOR VALUES (4), (5), (6)
DECLARE p1 CURSOR FOR VALUES ('cursor'), ('p1')|CLOSE c1|CLOSE p1|CLOSE ALL|COPY played FROM STDIN
COPY (VALUES (1), (2)) TO STDOUT|SET TimeZone = 'UTC'|SET TimeZone = 'Asia/Tokyo'|SHOW TimeZone||DISCARD ALL
EXPLAIN (COSTS OFF) SELECT 1|LOCK TABLE played|CREATE TEMP TABLE tt (a int)
""".strip().replace("\n", "|")
#: What names something that may not be there when it is read, only when it is run.
LATE = "EXECUTE q1|EXECUTE s1|FETCH 1 FROM c1|FETCH ALL FROM c1|MOVE 1 IN c1|FETCH 1 FROM p1"
STATEMENTS, PORTALS = ("", "", "s1", "q1", "s2"), ("", "", "p1", "c1")
#: Names that EXECUTE uses; the gateway lets it run only what PREPARE takes.
EXECUTED = ("s1", "q1")


def conversation(random: Random) -> Said:
    """Make the messages of one client, closed by a Sync."""
    phrases = [_phrase(random) for _ in range(random.randint(1, 14))]
    return [*(message for phrase in phrases for message in phrase), pg.Sync()]


def _phrase(random: Random) -> Said:
    chance = random.random()
    if chance < 0.35:
        return _run(random)
    if chance < 0.45:
        end = random.choice([pg.CopyDone(), pg.CopyFail("no")])
        return [pg.Query(b"COPY played FROM STDIN"), pg.CopyData(b"c\n"), end]
    if chance < 0.5:
        return [pg.Query(b"BEGIN")]
    return [_message(random)]


def _run(random: Random) -> Said:
    name, portal = random.choice(STATEMENTS), random.choice(PORTALS)
    described = [pg.Describe("P", portal)] if random.random() < 0.4 else []
    run = pg.Execute(portal, random.choice([0, 0, 1, 2]))
    synced = [pg.Sync()] if random.random() < 0.5 else []
    return [pg.Close("S", name), _parse(random, name), pg.Bind(portal, name), *described, run, *synced]


def _message(random: Random) -> pg.FrontendMessage:
    name, portal = random.choice(STATEMENTS), random.choice(PORTALS)
    makers: list[tuple[int, Callable[[], pg.FrontendMessage]]] = [
        (22, lambda: pg.Query(_text(random))),
        (18, lambda: _parse(random, name)),
        (18, lambda: pg.Bind(portal, name, (), (b"v",) if random.random() < 0.05 else ())),
        (17, lambda: pg.Execute(portal, random.choice([0, 0, 1, 2]))),
        (3, lambda: pg.Describe("S", name)),
        (3, lambda: pg.Describe("P", portal)),
        (3, lambda: pg.Close("S", name)),
        (3, lambda: pg.Close("P", portal)),
        (9, pg.Sync),
        (2, pg.Flush),
        (2, lambda: random.choice([pg.CopyData(b"c\n"), pg.CopyDone(), pg.CopyFail("no")])),
    ]
    weights, chosen = zip(*makers, strict=True)
    return random.choices(chosen, weights)[0]()


def _parse(random: Random, name: str) -> pg.Parse:
    texts = PLAIN if name in EXECUTED else f"{PLAIN}|{OTHERS}"
    return pg.Parse(name, random.choice(texts.split("|")).encode())


def _text(random: Random) -> bytes:
    several = random.choice([1, 1, 1, 2, 3])
    texts = f"{PLAIN}|{OTHERS}" + (f"|{LATE}" if several == 1 else "")
    return "; ".join(random.choice(texts.split("|")) for _ in range(several)).encode()


# --- both sides ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Stage:
    """A server, a gateway before it, and somebody who may write."""

    server: PostgresServer
    gateway: Gateway
    person: SignedIn

    def direct(self, said: Said) -> tuple[list[str], list[str]]:
        """Say it to the server itself."""
        with RawClient.connect(self.server.port) as client:
            client.send(pg.SSLRequest())
            assert client.stream.recv(1) == b"S"
            context = ssl.create_default_context(cafile=str(self.server.ca))
            client.stream = context.wrap_socket(client.stream, server_hostname="localhost")
            return self._converse(client, CLEARTEXT, self.server.passwords[CLEARTEXT], said)

    def through(self, said: Said) -> tuple[list[str], list[str]]:
        """Say it through the gateway."""
        with RawClient.connect(self.gateway.port) as client:
            client.start_tls(self.gateway.ca)
            return self._converse(client, f"{self.person.person}+{TARGET}", self.person.token, said)

    def _converse(self, client: RawClient, user: str, password: str, said: Said) -> tuple[list[str], list[str]]:
        self.server.execute("TRUNCATE played")
        client.log_in(user, password, TimeZone="UTC", database=DATABASE)
        client.send(*said, pg.Terminate())
        return codes(client.rest()), [row[0] for row in self.server.execute("SELECT x FROM played ORDER BY x")]


def _is_end(answer: str) -> bool:
    return "FATAL" in answer or answer == "ERROR 08P01"


def compare(stage: Stage, random: Random) -> str:
    """Hold one conversation with both; say how they differ, or nothing."""
    said = conversation(random)
    expected, kept = stage.direct(said)
    answered, stored = stage.through(said)
    for one, other in zip(expected, answered, strict=False):
        # Who breaks the protocol is told so as soon as that is seen, which may be a little earlier or later.
        if _is_end(one) or _is_end(other) or (one != other and other in ("ERROR 26000", "ERROR 34000")):
            return ""
        if one != other:
            break
    if (expected, kept) == (answered, stored):
        return ""
    return "\n".join([*map(str, said), f"direct  {expected} {kept}", f"gateway {answered} {stored}"])


def stage_for(server: PostgresServer, gateways: GatewayFactory) -> Stage:
    """Put a gateway before a private server."""
    server.execute("CREATE TABLE played (x text NOT NULL)")
    server.execute("GRANT ALL ON played TO PUBLIC")
    gateway = gateways.make({TARGET: server}, policy=lambda document: document.update(guardrails=[]))
    return Stage(server, gateway, sign_in(gateway, "dev1"))


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=500)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--version", type=int, choices=(15, 18), default=15)
    arguments = parser.parse_args()
    differences = 0
    with Sandbox() as sandbox:
        authority = Authority(sandbox)
        server = PostgresFactory(sandbox, authority).make(arguments.version)
        provider = LightProvider(sandbox, authority)
        provider.start()
        factory = GatewayFactory(sandbox, authority, provider)
        stage = stage_for(server, factory)
        for seed in range(arguments.seed, arguments.seed + arguments.count):
            if difference := compare(stage, Random(seed)):
                differences += 1
                print(f"--- seed {seed}\n{difference}", flush=True)
        factory.close()
        provider.stop()
        server.stop()
    print(f"{arguments.count} conversations, {differences} differ")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
