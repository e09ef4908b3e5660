"""What the drivers of a process share, and the ports they ask; the application hands in what is behind these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from vestibule.model.approval import ApprovalId, Request
from vestibule.model.effect import Prove, Spend
from vestibule.model.event import Admission, Sought, Spent
from vestibule.model.identity import Identity, Refusal
from vestibule.model.names import TargetName
from vestibule.model.record import Record, Written
from vestibule.model.statement import Parsed, Unknown, Unsupported
from vestibule.protocols.base import Conversation
from vestibule.server.clock import Clock
from vestibule.server.commits import Commits
from vestibule.server.counting import Counting
from vestibule.server.dialer import Dialer
from vestibule.server.recorder import Recorder

if TYPE_CHECKING:
    from vestibule.server.driver import Driver


class Prover(Protocol):
    """The identity port."""

    async def prove(self, proof: Prove, conversation: Conversation) -> Admission | Refusal:
        """Say who somebody is."""
        ...


class Analyst(Protocol):
    """Analyses texts that are too large for the pump."""

    async def analyse(self, text: bytes, catalog: Any) -> Parsed | Unsupported | Unknown:  # noqa: ANN401 - the protocol's own
        """Analyse `text` with the catalog that its relay gave."""
        ...


class Approvals(Protocol):
    """Where people are asked; whatever it raises is a refusal."""

    async def seek(self, conversation: Conversation, identity: Identity, target: TargetName) -> Sought:
        """Give a fresh approval, and those that the identity has for the target."""
        ...

    async def ask(self, request: Request, record: Written) -> None:
        """Put a request, recorded as `record`, before people."""
        ...

    async def spend(self, conversation: Conversation, identity: Identity, target: TargetName, spend: Spend) -> Spent:
        """Use up a granted approval."""
        ...

    def withdraw(self, conversation: Conversation, approval: ApprovalId, why: str) -> None:
        """Say that nobody waits for it any more."""
        ...


class Desk(Protocol):
    """Who keeps the list of conversations."""

    def admitted(self, driver: Driver) -> None:
        """Note that a proof was offered: the conversation is not idle."""
        ...

    def opened(self, driver: Driver, cancel_key: bytes) -> None:
        """Note that the conversation is a session now."""
        ...

    def refused(self, driver: Driver, record: Record) -> None:
        """Record, or count, that a log-in was refused."""
        ...

    def closed(self, driver: Driver, reason: str) -> None:
        """Forget the conversation."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What all drivers of a process share."""

    clock: Clock
    commits: Commits
    dialer: Dialer
    prover: Prover
    analyst: Analyst
    approvals: Approvals
    desk: Desk
    #: None where no session is recorded.
    recorder: Recorder | None = None
    counting: Counting = field(default_factory=lambda: Counting(""))
