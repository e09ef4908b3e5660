"""Plays everything around a relay, so that a test reads as a transcript: say something, expect what happens.

1. The playbook is the driver without its sockets: effects in order, an outbox for each side whose entries wait for
   their record, events that an effect causes queued and never handled inside the one that caused them.
2. It holds the relay to its contract while it plays: bytes reach the target only under a permit of this session whose
   record is durable, a record refers only to what is recorded and not spent, and nothing follows a `Close`.
3. The journal is `prompt`, `stalled` (batches wait for `commit`) or `failing`; `world` answers `Prove`, `Dial`,
   `Compute` and `Analyse` at once, unless `holds` names the effect: then `answer` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol
from uuid import UUID

from tests.support.outboxes import Batch, Outbox
from tests.support.people import Approvals
from vestibule.model.effect import (
    Analyse,
    Ask,
    Cancel,
    Close,
    Compute,
    Dial,
    Effect,
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
from vestibule.model.event import (
    Admission,
    Analysed,
    Answered,
    Asked,
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
from vestibule.model.identity import Refusal
from vestibule.model.names import Instant
from vestibule.model.record import Record, Reference
from vestibule.model.statement import Parsed, Unknown, Unsupported
from vestibule.protocols.base import Relay

START = Instant(1_800_000_000_000_000)


class Wire(Protocol):
    """How a protocol's messages are written and read; made anew for each conversation."""

    def write(self, side: Side, message: object) -> bytes:
        """Write what `side` says."""
        ...

    def read(self, side: Side, data: bytes) -> list[object]:
        """Read what is said to `side`, message by message, however it was cut."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What the ports answer."""

    proof: Admission | Refusal
    dialed: Dialed | DialFailed
    analyse: Callable[[bytes, object], Parsed | Unsupported | Unknown]
    approvals: Approvals = field(default_factory=Approvals)


@dataclass(frozen=True, slots=True)
class ToClient:
    """A message reached the client; as an expectation, `message` may be its type."""

    message: object


@dataclass(frozen=True, slots=True)
class ToTarget:
    """A message reached the target; as an expectation, `message` may be its type."""

    message: object


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record was written."""

    record: Record


@dataclass(frozen=True, slots=True)
class Did:
    """Any other effect but `Wake`; as an expectation, `effect` may be its type."""

    effect: object


Seen = ToClient | ToTarget | Recorded | Did


@dataclass(frozen=True, slots=True)
class recorded:  # noqa: N801 - reads as a word of a transcript
    """Expects a record of this kind, with at least these members."""

    kind: str
    members: dict[str, object] = field(default_factory=dict)

    def matches(self, seen: Seen) -> bool:
        """Tell whether this was seen."""
        if not isinstance(seen, Recorded) or seen.record.kind != self.kind:
            return False
        return all(seen.record.members.get(name) == value for name, value in self.members.items())


Expected = Seen | recorded


class Playbook:
    """One conversation, played."""

    def __init__(self, relay: Relay, wire: Wire, world: World, session: UUID, now: Instant = START) -> None:
        self.relay, self.wire, self.world, self.session, self.now = relay, wire, world, session, now
        self.journal: Literal["prompt", "stalled", "failing"] = "prompt"
        self.holds: set[type] = set()
        self.seen: list[Seen] = []
        #: Every byte that left, by side, whatever was made of it.
        self.bytes = {Side.CLIENT: bytearray(), Side.TARGET: bytearray()}
        self.paused: set[Side] = set()
        self.deadline: Instant | None = None
        self.closed = ""
        #: What the operator's log was told of the target.
        self.fault = ""
        #: Called with each message that reaches a side; gives what that side answers.
        self.replies: dict[Side, Callable[[object], bytes]] = {}
        self._outboxes = {side: Outbox(partial(self._left, side)) for side in Side}
        self._batches: dict[str, Batch] = {}
        self._spent: set[str] = set()
        self._written_records: list[tuple[Record, Batch]] = []
        self._open: list[Batch] = []
        self._deferred: list[tuple[Batch, Effect]] = []
        self._held: list[Effect] = []
        self._events: deque[Event] = deque()
        self._is_handling = False

    # --- what happens to the relay -----------------------------------------------------------------------------------

    def client(self, *said: object) -> None:
        """Let the client say messages, or bytes as they are, in one piece."""
        self.deliver(Received(Side.CLIENT, self._written(Side.CLIENT, said)))

    def target(self, *said: object) -> None:
        """Let the target say messages, or bytes as they are, in one piece."""
        self.deliver(Received(Side.TARGET, self._written(Side.TARGET, said)))

    def end(self, side: Side) -> None:
        """Let a side close its connection."""
        self.deliver(Ended(side))

    def tell(self, what: Literal["cancel", "kill", "revoke", "policy", "finish", "drain", "evidence"]) -> None:
        """Tell the relay something from outside."""
        self.deliver(Told(what))

    def people(self, answer: Literal["granted", "refused", "expired", "withdrawn"], by: str = "mia") -> None:
        """Let people answer the request that is open."""
        (approval,) = self.world.approvals.open
        if answer == "granted":
            self.world.approvals.granted.add(approval)
        else:
            del self.world.approvals.open[approval]
        self.deliver(Answered(approval, answer, by))

    def pass_time(self, microseconds: int) -> None:
        """Let time pass, and the alarm ring if it is due."""
        end = Instant(self.now + microseconds)
        while not self.closed and self.deadline is not None and self.deadline <= end:
            self.now, self.deadline = max(self.now, self.deadline), None
            self.deliver(Woken())
        self.now = end

    def answer(self) -> None:
        """Answer the oldest effect that was held."""
        self._answer(self._held.pop(0))

    def commit(self, durable: bool = True) -> None:
        """Decide the oldest batch of a stalled journal."""
        batch = self._open.pop(0)
        batch.durable = durable
        if durable:
            self._release(batch)
        else:
            self._fail(batch)
        self._run()

    def commit_all(self) -> None:
        """Make everything durable that waits, and what comes of it."""
        while self._open:
            self.commit()

    def deliver(self, event: Event) -> None:
        """Give the relay an event."""
        if self.closed:
            return
        self._events.append(event)
        self._run()

    # --- what the relay does -----------------------------------------------------------------------------------------

    def take(self) -> list[Seen]:
        """Hand over what was seen since the last time."""
        seen, self.seen = self.seen, []
        return seen

    def expect(self, *expected: Expected) -> None:
        """Compare, in order and completely, with what was seen since the last time."""
        seen = self.take()
        same = len(seen) == len(expected) and all(map(_matches, expected, seen))
        assert same, "\n".join(
            ["expected:", *(f"  {item}" for item in expected), "seen:", *(f"  {item}" for item in seen)]
        )

    def to(self, side: Side) -> list[object]:
        """Take what was seen and give the messages that reached `side`."""
        kind = ToClient if side is Side.CLIENT else ToTarget
        return [item.message for item in self.take() if isinstance(item, kind)]

    @property
    def records(self) -> list[Record]:
        """List the records that are durable, in order."""
        return [record for record, batch in self._written_records if batch.durable]

    @property
    def attempted(self) -> list[Record]:
        """List all records, durable or not, in order."""
        return [record for record, _ in self._written_records]

    @property
    def open_batches(self) -> int:
        """Count what the journal has not decided."""
        return len(self._open)

    @property
    def waits(self) -> bool:
        """Tell whether anything waits for the journal or an answer."""
        return bool(self._open or self._held or not all(box.is_empty for box in self._outboxes.values()))

    # --- the driver's part -------------------------------------------------------------------------------------------

    def _written(self, side: Side, said: Sequence[object]) -> bytes:
        return b"".join(item if isinstance(item, bytes) else self.wire.write(side, item) for item in said)

    def _run(self) -> None:
        if self._is_handling:
            return
        self._is_handling = True
        try:
            while not self.closed and (self._events or self._is_due()):
                event = self._events.popleft()
                if isinstance(event, Unrecorded):
                    for name in event.records:
                        self._batches.pop(name, None)
                    for box in self._outboxes.values():
                        box.mend()
                self._perform(self.relay.handle(event, self.now))
        finally:
            self._is_handling = False

    def _is_due(self) -> bool:
        """Let an alarm ring that a relay has set to now: it has more to do than one event may take."""
        if self.deadline is None or self.deadline > self.now:
            return False
        self.deadline = None
        self._events.append(Woken())
        return True

    def _perform(self, effects: Sequence[Effect]) -> None:
        ends = [at for at, effect in enumerate(effects) if isinstance(effect, Close)]
        assert ends in ([], [len(effects) - 1]), "nothing follows a Close"
        self._persist([effect.record for effect in effects if isinstance(effect, Persist)])
        for effect in effects:
            self._do(effect)
        for name in self._spent:
            self._batches.pop(name, None)
        self._spent.clear()

    def _persist(self, records: list[Record]) -> None:
        if not records:
            return
        batch = Batch(tuple(record.name for record in records if record.name))
        self._written_records += [(record, batch) for record in records]
        self._batches |= dict.fromkeys(batch.names, batch)
        for reference in _references(records):
            assert reference.name in self._batches, f"a reference to {reference.name!r}, which is not recorded or spent"
            if reference.last:
                self._spent.add(reference.name)
        self.seen += map(Recorded, records)
        match self.journal:
            case "prompt":
                batch.durable = True
            case "stalled":
                self._open.append(batch)
            case "failing":
                batch.durable = False
                self._fail(batch)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(effect)
            case Wake(at=at):
                self.deadline = at
            case Dial() | Cancel():
                self._once_durable(effect, effect.permit.record)
            case Ask():
                self._once_durable(effect, effect.record)
            case Prove() | Analyse() | Compute() | Seek() | Spend():
                self._begin(effect)
            case Withdraw():
                self.world.approvals.open.pop(effect.approval, None)
                self.world.approvals.withdrawn.append(effect)
                self._note(effect)
            case Persist():
                pass
            case _:
                self._note(effect)

    def _send(self, effect: Send) -> None:
        permit = effect.permit
        assert permit is None or permit.session == self.session, "a permit of another session"
        batch = self._batch(effect.record) if effect.record else None
        self._outboxes[effect.side].push(effect.data, batch, effect.instead)

    def _batch(self, name: str) -> Batch:
        assert name in self._batches, f"bytes that wait for {name!r}, which nobody has recorded"
        return self._batches[name]

    def _once_durable(self, effect: Effect, name: str) -> None:
        batch = self._batch(name)
        if batch.durable:
            self._begin(effect)
        elif batch.durable is None:
            self._deferred.append((batch, effect))

    def _begin(self, effect: Effect) -> None:
        self._note(effect)
        if type(effect) in self.holds:
            self._held.append(effect)
        else:
            self._answer(effect)

    def _answer(self, effect: Effect) -> None:
        match effect:
            case Prove():
                self.deliver(Proven(self.world.proof))
            case Dial(hello=hello):
                self.deliver(self.world.dialed)
                if hello and isinstance(self.world.dialed, Dialed):
                    # Whoever reached the target has said it.
                    self._left(Side.TARGET, hello)
            case Analyse():
                self.deliver(Analysed(self.world.analyse(effect.text, effect.knowledge)))
            case Compute(work=work):
                self.deliver(Computed(_done(work)))
            case Seek():
                self.deliver(self.world.approvals.seek())
            case Ask(request=request):
                self.world.approvals.open[request.approval] = request
                self.deliver(Asked(request.approval))
            case Spend():
                self.deliver(self.world.approvals.spend(effect))
            case _:
                pass

    def _note(self, effect: Effect) -> None:
        self.seen.append(Did(effect))
        match effect:
            case Close(reason=reason, fault=fault):
                self.closed, self.fault = reason, fault
            case Pause(side=side):
                self.paused.add(side)
            case Resume(side=side):
                self.paused.discard(side)
            case _:
                pass

    def _release(self, batch: Batch) -> None:
        for box in self._outboxes.values():
            box.release()
        ready = [effect for waits_for, effect in self._deferred if waits_for is batch]
        self._deferred = [entry for entry in self._deferred if entry[0] is not batch]
        for effect in ready:
            self._begin(effect)

    def _fail(self, batch: Batch) -> None:
        for box in self._outboxes.values():
            box.drop(batch)
        self._deferred = [entry for entry in self._deferred if entry[0] is not batch]
        if batch.names:
            self._events.appendleft(Unrecorded(batch.names))

    def _left(self, side: Side, data: bytes) -> None:
        self.bytes[side] += data
        kind = ToClient if side is Side.CLIENT else ToTarget
        for message in self.wire.read(side, data):
            self.seen.append(kind(message))
            reply = self.replies[side](message) if side in self.replies else b""
            if reply:
                self.deliver(Received(side, reply))


def _done(work: Callable[[], object]) -> object:
    try:
        return work()
    except Exception:  # noqa: BLE001 - as in the driver, what cannot be done is no answer
        return None


def _references(records: Sequence[Record]) -> Iterator[Reference]:
    for record in records:
        for value in record.members.values():
            if isinstance(value, Reference):
                yield value
            elif isinstance(value, list | tuple):
                yield from (item for item in value if isinstance(item, Reference))


def _matches(expected: Expected, seen: Seen) -> bool:
    match expected, seen:
        case recorded(), _:
            return expected.matches(seen)
        case (ToClient(message=wanted), ToClient(message=found)) | (ToTarget(message=wanted), ToTarget(message=found)):
            return isinstance(found, wanted) if isinstance(wanted, type) else found == wanted
        case Did(effect=wanted), Did(effect=found):
            return isinstance(found, wanted) if isinstance(wanted, type) else found == wanted
        case _:
            return expected == seen
