"""kill -9 under load: `python -m tests.chaos N [--seed S]`.

Threads write through a real gateway to a real PostgreSQL, each statement with a word of its own. N times a process of
the gateway is killed at a random instant: the data process, the control process, or both. At the end the target's own
log is counted against the journal: every word that the target executed must stand in a decision that allows it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.support import processes
from tests.support.certificates import Authority
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresFactory, PostgresServer
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox
from vestibule.evidence import verify
from vestibule.evidence.segment import read_frames

WRITERS = 4
#: Seconds between a gateway that serves and the next kill, at most.
BETWEEN = 0.6
#: No word of these announces a secret (`...pwd'`), behind which a record keeps nothing.
LETTERS = "bcdfghjlmnqrvxz"


@dataclass(slots=True)
class Load:
    """Threads that write words through the gateway until they are stopped."""

    gateway: Gateway
    token: str
    stopped: threading.Event = field(default_factory=threading.Event)
    answered: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start all writers."""
        for number in range(WRITERS):
            thread = threading.Thread(target=self._write, args=(random.Random(number),), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let all writers end."""
        self.stopped.set()
        for thread in self._threads:
            thread.join(30)

    def _write(self, chance: random.Random) -> None:
        while not self.stopped.is_set():
            try:
                with psycopg.connect(
                    self.gateway.conninfo("dev1", self.token, connect_timeout=5), autocommit=True
                ) as connection:
                    while not self.stopped.is_set():
                        self._write_one(connection, chance)
            except psycopg.Error:
                time.sleep(0.05)

    def _write_one(self, connection: psycopg.Connection[tuple[object, ...]], chance: random.Random) -> None:
        word = "w" + "".join(chance.choices(LETTERS, k=15))
        if chance.random() < 0.5:
            connection.execute(f"INSERT INTO chaos VALUES ('{word}')".encode())
        else:
            # The word stands in the text, where the target's log shows it; the parameter makes it a Bind.
            connection.execute(f"INSERT INTO chaos SELECT '{word}' WHERE %s".encode(), (True,))
        self.answered.append(word)


def kill_something(gateway: Gateway, chance: random.Random) -> str:
    """Kill one or all processes of the gateway; start it again if the control process went."""
    if gateway.program is None:
        raise RuntimeError("the gateway does not run")
    children = processes.descendants(gateway.program.pid)
    if children and chance.random() < 0.75:
        processes.kill_all([chance.choice(children)])
        return "data process"
    if children and chance.random() < 0.5:
        # The control process alone: the data process must notice and end by itself.
        processes.kill_all([gateway.program.pid])
        processes.wait_gone([gateway.program.pid, *children], 30)
    gateway.kill()
    gateway.start()
    return "control process"


def executed(server: PostgresServer, mark: int) -> set[str]:
    """The words that the target has executed, by its own log."""
    return {word for text in server.statements(mark) for word in words(text)}


def recorded(data: Path) -> set[str]:
    """The words in decisions that allow, by the journal's files."""
    return {word for record in decisions(data) if record["decision"] == "allow" for word in words(record["text"])}


def decisions(data: Path) -> Iterator[dict[str, str]]:
    """Read every `StatementDecided` of the journal, straight from its segments."""
    for segment in sorted(data.glob("journal/*/*.seg")):
        for frame in read_frames(segment.read_bytes()):
            if b'"kind":"StatementDecided"' in frame.header:
                yield json.loads(frame.body)


def words(text: str) -> Iterator[str]:
    """Find the words of the load in a text."""
    return (part for part in text.split("'")[1::2] if len(part) == 16 and part[0] == "w" and part.isalpha())


def run(rounds: int, seed: int, show: bool = True, workers: int = 1) -> tuple[int, int, int]:
    """Kill `rounds` times; give how many words were executed, recorded, and executed without a record."""
    chance = random.Random(seed)
    with Sandbox() as sandbox:
        authority = Authority(sandbox)
        server = PostgresFactory(sandbox, authority).make(15)
        server.execute("CREATE TABLE chaos (word text); GRANT ALL ON chaos TO vestibule_rw")
        provider = LightProvider(sandbox, authority)
        provider.start()
        factory = GatewayFactory(sandbox, authority, provider)
        gateway = factory.make({TARGET: server}, settings=lambda settings: settings.update(workers=workers))
        load = Load(gateway, gateway.login("dev1"))
        mark = server.mark()
        load.start()
        killed: dict[str, int] = {}
        for done in range(1, rounds + 1):
            seen = len(load.answered)
            _wait_for_work(load, seen)
            time.sleep(chance.random() * BETWEEN)
            what = kill_something(gateway, chance)
            killed[what] = killed.get(what, 0) + 1
            if show and done % 10 == 0:
                print(f"{done} of {rounds} kills, {len(load.answered)} statements answered", flush=True)
        load.stop()
        gateway.stop()
        found, kept = executed(server, mark), recorded(gateway.data)
        if verify.main([str(gateway.data)]) != 0:
            raise RuntimeError("the evidence does not verify after the kills")
        lost = set(load.answered) - found
        factory.close()
        provider.stop()
        server.stop()
    if show:
        print(", ".join(f"{count} x {what} killed" for what, count in sorted(killed.items())))
        print(f"executed {len(found)}\nrecorded {len(kept)}\nunrecorded {len(found - kept)}")
        for word in sorted(found - kept)[:20]:
            print(f"not recorded: {word}")
    if lost:
        raise RuntimeError(f"{len(lost)} statements were answered that the target's log does not show")
    return len(found), len(kept), len(found - kept)


def _wait_for_work(load: Load, seen: int) -> None:
    """Wait until statements are answered again after a kill."""
    end = time.monotonic() + 60
    while len(load.answered) <= seen:
        if time.monotonic() > end:
            raise RuntimeError("the gateway answered nothing for a minute after a kill")
        time.sleep(0.01)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="data processes of the gateway (default 1)")
    arguments = parser.parse_args()
    count, _, unrecorded = run(arguments.rounds, arguments.seed, workers=arguments.workers)
    return 0 if count and not unrecorded else 1


if __name__ == "__main__":
    sys.exit(main())
