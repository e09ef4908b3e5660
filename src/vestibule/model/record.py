"""Evidence as the pure engines hand it over; the writer stamps and chains it.

1. A record names its session and target; the writer adds id, time, salt, chain and sequence numbers.
2. `name` is local to the session ("opened", "decided/7"); a `Reference` to it becomes id and leaf hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from uuid import UUID

from vestibule.model.names import TargetName


class Kind(StrEnum):
    """Record kinds; never renamed, never reused."""

    ACCESS_DECIDED = "AccessDecided"
    SESSION_OPENED = "SessionOpened"
    SESSION_CLOSED = "SessionClosed"
    IDENTITY_EVENT = "IdentityEvent"
    STATEMENT_DECIDED = "StatementDecided"
    STATEMENT_FINISHED = "StatementFinished"
    CHUNK_SEALED = "ChunkSealed"
    APPROVAL_REQUESTED = "ApprovalRequested"
    APPROVAL_ANSWERED = "ApprovalAnswered"
    PERMIT_USED = "PermitUsed"
    POLICY_APPLIED = "PolicyApplied"
    EVIDENCE_VIEWED = "EvidenceViewed"
    NODE_STARTED = "NodeStarted"
    NODE_STOPPED = "NodeStopped"
    HEARTBEAT = "Heartbeat"
    AUDIT_FAULT = "AuditFault"
    LOG_GENESIS = "LogGenesis"


#: D: awaited before the effect. O: output, may use the journal's reserve. A: written at once, nobody waits.
Weight = Literal["D", "O", "A"]

WEIGHT: Mapping[Kind, Weight] = {
    Kind.ACCESS_DECIDED: "D",
    Kind.SESSION_OPENED: "D",
    Kind.SESSION_CLOSED: "O",
    Kind.IDENTITY_EVENT: "O",
    Kind.STATEMENT_DECIDED: "D",
    Kind.STATEMENT_FINISHED: "O",
    Kind.CHUNK_SEALED: "O",
    Kind.APPROVAL_REQUESTED: "D",
    Kind.APPROVAL_ANSWERED: "D",
    Kind.PERMIT_USED: "D",
    Kind.POLICY_APPLIED: "D",
    Kind.EVIDENCE_VIEWED: "D",
    Kind.NODE_STARTED: "D",
    Kind.NODE_STOPPED: "O",
    Kind.HEARTBEAT: "A",
    Kind.AUDIT_FAULT: "A",
    Kind.LOG_GENESIS: "D",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands for an earlier record of the same session; `last` lets the writer forget its name."""

    name: str
    last: bool = False


Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"] | Reference


@dataclass(frozen=True, slots=True)
class Record:
    """One record to be written; `members` are the body's after `salt`, absent ones left out.

    `sequenced` is False for what another writer says of a session (recovery): `sn` is null then.
    """

    kind: Kind
    members: Mapping[str, Json]
    session: UUID | None = None
    target: TargetName | None = None
    name: str = ""
    sequenced: bool = True


@dataclass(frozen=True, slots=True)
class Written:
    """A durable record's identity: its UUIDv7 and its leaf hash."""

    id: UUID
    leaf: bytes
