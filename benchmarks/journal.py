"""The journal's speed beside bare calls to the same disk, in one run.

    python -m benchmarks.journal [--folder FOLDER] [--seconds 3] [--json]

A producer is a session that waits for each record before it asks for the next, as a statement does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID, uuid4

import uvloop

from vestibule.model.names import Instant, TargetName
from vestibule.model.record import Json, Kind, Record, Reference
from vestibule.stores.segments import Journal, Ticket

RECORD_BYTES = 1_050
TARGET = TargetName("core-banking")


@dataclass(frozen=True)
class Figure:
    """One way to write, with so many who wait."""

    name: str
    producers: int
    records_per_second: int
    p50_ms: float
    p99_ms: float


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder otherwise")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each figure is measured")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(Path(folder), options.seconds)
    if options.json:
        sys.stdout.write(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    else:
        sys.stdout.write("".join(_rows(figures)))


def measure(folder: Path, seconds: float) -> list[Figure]:
    """Measure the disk, then the journal with more and more producers."""
    figures = [bare(folder, 1, seconds), bare(folder, 100, seconds)]
    figures += [uvloop.run(_journal(folder / str(number), number, seconds)) for number in (1, 10, 100, 500)]
    return figures


def bare(folder: Path, batch: int, seconds: float) -> Figure:
    """Write and sync batches of finished bytes into allocated space: nothing can be faster on this disk."""
    data = bytes(range(256)) * (batch * RECORD_BYTES // 256)
    times: list[float] = []
    with _allocated(folder / "bare") as fd:
        end = time.perf_counter() + seconds
        offset = 0
        while (start := time.perf_counter()) < end:
            os.pwrite(fd, data, offset)
            os.fdatasync(fd)
            times.append(time.perf_counter() - start)
            offset = (offset + len(data)) % (32 << 20)
    return _figure(f"pwrite + fdatasync of {batch}", batch, len(times) * batch, times, sum(times))


@contextmanager
def _allocated(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(fd, 0, 64 << 20)
        os.fsync(fd)
        yield fd
    finally:
        os.close(fd)
        path.unlink()


async def _journal(folder: Path, producers: int, seconds: float) -> Figure:
    loop = asyncio.get_running_loop()
    journal = Journal.open(
        folder,
        "bench.w0",
        lambda: Instant(time.time_ns() // 1_000),
        call=loop.call_soon_threadsafe,
        min_free=0,
        stop_free=0,
    )
    end = time.perf_counter() + seconds
    sessions = [_Session(journal, end, loop) for _ in range(producers)]
    start = time.perf_counter()
    await asyncio.gather(*(session.done for session in sessions))
    taken = time.perf_counter() - start
    await asyncio.to_thread(journal.close)
    times = [each for session in sessions for each in session.times]
    return _figure("journal", producers, len(times), times, taken)


class _Session:
    """One session: a decision, its end, the next decision, each behind the one before."""

    def __init__(self, journal: Journal, end: float, loop: asyncio.AbstractEventLoop) -> None:
        self.times: list[float] = []
        self.done: asyncio.Future[None] = loop.create_future()
        self._journal = journal
        self._end = end
        self._id = uuid4()
        self._next()

    def _next(self) -> None:
        number = len(self.times)
        self._start = time.perf_counter()
        record = _finished(self._id, number // 2) if number % 2 else _decided(self._id, number // 2)
        self._journal.append((record,), self._told)

    def _told(self, ticket: Ticket) -> None:
        if ticket.error is not None:
            self.done.set_exception(ticket.error)
            return
        now = time.perf_counter()
        self.times.append(now - self._start)
        if now < self._end:
            self._next()
        else:
            self.done.set_result(None)


def _decided(session: UUID, number: int) -> Record:
    members: dict[str, Json] = {
        "statement": str(session),
        "no": number + 1,
        "dialect": "postgres",
        "text": "SELECT id, name, balance FROM accounts WHERE customer = $1 AND opened > $2 ORDER BY id " * 4,
        "text_bytes": 348,
        "parameters": [{"type": 23, "value": "17"}, {"type": 1082, "value": "2026-01-01"}],
        "fingerprint": "a0ead580058af585",
        "text_mac": "0" * 64,
        "bytes_mac": "1" * 64,
        "bind_key": str(session),
        "ops": [{"verb": "select", "object": "public.accounts", "impact": "read"}],
        "decision": "allow",
        "rule": {"name": "engineers work in production", "section": "access", "policy": "2" * 64},
        "cause": "granted",
    }
    return Record(Kind.STATEMENT_DECIDED, members, session, TARGET, name=f"decided/{number}")


def _finished(session: UUID, number: int) -> Record:
    members: dict[str, Json] = {
        "decided": Reference(f"decided/{number}", last=True),
        "outcome": "ok",
        "forwarded": True,
        "rows": 12,
        "bytes_to_client": 1_200,
        "bytes_from_target": 1_180,
        "duration_us": 1_840,
        "transaction": "I",
        "results": [{"rows": 12, "bytes": 1_200, "disclosed_mac": "3" * 64, "recorded": "digest"}],
    }
    return Record(Kind.STATEMENT_FINISHED, members, session, TARGET)


def _figure(name: str, producers: int, records: int, times: list[float], seconds: float) -> Figure:
    ordered = sorted(times)
    p50, p99 = (round(ordered[int(len(ordered) * part)] * 1_000, 3) for part in (0.5, 0.99))
    return Figure(name, producers, round(records / seconds), p50, p99)


def _rows(figures: Sequence[Figure]) -> Iterator[str]:
    yield f"{'':32}{'who wait':>9}{'records/s':>12}{'p50 ms':>9}{'p99 ms':>9}\n"
    for each in figures:
        yield f"{each.name:32}{each.producers:>9}{each.records_per_second:>12,}{each.p50_ms:>9}{each.p99_ms:>9}\n"


if __name__ == "__main__":
    main()
