"""The pump: one conversation's relay, its two doors and everything its effects ask for.

1. Effects are carried out in order, and none of them waits. Events that an effect causes at once are queued, never
   handled inside the one that caused them.
2. All `Persist` of one `handle` are one batch. A `Send`, `Dial` or `Cancel` goes ahead once the batch of its record is
   durable. One that names a record that was never persisted here closes the session: doubt refuses.
3. A failed batch: what waited for it and what is behind it on that side is dropped, then the relay is told
   (`Unrecorded`) before anything else.
4. Each side is read only while the other has room. The client is not read either while it does not take its own
   answers. The target always is: one that must be read before it reads on would wait for ever.
5. After `Close` nothing reaches the relay. What was sent is flushed within `DRAIN_SECONDS`, then both doors are cut.
6. An error in a relay, or while a session is looked after, ends its own session, and the end is recorded.
7. What is recorded of a session is in chunks before its last record, which counts them, or the time for that is over.
   While it cannot be recorded, the target is not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum
from functools import partial
from typing import Any, Final, Literal, assert_never

import structlog

from vestibule.model.effect import (
    Analyse,
    Ask,
    Cancel,
    Close,
    Compute,
    Dial,
    Effect,
    Keep,
    Opened,
    Pause,
    Persist,
    Prove,
    Resume,
    Seek,
    Send,
    Spend,
    Wake,
    Withdraw,
)
from vestibule.model.errors import TargetUnavailable
from vestibule.model.event import (
    Admission,
    Analysed,
    Answered,
    Computed,
    Dialed,
    DialFailed,
    Ended,
    Event,
    Proven,
    Received,
    Side,
    Told,
    Unrecorded,
    Woken,
)
from vestibule.model.identity import Identity
from vestibule.model.record import Kind, Record
from vestibule.model.target import Target
from vestibule.protocols.base import Conversation, Relay
from vestibule.server import beside
from vestibule.server.alarm import Alarm
from vestibule.server.approvals import Asker, answer
from vestibule.server.commits import Commit
from vestibule.server.counting import Pace
from vestibule.server.dialer import Route
from vestibule.server.door import Door
from vestibule.server.ledger import Ledger
from vestibule.server.opening import Reader
from vestibule.server.recorded import Recorded
from vestibule.server.services import Services

log = structlog.get_logger(__name__)

DRAIN_SECONDS: Final = 5.0
WATCH_SECONDS: Final = 1.0

What = Literal["cancel", "kill", "revoke", "policy", "finish", "drain", "evidence"]


class _Stage(Enum):
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Driver:
    """Drives one relay."""

    def __init__(self, relay: Relay, conversation: Conversation, services: Services) -> None:
        """Start without a connection."""
        self._relay = relay
        self.conversation = conversation
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._client, self._target = Door(Side.CLIENT, self), Door(Side.TARGET, self)
        self._doors = (self._client, self._target)
        self._ledger = Ledger(services.commits, self._settled)
        self._stage = _Stage.OPEN
        # Lists: an empty deque takes more than half a kilobyte, and these never grow long.
        self._events: list[Event] = []
        self._handling = False
        self._deferred: list[tuple[Commit, Callable[[], object]]] = []
        self._analyses: list[Analyse] = []
        self._analysing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm = Alarm(services.clock, lambda: self._deliver(Woken()))
        self._drain: asyncio.TimerHandle | None = None
        self._route: Route | None = None
        self._is_session = False
        self._reason = ""
        self._pace = Pace(services.counting)
        self._recorded = Recorded(conversation.session, services, self._ledger, self, self._closed)
        #: Who was proven, and where the conversation leads, once that is known.
        self.identity: Identity | None = None
        self.target: Target | None = None

    # --- from outside ------------------------------------------------------------------------------------------------

    def start(self, transport: asyncio.Transport, reader: Reader, ahead: bytes) -> None:
        """Take over the client's transport; the relay first receives `ahead`."""
        self._take_over(self._client, transport, reader, ahead)

    def tell(self, what: What, by: str = "") -> None:
        """Tell the relay something from outside the conversation."""
        self._deliver(Told(what, by))

    def answered(self, answered: Answered) -> None:
        """Tell the relay what people answered."""
        self._deliver(answered)

    def end(self, reason: str, cause: str) -> None:
        """Close without asking the relay."""
        self._close(reason, cause)

    def abort(self) -> None:
        """Cut both connections now."""
        self._close("aborted", "protocol_error")
        for door in self._doors:
            door.abort()

    def look_after(self) -> None:
        """Cut a side whose peer has silently gone."""
        for door in self._doors:
            if door.is_dead():
                log.info("peer_is_dead", session=str(self.conversation.session), side=door.side.value)
                door.abort()

    # --- events ------------------------------------------------------------------------------------------------------

    def on_data(self, side: Side, data: bytes) -> None:
        """Pass bytes to the relay."""
        self._pace.came(side)
        self._deliver(Received(side, data))

    def on_end(self, side: Side) -> None:
        """Pass the end of a side to the relay."""
        self._deliver(Ended(side))

    def on_lost(self, side: Side) -> None:
        """Close once nobody is left to talk to."""
        if self._client.closed and self._target.closed:
            self._close("both connections ended", "client_closed")
            self._closed()

    def on_room(self, side: Side) -> None:
        """Read again what had to wait."""
        self._balance()

    def on_pressure(self) -> None:
        """Look again at whether the target may be read."""
        self._balance()

    def on_unrecordable(self) -> None:
        """End a session of which nothing can be recorded."""
        log.error("session_not_recordable", session=str(self.conversation.session))
        self._deliver(Told("evidence"))

    def _deliver(self, event: Event) -> None:
        if self._stage is not _Stage.OPEN:
            return
        self._events.append(event)
        if not self._handling:
            self._run()

    def _run(self) -> None:
        self._handling = True
        try:
            while self._events and self._stage is _Stage.OPEN:
                self._handle(self._events.pop(0))
        finally:
            self._handling = False
        self._after()

    def _handle(self, event: Event) -> None:
        if isinstance(event, Unrecorded):
            self._ledger.forget_failed(event.records)
            for door in self._doors:
                door.mend()
        try:
            self._pace.handles()
            effects = self._relay.handle(event, self._services.clock.now())
            self._pace.handled(effects)
            self._perform(effects)
        except Exception as error:  # noqa: BLE001 - whatever fails here fails this session alone
            self.fail(type(event).__name__, error)
        self._ledger.forget_spent()

    def _after(self) -> None:
        for door in self._doors:
            if door.flush():
                self._pace.left(door.side)
        if self._stage is _Stage.OPEN:
            self._balance()
            return
        for door in self._doors:
            door.finish_if_empty()

    def _balance(self) -> None:
        if self._stage is not _Stage.OPEN:
            return
        client, target = self._client, self._target
        client_is_full = client.is_full()
        client.read(not (client_is_full or target.is_full() or client.is_paused))
        target.read(not (client_is_full or target.is_paused or self._recorded.holds_up))

    # --- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        # First of all: whether the session's last record waits depends on it.
        for effect in effects:
            if type(effect) is Keep:
                self._recorded.keep(effect, None if self.target is None else self.target.name)
        records = [
            effect.record for effect in effects if type(effect) is Persist and not self._has_its_own_way(effect.record)
        ]
        for record in records:
            if record.kind is Kind.AUDIT_FAULT:
                log.error("audit_fault", fault=record.members["fault"], phase=record.members["phase"])
        if records:
            self._persisted(self._ledger.persist(records, self._services.clock.now()))
        for effect in effects:
            if self._stage is not _Stage.OPEN:
                return
            self._do(effect)

    def _has_its_own_way(self, record: Record) -> bool:
        """Tell whether a record is not part of the batch."""
        return self._is_counted(record) or self._recorded.takes(record)

    def _is_counted(self, record: Record) -> bool:
        """Hand a refused log-in to who counts them; nothing waits for it, and a scan may not fill the journal."""
        is_refused = record.kind is Kind.ACCESS_DECIDED and record.session is None
        if is_refused:
            self._services.desk.refused(self, record)
        return is_refused

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(effect)
            case Persist(record=record):
                # All others are in the batch already.
                if self._recorded.takes(record):
                    self._recorded.end(record)
            case Keep():
                pass  # is kept already
            case Prove():
                self._services.desk.admitted(self)
                self._spawn(self._prove(effect))
            case Analyse():
                self._analyses.append(effect)
                if not self._analysing:
                    self._analysing = True
                    self._spawn(self._analyse())
            case Compute():
                self._spawn(self._compute(effect))
            case Dial(target=target, permit=permit, hello=hello):
                self.target = target
                self._once_durable(permit.record, lambda: self._spawn(self._dial(target, hello)))
            case Cancel(data=data, permit=permit):
                self._once_durable(permit.record, partial(self._cancel, data))
            case Opened(cancel_key=key):
                self._is_session = True
                self._services.desk.opened(self, key)
            case Seek() | Spend():
                self._pace.asked_people()
                self._spawn(self._approve(effect))
            case Ask():
                self._once_durable(effect.record, lambda: self._spawn(self._approve(effect)))
            case Withdraw(approval=approval, why=why):
                self._services.approvals.withdraw(self.conversation, approval, why)
            case Pause(side=side, is_watched=is_watched):
                self._door(side).is_paused = True
                if is_watched:
                    self._watch(self._door(side))
            case Resume(side=side):
                self._door(side).is_paused = False
            case Wake(at=at):
                self._alarm.set(at)
            case Close(reason=reason, fault=fault):
                if fault:
                    self._report_fault(fault)
                self._close(reason, "protocol_error")
            case _:
                assert_never(effect)

    def _watch(self, door: Door) -> None:
        """Look once a second whether a side that is paused has gone."""
        if door.is_paused and self._stage is _Stage.OPEN:
            door.end_if_gone()
            self._loop.call_later(WATCH_SECONDS, self._watch, door)

    def _send(self, effect: Send) -> None:
        name, permit = effect.record, effect.permit
        if permit is not None and permit.session != self.conversation.session:
            raise AssertionError("a permit of another session")
        door = self._door(effect.side)
        if not door.is_connected:
            raise AssertionError(f"nothing is connected on the side of the {effect.side.value}")
        door.push(effect.data, self._ledger.batch(name) if name else None, effect.instead)

    def _door(self, side: Side) -> Door:
        return self._client if side is Side.CLIENT else self._target

    def _once_durable(self, name: str, action: Callable[[], object]) -> None:
        commit = self._ledger.batch(name)
        if commit.durable:
            action()
        elif commit.durable is None:
            self._deferred.append((commit, action))

    # --- records -----------------------------------------------------------------------------------------------------

    def _persisted(self, commit: Commit) -> None:
        if commit.durable is False:
            self._unrecorded(commit)

    def _settled(self, commit: Commit) -> None:
        if not commit.durable:
            self._unrecorded(commit)
        else:
            for door in self._doors:
                door.release()
            self._go_ahead(commit)
        if not self._handling:
            self._run()

    def _go_ahead(self, commit: Commit) -> None:
        ready = [action for waits_for, action in self._deferred if waits_for is commit]
        self._deferred = [entry for entry in self._deferred if entry[0] is not commit]
        for action in ready:
            action()

    def _unrecorded(self, commit: Commit) -> None:
        for door in self._doors:
            door.drop(commit)
        self._deferred = [entry for entry in self._deferred if entry[0] is not commit]
        if commit.names:
            self._events.insert(0, Unrecorded(commit.names))

    # --- what takes time ---------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prove(self, proof: Prove) -> None:
        answer = await beside.proven(self._services.prover, proof, self.conversation)
        if isinstance(answer, Admission):
            self.identity = answer.identity
            self._recorded.admission = answer
        self._deliver(Proven(answer))

    async def _analyse(self) -> None:
        while self._analyses:
            asked = self._analyses.pop(0)
            self._deliver(Analysed(await beside.analysed(self._services.analyst, asked, self.conversation)))
        self._analysing = False

    async def _compute(self, effect: Compute) -> None:
        spent = self._services.counting.snapshot_time
        self._deliver(Computed(await beside.computed(effect, self.conversation, spent)))

    async def _approve(self, effect: Seek | Ask | Spend) -> None:
        written = self._ledger.batch(effect.record).written[effect.record] if isinstance(effect, Ask) else None
        asker = Asker(self.conversation, self.identity, self.target)
        self._deliver(await answer(self._services.approvals, asker, effect, written))

    async def _dial(self, target: Target, hello: bytes) -> None:
        try:
            password = await self._services.dialer.password(target)
            link = await self._services.dialer.dial(target, hello)
        except TargetUnavailable as error:
            log.warning("target_unavailable", target=target.name, cause=str(error))
            self._deliver(DialFailed(str(error)))
            return
        self._route = link.route
        facts = Dialed(link.peer, link.local_port, link.tls, password)
        self._take_over(self._target, link.transport, link.reader, link.ahead, facts)

    def _cancel(self, data: bytes) -> None:
        if self._route is None or self.target is None:
            return  # nothing is connected that could be cancelled
        # Not a task of this conversation: a killed session cancels its statement and is gone before the answer.
        task = self._loop.create_task(self._services.dialer.cancel(self.target, self._route, data))
        _CANCELS.add(task)
        task.add_done_callback(_CANCELS.discard)

    def _take_over(
        self, door: Door, transport: asyncio.Transport, reader: Reader, ahead: bytes, first: Event | None = None
    ) -> None:
        if self._stage is not _Stage.OPEN:
            transport.abort()
            return
        ahead += reader.hand_over(door)
        door.attach(transport)
        if first is not None:
            self._deliver(first)
        if ahead:
            self._deliver(Received(door.side, ahead))
        if reader.lost.is_set():
            door.connection_lost(None)
        elif reader.ended:
            door.eof_received()

    # --- the end -----------------------------------------------------------------------------------------------------

    def fail(self, during: str, error: Exception) -> None:
        """Close because of a defect; the log has its place, never its words: they may quote what a person typed."""
        log.error(
            "relay_failed",
            session=str(self.conversation.session),
            during=during,
            error=type(error).__name__,
            where=beside.innermost(error),
        )
        for door in self._doors:
            door.discard()
        self._close("protocol error", "protocol_error")

    def _close(self, reason: str, cause: str) -> None:
        if self._stage is not _Stage.OPEN:
            return
        self._stage = _Stage.CLOSING
        self._reason = reason
        self._record_end(cause)
        self._events.clear()
        self._analyses.clear()
        for task in self._tasks:
            task.cancel()
        self._alarm.cancel()
        self._drain = self._loop.call_later(DRAIN_SECONDS, self._cut)
        for door in self._doors:
            door.finish()

    def _report_fault(self, fault: str) -> None:
        target = "" if self.target is None else self.target.name
        self._services.counting.target_failed(target)
        if self._route is not None and not self._is_session:
            self._services.dialer.avoid(self._route.address)
        log.warning("target_failed", session=str(self.conversation.session), target=target, cause=fault)

    def _record_end(self, cause: str) -> None:
        try:
            now = self._services.clock.now()
            last = self._ledger.end(cause, now, self._client.bytes_written, self._target.bytes_written)
            if last is not None:
                self._recorded.end(last)
        except Exception as error:  # noqa: BLE001 - the connections are closed whatever the journal says
            log.error("end_not_recorded", session=str(self.conversation.session), error=type(error).__name__)

    def _cut(self) -> None:
        for door in self._doors:
            door.abort()

    def _closed(self) -> None:
        is_open = not (self._client.closed and self._target.closed)
        if self._stage is not _Stage.CLOSING or is_open or self._recorded.is_open:
            return
        self._stage = _Stage.CLOSED
        if self._drain is not None:
            self._drain.cancel()
        self._services.desk.closed(self, self._reason)


#: Cancel requests on their way; each ends within its own time limit.
_CANCELS: Final[set[asyncio.Task[None]]] = set()
