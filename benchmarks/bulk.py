"""Large answers through the gateway, masked while they stream, and COPY both ways, beside the direct way.

The clients are in C (pgbench reads whole answers, psql copies), so that what is timed is server and way, not Python.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.figures import Figure, middle, paired
from benchmarks.stage import Route, Stage
from tests.support.clients import PSQL
from tests.support.postgres import GATEWAY

COLUMNS: Final = 20
#: One row of the copied table is 100 bytes as text.
COPIED_BYTES: Final = 100
MASKS: Final = [
    {
        "name": "bulk",
        "columns": ["*.bench_small.ssn", *(f"*.bench_wide.c{number}" for number in (2, 9, 16))],
        "transform": {"keep_last": 4},
        "clear_for": {"groups": ["fraud-desk"]},
    }
]
_LATENCY: Final = re.compile(r"latency average = ([\d.]+) ms")
_CLEAR_BUT_ONE: Final = ", ".join(f"c{number}" for number in range(COLUMNS) if number not in (9, 16))
#: What is asked, by how many columns of it are masked.
QUERIES: Final = {
    "small rows, 1 masked column": ("SELECT id, ssn FROM bench_small", 0.95),
    "wide rows, 1 masked column": (f"SELECT {_CLEAR_BUT_ONE} FROM bench_wide", 0.95),  # noqa: S608 - words of this file
    "wide rows, 3 masked columns": ("SELECT * FROM bench_wide", 0.9),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows are asked for, and how many bytes are copied."""

    small: int = 1_000_000
    wide: int = 200_000
    copied: int = 10**9


def prepare(stage: Stage, sizes: Sizes) -> None:
    """Make the tables."""
    wide = ", ".join(f"lpad((n * {number + 7})::text, 40, 'x') AS c{number}" for number in range(COLUMNS))
    small = "n AS id, lpad(n::text, 9, '0') AS ssn"
    line = f"lpad(n::text, {COPIED_BYTES - 1}, 'y') AS line"
    made = (("small", small, sizes.small), ("wide", wide, sizes.wide), ("copy", line, sizes.copied // COPIED_BYTES))
    with stage.server.connect(GATEWAY) as connection:
        for name, columns, rows in made:
            connection.execute(_filled(name, columns, rows))
        connection.execute("CREATE UNLOGGED TABLE bench_copied (line text)")
        connection.execute("ANALYZE")


def _filled(name: str, columns: str, rows: int) -> bytes:
    made = f"CREATE UNLOGGED TABLE bench_{name} AS SELECT {columns} FROM generate_series(1, {rows}) n"  # noqa: S608 - words of this file
    return made.encode()


def measure(stage: Stage, sizes: Sizes, rounds: int) -> Iterator[Figure]:
    """Measure how fast answers and copies come, as a share of the direct way."""
    prepare(stage, sizes)
    routes = [stage.direct(), stage.vestibule("Vestibule", masks=MASKS, in_memory=False)]
    for name, (query, aim) in QUERIES.items():
        count = sizes.small if name.startswith("small") else sizes.wide
        times = _interleaved(routes, rounds, partial(_selected, stage, query))
        yield _figure(f"SELECT of {count:,} {name}", times, aim)
    for name, command in (
        ("COPY OUT", "\\copy bench_copy TO '/dev/null'"),
        ("COPY IN", "\\copy bench_copied FROM 'lines'"),
    ):
        times = _interleaved(routes, rounds, partial(_copied, stage, command, sizes.copied))
        yield _figure(f"{name} of {sizes.copied / 1e9:g} GB", times, 0.9)


def _interleaved(routes: Sequence[Route], rounds: int, work: Callable[[Route], float]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {route.name: [] for route in routes}
    for number in range(rounds):
        # Who comes first has colder caches.
        for route in routes if number % 2 else reversed(routes):
            times[route.name].append(work(route))
    return times


def _figure(name: str, times: dict[str, list[float]], aim: float) -> Figure:
    parts = {f"{route} s": middle(each) for route, each in times.items()}
    return Figure("bulk", name, paired(times["direct"], times["Vestibule"]), "x", aim, "at least", "direct", parts)


def _selected(stage: Stage, query: str, route: Route) -> float:
    folder = stage.sandbox.folder("bulk")
    script = stage.sandbox.write(folder / "script.sql", f"{query};\n")
    found = _LATENCY.search(stage.pgbench(route, "-n", "-f", str(script), "-t", "1"))
    if found is None:
        raise RuntimeError("pgbench printed no latency")
    return float(found[1]) / 1_000


def _copied(stage: Stage, command: str, size: int, route: Route) -> float:
    folder = stage.sandbox.folder("bulk")
    commands: Sequence[str] = (command,)
    if "FROM" in command:
        line = "y" * (COPIED_BYTES - 1) + "\n"
        stage.sandbox.write(folder / "lines", line * (size // COPIED_BYTES))
        commands = ("TRUNCATE bench_copied", command)
    words = [word for each in commands for word in ("-c", each)]
    began = time.perf_counter()
    done = stage.sandbox.run([PSQL, "-Xq", *words], folder=folder, environment=route.environment, timeout=600)
    taken = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"psql over {route.name} ended with {done.returncode}:\n{done.stderr}")
    (folder / "lines").unlink(missing_ok=True)
    return taken
