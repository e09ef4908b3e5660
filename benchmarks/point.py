"""What the way through costs one query: latency that is added, CPU in between, and throughput under load.

Rounds are interleaved: each round asks every route once, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure, middle, paired, quantile
from benchmarks.journal import bare
from benchmarks.stage import Route, Stage

#: The masked column is in the very table that is asked, so each statement is planned against the catalog.
MASKS: Final[Sequence[Mapping[str, Any]]] = [
    {
        "name": "filler",
        "columns": ["*.pgbench_accounts.filler", "*.customers.ssn"],
        "transform": {"keep_last": 4},
        "clear_for": {"groups": ["fraud-desk"]},
    }
]
#: What a statement must wait for that is recorded on a disk.
FLOOR: Final = "fdatasync + relay"
_DONE = re.compile(r"actually processed: (\d+)")
_TPS = re.compile(r"tps = ([\d.]+)")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pgbench over one route."""

    p50: float
    p99: float
    tps: float
    cpu: float


def run(stage: Stage, route: Route, seconds: int, *options: str, clients: int = 1) -> Run:
    """Run pgbench; latencies and CPU per transaction are in microseconds."""
    folder = stage.sandbox.folder("pgbench-log")
    threads = str(min(2, clients))
    # Many clients take a while until all of them are in.
    seconds += clients // 16
    wanted = ["-n", "-l", f"--log-prefix={folder / 'log'}", "-T", str(seconds), "-c", str(clients), "-j", threads]
    before = route.cpu()
    output = stage.pgbench(route, *options, *wanted)
    used = route.cpu() - before
    done, tps = _DONE.search(output), _TPS.search(output)
    if done is None or tps is None:
        raise RuntimeError(f"pgbench printed no result:\n{output}")
    times = list(_times(folder))
    return Run(quantile(times, 0.5), quantile(times, 0.99), float(tps[1]), used / max(1, int(done[1])) * 1e6)


def _times(folder: Path) -> Iterator[float]:
    for path in folder.glob("log*"):
        for line in path.read_text().splitlines():
            yield float(line.split()[2])


def rounds(
    stage: Stage, routes: Sequence[Route], count: int, seconds: int, *options: str, clients: int = 1
) -> dict[str, list[Run]]:
    """Run all routes one behind the other, `count` times; the order turns with each round."""
    found: dict[str, list[Run]] = {route.name: [] for route in routes}
    for number in range(count):
        turned = [*routes[number % len(routes) :], *routes[: number % len(routes)]]
        for route in turned:
            found[route.name].append(run(stage, route, seconds, *options, clients=clients))
    return found


def added(found: Mapping[str, Sequence[Run]], name: str, part: str) -> list[float]:
    """What a route adds to the direct way, round by round, in microseconds."""
    return [
        max(0.1, getattr(ours, part) - getattr(direct, part))
        for ours, direct in zip(found[name], found["direct"], strict=True)
    ]


def measure(stage: Stage, count: int, seconds: int) -> Iterator[Figure]:
    """Measure latency, CPU and throughput of point queries, and of pgbench's own transaction."""
    routes = [
        stage.direct(),
        stage.bounce(),
        stage.vestibule("journal in memory", masks=MASKS, in_memory=True),
        stage.vestibule("journal on disk", masks=MASKS, in_memory=False),
    ]
    sync = one_sync(stage)
    for mode in ("simple", "prepared"):
        found = rounds(stage, routes, count, seconds, "-S", "-M", mode)
        yield from _latency(found, routes, mode, sync)
        yield _cpu(found, routes, mode)
    for label, options in (("-S", ("-S", "-M", "prepared")), ("tpcb-like", ("-M", "prepared"))):
        for clients in (1, 8, 32):
            found = rounds(stage, routes, count, seconds, *options, clients=clients)
            yield from _throughput(found, routes, label, clients)


def measure_without_target_tls(stage: Stage, count: int, seconds: int) -> Iterator[Figure]:
    """Measure latency with TLS towards the client alone, which nobody is let in without."""
    routes = [
        stage.direct(),
        stage.bounce(has_target_tls=False),
        stage.vestibule("journal in memory", masks=MASKS, in_memory=True, has_target_tls=False),
        stage.vestibule("journal on disk", masks=MASKS, in_memory=False, has_target_tls=False),
    ]
    sync = one_sync(stage)
    for mode in ("simple", "prepared"):
        found = rounds(stage, routes, count, seconds, "-S", "-M", mode)
        yield from _latency(found, routes, f"{mode}, no target TLS", sync)


def one_sync(stage: Stage) -> float:
    """Give the median microseconds of one write and fdatasync on the disk where journals are."""
    return bare(stage.sandbox.folder("sync"), 1, 1.0).p50_ms * 1_000


def _latency(found: Mapping[str, Sequence[Run]], routes: Sequence[Route], mode: str, sync: float) -> Iterator[Figure]:
    bouncer, memory, disk = (route.name for route in routes[1:])
    for part in ("p50", "p99"):
        adds = {route.name: middle(added(found, route.name, part)) for route in routes[1:]}
        parts = {f"direct {part} us": middle([getattr(each, part) for each in found["direct"]])}
        parts |= {f"{name} adds us": value for name, value in adds.items()}
        aim = 2.0 if part == "p50" else None
        name = f"added {part} of a point query, {mode}"
        ratio = adds[memory] / adds[bouncer]
        yield Figure("point query", f"{name}, {memory}", ratio, "x", aim, against="PgBouncer", parts=parts)
        if part == "p50":
            parts["one fdatasync us"] = sync
            floor = sync + adds[memory]
            yield Figure("point query", f"{name}, {disk}", adds[disk] / floor, "x", 1.3, against=FLOOR, parts=parts)
        else:
            yield Figure(
                "point query",
                f"{name}, {disk}",
                adds[disk] / adds[bouncer],
                "x",
                None,
                against="PgBouncer",
                parts=parts,
            )


def _cpu(found: Mapping[str, Sequence[Run]], routes: Sequence[Route], mode: str) -> Figure:
    cpu = {route.name: middle([each.cpu for each in found[route.name]]) for route in routes[1:]}
    bouncer, memory, _ = cpu.values()
    parts = {f"{name} us": value for name, value in cpu.items()}
    return Figure(
        "CPU", f"gateway CPU per point query, {mode}", memory / bouncer, "x", 2.0, "at most", "PgBouncer", parts
    )


def _throughput(
    found: Mapping[str, Sequence[Run]], routes: Sequence[Route], label: str, clients: int
) -> Iterator[Figure]:
    _, bouncer, *ours = (route.name for route in routes)
    parts = {f"{name} tps": middle([each.tps for each in runs]) for name, runs in found.items()}
    for name in ours:
        ratio = paired([each.tps for each in found[name]], [each.tps for each in found[bouncer]])
        aim = 0.9 if clients == 32 else None
        title = f"pgbench {label}, {clients} {'client' if clients == 1 else 'clients'}, {name}"
        yield Figure("throughput", title, ratio, "x", aim, "at least", "PgBouncer", parts)
