"""What one statement costs the gateway's own code, part by part, without sockets, syncs and other processes.

    python -m benchmarks.statement [--rounds 2000] [--json] [--profile PART]

A session where a column is masked, a point query by its prepared statement and as a text; each part is the least
of many rounds, which is the same on a busy machine and an idle one.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from tests.support.pg_masked import ID, READY, masked, query, shape
from tests.support.pg_play import written
from vestibule.model.effect import Persist
from vestibule.model.event import Received, Side
from vestibule.model.names import Instant
from vestibule.model.record import Kind, Record
from vestibule.protocols.postgres import messages as pg
from vestibule.stores.chain import Chain

POINT: Final = "SELECT id FROM public.customers WHERE id = "
PARTS: Final = ("prepared: client", "prepared: target", "prepared: records", "simple: client", "simple: target")


class Statement:
    """One session, asked the same again and again; the parts are timed apart."""

    def __init__(self) -> None:
        """Log in, let the catalog be learnt, and prepare."""
        self.play, _ = masked()
        self.play.client(query(POINT + "1"))
        self.play.target(shape(ID), pg.DataRow((b"1",)), pg.CommandComplete("SELECT 1"), READY)
        self.play.client(pg.Parse("p", f"{POINT}$1".encode()), pg.Sync())
        self.play.target(pg.ParseComplete(), READY)
        self.chain = Chain("bench.0", 1, bytes(32), lambda size: bytes(size))
        draft = self.chain.draft()
        draft.add(self.play.records, Instant(self.play.now))
        self.chain.accept(draft)
        self.number = 0
        self.waiting: list[Record] = []

    def take(self, name: str) -> Iterator[Callable[[], object]]:
        """Give the work of one statement: what the client says, what the target answers, what is recorded."""
        self.number += 1
        if name.startswith("prepared"):
            asked = written(
                pg.Bind("", "p", (), (b"%d" % self.number,), ()), pg.Describe("P", ""), pg.Execute("", 0), pg.Sync()
            )
            told = written(pg.BindComplete(), shape(ID), pg.DataRow((b"7",)), pg.CommandComplete("SELECT 1"), READY)
        else:
            asked = written(query(POINT + str(self.number)))
            told = written(shape(ID), pg.DataRow((b"7",)), pg.CommandComplete("SELECT 1"), READY)
        self.waiting = []
        yield lambda: self._note(self.play.relay.handle(Received(Side.CLIENT, asked), self.play.now))
        yield lambda: self._note(self.play.relay.handle(Received(Side.TARGET, told), self.play.now))
        yield self._encode

    def _note(self, effects: object) -> None:
        self.waiting += [each.record for each in effects if isinstance(each, Persist)]  # type: ignore[attr-defined]

    def _encode(self) -> None:
        draft = self.chain.draft()
        draft.add(self.waiting, Instant(self.play.now))
        draft.data()
        self.chain.accept(draft)


def measure(kind: str, rounds: int, profiled: dict[str, cProfile.Profile] | None = None) -> dict[str, float]:
    """Give the least microseconds of each part."""
    statement = Statement()
    least: dict[str, float] = {}
    for _ in range(rounds):
        for part, work in zip(("client", "target", "records"), statement.take(kind), strict=True):
            profile = None if profiled is None else profiled.get(f"{kind}: {part}")
            if profile is not None:
                profile.runcall(work)
                continue
            began = time.perf_counter_ns()
            work()
            taken = (time.perf_counter_ns() - began) / 1_000
            least[part] = min(taken, least.get(part, taken))
        if {record.kind for record in statement.waiting} != {Kind.STATEMENT_DECIDED, Kind.STATEMENT_FINISHED}:
            raise RuntimeError(f"a statement left the records {statement.waiting}")
    return {f"{kind}: {part}": round(value, 1) for part, value in least.items()}


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description="What one statement costs the gateway's own code.")
    arguments.add_argument("--rounds", type=int, default=2_000, help="statements of each kind (default 2000)")
    arguments.add_argument("--json", action="store_true", help="print JSON")
    arguments.add_argument("--profile", help="print where a part's time goes, for example 'prepared: client'")
    given = arguments.parse_args()
    profiled = {given.profile: cProfile.Profile()} if given.profile else None
    figures = {**measure("prepared", given.rounds, profiled), **measure("simple", given.rounds, profiled)}
    if given.profile and profiled is not None:
        pstats.Stats(profiled[given.profile], stream=sys.stdout).sort_stats("tottime").print_stats(45)
    elif given.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{name:24}{value:>10} us\n" for name, value in figures.items()))


if __name__ == "__main__":
    main()
