"""What becomes of a statement and of a conversation, as the gate counts and records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vestibule.evidence.commitment import OutputMac
from vestibule.gate.kept import Kept
from vestibule.model.decision import Decision, Deny, Permit
from vestibule.model.names import Instant
from vestibule.model.record import Json, Record
from vestibule.model.statement import Analysis, Unsupported

Outcome = Literal["ok", "error", "cancelled", "not_reached", "refused", "unknown"]
Cause = Literal[
    "client_closed",
    "target_closed",
    "login_expired",
    "revoked",
    "killed",
    "idle",
    "max_time",
    "shutdown",
    "crash",
    "evidence_fault",
    "protocol_error",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied(Unsupported):
    """What never travels because of a mask, and is denied by the policy too: `denial` is what is told."""

    analyses: tuple[Analysis, ...]
    denial: Deny


@dataclass(frozen=True, slots=True)
class Decided:
    """A statement's decision, its record and, if it may travel, its permit."""

    number: int
    decision: Decision
    record: Record
    permit: Permit | None
    at: Instant
    #: Why it never travels, whatever the policy says.
    unsupported: Unsupported | None = None
    #: The approval that it waited for, or is to wait for.
    approval: str = ""
    #: Its record is durable, or may yet become so: then it has an outcome, which is recorded too.
    is_recorded: bool = True


@dataclass(slots=True)
class Result:
    """What one statement of a message disclosed so far: counts, and a commitment to the exact bytes."""

    mac: OutputMac
    columns: tuple[str, ...] = ()
    rows: int = 0
    sent: int = 0
    #: What of it is recorded; None where its counts and its commitment alone are.
    kept: Kept | None = None

    def disclose(self, data: bytes, rows: int) -> None:
        """Count and commit to bytes that the client is sent."""
        self.mac.update(data)
        self.sent += len(data)
        self.rows += rows


def result_json(result: Result) -> Json:
    """Write what a result disclosed, and how much of it is recorded."""
    members: dict[str, Json] = {
        "rows": result.rows,
        "bytes": result.sent,
        "disclosed_mac": result.mac.hexdigest(),
        "recorded": "digest",
    }
    if result.kept is not None:
        members["recorded"] = result.kept.word
        members["recorded_rows"] = result.kept.rows
    return members


@dataclass(frozen=True, slots=True)
class Finished:
    """How a statement ended, as far as the protocol shows."""

    outcome: Outcome
    forwarded: bool
    results: Sequence[Result] = ()
    rows: int = 0
    bytes_from_target: int = 0
    error_code: str = ""
    error_text: str = ""
    transaction: str = ""


@dataclass(slots=True)
class Counts:
    """The sums that `SessionClosed` states."""

    statements: int = 0
    allowed: int = 0
    denied: int = 0
    held: int = 0
    rows: int = 0
    values_masked: int = 0
    bytes_to_client: int = 0
    bytes_to_target: int = 0
