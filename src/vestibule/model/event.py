"""What a relay is told. Time is an argument of `Relay.handle`, so no event carries it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from vestibule.model.approval import Answer, ApprovalId, Candidate, Grant, Offer
from vestibule.model.identity import Identity, Peer, Refusal
from vestibule.model.statement import Parsed, Unknown, Unsupported


class Side(Enum):
    """The two doors."""

    CLIENT = "client"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes arrived from `side`."""

    side: Side
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """`side` closed or lost its connection; no byte of it follows."""

    side: Side


@dataclass(frozen=True, slots=True)
class Tls:
    """What a finished handshake agreed on; `certificate` is the SHA-256 of the peer's, in hex."""

    version: str
    cipher: str
    certificate: str = ""
    #: `tls-server-end-point` of RFC 5929, empty where there is none.
    end_point: bytes = b""
    #: The certificate itself (DER) where a client has shown one, which the handshake has verified.
    client_certificate: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Admission:
    """What the control process gave with an accepted proof: the identity and the session's own key."""

    identity: Identity
    data_key_id: str
    data_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """The identity port's answer to `Prove`."""

    answer: Admission | Refusal


@dataclass(frozen=True, slots=True)
class Dialed:
    """The target is connected; `password` is the vault's secret, kept for the log-in exchange only."""

    peer: Peer
    local_port: int
    tls: Tls | None
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DialFailed:
    """The target is not available; `cause` is for the record and the operator log."""

    cause: str


@dataclass(frozen=True, slots=True)
class Analysed:
    """The answer to the oldest open `Analyse`."""

    result: Parsed | Unsupported | Unknown


@dataclass(frozen=True, slots=True)
class Computed:
    """The answer to the open `Compute`; None if the work could not be done."""

    result: object


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """These records could not be made durable: whatever waited for them was dropped, in this order."""

    records: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Woken:
    """The deadline of the newest `Wake` has passed."""


@dataclass(frozen=True, slots=True)
class Told:
    """Something from outside the conversation: `finish` ends it when nothing runs, `drain` now."""

    what: Literal["cancel", "kill", "revoke", "policy", "finish", "drain", "evidence"]
    by: str = ""


@dataclass(frozen=True, slots=True)
class Sought:
    """The answer to `Seek`: a fresh approval and those there are; without an `offer`, `cause` says why."""

    offer: Offer | None
    candidates: tuple[Candidate, ...] = ()
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The answer to `Ask`: people can see the request now, unless `cause` says why not."""

    approval: ApprovalId
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """People have answered a request of this conversation, or it ended without them; `by` is a name, maybe empty."""

    approval: ApprovalId
    answer: Answer
    by: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Spent:
    """The answer to `Spend`: the permit is spent, once and for good; without a `grant`, `cause` says why not.

    `refused` is the permit that there is, and that may not be used so.
    """

    approval: ApprovalId
    grant: Grant | None
    cause: str = ""
    refused: Grant | None = None


Approving = Sought | Asked | Answered | Spent
Event = Received | Ended | Proven | Dialed | DialFailed | Analysed | Computed | Unrecorded | Woken | Told | Approving
