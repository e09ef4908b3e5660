"""Small journals for tests, and what stands in their segments."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vestibule.evidence.canonical import ZERO_LEAF, Header, decode_header, leaf_hash
from vestibule.evidence.segment import Frame, read_frames
from vestibule.model.names import Instant
from vestibule.model.record import Kind, Record
from vestibule.stores.segment_file import SEALED, segment_files
from vestibule.stores.segments import Journal, Ticket

NODE = "n1.w0"
START = Instant(1_782_900_000_000_000)
KIB = 1 << 10


class Clock:
    """A clock that a test moves: one microsecond a look."""

    def __init__(self, at: int = START) -> None:
        self.at = at

    def __call__(self) -> Instant:
        self.at += 1
        return Instant(self.at)


def same_random(seed: int = 7) -> Callable[[int], bytes]:
    """Give the same bytes in every run."""
    source = random.Random(seed)
    return source.randbytes


def open_journal(folder: Path, **settings: Any) -> Journal:
    """Open a small journal that no disk is too full for."""
    small: dict[str, Any] = {
        "segment_bytes": 256 * KIB,
        "reserve_bytes": 256 * KIB,
        "min_free": 0,
        "stop_free": 0,
        "look_every": 0.05,
    }
    return Journal.open(folder, settings.pop("node", NODE), settings.pop("clock", Clock()), **(small | settings))


@contextmanager
def journal(folder: Path, **settings: Any) -> Iterator[Journal]:
    """Open a small journal and close it."""
    opened = open_journal(folder, **settings)
    try:
        yield opened
    finally:
        opened.close()


def write(to: Journal, *records: Record, timeout: float = 20.0) -> Ticket:
    """Append, and wait for the answer."""
    answered = threading.Event()
    ticket = to.append(records, lambda _: answered.set())
    if not answered.wait(timeout):
        raise AssertionError("the journal gave no answer")
    return ticket


def write_all(to: Journal, appends: Sequence[Sequence[Record]]) -> list[Ticket]:
    """Append one after the other without waiting between, then wait for all."""
    answered = threading.Semaphore(0)
    tickets = [to.append(records, lambda _: answered.release()) for records in appends]
    for _ in tickets:
        if not answered.acquire(timeout=20):
            raise AssertionError("the journal gave no answer")
    return tickets


@dataclass(frozen=True)
class Stored:
    """One record as it stands in a segment."""

    header: Header
    leaf: bytes
    frame: Frame
    path: Path

    @property
    def body(self) -> bytes:
        return self.frame.body


def stored(folder: Path) -> list[Stored]:
    """Read what a writer has on disk; a segment that is not sealed may still be growing."""
    found = []
    for segment in segment_files(folder):
        content = segment.path.read_bytes()
        whole = segment.path.stat().st_mode & 0o777 == SEALED
        for frame in read_frames(content, whole=whole):
            found.append(Stored(decode_header(frame.header), leaf_hash(frame.header), frame, segment.path))
    return found


def assert_chained(records: Sequence[Stored]) -> None:
    """Check that epochs, numbers and links of one writer, and of each session in it, have no gap."""
    prev, epoch, n = ZERO_LEAF, 0, -1
    sessions: dict[object, tuple[int, bytes]] = {}
    for record in records:
        header = record.header
        n = n + 1 if header.epoch == epoch else 0
        assert (header.n, header.prev) == (n, prev)
        assert header.epoch >= epoch
        epoch, prev = header.epoch, record.leaf
        if header.sn is not None:
            assert (header.sn, header.sprev) == sessions.get(header.session, (0, ZERO_LEAF))
            sessions[header.session] = (header.sn + 1, record.leaf)


def bodies(records: Sequence[Stored], kind: Kind) -> list[dict[str, Any]]:
    """Read the bodies of one kind."""
    return [json.loads(record.body) for record in records if record.header.kind is kind]


def until(claim: Callable[[], object], timeout: float = 10.0) -> None:
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + timeout
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
