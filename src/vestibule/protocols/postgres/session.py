"""What both halves of a session share: who is owed what, what is decided, how it is refused and how it ends.

1. Every message that travels carries a permit; every decided statement is finished by exactly one record.
2. A refusal leaves the session in the state that a real error would (poison, see `refuse`).
3. Nothing here waits: `asking` stops at the client's message that must wait, and is asked again later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

from vestibule.gate.outcome import Cause, Decided, Outcome
from vestibule.gate.permit import refusal_permit, session_permit
from vestibule.gate.reading import Reader
from vestibule.gate.records import Shown
from vestibule.gate.session import SessionGate
from vestibule.model import wording
from vestibule.model.decision import Decision, Hold, Permit
from vestibule.model.effect import Cancel, Close, Effect, Keep, Persist, Send, Wake
from vestibule.model.event import Side
from vestibule.model.names import Instant
from vestibule.model.record import Record
from vestibule.model.statement import Statement, Unsupported
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.errors import ended, refusal, refusal_of
from vestibule.protocols.postgres.frames import FrameReader
from vestibule.protocols.postgres.holding import Holding
from vestibule.protocols.postgres.knowing import Knowing
from vestibule.protocols.postgres.learning import QUESTION, SURVEY, SURVEY_IN_TRANSACTION, Learning, Surveyed
from vestibule.protocols.postgres.names import Names
from vestibule.protocols.postgres.owed import Answer, Owed, Portal, Prepared, Running
from vestibule.protocols.postgres.states import State

#: Names and open answers that one session may hold.
PREPARED_LIMIT: Final = 10_000
PORTAL_LIMIT: Final = 10_000
OWED_LIMIT: Final = 16_384
#: All texts of prepared statements together.
PREPARED_BYTES: Final = 64 << 20
#: All parameters of open portals together, beyond the one Bind that may always be.
PORTAL_BYTES: Final = 64 << 20

_WEIGHT: Final = attrgetter("weight")
_CURSOR_WEIGHT: Final = attrgetter("prepared.weight")

_READY: Final = encode(pg.ReadyForQuery("I"))
EVIDENCE: Final = Unsupported("58030", wording.EVIDENCE_UNWRITABLE, "Try again; the operator has been alarmed.")


class Session:
    """An open session between two doors; `effects` is what the present event asks for."""

    # Beyond thirty members an object without slots has a dictionary of its own.
    # fmt: off
    __slots__ = (
        "_cancel", "_completed", "_dropped", "_poison", "_processes", "_session_permit",
        "_skipped", "_unsaid", "client", "copying", "cursors", "due_at", "effects", "gate", "holding", "is_leaving",
        "is_mid_message", "is_over", "is_unsynced", "known", "last_asked_at", "may_copy", "now", "owed", "portals",
        "prepared", "reader", "segment", "settling", "state", "status", "surveyed", "target",
    )
    # fmt: on

    def __init__(
        self,
        gate: SessionGate,
        reader: Reader,
        known: Knowing,
        client: FrameReader,
        target: FrameReader,
        poison: str,
        cancel: bytes,
        processes: Mapping[int, int],
    ) -> None:
        self.gate, self.reader, self.known = gate, reader, known
        self.client, self.target = client, target
        self.now = Instant(0)
        self.effects: list[Effect] = []
        self.owed: deque[Owed] = deque()
        self.prepared: Names[Prepared] = Names(PREPARED_LIMIT, PREPARED_BYTES, _WEIGHT)
        self.portals: Names[Portal] = Names(PORTAL_LIMIT, PORTAL_BYTES, _WEIGHT)
        #: SQL-level cursors. They outlive transactions when declared WITH HOLD, so they go only when they are closed;
        #: of one that the target has dropped since, it says itself that it does not exist.
        self.cursors: Names[Portal] = Names(PORTAL_LIMIT, PREPARED_BYTES, _CURSOR_WEIGHT)
        self.segment = 0
        self.status: pg.TransactionStatus = "I"
        self.state = State.READY
        self.is_unsynced = False
        self.is_over = False
        #: The COPY from the client that runs, and the answer that may begin one.
        self.copying: Running | None = None
        self.may_copy: Owed | None = None
        #: The Sync of a Query refused behind unsynced messages: what follows depends on whether those had failed.
        self.settling: Owed | None = None
        #: The statement at the head of the line, while people decide about it.
        self.holding = Holding(self)
        self.is_mid_message = False
        #: What the target has said of its relations, while a snapshot is made of it.
        self.surveyed: Surveyed | None = None
        #: The client has said Terminate: what it asked for before still runs to its end.
        self.is_leaving = False
        self.last_asked_at = Instant(0)
        #: When the time of the session must be looked at, whether the alarm has rung or not.
        self.due_at = Instant(0)
        self._completed: Running | None = None
        #: What the driver dropped and is not refused yet; and statements whose end is still to be recorded.
        #: (A stack: the first is the last.)
        self._dropped: list[Owed] = []
        self._unsaid: list[Running] = []
        #: Statements that the target skips up to a Sync: that their decisions are recorded shows when it is answered.
        self._skipped: list[Running] = []
        self._cancel = cancel
        #: The target's process as the client was told of it.
        self._processes = processes
        self._poison = encode(pg.Execute(poison, 0))
        self._session_permit = session_permit(gate.session)

    # --- effects -----------------------------------------------------------------------------------------------------

    def notify_client(self, message: pg.NotificationResponse) -> None:
        """Pass a notification on; the client knows its own by the process that it was told at the beginning."""
        # A process of the target may have the number that the client was told as its own: that one is nobody.
        other = 0 if message.process_id in self._processes.values() else message.process_id
        process = self._processes.get(message.process_id, other)
        # Somebody else chose its words, whom no mask binds.
        payload = "" if self.known.is_masked else message.payload
        self.tell_client(encode(pg.NotificationResponse(process, message.channel, payload)))

    def tell_client(self, data: bytes, after: str = "", instead: bytes = b"") -> None:
        """Send the client bytes, behind all earlier ones and the record `after`; `instead` if that cannot be made."""
        self.gate.counts.bytes_to_client += len(data)
        self.effects.append(Send(Side.CLIENT, data, after=after, instead=instead))

    def tell_target(self, data: bytes, permit: Permit | None = None) -> None:
        """Send the target bytes under a permit, by default that of the session itself."""
        self.gate.counts.bytes_to_target += len(data)
        self.effects.append(Send(Side.TARGET, data, permit or self._session_permit))

    def keep(self, running: Running, data: bytes, head: bytes = b"", goes_on: bool = False) -> None:
        """Record what the client is shown of a statement, where its session is recorded."""
        if self.gate.keeps_results():
            self.effects.append(Keep(running.decided.number, data, head, goes_on))

    def persist(self, record: Record) -> None:
        """Record something."""
        self.effects.append(Persist(record))

    def owe(self, owed: Owed) -> None:
        """Note an answer that the target owes."""
        owed.is_behind = self.is_unsynced
        if owed.labels is None:
            owed.labels = self.known.labels
        self.owed.append(owed)

    def find_prepared(self, name: str) -> Prepared | None:
        """Find what Bind and EXECUTE may name."""
        return self.prepared.find(name, self.segment)

    def find_portal(self, name: str) -> Portal | None:
        """Find what Execute and Describe may name: a bound portal, or a cursor that SQL has declared."""
        return self.portals.find(name, self.segment) or self.cursors.find(name, self.segment)

    def take_effects(self) -> list[Effect]:
        """Hand over what the present event asked for."""
        effects, self.effects = self.effects, []
        return effects

    @property
    def is_idle(self) -> bool:
        """Whether the target owes nothing and nothing unsynced has been sent."""
        return not self.owed and not self.is_unsynced

    @property
    def is_at_rest(self) -> bool:
        """Whether the session could end without loss: nothing runs, and no transaction is open."""
        return self.is_idle and self.status == "I" and not self.is_leaving and self.surveyed is None

    def learn(self) -> None:
        """Ask the target again what it has of its own, and where columns are masked all its relations."""
        place = self.gate.place
        if place is None:
            raise AssertionError("an open session has a target")
        self.known.is_catalog_stale = self.known.is_own_stale = False
        self._question(QUESTION, Learning(place.target))
        if self.known.must_survey(self.now):
            survey = SURVEY if self.status == "I" else SURVEY_IN_TRANSACTION
            self._question(survey, Learning(place.target, is_survey=True))

    def _question(self, question: bytes, learning: Learning) -> None:
        self.tell_target(question)
        self.owe(Owed(Answer.QUERY, self.segment, learning=learning, is_visible=False))
        self.segment += 1

    @property
    def is_learning(self) -> bool:
        """Whether the target's answer about its catalog is awaited, or what is made of it."""
        return self.surveyed is not None or (bool(self.owed) and self.owed[-1].learning is not None)

    # --- statements --------------------------------------------------------------------------------------------------

    def decide(self, statement: Statement, shown: Sequence[Shown], decision: Decision) -> Decided:
        """Decide a statement as it was judged and record that; one that is held begins to wait for people."""
        decided = self.gate.decide(statement, shown, self.now, decision)
        recorded = self.recorded(decided)
        if isinstance(decided.decision, Hold):
            self.holding.begin(decided, statement)
        return recorded

    def recorded(self, decided: Decided) -> Decided:
        """Record a decision. What is kept of it is small: thousands may wait for their outcome."""
        self.persist(decided.record)
        record = Record(decided.record.kind, {}, name=decided.record.name)
        return Decided(
            decided.number,
            decided.decision,
            record,
            decided.permit,
            decided.at,
            decided.unsupported,
            decided.approval,
            decided.is_recorded,
        )

    def complete(self, running: Running, outcome: Outcome, error: tuple[str, str] = ("", "")) -> None:
        """Settle a statement; its record is written at the next completion or ReadyForQuery."""
        running.end(outcome, error)
        if running.is_finished or running is self._completed:
            return
        self._say_unsaid(running)
        self.write_completed("")
        self._completed = running

    def _say_unsaid(self, running: Running) -> None:
        """Record of dropped statements that they were not reached, once the journal has decided about them.

        It decides in order, and the target's answer shows that it has decided about a later one.
        """
        if running.forwarded and running.outcome != "not_reached":
            for earlier in self._unsaid:
                self.persist(self.gate.finished(earlier.decided, earlier.summary(""), self.now))
            self._unsaid.clear()

    def skip(self, running: Running) -> None:
        """Note that the target has not reached a statement, and will not."""
        running.end("not_reached")
        if not running.forwarded:
            self.complete(running, "not_reached")
        elif not running.is_finished and running is not self._completed and running not in self._skipped:
            self._skipped.append(running)

    def say_skipped(self) -> None:
        """Record of what was skipped that it was not reached; the Sync behind it has been answered."""
        skipped, self._skipped = self._skipped, []
        for running in skipped:
            self.complete(running, "not_reached")

    def fail_completed(self, error: tuple[str, str]) -> None:
        """Let the statement that completed last fail after all: its commit was refused."""
        if self._completed is not None:
            self._completed.outcome, self._completed.error = "error", error

    def write_completed(self, transaction: str) -> None:
        """Write the record of the statement that completed last."""
        running, self._completed = self._completed, None
        if running is not None:
            self.finish(running, transaction)

    def finish(self, running: Running, transaction: str) -> None:
        """Write a statement's outcome, once."""
        if not running.is_finished:
            running.is_finished = True
            self.last_asked_at = self.now  # silence begins with the answer, however long it took
            self.persist(self.gate.finished(running.decided, running.summary(transaction), self.now))

    # --- refusing ----------------------------------------------------------------------------------------------------

    def refuse_query(self, error: pg.ErrorResponse, decided: Decided | None) -> None:
        """Refuse in the place of a Query: an error and a ReadyForQuery, with the effects of a real error."""
        running = refused(decided, error)
        if self.is_idle and self.status == "I":
            after = "" if running is None else running.decided.record.name
            self.tell_client(encode(error) + _READY, after, encode(refusal(EVIDENCE)) + _READY if after else b"")
            if running is not None:
                self.finish(running, "I")
            return
        self._send_poison(running, encode(pg.Sync()))
        sync = Owed(Answer.SYNC, self.segment, is_inserted=True)
        self.settling = sync if self._may_be_skipped() else None
        self.owe(Owed(Answer.POISON, self.segment, running, error=error))
        self.owe(sync)
        self.is_unsynced = False
        self.segment += 1

    def _may_be_skipped(self) -> bool:
        """Whether the target may drop what comes next: an extended message that it owes an answer may yet fail."""
        for owed in reversed(self.owed):
            if owed.answer is not Answer.QUERY:
                return owed.answer is not Answer.SYNC
        return False

    def refuse_extended(self, error: pg.ErrorResponse, decided: Decided | None) -> None:
        """Refuse in the place of an extended message: the poison makes the error, what follows is dropped to Sync."""
        running = refused(decided, error)
        self._send_poison(running)
        self.owe(Owed(Answer.POISON, self.segment, running, error=error))
        self.is_unsynced = True
        self.state = State.SKIP

    def _send_poison(self, running: Running | None, behind: bytes = b"") -> None:
        stands_on = () if running is None else (running.decided.record.name,)
        self.tell_target(self._poison + behind, refusal_permit(self.gate.session, *stands_on))

    def explain(self, decided: Decided) -> pg.ErrorResponse:
        """Say plainly why a statement was refused, and what to do."""
        return refusal_of(decided, str(self.gate.session))

    def undo_from(self, names: frozenset[str]) -> None:
        """Take back what could not be recorded: the driver dropped it and everything behind it."""
        self.holding.undo(names, EVIDENCE)
        was_skipped = any(running.decided.record.name in names for running in self._skipped)
        self._forget(names)
        first = 1 if was_skipped else next((at for at, owed in enumerate(self.owed) if owed.stands_on(names)), None)
        if was_skipped and self.owed:
            # The target has skipped what was behind its error, and waits for the Sync that was dropped with it.
            self.tell_target(encode(pg.Sync()))
        if first is None or first >= len(self.owed):
            return
        dropped = [self.owed.pop() for _ in range(len(self.owed) - first)]
        for owed in dropped:
            if owed.stands_on(names):
                owed.error = None  # that it was not recorded is why it is refused now
            self._take_back(owed)
            self._dropped.append(owed)
        self.may_copy, self.settling = None, None
        self.state = State.READY
        self.segment, self.is_unsynced = dropped[-1].segment, dropped[-1].is_behind
        self.refuse_dropped()

    def _forget(self, names: frozenset[str]) -> None:
        """Note that a statement whose decision was not recorded has no outcome to record either."""
        known = [owed.running for owed in self.owed] + [portal.running for portal in self.portals.values()]
        for running in (*known, *self._skipped, self._completed):
            if running is not None and running.decided.record.name in names:
                running.is_finished = True
        if self._completed is not None and self._completed.is_finished:
            self._completed = None
        self._unsaid = [running for running in self._unsaid if running.decided.record.name not in names]
        self._skipped = [running for running in self._skipped if running.decided.record.name not in names]

    def _take_back(self, owed: Owed) -> None:
        owed.withdraw()
        running = owed.running
        if running is not None:
            running.end("not_reached")
            if not running.is_finished:
                running.is_finished = True
                self._unsaid.append(running)

    @property
    def has_dropped(self) -> bool:
        """Whether something that was dropped has not been refused yet."""
        return bool(self._dropped)

    def refuse_dropped(self) -> None:
        """Refuse in order what was dropped; behind a Query whose place is not clear yet the rest waits."""
        while self._dropped and self.settling is None:
            self._refuse_again(self._dropped.pop())

    def _refuse_again(self, owed: Owed) -> None:
        error = owed.error or refusal(EVIDENCE)
        if owed.answer is Answer.SYNC:
            self.sync()
        elif self.state is State.SKIP:
            return
        elif owed.answer is Answer.QUERY:
            self.refuse_query(error, None)
        elif self._dropped and self._dropped[-1].is_inserted:
            # The poison of a refused Query, and the Sync behind it.
            self._dropped.pop()
            self.refuse_query(error, None)
        else:
            self.refuse_extended(error, None)

    def sync(self) -> None:
        """Send a Sync and begin the next segment."""
        self.tell_target(encode(pg.Sync()))
        self.owe(Owed(Answer.SYNC, self.segment))
        self.is_unsynced = False
        self.state = State.READY
        self.segment += 1

    # --- time and end ------------------------------------------------------------------------------------------------

    def deadline(self) -> Instant:
        """When the session must be looked at again."""
        idle = self.gate.idle_us()
        ends_at = self.gate.ends_at()
        self.due_at = ends_at if idle is None else min(ends_at, Instant(self._idle_since() + idle))
        if self.holding.due_at is not None:
            self.due_at = min(self.due_at, self.holding.due_at)
        return self.due_at

    def check_time(self) -> None:
        """End the session if its time is over; else ask to be woken again."""
        idle = self.gate.idle_us()
        if self.now >= self.gate.ends_at():
            self._end_by_time()
        elif idle is not None and self.now >= self._idle_since() + idle:
            self.end("idle", wording.session_ended(f"idle {spell(idle)}"))
        else:
            self.holding.check_time()
            self.effects.append(Wake(self.deadline()))

    def _idle_since(self) -> Instant:
        # A statement that runs, or waits for people, is no silence, however long it does.
        return self.last_asked_at if self.is_idle and not self.holding else self.now

    def _end_by_time(self) -> None:
        identity = self.gate.identity
        if identity is not None and self.now >= identity.expires_at:
            self.end("login_expired", wording.session_ended("login expired"))
        else:
            limits = self.gate.longest_us()
            self.end("max_time", wording.session_ended(f"maximum {spell(limits or 0)}"))

    def request_cancel(self) -> None:
        """Pass a cancel on, unless nothing runs: a late one must not hit the next statement."""
        if self.owed:
            self.effects.append(Cancel(self._cancel, self._session_permit))
        else:
            self.holding.cancel()

    def leave(self) -> None:
        """Take the client's Terminate: pass it on behind what still runs, as the server would read it."""
        if self.is_idle:
            self.end("client_closed", "")
        elif not self.is_leaving:
            self.is_leaving = True
            self.tell_target(encode(pg.Terminate()))

    def lose(self, side: Side) -> None:
        """One side is gone: after Terminate that is the target's turn, before it the client has given up."""
        if (side is Side.TARGET) is self.is_leaving:
            self.end("client_closed", "")
        elif side is Side.TARGET:
            place = self.gate.place
            name = "" if place is None else place.target.name
            self.end("target_closed", wording.target_unavailable(name), "08006", "the target closed the connection")

    def end(self, cause: Cause, text: str, code: str = "57P01", fault: str = "") -> None:
        """End the session: stop what runs, tell the client, close the target, write the last records.

        What the target did wrong (`fault`) is for the record of what ran, and for the operator.
        """
        if self.is_over:
            return
        self.is_over = True
        self.holding.abandon(cause)
        if cause != "target_closed":
            self.request_cancel()
        # Inside a row of many megabytes there is no place for a message: the client sees the connection close.
        if text and not self.is_mid_message:
            self.tell_client(encode(ended(code, text)))
        self.tell_target(encode(pg.Terminate()))
        self._finish_all(("08006", fault) if fault else ("", ""))
        if self.gate.has_failed:
            self.persist(self.gate.storage_fault("ended", self.now))
        self.persist(self.gate.closed(cause, self.now))
        self.effects.append(Close(cause, fault))

    def _finish_all(self, error: tuple[str, str]) -> None:
        self.write_completed("")
        running = [*self._skipped, *(owed.running for owed in self.owed if owed.running is not None)]
        running += [portal.running for names in (self.portals, self.cursors) for portal in names.values()]
        for statement in dict.fromkeys(running):
            statement.end("unknown", error)
            self.finish(statement, "")
        self.owed.clear()


def refused(decided: Decided | None, error: pg.ErrorResponse) -> Running | None:
    """Make the end of a statement that was refused before it travelled, if its decision is recorded."""
    if decided is None or not decided.is_recorded:
        return None
    running = Running(decided, forwarded=False)
    running.end("refused", (error.text("C"), error.text("M")))
    return running


def spell(microseconds: int) -> str:
    """Write a duration as the policy file does."""
    seconds = microseconds // 1_000_000
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
