"""What a data process counts: its records by what they say, its refusals by cause, and where a statement's time goes.

1. Counted is what is handed to the journal, whatever becomes of it; what could not be kept is counted once more, as
   failed.
2. A cause is one of a few words; whatever else a refusal says is `other`.
3. Counting never fails: it stands on the way of every record, and must not stand in it.
4. Time is taken where bytes pass: once from the client's bytes to what is sent on, once while the target is silent,
   once from its bytes to what the client is sent. While people are asked, the first is not taken.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from vestibule.metrics import OTHER, Snapshot, Tally
from vestibule.model.effect import Effect, Persist
from vestibule.model.event import Side
from vestibule.model.record import Json, Kind, Record
from vestibule.model.statement import Impact

#: How the causes of refused log-ins and connections begin, and what they are counted as.
CAUSES: Final[Mapping[str, str]] = {
    "token unknown": "token_unknown",
    "token expired": "token_expired",
    "token revoked": "token_revoked",
    "token truncated": "token_truncated",
    "token unavailable": "unavailable",
    "token too_many": "too_many_sessions",
    "the token is ": "name_differs",
    "target not granted": "target_not_granted",
    "database not offered": "database_not_offered",
    "no password": "no_password",
    "startup timeout": "no_password",
    "protocol error": "protocol_error",
    "too many connections": "evicted",
    "tls handshake failed": "tls",
    "certificate not accepted": "tls",
    "connection lost": "connection_lost",
}
OK: Final = "ok"

_IMPACTS: Final = {impact.word: impact for impact in Impact}
_SECTIONS: Final = frozenset({"guardrails", "masks"})


def cause_of(text: str) -> str:
    """Say in one of a few words why somebody was refused."""
    return next((word for beginning, word in CAUSES.items() if text.startswith(beginning)), OTHER)


class Counting:
    """Counts for one data process."""

    def __init__(self, protocol: str) -> None:
        """Start at nothing."""
        self._protocol = protocol
        self._tally = tally = Tally()
        self.decision = tally.histogram("vestibule_decision_seconds")
        self.commit = tally.histogram("vestibule_commit_seconds")
        self.target_wait = tally.histogram("vestibule_target_wait_seconds")
        self.to_target = tally.histogram("vestibule_added_seconds", ("to_target",))
        self.to_client = tally.histogram("vestibule_added_seconds", ("to_client",))

    def snapshot(self) -> Snapshot:
        """Give what was counted so far."""
        return self._tally.snapshot()

    def note(self, records: Sequence[Record]) -> None:
        """Count records that are handed to the journal."""
        for record in records:
            match record.kind:
                case Kind.STATEMENT_DECIDED:
                    self._decided(record)
                case Kind.STATEMENT_FINISHED:
                    self._finished(record)
                case Kind.ACCESS_DECIDED:
                    self._access(record)
                case Kind.SESSION_OPENED:
                    self._tally.add("vestibule_sessions_opened_total", (_target(record),))
                case Kind.SESSION_CLOSED:
                    self._closed(record)
                case Kind.APPROVAL_REQUESTED:
                    self._tally.add("vestibule_approvals_asked_total", (_target(record),))
                case Kind.AUDIT_FAULT if record.members.get("phase") == "started":
                    self._tally.add("vestibule_audit_faults_total", (_word(record.members.get("fault")),))
                case _:
                    pass

    def refused(self, cause: object) -> None:
        """Count a log-in or connection that was refused, also one of many that share a record."""
        self._tally.add("vestibule_logins_total", (cause_of(str(cause)),))

    def failed(self) -> None:
        """Count a batch that did not become durable in time."""
        self._tally.add("vestibule_commits_failed_total")

    def _decided(self, record: Record) -> None:
        members, target = record.members, _target(record)
        decision = _word(members.get("decision"))
        # What is refused before it was understood has no operations; what is allowed without any only reads.
        least = Impact.READ if decision == "allow" else Impact.UNKNOWN
        labels = (target, self._protocol, decision, _worst(members.get("ops"), least).word)
        self._tally.add("vestibule_statements_decided_total", labels)
        if decision == "deny":
            self._tally.add("vestibule_statements_denied_total", (target, _denied_by(members.get("rule"))))

    def _finished(self, record: Record) -> None:
        members, target = record.members, _target(record)
        outcome = _word(members.get("outcome"))
        self._tally.add("vestibule_statements_finished_total", (target, outcome))
        error = members.get("error")
        if outcome == "refused" and isinstance(error, Mapping):
            self._tally.add("vestibule_statements_refused_total", (target, _word(error.get("code"))))
        if rows := _number(members.get("rows")):
            self._tally.add("vestibule_rows_sent_total", (target,), rows)
        if sent := _number(members.get("bytes_to_client")):
            self._tally.add("vestibule_sent_bytes_total", (target,), sent)

    def _access(self, record: Record) -> None:
        if record.members.get("decision") == "allow":
            self._tally.add("vestibule_logins_total", (OK,))
        elif record.session is not None:
            self._tally.add("vestibule_target_failures_total", (_target(record),))

    def _closed(self, record: Record) -> None:
        members, target = record.members, _target(record)
        self._tally.add("vestibule_sessions_closed_total", (target, _word(members.get("cause"))))
        if masked := _number(members.get("values_masked")):
            self._tally.add("vestibule_masked_values_total", (target,), masked)


class Pace:
    """Takes the time of one conversation's bytes."""

    __slots__ = ("_answered", "_arrived", "_began", "_counting", "_sent")

    def __init__(self, counting: Counting) -> None:
        """Start while nothing is under way."""
        self._counting = counting
        self._arrived = self._sent = self._answered = self._began = 0.0

    def came(self, side: Side) -> None:
        """Bytes came from a side."""
        now = time.perf_counter()
        if side is Side.CLIENT:
            self._arrived = self._arrived or now
            return
        if self._sent:
            self._counting.target_wait.observe(now - self._sent)
            self._sent = 0.0
        self._answered = self._answered or now

    def left(self, side: Side) -> None:
        """Bytes left to a side."""
        now = time.perf_counter()
        if side is Side.TARGET:
            if self._arrived:
                self._counting.to_target.observe(now - self._arrived)
            self._sent = now
        elif self._answered:
            self._counting.to_client.observe(now - self._answered)
            self._answered = 0.0
        self._arrived = 0.0

    def handles(self) -> None:
        """An event is handed to the relay."""
        self._began = time.perf_counter()

    def handled(self, effects: Sequence[Effect]) -> None:
        """The relay has answered it."""
        if any(type(effect) is Persist and effect.record.kind is Kind.STATEMENT_DECIDED for effect in effects):
            self._counting.decision.observe(time.perf_counter() - self._began)

    def asked_people(self) -> None:
        """Forget when the client's bytes came: how long people think is not what the gateway adds."""
        self._arrived = 0.0


def _target(record: Record) -> str:
    return record.target or ""


def _worst(operations: Json, least: Impact) -> Impact:
    if not isinstance(operations, list) or not operations:
        return least
    return max(map(_impact, operations))


def _impact(operation: Json) -> Impact:
    named = operation.get("impact") if isinstance(operation, Mapping) else None
    return _IMPACTS.get(named, Impact.UNKNOWN) if isinstance(named, str) else Impact.UNKNOWN


def _denied_by(rule: Json) -> str:
    if not isinstance(rule, Mapping):
        return OTHER
    section = _word(rule.get("section"))
    return section if section in _SECTIONS else "unsupported" if rule.get("name") == "unsupported" else "access"


def _word(value: Json) -> str:
    return value if isinstance(value, str) else OTHER


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
