"""The only maker of permits.

1. A permit names the record that must be durable before the bytes leave.
2. Statements travel under their own decision, or under the use of an approval, and so does the poison of one that was
   refused; what keeps the conversation in step (Sync, Close) under the session's opening; the log-in at the target
   under the decision on access.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from vestibule.model.decision import Permit

ACCESS: Final = "access"
OPENED: Final = "opened"


def statement_name(number: int) -> str:
    """Name the decision record of the session's statement `number`."""
    return f"decided/{number}"


def spent_name(number: int) -> str:
    """Name the record of the use of an approval for the session's statement `number`."""
    return f"spent/{number}"


def access_permit(session: UUID) -> Permit:
    """Let the gateway dial the target and log in to it."""
    return Permit(session, ACCESS, "access")


def session_permit(session: UUID) -> Permit:
    """Let messages travel that carry nothing to decide."""
    return Permit(session, OPENED, "session")


def refusal_permit(session: UUID, decided: str = OPENED) -> Permit:
    """Let the poison travel that stands in the place of a refused message; it carries no text of the client's.

    It leaves once the decision named `decided` is durable: its answer tells the client of it. A message that is no
    statement has none.
    """
    return Permit(session, decided, "refusal")


def statement_permit(session: UUID, number: int) -> Permit:
    """Let the session's statement `number` travel."""
    return Permit(session, statement_name(number), "statement")


def spent_permit(session: UUID, number: int) -> Permit:
    """Let the session's statement `number` travel, which people have approved."""
    return Permit(session, spent_name(number), "statement")
