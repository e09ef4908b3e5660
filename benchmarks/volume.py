"""What statements leave on the disk: journal, recordings, the log's tiles, and the index, by how much each grows.

Some thousands of point queries through a gateway with all of it on; from there linearly to a million. What sessions and
heartbeats leave is in it: pgbench's clients are one session each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure
from benchmarks.point import MASKS
from benchmarks.stage import Stage
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for

CLIENTS: Final = 8
MILLION: Final = 1_000_000
#: What has not grown in so many seconds has all: the log is published every five.
SETTLED: Final = 11.0
MIB: Final = 1 << 20
#: Where in the data folder things are kept that grow.
KEPT: Final = {"recordings": "objects", "log": "log"}


def measure(stage: Stage, statements: int) -> Iterator[Figure]:
    """Measure what so many point queries leave, prepared ones."""
    route = stage.vestibule("volume", masks=MASKS, in_memory=False)
    gateway = stage.gateways[-1]
    before = left(gateway)
    each = statements // CLIENTS
    stage.pgbench(route, "-n", "-S", "-M", "prepared", "-c", str(CLIENTS), "-t", str(each))
    wait_for(lambda: gateway.metric("vestibule_spool_bytes") == 0, "recordings that are in the object store")
    grown = {name: value - before[name] for name, value in settled(gateway).items()}
    done = each * CLIENTS
    for name, value in grown.items():
        parts = {f"bytes of {done:,} statements": float(value), "bytes a statement": value / done}
        yield Figure(
            "volume", f"{name}, bytes for a million point queries", value / done * MILLION / MIB, "MiB", parts=parts
        )


def left(gateway: Gateway) -> dict[str, int]:
    """Say how much there is now: in the journals by what was written, elsewhere by the size of the files."""
    sizes = {name: size_of(gateway.data / folder) for name, folder in KEPT.items()}
    journal = int(gateway.metric("vestibule_journal_bytes_total"))
    return {"journal": journal, **sizes, "index": pages_of(gateway.data / "state.sqlite")}


def settled(gateway: Gateway) -> dict[str, int]:
    """The same once it does not grow any more, but for heartbeats."""
    seen: list[dict[str, int]] = [left(gateway)]

    def is_settled() -> bool:
        seen.append(left(gateway))
        return all(seen[-1][name] == seen[-2][name] for name in KEPT)

    wait_for(is_settled, "a log that has everything", timeout=300, step=SETTLED)
    return seen[-1]


def size_of(folder: Path) -> int:
    """Add up the sizes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def pages_of(database: Path) -> int:
    """Give the bytes of all pages of the state, whether they are in its file yet or not."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        [(size,)] = connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    return int(size)
