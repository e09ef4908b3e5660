"""Stand-ins around a driver: a relay that does as told, a journal that answers when told, a desk that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from vestibule.gate.permit import ACCESS, OPENED, access_permit, session_permit
from vestibule.metrics import Snapshot
from vestibule.model.approval import ApprovalId, Request
from vestibule.model.decision import Permit
from vestibule.model.effect import Close, Dial, Effect, Opened, Persist, Prove, Send, Spend
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.event import Admission, Dialed, Ended, Event, Proven, Received, Side, Sought, Spent
from vestibule.model.identity import Identity, Peer, Proof, Refusal, Who
from vestibule.model.names import Instant, LoginName, TargetName
from vestibule.model.record import Kind, Record, Reference, Written
from vestibule.model.statement import Parsed, Unsupported
from vestibule.model.target import Address, Credential, Target, TargetTls
from vestibule.protocols.base import Conversation
from vestibule.server.clock import Clock
from vestibule.server.commits import Commits
from vestibule.server.dialer import Dialer
from vestibule.server.driver import Driver
from vestibule.server.services import Services

SOMEBODY = Identity(
    Who("https://idp.bank.example", "u-1", LoginName("dev1"), "human", UUID(int=1)),
    frozenset(),
    Proof("token", "credential-1"),
    Instant(2**53),
)

Answer = Callable[[Event], Sequence[Effect]]


def record(
    name: str = "", kind: Kind = Kind.STATEMENT_DECIDED, session: UUID | None = None, **members: object
) -> Record:
    """Make a record whose content does not matter."""
    return Record(kind, members, session=session, name=name)  # type: ignore[arg-type] # whatever a test wants


def target(*addresses: tuple[str, int], tls: TargetTls | None = None) -> Target:
    """Make a target at `addresses`, in plain text unless told otherwise."""
    return Target(
        name=TargetName("core"),
        protocol="postgres",
        hosts=tuple(Address(*address) for address in addresses),
        databases=("core",),
        search_path=("public",),
        tls=tls or TargetTls("disable"),
        credential=Credential("vestibule_rw", "env:PASSWORD"),
    )


class ScriptedRelay:
    """Answers each event as the test says, and keeps what it was told."""

    def __init__(self, answer: Answer = lambda _: ()) -> None:
        """Do nothing unless told."""
        self.answer = answer
        self.events: list[Event] = []

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """Do as told."""
        self.events.append(event)
        return self.answer(event)

    def of(self, kind: type[Event]) -> list[Event]:
        """List the events of one kind."""
        return [event for event in self.events if type(event) is kind]


class CopyingRelay:
    """Lets somebody in at the first byte, opens the target, and copies both ways."""

    token = b"vst_x"
    key = b"\0" * 8

    def __init__(self, session: UUID, to: Target) -> None:
        """Copy to and from `to`."""
        self._to = to
        self._permit = session_permit(session)
        self._session = session
        self._waiting: list[bytes] = []
        self._stage = "new"
        self.received = {Side.CLIENT: 0, Side.TARGET: 0}

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """Take one event."""
        match event:
            case Received(side=side, data=data):
                self.received[side] += len(data)
                if self._stage == "open":
                    return (
                        (Send(Side.TARGET, data, self._permit),) if side is Side.CLIENT else (Send(Side.CLIENT, data),)
                    )
                self._waiting.append(data)
                if self._stage == "new":
                    self._stage = "proving"
                    return (Prove("token", self.token, "dev1+core"),)
            case Proven():
                access = record(ACCESS, Kind.ACCESS_DECIDED, self._session)
                return (Persist(access), Dial(self._to, access_permit(self._session)))
            case Dialed():
                self._stage = "open"
                opened = Record(
                    Kind.SESSION_OPENED,
                    {"access": Reference(ACCESS, last=True)},
                    session=self._session,
                    target=self._to.name,
                    name=OPENED,
                )
                return (
                    Persist(opened),
                    Opened(self.key),
                    *(Send(Side.TARGET, data, self._permit) for data in self._waiting),
                )
            case Ended(side=side):
                return (Close(f"{side.value} closed"),)
            case _:
                pass
        return ()


class FakeTicket:
    """A ticket that the test decides."""

    def __init__(self, records: Sequence[Record], told: Callable[[FakeTicket], None]) -> None:
        """Start undecided."""
        self.records = tuple(records)
        self.done = False
        self.error: Exception | None = None
        self.written = tuple(Written(UUID(int=at), bytes(32)) for at, _ in enumerate(self.records))
        self._told = told

    def settle(self, error: Exception | None = None) -> None:
        """Decide it and tell."""
        self.decide(error)
        self._told(self)

    def decide(self, error: Exception | None = None) -> None:
        """Decide it without telling."""
        self.done, self.error = True, error


class FakeJournal:
    """Keeps batches; answers at once, on the loop's next turn, or only when told."""

    def __init__(self, mode: str = "soon") -> None:
        """Answer `soon`, `at once`, `refused` (at once), `raising`, or wait to be told (`told`)."""
        self.mode = mode
        self.tickets: list[FakeTicket] = []
        self.admits_sessions = True
        self.free_bytes = 1 << 40
        self.waiting = 0
        self.closed = False

    @property
    def records(self) -> list[Record]:
        """List everything appended."""
        return [each for ticket in self.tickets for each in ticket.records]

    def kinds(self) -> list[Kind]:
        """List the kinds of everything appended."""
        return [each.kind for each in self.records]

    def append(self, records: Sequence[Record], done: Callable[[FakeTicket], None]) -> FakeTicket:
        """Keep one batch."""
        if self.mode == "raising":
            raise EvidenceUnavailable("told to")
        ticket = FakeTicket(records, done)
        self.tickets.append(ticket)
        match self.mode:
            case "soon":
                asyncio.get_running_loop().call_soon(ticket.settle)
            case "at once":
                ticket.decide()
            case "refused":
                ticket.decide(EvidenceUnavailable("told to"))
            case "called back":
                ticket.settle()
            case _:
                pass
        return ticket

    def measured(self, process: str) -> Snapshot:
        """Say how many records there are."""
        return Snapshot({("vestibule_journal_records_total", (process,)): len(self.records)}, {}, {})

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


@dataclass
class FakeDesk:
    """Remembers what the drivers report."""

    admitted_drivers: list[Driver] = field(default_factory=list)
    opened_keys: list[bytes] = field(default_factory=list)
    refused_records: list[Record] = field(default_factory=list)
    closed_reasons: list[str] = field(default_factory=list)
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)

    def admitted(self, driver: Driver) -> None:
        """Remember."""
        self.admitted_drivers.append(driver)

    def opened(self, driver: Driver, cancel_key: bytes) -> None:
        """Remember."""
        self.opened_keys.append(cancel_key)

    def refused(self, driver: Driver, record: Record) -> None:
        """Remember."""
        self.refused_records.append(record)

    def closed(self, driver: Driver, reason: str) -> None:
        """Remember."""
        self.closed_reasons.append(reason)
        self.all_closed.set()


class FakeProver:
    """Lets somebody in."""

    answer: Admission | Refusal = Admission(SOMEBODY, "key-1", b"k" * 32)

    async def prove(self, proof: Prove, conversation: Conversation) -> Admission | Refusal:
        """Answer."""
        return self.answer


class FakeAnalyst:
    """Understands nothing, or fails."""

    error: Exception | None = None
    answer: Parsed | Unsupported = Parsed(())

    async def analyse(self, text: bytes, catalog: object) -> Parsed | Unsupported:
        """Answer."""
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return Unsupported("42601", text.decode())


class FakeApprovals:
    """Offers nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Request, Written]] = []
        self.withdrawn: list[tuple[ApprovalId, str]] = []
        self.sought = Sought(None, cause="told to")
        self.spent: Spent | None = None
        self.error: Exception | None = None

    async def seek(self, conversation: Conversation, identity: Identity, target: TargetName) -> Sought:
        """Answer."""
        self._fail()
        return self.sought

    async def ask(self, request: Request, record: Written) -> None:
        """Keep it."""
        self._fail()
        self.asked.append((request, record))

    async def spend(self, conversation: Conversation, identity: Identity, target: TargetName, spend: Spend) -> Spent:
        """Answer."""
        self._fail()
        return self.spent or Spent(spend.approval, None, "told to")

    def withdraw(self, conversation: Conversation, approval: ApprovalId, why: str) -> None:
        """Keep it."""
        self.withdrawn.append((approval, why))

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


class FakeSecrets:
    """A vault with one secret."""

    async def secret(self, reference: str) -> bytes:
        """Give it."""
        return b"target password"


def services(
    journal: FakeJournal, dialer: Dialer, desk: FakeDesk | None = None, approvals: FakeApprovals | None = None
) -> Services:
    """Put stand-ins together."""
    return Services(
        clock=Clock(),
        commits=Commits(journal, lambda: None),
        dialer=dialer,
        prover=FakeProver(),
        analyst=FakeAnalyst(),
        approvals=approvals or FakeApprovals(),
        desk=desk or FakeDesk(),
    )


def conversation() -> Conversation:
    """Make the facts of a connection."""
    return Conversation(uuid4(), Peer("192.0.2.7", 40_000), None, Instant(1), b"s" * 16, b"\0" * 8)


def permit_for(name: str, session: UUID) -> Permit:
    """Let a test's bytes travel under the record `name`."""
    return Permit(session, name, "statement")
