"""All figures in one run, side by side, as a table and as JSON.

    python -m benchmarks [--only point journal ...] [--rounds 5] [--seconds 2] [--json FILE]

Ratios are what counts: both sides of each were measured next to each other on the same machine. PgBouncer must be
there (Debian's package `pgbouncer`). A measure that fails costs its own figures alone: it is named, the others go on,
and the status is 1. The JSON is written anew after each measure, so that a run that was ended has what it measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks import bulk, decision, idle, journal, point, statement, tools, volume
from benchmarks.figures import Figure
from benchmarks.page import table
from benchmarks.stage import PGBOUNCER, busy_share, stage
from tests.support.postgres import programs_of
from vestibule import __version__
from vestibule.protocols.postgres import rows

Measure = Callable[[argparse.Namespace], Iterator[Figure]]


def _point(options: argparse.Namespace) -> Iterator[Figure]:
    with stage() as made:
        yield from point.measure(made, options.rounds, options.seconds)


def _without_tls(options: argparse.Namespace) -> Iterator[Figure]:
    with stage() as made:
        yield from point.measure_without_target_tls(made, options.rounds, options.seconds)


def _tools(options: argparse.Namespace) -> Iterator[Figure]:
    with stage() as made:
        yield from tools.measure(made, 2 * options.rounds)


def _bulk(options: argparse.Namespace) -> Iterator[Figure]:
    with stage() as made:
        yield from bulk.measure(made, bulk.Sizes(options.small, options.wide, options.copied), options.bulk_rounds)


def _idle(options: argparse.Namespace) -> Iterator[Figure]:
    with stage() as made:
        yield from idle.measure(made, options.sessions)


def _volume(options: argparse.Namespace) -> Iterator[Figure]:
    with stage() as made:
        yield from volume.measure(made, options.statements)


def _statement(options: argparse.Namespace) -> Iterator[Figure]:
    for kind in ("prepared", "simple"):
        parts = {f"{name} us": value for name, value in statement.measure(kind, 400 * options.rounds).items()}
        yield Figure("own code", f"own code for a point query, {kind}", sum(parts.values()), "us", parts=parts)


def _journal(options: argparse.Namespace) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        found = journal.measure(Path(folder), options.seconds)
    alone = next(each for each in found if each.producers == 1)
    ours = next(each for each in found if each.name == "journal" and each.producers == 100)
    parts = {f"{each.name}, {each.producers} wait: records/s": float(each.records_per_second) for each in found}
    yield Figure(
        "journal", "durable records, 100 producers", ours.records_per_second, "/s", 80_000, "at least", parts=parts
    )
    parts = {"one fdatasync p50 ms": alone.p50_ms, "one fdatasync p99 ms": alone.p99_ms}
    yield Figure("journal", "time until durable, 100 producers, p99", ours.p99_ms, "ms", 10.0, parts=parts)


def _decision(options: argparse.Namespace) -> Iterator[Figure]:
    return decision.measure(6 * options.rounds)


#: What can be asked for, in the order in which it runs.
MEASURES: Final[dict[str, Measure]] = {
    "statement": _statement,
    "decision": _decision,
    "journal": _journal,
    "point": _point,
    "without-tls": _without_tls,
    "tools": _tools,
    "bulk": _bulk,
    "idle": _idle,
    "volume": _volume,
}


@dataclass(slots=True)
class Run:
    """What one run has found so far."""

    machine: Mapping[str, object]
    method: Mapping[str, object]
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    figures: list[Figure] = field(default_factory=list)
    #: Why a measure gave no figures, or not all.
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)

    def measure(self, name: str, measure: Measure, options: argparse.Namespace) -> None:
        """Run one measure; what it found before it failed stays."""
        began = time.monotonic()
        try:
            for figure in measure(options):
                self.figures.append(figure)
                sys.stderr.write(f"    {figure.name}: {figure.value:,.4g} {figure.unit}\n")
        except Exception as error:  # noqa: BLE001 - the other measures go on
            traceback.print_exc()
            self.failed[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        self.seconds[name] = round(time.monotonic() - began)

    def document(self) -> dict[str, object]:
        """Give everything as JSON can hold it."""
        return {
            "date": self.date,
            "machine": dict(self.machine),
            "method": dict(self.method),
            "figures": [asdict(each) for each in self.figures],
            "failed": self.failed,
            "seconds": self.seconds,
        }


def machine() -> dict[str, object]:
    """Say what the figures were measured on, and with what."""
    words = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": words[0].partition(":")[2].strip() if words else platform.machine(),
        "cores": os.cpu_count(),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "PostgreSQL": _version(programs_of(15) / "postgres"),
        "PgBouncer": _version(PGBOUNCER),
        "Python": platform.python_version(),
        "uvloop": version("uvloop"),
        "TLS library": ssl.OPENSSL_VERSION,
        "Vestibule": f"{__version__}, row kernel {rows.BUILD}",
        "used by others before the run": f"{busy_share():.0%}",
    }


def _version(program: Path) -> str:
    """Ask a program for its version, without its name."""
    if not program.exists():
        return "missing"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - of the set-up
    return next((word for word in said.stdout.split() if word[0].isdigit()), "unknown")


def method(options: argparse.Namespace) -> dict[str, object]:
    """Say how it is measured."""
    return {
        "interleaved rounds": options.rounds,
        "seconds of a run": options.seconds,
        "rounds of large answers": options.bulk_rounds,
        "idle sessions": options.sessions,
        "statements for the bytes on disk": options.statements,
    }


def arguments() -> argparse.ArgumentParser:
    """Give the command line."""
    found = argparse.ArgumentParser(prog="benchmarks", description="All figures, side by side.")
    found.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), help="what to measure")
    found.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    found.add_argument("--seconds", type=int, default=2, help="length of a run (default 2)")
    sizes, more = bulk.Sizes(), found.add_argument_group("sizes")
    more.add_argument("--bulk-rounds", type=int, default=3, help="rounds of large answers (default 3)")
    more.add_argument("--small", type=int, default=sizes.small, help="small rows (default 1,000,000)")
    more.add_argument("--wide", type=int, default=sizes.wide, help="wide rows (default 200,000)")
    more.add_argument("--copied", type=int, default=sizes.copied, help="bytes copied out and in (default 1 GB)")
    more.add_argument("--sessions", type=int, default=10_000, help="idle sessions (default 10,000)")
    more.add_argument(
        "--statements", type=int, default=20_000, help="statements whose bytes are counted (default 20,000)"
    )
    found.add_argument("--json", type=Path, help="write everything there")
    return found


def run(measures: Mapping[str, Measure], options: argparse.Namespace) -> Run:
    """Run measures one behind the other, and keep what is found as it comes."""
    found = Run(machine(), method(options))
    others = found.machine["used by others before the run"]
    sys.stderr.write(f"{found.machine['processor']}, {found.machine['cores']} cores; others use {others} of it now\n")
    began = time.monotonic()
    for place, (name, measure) in enumerate(measures.items(), 1):
        sys.stderr.write(f"{place} of {len(measures)}, minute {(time.monotonic() - began) / 60:.1f}: {name}\n")
        found.measure(name, measure, options)
        if options.json is not None:
            options.json.write_text(json.dumps(found.document(), indent=2) + "\n")
    return found


def report(found: Run) -> int:
    """Print what was found; give the status."""
    sys.stdout.write(table(found.figures))
    for name, why in found.failed.items():
        sys.stdout.write(f"\nfailed: {name}: {why}\n")
    return 1 if found.failed else 0


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, and keep."""
    options = arguments().parse_args(words)
    if {"point", "without-tls"} & set(options.only) and not PGBOUNCER.exists():
        sys.exit("PgBouncer is missing; install Debian's package pgbouncer, or name what to measure with --only")
    return report(run({name: MEASURES[name] for name in options.only}, options))


if __name__ == "__main__":
    sys.exit(main())
