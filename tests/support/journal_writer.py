"""A process that writes a journal until it is killed, and says on its output what it was told is durable.

    python -m tests.support.journal_writer FOLDER [--disk-full]

One line a ticket: the leaves, in hexadecimal, separated by spaces.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from uuid import UUID

from tests.support.evidence_records import access, closed, decided, finished, opened
from tests.support.journals import KIB
from vestibule.model.names import Instant
from vestibule.model.record import Record
from vestibule.stores.segments import Journal, Ticket


def main() -> None:
    """Write conversations until the end."""
    journal = Journal.open(
        Path(sys.argv[1]),
        "n1.w0",
        lambda: Instant(time.time_ns() // 1_000),
        segment_bytes=128 * KIB,
        reserve_bytes=64 * KIB,
        min_free=0,
        stop_free=0,
        look_every=0.02,
    )
    _say("started", str(journal.torn_bytes))
    while True:
        _converse(journal, UUID(int=random.getrandbits(128)))


def _converse(journal: Journal, session: UUID) -> None:
    statements = random.randint(0, 20)
    journal.append([access(session)], _tell)
    journal.append([opened(session)], _tell)
    for no in range(1, statements + 1):
        both: list[Record] = [decided(session, no, text="SELECT " + "1" * random.randint(0, 3_000))]
        journal.append(both, _tell)
        journal.append([finished(session, no)], _tell)
    last = journal.append([closed(session, statements)], _tell)
    while not last.done:
        time.sleep(0)


def _tell(ticket: Ticket) -> None:
    if ticket.error is None:
        _say("durable", *(written.leaf.hex() for written in ticket.written))


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
