"""What a data process counts: its records by what they say, its refusals by cause, and where a statement's time goes.

1. Counted is what is handed to the journal, whatever becomes of it; what could not be kept is counted once more, as
   failed.
2. A cause is one of a few words; whatever else a refusal says is `other`.
3. Counting never fails: it stands on the way of every record, and must not stand in it.
4. Time is taken where bytes pass: once from the client's bytes to what is sent on, once while the target is silent,
   once from its bytes to what the client is sent. While people are asked, the first is not taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
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
    "certificate unknown": "certificate_unknown",
    "certificate expired": "certificate_expired",
    "certificate revoked": "certificate_revoked",
    "certificate unavailable": "unavailable",
    "certificate too_many": "too_many_sessions",
    "limit reached": "limit_reached",
    "the token is ": "name_differs",
    "the certificate is ": "name_differs",
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

_RANKS: Final = {impact.word: int(impact) for impact in Impact}
_READ, _UNKNOWN = Impact.READ.word, Impact.UNKNOWN.word
# Looking a member up in its class, at every record, costs as much as counting.
_DECIDED, _FINISHED = Kind.STATEMENT_DECIDED, Kind.STATEMENT_FINISHED
_CLIENT = Side.CLIENT
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
        self.snapshot_time = tally.histogram("vestibule_snapshot_seconds")
        self.target_wait = tally.histogram("vestibule_target_wait_seconds")
        self.to_target = tally.histogram("vestibule_added_seconds", ("to_target",))
        self.to_client = tally.histogram("vestibule_added_seconds", ("to_client",))

    def snapshot(self) -> Snapshot:
        """Give what was counted so far."""
        return self._tally.snapshot()

    def note(self, records: Sequence[Record]) -> None:
        """Count records that are handed to the journal."""
        for record in records:
            kind = record.kind
            if kind is _DECIDED:
                self._decided(record)
            elif kind is _FINISHED:
                self._finished(record)
            else:
                self._other(record)

    def _other(self, record: Record) -> None:
        match record.kind:
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

    def target_failed(self, target: str) -> None:
        """Count a session that ended by its target's fault."""
        self._tally.add("vestibule_target_faults_total", (target,))

    def failed(self) -> None:
        """Count a batch that did not become durable in time."""
        self._tally.add("vestibule_commits_failed_total")

    def _decided(self, record: Record) -> None:
        members, target = record.members, _target(record)
        decision = _word(members.get("decision"))
        # What is refused before it was understood has no operations; what is allowed without any only reads.
        least = _READ if decision == "allow" else _UNKNOWN
        labels = (target, self._protocol, decision, _worst(members.get("ops"), least))
        self._tally.add("vestibule_statements_decided_total", labels)
        if decision == "deny":
            self._tally.add("vestibule_statements_denied_total", (target, _denied_by(members.get("rule"))))

    def _finished(self, record: Record) -> None:
        members, labels = record.members, (_target(record),)
        outcome = _word(members.get("outcome"))
        self._tally.add("vestibule_statements_finished_total", (*labels, outcome))
        if outcome == "refused" and isinstance(error := members.get("error"), Mapping):
            self._tally.add("vestibule_statements_refused_total", (*labels, _word(error.get("code"))))
        if rows := _number(members.get("rows")):
            self._tally.add("vestibule_rows_sent_total", labels, rows)
        if sent := _number(members.get("bytes_to_client")):
            self._tally.add("vestibule_sent_bytes_total", labels, sent)

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
        now = perf_counter()
        if side is _CLIENT:
            self._arrived = self._arrived or now
            return
        if self._sent:
            self._counting.target_wait.observe(now - self._sent)
            self._sent = 0.0
        self._answered = self._answered or now

    def left(self, side: Side) -> None:
        """Bytes left to a side."""
        now = perf_counter()
        if side is not _CLIENT:
            if self._arrived:
                self._counting.to_target.observe(now - self._arrived)
            self._sent = now
        elif self._answered:
            self._counting.to_client.observe(now - self._answered)
            self._answered = 0.0
        self._arrived = 0.0

    def handles(self) -> None:
        """An event is handed to the relay."""
        self._began = perf_counter()

    def handled(self, effects: Sequence[Effect]) -> None:
        """The relay has answered it."""
        for effect in effects:
            if type(effect) is Persist and effect.record.kind is _DECIDED:
                self._counting.decision.observe(perf_counter() - self._began)
                return

    def asked_people(self) -> None:
        """Forget when the client's bytes came: how long people think is not what the gateway adds."""
        self._arrived = 0.0


def _target(record: Record) -> str:
    return record.target or ""


def _worst(operations: Json, least: str) -> str:
    if not isinstance(operations, list) or not operations:
        return least
    if len(operations) == 1:
        return _impact(operations[0])
    return max(map(_impact, operations), key=_RANKS.__getitem__)


def _impact(operation: Json) -> str:
    named = operation.get("impact") if isinstance(operation, dict) else None
    return named if isinstance(named, str) and named in _RANKS else _UNKNOWN


def _denied_by(rule: Json) -> str:
    if not isinstance(rule, Mapping):
        return OTHER
    section = _word(rule.get("section"))
    return section if section in _SECTIONS else "unsupported" if rule.get("name") == "unsupported" else "access"


def _word(value: Json) -> str:
    return value if isinstance(value, str) else OTHER


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
