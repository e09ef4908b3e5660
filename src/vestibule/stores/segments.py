"""The journal of one process: records go in, and are durable when their ticket says so.

1. One writer, one chain, one thread. A second writer of the same folder is refused.
2. `append` never blocks and is called from one thread, the event loop's. All records of one append become durable
   together, or the append is refused; of a refused one, what is no decision is still written if it can be.
3. When room is short, decisions are refused at once; what ends things uses the room that was kept for it.
4. A decision that is not durable within `commit_timeout` is refused, however long the disk takes.
5. Every start is a new epoch that links to the last record on disk.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import structlog

from vestibule.metrics import Key, Snapshot
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.names import Instant
from vestibule.model.record import Record, Written
from vestibule.stores.chain import Chain
from vestibule.stores.chain_end import ChainEnd, Position, find_end
from vestibule.stores.disk import Disk
from vestibule.stores.folder import Folder, JournalInUse, Segment
from vestibule.stores.segment_file import JournalDamaged
from vestibule.stores.ticket import Ticket, Waiting
from vestibule.stores.writer import MIB, Limits, Writer

__all__ = ["Disk", "Journal", "JournalDamaged", "JournalInUse", "Position", "Ticket"]

log = structlog.get_logger(__name__)

#: How many times longer than a commit `close` waits for a disk that hangs.
CLOSE_FACTOR: Final = 3

Tell = Callable[[Callable[[], None]], object]


def _at_once(function: Callable[[], None]) -> None:
    function()


def _in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(function)


class Journal:
    """The durable record of what this process decided and did."""

    @classmethod
    def open(
        cls,
        folder: Path,
        node: str,
        clock: Callable[[], Instant],
        *,
        call: Tell = _at_once,
        segment_bytes: int = 64 * MIB,
        reserve_bytes: int = 64 * MIB,
        min_free: int = 2_048 * MIB,
        stop_free: int = 512 * MIB,
        commit_timeout: float = 10.0,
        look_every: float = 1.0,
        disk: Disk | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> Journal:
        """Start an epoch of `node` in `folder`.

        Tickets are told through `call`, which is the event loop's `call_soon_threadsafe` wherever there is a loop.
        Raises `JournalInUse`, `JournalDamaged`, or OSError if there is no room at all.
        """
        limits = Limits(
            segment_bytes=segment_bytes,
            reserve_bytes=reserve_bytes,
            min_free=min_free,
            stop_free=stop_free,
            commit_timeout=commit_timeout,
            look_every=look_every,
        )
        held = Folder(folder, disk or Disk(), segment_bytes, reserve_bytes)
        try:
            held.drop_unfinished()
            end = find_end(held, node)
            segment = held.begin(end.epoch + 1, 0, reserve=True)
        except BaseException:
            held.release()
            raise
        return cls(held, segment, end, Chain(node, end.epoch + 1, end.leaf, random), limits, clock, call)

    def __init__(
        self,
        folder: Folder,
        segment: Segment,
        end: ChainEnd,
        chain: Chain,
        limits: Limits,
        clock: Callable[[], Instant],
        call: Tell,
    ) -> None:
        self.node = chain.node
        #: Where the last epoch ended, whether its writer closed it, and how many bytes of a torn batch were cut.
        self.previous: Position | None = end.last
        self.clean = end.clean
        self.torn_bytes = end.torn_bytes
        self._limits = limits
        self._call = call
        self._folder = folder
        self._waiting = Waiting(limits.waiting_records)
        self._writer = Writer(folder, segment, chain, self._waiting, limits, clock, self._tell)
        self._writer.prepare()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, name=f"journal {self.node}", daemon=True),
            threading.Thread(target=self._watch, name=f"journal deadlines {self.node}", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def torn(self) -> bool:
        """Whether the last writer died in the middle of a batch."""
        return self.torn_bytes > 0

    @property
    def state(self) -> Literal["writing", "full", "down"]:
        """What decisions may expect now."""
        if self._writer.down is not None or not self._threads[0].is_alive():
            return "down"
        return "writing" if self._writer.full is None else "full"

    @property
    def admits_sessions(self) -> bool:
        """Whether there is room enough for new sessions."""
        return self.state == "writing" and self._writer.free >= self._limits.min_free

    @property
    def free_bytes(self) -> int:
        """Bytes free on the journal's volume when it was last looked at."""
        return self._writer.free

    @property
    def waiting(self) -> int:
        """Records that wait for the writer."""
        return self._waiting.records

    def measured(self, process: str) -> Snapshot:
        """Give what was written in this epoch, and how things are."""
        written, key = self._writer.written, (process,)
        counts: dict[Key, float] = {
            ("vestibule_journal_records_total", key): written.records,
            ("vestibule_journal_bytes_total", key): written.bytes,
            ("vestibule_journal_commits_total", key): written.commits,
        }
        gauges: dict[Key, float] = {
            ("vestibule_journal_waiting_records", key): self.waiting,
            ("vestibule_journal_free_bytes", key): self.free_bytes,
            ("vestibule_journal_fault", key): self.state != "writing",
        }
        return Snapshot(counts, {}, gauges)

    def append(self, records: Sequence[Record], done: Callable[[Ticket], None] | None = None) -> Ticket:
        """Hand over `records`; `done` is called, through `call`, once they are durable or refused."""
        ticket = Ticket(tuple(records), time.monotonic() + self._limits.commit_timeout, done)
        if not self._waiting.put(ticket):
            reason = "the journal is closed" if self._closing.is_set() else "too many records wait for the journal"
            self._waiting.settle(ticket, EvidenceUnavailable(reason))
            self._tell(ticket.told)
        return ticket

    async def commit(self, *records: Record) -> tuple[Written, ...]:
        """Return once `records` are durable; raises `EvidenceUnavailable`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Ticket] = loop.create_future()

        def settle(ticket: Ticket) -> None:
            if not answer.done():
                answer.set_result(ticket)

        self.append(records, lambda ticket: _in(loop, lambda: settle(ticket)))
        ticket = await answer
        if ticket.error is not None:
            raise ticket.error
        return ticket.written

    def close(self) -> None:
        """Write what waits, seal the segment and let go of the folder; blocks, so not for the event loop's thread."""
        self._waiting.close()
        self._threads[0].join(CLOSE_FACTOR * self._limits.commit_timeout)
        self._closing.set()
        self._threads[1].join()
        if self._threads[0].is_alive():
            raise EvidenceUnavailable("the journal's disk does not answer; what waited may not be durable")

    def _write(self) -> None:
        try:
            self._writer.run()
        except BaseException:
            log.critical("journal_writer_failed", exc_info=True)
            self._abandon()
            raise

    def _abandon(self) -> None:
        # A defect of ours: nothing is written any more, and whoever waits must learn it.
        self._waiting.close()
        for ticket in self._waiting.everybody():
            if self._waiting.settle(ticket, EvidenceUnavailable("the journal's writer failed")):
                self._tell(ticket.told)
        self._folder.release()

    def _tell(self, function: Callable[[], None]) -> None:
        try:
            self._call(function)
        except RuntimeError as error:
            # The loop has ended, and with it everybody who could have been told.
            log.warning("journal_nobody_to_tell", reason=str(error))

    def _watch(self) -> None:
        """Refuse decisions whose time is up, even while the writer waits for the disk."""
        while not self._closing.wait(self._nap()):
            for ticket in self._waiting.overdue(time.monotonic()):
                error = EvidenceUnavailable(f"not durable within {self._limits.commit_timeout:g} s")
                if self._waiting.settle(ticket, error):
                    self._writer.late.append(ticket)
                    self._tell(ticket.told)

    def _nap(self) -> float:
        # Nobody who comes while this sleeps can be overdue before it wakes.
        deadline = self._waiting.next_deadline()
        return self._limits.commit_timeout if deadline is None else max(0.001, deadline - time.monotonic())
