"""Who somebody is, and how that was proven."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from uuid import UUID

from vestibule.model.names import GroupName, Instant, LoginName, TargetName

WhoType = Literal["human", "agent", "workload"]


@dataclass(frozen=True, slots=True)
class Who:
    """A subject: (`issuer`, `subject`) is the key, `name` is what people read and type."""

    issuer: str
    subject: str
    name: LoginName
    type: WhoType
    login: UUID


@dataclass(frozen=True, slots=True)
class Proof:
    """How an identity was proven: the credential's kind and public id, never the credential."""

    method: str
    credential: str
    amr: tuple[str, ...] = ()
    acr: str = ""
    auth_time: Instant | None = None
    assurance: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """A proven subject with its groups, immutable for one connection.

    `expires_at` is the end of the login, which bounds live sessions; a credential's own life
    bounds new connections only. `targets` are those a scoped token is good for, None means all.
    """

    who: Who
    groups: frozenset[GroupName]
    proof: Proof
    expires_at: Instant
    targets: frozenset[TargetName] | None = None


class Refusal(StrEnum):
    """Why a proof was not accepted; the wording is `model.wording`'s."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    TRUNCATED = "truncated"
    UNAVAILABLE = "unavailable"
    TOO_MANY = "too_many"
    PERSON_FULL = "person_full"
    ADDRESS_FULL = "address_full"
    TARGET_FULL = "target_full"


@dataclass(frozen=True, slots=True)
class Peer:
    """A network address."""

    ip: str
    port: int
