"""Faults of all kinds at random, while sessions go on: what must hold in the end."""

from __future__ import annotations

import errno
import json
import random
import threading
import time
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.evidence_records import access, closed, decided, finished, opened
from tests.support.faulty_disk import FaultyDisk
from tests.support.journals import KIB, assert_chained, bodies, open_journal, stored, until
from vestibule.model.record import Kind
from vestibule.stores.segments import Journal, Ticket


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


class Talker:
    """A session that does what a relay does: it goes on when it is told, and never finishes what was refused."""

    def __init__(self, to: Journal, session: UUID, statements: int) -> None:
        self.journal, self.session, self.left = to, session, statements
        self.durable: set[bytes] = set()
        self.refused: list[int] = []
        self.number = 0
        self.over = threading.Event()

    def start(self) -> None:
        self.journal.append([access(self.session)], self.opening)

    def opening(self, ticket: Ticket) -> None:
        if self.took(ticket):
            self.journal.append([opened(self.session)], self.next)
        else:
            self.over.set()

    def next(self, ticket: Ticket) -> None:
        if not self.took(ticket) and self.number == 0:
            self.over.set()
            return
        ends = [] if ticket.error is not None or self.number == 0 else [finished(self.session, self.number)]
        if ticket.error is not None:
            self.refused.append(self.number)
        if self.left == 0:
            self.journal.append([*ends, closed(self.session, self.number)], self.end)
            return
        self.left -= 1
        self.number += 1
        # As a pipelining client has it: one statement ends and the next is decided in one append.
        self.journal.append([*ends, decided(self.session, self.number)], self.next)

    def end(self, ticket: Ticket) -> None:
        self.took(ticket)
        self.over.set()

    def took(self, ticket: Ticket) -> bool:
        self.durable.update(written.leaf for written in ticket.written)
        return ticket.error is None


def disturb(disk: FaultyDisk, chance: random.Random) -> None:
    """Let something go wrong for a moment."""
    match chance.choice(["sync", "room", "free", "slow"]):
        case "sync":
            disk.good, disk.kept = chance.randint(0, 2), chance.choice([None, 0, 400, 1_500, 6_000])
            disk.sync_error = OSError(errno.EIO, "Input/output error")
        case "room":
            disk.room = False
        case "free":
            disk.free_bytes = -1
        case _:
            disk.hold()
    time.sleep(chance.uniform(0.0, 0.15))
    disk.sync_error, disk.room, disk.free_bytes = None, True, None
    disk.gate.set()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_whatever_goes_wrong_nothing_durable_is_lost_and_nothing_ends_twice_or_never(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    disk = FaultyDisk()
    journal = open_journal(path, disk=disk, commit_timeout=0.08, look_every=0.01, segment_bytes=64 * KIB)
    talkers = [Talker(journal, UUID(int=number), chance.randint(0, 60)) for number in range(1, 13)]
    for talker in talkers:
        talker.start()
    for _ in range(6):
        time.sleep(chance.uniform(0.0, 0.03))
        disturb(disk, chance)
    for talker in talkers:
        assert talker.over.wait(20)
    until(lambda: journal.state == "writing")
    journal.close()
    # What was told durable is there, in chains without a gap.
    records = stored(path)
    assert_chained(records)
    assert {leaf for talker in talkers for leaf in talker.durable} <= {record.leaf for record in records}
    # Whatever was decided ended once; whatever was refused never ran.
    ends = [(body["decided"]["leaf"], body["forwarded"]) for body in bodies(records, Kind.STATEMENT_FINISHED)]
    begun = {record.leaf.hex(): record for record in records if record.header.kind is Kind.STATEMENT_DECIDED}
    assert sorted(leaf for leaf, _ in ends) == sorted(begun)
    refused = {(talker.session, number) for talker in talkers for number in talker.refused}
    for leaf, forwarded in ends:
        decision = begun[leaf]
        number = json.loads(decision.body)["no"]
        assert forwarded is ((decision.header.session, number) not in refused)
    assert len(bodies(records, Kind.SESSION_OPENED)) == len(bodies(records, Kind.SESSION_CLOSED))
