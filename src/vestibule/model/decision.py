"""What policy answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from vestibule.model.names import Digest, GroupName, RuleName

Section = Literal["access", "guardrails", "masks", "default"]


@dataclass(frozen=True, slots=True)
class Rule:
    """The entry of the policy document that decided; `policy` is the document's SHA-256."""

    name: RuleName
    section: Section
    policy: Digest


@dataclass(frozen=True, slots=True)
class Allow:
    """The operation may travel once its record is durable."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class Deny:
    """The operation never travels; `reason` is told to the person, `hint` says what to do."""

    rule: Rule
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """The operation travels once people have approved it: `quorum` of them, each in one of `approvers`."""

    rule: Rule
    reason: str
    approvers: frozenset[GroupName]
    quorum: int
    expires_us: int


Decision = Allow | Deny | Hold


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for bytes to travel to the target of `session` once the record `record` is durable.

    Only `gate.permit` makes one; an architecture test holds everybody else to that.
    """

    session: UUID
    record: str
    purpose: Literal["access", "session", "statement", "refusal"]
