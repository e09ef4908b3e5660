"""All figures in one run, side by side, as a table and as JSON.

    python -m benchmarks [--only point journal ...] [--rounds 5] [--seconds 3] [--json FILE]

Ratios are what counts: both sides of each were measured next to each other on the same machine. PgBouncer must be
there (Debian's package `pgbouncer`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks import analysis, bulk, journal, point, statement, tools
from benchmarks.figures import Figure
from benchmarks.stage import PGBOUNCER, busy_share, stage


def _point(options: argparse.Namespace) -> Iterator[Figure]:
    with stage() as made:
        yield from point.measure(made, options.rounds, options.seconds)


def _bulk(options: argparse.Namespace) -> Iterator[Figure]:
    with stage() as made:
        yield from bulk.measure(made, options)


def _tools(options: argparse.Namespace) -> Iterator[Figure]:
    with stage() as made:
        yield from tools.measure(made, 2 * options.rounds)


def _statement(options: argparse.Namespace) -> Iterator[Figure]:
    for kind in ("prepared", "simple"):
        parts = statement.measure(kind, 400 * options.rounds)
        yield Figure("own code", f"one point query, {kind}, all parts", sum(parts.values()), "us", parts=parts)


def _journal(options: argparse.Namespace) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        found = journal.measure(Path(folder), options.seconds)
    bare = next(each for each in found if each.producers == 1)
    ours = next(each for each in found if each.name == "journal" and each.producers == 100)
    parts = {f"{each.name}, {each.producers} wait: records/s": float(each.records_per_second) for each in found}
    yield Figure("journal", "durable records, 100 wait", ours.records_per_second, "/s", 80_000, "at least", parts=parts)
    parts = {"one sync p50 ms": bare.p50_ms, "one sync p99 ms": bare.p99_ms}
    yield Figure("journal", "time until durable, 100 wait, p99", ours.p99_ms, "ms", 10.0, parts=parts)


def _decision(options: argparse.Namespace) -> Iterator[Figure]:
    found = [analysis.measure(name, text.encode(), 60 * options.rounds) for name, text in analysis.STATEMENTS.items()]
    for part, aim in (("uncached", 100.0), ("cached", 5.0)):
        values = [float(getattr(each, part)) for each in found]
        yield Figure("analysis", f"reading a statement, {part}, median of all", statistics.median(values), "us", aim)


#: What can be asked for, in the order in which it runs.
MEASURES: Final[dict[str, Callable[[argparse.Namespace], Iterator[Figure]]]] = {
    "statement": _statement,
    "analysis": _decision,
    "journal": _journal,
    "point": _point,
    "tools": _tools,
    "bulk": _bulk,
}


def table(figures: Sequence[Figure]) -> str:
    """Write figures for people."""
    rows = ["| figure | against | measured | aim | met |", "|---|---|---|---|---|"]
    for each in figures:
        aim = "stated" if each.aim is None else f"{each.bound} {each.aim:,g} {each.unit}"
        met = {None: "", True: "yes", False: "no"}[each.is_met]
        rows.append(f"| {each.name} | {each.against} | {each.value:,.4g} {each.unit} | {aim} | {met} |")
    return "\n".join(rows) + "\n"


def machine() -> dict[str, object]:
    """Say what the figures were measured on."""
    words = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = words[0].partition(":")[2].strip() if words else platform.machine()
    return {"cores": os.cpu_count(), "processor": model, "python": platform.python_version(), "busy": busy_share()}


def main() -> None:
    """Measure, print, and keep."""
    arguments = argparse.ArgumentParser(prog="benchmarks", description="All figures, side by side.")
    arguments.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), help="what to measure")
    arguments.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    arguments.add_argument("--seconds", type=int, default=3, help="length of a run (default 3)")
    arguments.add_argument("--copied", type=int, default=10**9, help="bytes that are copied out and in (default 1 GB)")
    arguments.add_argument("--json", type=Path, help="write everything there")
    options = arguments.parse_args()
    if "point" in options.only and not PGBOUNCER.exists():
        sys.exit("PgBouncer is missing; install Debian's package pgbouncer, or name what to measure with --only")
    on, figures = machine(), list[Figure]()
    sys.stderr.write(f"{on['processor']}, {on['cores']} cores; others use {on['busy']:.0%} of it now\n")
    for name in options.only:
        sys.stderr.write(f"measuring: {name}\n")
        figures += MEASURES[name](options)
    sys.stdout.write(table(figures))
    if options.json is not None:
        whole = {"machine": on, "figures": [{**asdict(each), "is_met": each.is_met} for each in figures]}
        options.json.write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
