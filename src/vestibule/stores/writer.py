"""The one thread that writes a chain.

1. A batch is whatever arrived while the last one was being made durable: one write, one sync, then the tickets.
2. Room is looked for early. While it is short, decisions are refused and the rest uses what room there is.
3. After an error of write or sync nothing is appended to that segment again, and nothing is taken to be durable. The
   folder is read back as at a start, what is on disk is kept, and writing goes on in a new epoch.
4. What was refused and is on disk all the same gets an afterword.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from vestibule.model.errors import EvidenceUnavailable, VestibuleError
from vestibule.model.names import Instant
from vestibule.model.record import Record, Written
from vestibule.stores.afterword import afterword
from vestibule.stores.chain import Chain, Draft, Encoded
from vestibule.stores.chain_end import find_end
from vestibule.stores.fault import Fault
from vestibule.stores.folder import RESERVE, SPARE, Folder, Segment
from vestibule.stores.segment_file import JournalDamaged
from vestibule.stores.ticket import Ticket, Waiting, own, salvage

log = structlog.get_logger(__name__)

MIB: Final = 1 << 20
FULL: Final = "the journal has no room for new decisions"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much room and time the journal takes; bytes and seconds."""

    segment_bytes: int = 64 * MIB
    reserve_bytes: int = 64 * MIB
    min_free: int = 2_048 * MIB
    stop_free: int = 512 * MIB
    commit_timeout: float = 10.0
    look_every: float = 1.0
    batch_records: int = 512
    batch_bytes: int = 4 * MIB
    waiting_records: int = 65_536


@dataclass(slots=True)
class Durable:
    """How much became durable since the start; counted by the thread, read by anybody."""

    records: int = 0
    bytes: int = 0
    commits: int = 0


@dataclass(frozen=True, slots=True)
class _Lost:
    """A batch of which nobody knows yet what is on disk."""

    draft: Draft
    tickets: tuple[Ticket, ...]


class Writer:
    """Everything that the thread owns; only `late` and what is read by properties is touched from outside."""

    def __init__(
        self,
        folder: Folder,
        segment: Segment,
        chain: Chain,
        waiting: Waiting,
        limits: Limits,
        clock: Callable[[], Instant],
        tell: Callable[[Callable[[], None]], object],
    ) -> None:
        self._folder = folder
        self._segment = segment
        self._chain = chain
        self._waiting = waiting
        self._limits = limits
        self._clock = clock
        self._tell = tell
        self._next_look = 0.0
        self._next_revival = 0.0
        self._stuck = False
        self._lost: _Lost | None = None
        self._own: list[Record] = []
        self._reason = ""
        self.full: Fault | None = None
        self.down: Fault | None = None
        self.free = 0
        self.written = Durable()
        #: Appends that were refused because they were late, told by the thread that watches deadlines.
        self.late: deque[Ticket] = deque()

    def prepare(self) -> None:
        """Look at the room before the first append."""
        self._look()
        self._flush_own()

    def run(self) -> None:
        """Write until the line is closed and empty."""
        while self._step():
            pass
        self._finish()

    def _step(self) -> bool:
        if self.down is not None or self._stuck:
            going = self._waiting.pause(self._limits.look_every)
            self._stalled()
        else:
            tickets = self._waiting.take(self._limits.batch_records, self._patience())
            going = tickets is not None
            if tickets is not None:
                self._look()
                self._write(tickets if self.full is None else self._refuse_decisions(tickets))
        self._flush_own()
        return going

    def _patience(self) -> float | None:
        return None if self.full is None else self._limits.look_every

    def _stalled(self) -> None:
        """Answer who must not wait, and try to go on."""
        if self.down is not None:
            self._revive()
        else:
            self._look()
            self._stuck = False
        if self.down is not None or self.full is not None:
            self._waiting.put_back(self._refuse_decisions(self._waiting.drain()))

    # Batches

    def _write(self, tickets: Sequence[Ticket]) -> None:
        draft = self._chain.draft()
        line = deque(tickets)
        taken = self._fill(draft, line)
        self._waiting.put_back(line)
        if taken:
            self._commit(draft, taken)
        elif line:
            self._next_segment()

    def _fill(self, draft: Draft, line: deque[Ticket]) -> list[Ticket]:
        """Move tickets from the line into the batch until it is full."""
        taken: list[Ticket] = []
        room = self._segment.room
        while line:
            ticket = line.popleft()
            before = len(draft.encoded)
            answered = self._add(draft, ticket)
            if answered is not None:
                line.extendleft(answered)
            elif draft.size > room or (before and draft.size > self._limits.batch_bytes):
                draft.cut(before)
                line.appendleft(ticket)
                break
            else:
                taken.append(ticket)
        return taken

    def _add(self, draft: Draft, ticket: Ticket) -> list[Ticket] | None:
        """Add a ticket's records; if they are refused, give what is written in its place."""
        if ticket.done:
            return _rest_of(ticket)
        before, size = len(draft.encoded), draft.size
        try:
            draft.add(ticket.records, self._clock())
            if draft.size - size > self._limits.segment_bytes:
                draft.cut(before)
                raise EvidenceUnavailable("an append is larger than a segment of the journal")
        except VestibuleError as error:
            log.error("record_refused", kinds=[str(record.kind) for record in ticket.records], reason=str(error))
            return self._refuse(ticket, str(error))
        return None

    def _commit(self, draft: Draft, tickets: Sequence[Ticket]) -> None:
        half = self._segment.capacity // 2
        had_room = self._segment.room >= half
        try:
            self._folder.confirm()
            self._segment.append(draft.data())
        except OSError as error:
            self._fail(draft, tickets, error)
            return
        self._count(draft)
        self._chain.accept(draft)
        self._settle(tickets, draft.encoded)
        self._report_late()
        if had_room and self._segment.room < half:
            self._next_look = 0.0
            self._look()

    def _count(self, draft: Draft) -> None:
        self.written.records += len(draft.encoded)
        self.written.bytes += draft.size
        self.written.commits += 1

    def _settle(self, tickets: Iterable[Ticket], encoded: Sequence[Encoded]) -> None:
        told: list[Ticket] = []
        start = 0
        for ticket in tickets:
            mine = encoded[start : start + len(ticket.records)]
            start += len(ticket.records)
            if self._waiting.settle(ticket, None, tuple([Written(each.id, each.leaf) for each in mine])):
                told.append(ticket)
            else:
                self._own.extend(afterword(self._chain, mine, encoded))
        self._told(told)

    def _told(self, tickets: Sequence[Ticket]) -> None:
        if tickets:
            self._tell(lambda: _tell_all(iter(tickets)))

    def _flush_own(self) -> None:
        if self._own:
            self._waiting.put_back([own((record,)) for record in self._own])
            self._own.clear()

    # Refusals

    def _refuse_decisions(self, tickets: Iterable[Ticket]) -> list[Ticket]:
        """Refuse the appends with decisions, and give what is still to be written, in order."""
        reason = FULL if self.down is None else self.down.detail
        kept: list[Ticket] = []
        for ticket in tickets:
            kept.extend(self._refuse(ticket, reason) if ticket.decides else (ticket,))
        return kept

    def _refuse(self, ticket: Ticket, reason: str) -> list[Ticket]:
        fault = self.down or self.full
        if self._waiting.settle(ticket, EvidenceUnavailable(reason)):
            if fault is not None:
                fault.count(ticket.records)
            self._told([ticket])
        return _rest_of(ticket)

    def _report_late(self) -> None:
        if not self.late:
            return
        fault = Fault("journal_down", self._clock(), "records were not durable in time")
        while self.late:
            fault.count(self.late.popleft().records)
        self._own.extend((fault.started(), fault.ended()))

    # Room

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + self._limits.look_every
        try:
            self.free = self._segment.free()
            self._make_room()
            self.free = self._segment.free()
        except OSError as error:
            self._run_short(error.strerror or str(error))
            return
        if self.free < self._limits.stop_free:
            self._run_short(f"less than {self._limits.stop_free} bytes are free")
        elif self.full is not None:
            log.info("journal_has_room", free=self.free)
            self._own.append(self.full.ended())
            self.full = None

    def _make_room(self) -> None:
        if self.free < self._limits.stop_free:
            return
        self._folder.allocate(RESERVE)
        if self.full is not None or self._segment.room < self._segment.capacity // 2:
            self._folder.allocate(SPARE)

    def _run_short(self, detail: str) -> None:
        if self.full is None:
            log.error("journal_full", detail=detail, free=self.free)
            self.full = Fault("journal_full", self._clock(), detail)
            self._own.append(self.full.started())

    def _next_segment(self) -> None:
        try:
            if self._segment.used == 0:
                self._segment.grow(self._limits.segment_bytes)
                return
            following = self._folder.begin(self._chain.epoch, self._chain.n, reserve=self.full is not None)
        except OSError as error:
            self._stuck = self.full is not None
            self._run_short(error.strerror or str(error))
            return
        _seal(self._segment)
        self._segment = following

    # Failures

    def _fail(self, draft: Draft, tickets: Sequence[Ticket], error: OSError) -> None:
        detail = f"the journal could not be written: {error.strerror or error}"
        log.critical("journal_down", detail=detail, segment=str(self._segment.path))
        self.down = Fault("journal_down", self._clock(), detail)
        self._lost = _Lost(draft, tuple(tickets))
        self._segment.close()
        for ticket in tickets:
            if ticket.decides and self._waiting.settle(ticket, EvidenceUnavailable(detail)):
                self.down.count(ticket.records)
                self._told([ticket])

    def _revive(self) -> None:
        now = time.monotonic()
        if now < self._next_revival or self._lost is None or self.down is None:
            return
        self._next_revival = now + self._limits.look_every
        try:
            self._read_back(self._lost)
        except (OSError, VestibuleError) as error:
            if self._reason != str(error):
                self._reason = str(error)
                log.error("journal_still_down", reason=self._reason)
            return
        log.info("journal_up", epoch=self._chain.epoch)
        self._own.extend((self.down.started(), self.down.ended()))
        self.down = self._lost = None

    def _read_back(self, lost: _Lost) -> None:
        self._folder.confirm()
        end = find_end(self._folder, self._chain.node)
        leaves = [self._chain.prev, *(encoded.leaf for encoded in lost.draft.encoded)]
        if end.leaf not in leaves:
            raise JournalDamaged("records that were durable are not in the journal any more")
        self._segment = self._folder.begin(end.epoch + 1, 0, reserve=True)
        lost.draft.cut(leaves.index(end.leaf))
        self._chain.accept(lost.draft)
        self._chain.begin(end.epoch + 1, end.leaf)
        self._answer_lost(lost)

    def _answer_lost(self, lost: _Lost) -> None:
        """Settle what is on disk, and put the rest of what nobody was refused back into the line."""
        batch = written = lost.draft.encoded
        again: list[Ticket] = []
        for ticket in lost.tickets:
            mine, written = written[: len(ticket.records)], written[len(ticket.records) :]
            rest = ticket.records[len(mine) :]
            if ticket.done:
                self._own.extend((*afterword(self._chain, mine, batch), *salvage(rest)))
            elif not rest:
                self._settle([ticket], mine)
            else:
                again.append(self._remaining(ticket, mine, rest))
        self._waiting.put_back(again)

    def _remaining(self, ticket: Ticket, mine: Sequence[Encoded], rest: tuple[Record, ...]) -> Ticket:
        if not mine:
            return ticket
        head = tuple(Written(each.id, each.leaf) for each in mine)

        def settle(of: Ticket) -> None:
            if self._waiting.settle(ticket, of.error, (*head, *of.written)):
                ticket.told()

        return Ticket(rest, float("inf"), settle)

    def _finish(self) -> None:
        """Refuse what could not be written, and close the segment."""
        for ticket in [*(self._lost.tickets if self._lost else ()), *self._waiting.drain()]:
            if self._waiting.settle(ticket, EvidenceUnavailable("the journal was closed")):
                self._told([ticket])
        if self.down is None:
            _seal(self._segment)
        self._folder.release()


def _rest_of(ticket: Ticket) -> list[Ticket]:
    rest = salvage(ticket.records) if ticket.decides else ()
    return [own(rest)] if rest else []


def _seal(segment: Segment) -> None:
    try:
        segment.seal()
    except OSError as error:
        # All its records are durable already; the next start closes it.
        log.warning("segment_not_sealed", segment=str(segment.path), reason=str(error))


def _tell_all(tickets: Iterator[Ticket]) -> None:
    try:
        for ticket in tickets:
            ticket.told()
    except BaseException:
        # One that fails must not keep the others from being told.
        _tell_all(tickets)
        raise
