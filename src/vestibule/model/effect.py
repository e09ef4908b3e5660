"""What a relay asks for; the driver does it, in order, and never blocks on one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from vestibule.model.approval import ApprovalId, Request
from vestibule.model.decision import Permit
from vestibule.model.event import Side
from vestibule.model.names import Instant
from vestibule.model.record import Record
from vestibule.model.target import Target


@dataclass(slots=True)
class Send:
    """Bytes for `side`, behind earlier ones of that side.

    To the target they carry a `permit` and leave once its record is durable; to the client they leave once the record
    named `after` is durable, at once if there is none. If that record cannot be made, `instead` leaves in their place;
    without it they are dropped, and so is all behind them until the relay knows.
    """

    side: Side
    data: bytes
    permit: Permit | None = None
    after: str = ""
    instead: bytes = b""

    def __post_init__(self) -> None:
        """Refuse bytes for a target without a permit."""
        if (self.side is Side.TARGET) is (self.permit is None):
            raise AssertionError("bytes reach a target with a permit, and only a target")

    @property
    def record(self) -> str:
        """The local name of the record that must be durable first, or nothing."""
        return self.permit.record if self.permit is not None else self.after


@dataclass(frozen=True, slots=True)
class Persist:
    """Append `record`; all records of one `handle` go into one batch."""

    record: Record


@dataclass(frozen=True, slots=True)
class Keep:
    """Record what the client is shown under the statement `number`; it stands before the `Send` of the same bytes.

    `data` has passed the storage mask, and so has `head`, the description that its rows are read by. `goes_on` says
    that `data` begins inside a message.
    """

    number: int
    data: bytes = field(repr=False)
    head: bytes = b""
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Prove:
    """Ask the identity port about a proof, shown for the user name `attempted`; answered by `Proven`.

    The proof is a token, or the certificate (DER) that TLS has verified the client to hold the key of.

    `wanted` names the target that is asked for, maybe only a database; what is full there refuses too.
    """

    method: Literal["token", "certificate"]
    secret: bytes = field(repr=False)
    attempted: str
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class Analyse:
    """Analyse a text that is too large for `handle`; answered by `Analysed`, in order.

    `knowledge` is the gate's own view of the target, which only the analyst looks into.
    """

    text: bytes
    knowledge: object = None


@dataclass(frozen=True, slots=True)
class Compute:
    """Do what takes too long for `handle`; answered by `Computed`, one at a time.

    `work` is pure, and reads nothing that changes.
    """

    work: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Dial:
    """Open the target once the permit's record is durable, and say `hello`; answered by `Dialed` or `DialFailed`.

    A host that answers that it cannot serve now is passed by like one that does not answer.
    """

    target: Target
    permit: Permit
    hello: bytes = b""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the connected target, over a connection of its own, to stop the running statement: send `data`, await EOF."""

    data: bytes
    permit: Permit


@dataclass(frozen=True, slots=True)
class Opened:
    """From now on the conversation is a session: cancel requests with `cancel_key` are `Told` to it."""

    cancel_key: bytes


@dataclass(frozen=True, slots=True)
class Seek:
    """Ask for a fresh approval, and for those that this identity has for this target; answered by `Sought`."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Put a request before people once its record, named `record`, is durable; answered by `Asked`, then `Answered`."""

    request: Request
    record: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Nobody waits for this approval any more."""

    approval: ApprovalId
    why: str


@dataclass(frozen=True, slots=True)
class Spend:
    """Use up a granted approval for the session's statement `number`; answered by `Spent`."""

    approval: ApprovalId
    number: int
    bytes_mac: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading `side`; with `is_watched` look whether it has gone meanwhile, which an unread side does not show."""

    side: Side
    is_watched: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """Read `side` again."""

    side: Side


@dataclass(frozen=True, slots=True)
class Wake:
    """Deliver `Woken` at `at`; replaces the earlier deadline."""

    at: Instant


@dataclass(frozen=True, slots=True)
class Close:
    """Flush both sides within the drain time, then close both connections; nothing follows.

    `fault` is what the target did wrong, for the operator's log: never a value, never told to the client.
    """

    reason: str
    fault: str = ""


Approving = Seek | Ask | Withdraw | Spend
Doing = Persist | Keep | Prove | Analyse | Compute | Dial | Cancel | Opened
Effect = Send | Doing | Approving | Pause | Resume | Wake | Close
