"""A statement that waits for people, and what they answered.

1. An approval is one permit for one identity, one target and one commitment to the exact bytes, until it expires.
2. Each approval has a key of its own, so that request and use compare across sessions.
3. Whatever travels to people has passed the storage mask; the bytes stay in the session that asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NewType
from uuid import UUID

from vestibule.model.decision import Rule
from vestibule.model.identity import Peer, Who
from vestibule.model.names import Digest, GroupName, Instant, TargetName
from vestibule.model.record import Json

#: `AR-` and ten letters and digits that people can read to each other.
ApprovalId = NewType("ApprovalId", str)

#: What became of a request; `granted` once its quorum is reached.
Answer = Literal["granted", "refused", "expired", "withdrawn"]
Scope = Literal["statement", "unmask"]
State = Literal["pending", "granted", "refused", "expired", "withdrawn", "spent"]


@dataclass(frozen=True, slots=True)
class Written:
    """A durable record of any journal, as another record refers to it: its id and its leaf hash in hex."""

    id: UUID
    leaf: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A fresh approval, not asked for yet: its name, its own key, and the page where people answer."""

    approval: ApprovalId
    key_id: str
    key: bytes = field(repr=False)
    url: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An approval of the same identity for the same target that is pending, or granted and not spent."""

    approval: ApprovalId
    key_id: str
    key: bytes = field(repr=False)
    bytes_mac: str
    fingerprint: str
    state: State
    policy: Digest
    expires_at: Instant
    url: str


@dataclass(frozen=True, slots=True)
class Request:
    """What people see and answer: the statement through the storage mask, who asks, from where, since when."""

    approval: ApprovalId
    key_id: str
    bytes_mac: str
    fingerprint: str
    rule: Rule
    reason: str
    requester: Who
    groups: frozenset[GroupName]
    client: Peer
    banner: str
    session: UUID
    number: int
    protocol: str
    target: TargetName
    account: str
    database: str
    search_path: str
    #: Text, parameters and operations as in the statement's decision record.
    text: str
    text_bytes: int
    parameters: tuple[Mapping[str, Json], ...]
    operations: tuple[Mapping[str, Json], ...]
    approvers: frozenset[GroupName]
    quorum: int
    requested_at: Instant
    expires_at: Instant
    #: The statement waits in its open session; otherwise it is run again after approval.
    live: bool
    #: What is approved: that the statement runs, or also that it sees through masks.
    scope: Scope = "statement"


@dataclass(frozen=True, slots=True)
class Grant:
    """A permit that has just been spent, for good; what the record of its use refers to."""

    permit: UUID
    request: Written
    answers: tuple[Written, ...]
    uses_left: int
