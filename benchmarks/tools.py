"""How long graphical tools take to connect and to open their trees: their own questions, one behind the other.

Most of them join half of the catalog, so that the way through is a small part of each. psycopg asks them all, in
simple queries; every round asks each route once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.figures import Figure, middle, paired
from benchmarks.point import MASKS
from benchmarks.stage import Route, Stage
from tests.support import zoo
from tests.support.postgres import DATABASE
from tests.support.tools import Asked, texts

TOOLS: Final = ("dbeaver", "pgadmin", "datagrip")


def sit(route: Route, asked: Sequence[Asked]) -> float:
    """Connect, ask everything, and close; seconds. What masks refuse is answered too."""
    names = {"database": "dbname"}
    settings = {names.get(key, key): value for key, value in route.settings.items()}
    began = time.perf_counter()
    conninfo = make_conninfo(**settings)
    with psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        for each in asked:
            try:
                cursor = connection.execute(each.text)
            except psycopg.errors.InsufficientPrivilege:
                continue
            while cursor.description is None and cursor.nextset():
                pass
            if cursor.description is not None:
                cursor.fetchall()
    return time.perf_counter() - began


def measure(stage: Stage, count: int) -> Iterator[Figure]:
    """Measure each tool beside the direct way."""
    zoo.fill(stage.server, DATABASE)
    routes = [stage.direct(), stage.vestibule("tools", masks=MASKS, in_memory=True)]
    for tool in TOOLS:
        asked = texts(tool, stage.server, DATABASE)
        found: dict[str, list[float]] = {route.name: [] for route in routes}
        for number in range(count + 1):
            for route in routes[:: 1 if number % 2 else -1]:
                taken = sit(route, asked)
                # The first round fills the caches of both.
                if number:
                    found[route.name].append(taken)
        direct, ours = found.values()
        parts = {"direct ms": 1_000 * middle(direct), "Vestibule ms": 1_000 * middle(ours), "questions": len(asked)}
        name = f"{tool} connects and opens its tree"
        yield Figure("tools", name, paired(ours, direct), "x", 1.2, "at most", "direct", parts)
