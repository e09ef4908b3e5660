"""A fault as evidence: an `AuditFault` when it starts, and one when it ends with what was refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from vestibule.model.names import Instant, stamp
from vestibule.model.record import Json, Kind, Record

FaultName = Literal["journal_full", "journal_down", "spool_full", "object_store_down"]

_SESSION_KINDS = frozenset({Kind.ACCESS_DECIDED, Kind.SESSION_OPENED})


class Fault:
    """One fault from its start on."""

    def __init__(self, name: FaultName, since: Instant, detail: str) -> None:
        self.name = name
        self.detail = detail
        self._since = since
        self._sessions = 0
        self._statements = 0

    def count(self, records: Iterable[Record]) -> None:
        """Add what was refused."""
        for record in records:
            self._sessions += record.kind in _SESSION_KINDS
            self._statements += record.kind is Kind.STATEMENT_DECIDED

    def started(self) -> Record:
        """Say that it started."""
        return self._record("started")

    def ended(self) -> Record:
        """Say that it ended."""
        return self._record("ended")

    def _record(self, phase: Literal["started", "ended"]) -> Record:
        refused: Json = {"sessions": self._sessions, "statements": self._statements}
        members: dict[str, Json] = {"fault": self.name, "phase": phase, "since": stamp(self._since)}
        if phase == "ended":
            members["refused"] = refused
        return Record(Kind.AUDIT_FAULT, {**members, "detail": self.detail})
