"""One conversation at the gate: admits it, numbers and decides its statements, says what is recorded.

1. Every statement gets exactly one `StatementDecided`, and one `StatementFinished` once its outcome is known.
2. Only a decision that allows comes with a permit; without a permit nothing can be sent to a target.
3. What is recorded has passed the storage mask; commitments are over the exact bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID, uuid5

from vestibule.evidence import commitment
from vestibule.evidence.commitment import OutputMac, bind_key, bytes_mac, text_mac
from vestibule.evidence.literals import mask_secrets, mask_text, mask_words
from vestibule.gate import records
from vestibule.gate.gate import Gate
from vestibule.gate.kept import Kept
from vestibule.gate.permit import ACCESS, OPENED, access_permit, statement_name, statement_permit
from vestibule.model.decision import Allow, Decision, Deny, Permit, Rule
from vestibule.model.event import Admission, Dialed, Tls
from vestibule.model.identity import Identity, Peer
from vestibule.model.names import Instant, RuleName, stamp
from vestibule.model.record import Json, Kind, Record, Reference
from vestibule.model.statement import Impact, Operation, Statement, Unsupported
from vestibule.model.target import Target

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

#: Stored text is cut to this many characters; the record says how long it was.
TEXT_CHARACTERS = 16_384
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
#: The largest count that a record holds, whatever a target says.
_MOST = 2**53 - 1
#: Column and result counts that one record may carry.
RESULTS_SHOWN = 64


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
    rows: int = 0
    bytes_to_client: int = 0
    bytes_to_target: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where statements go: what a commitment covers besides the statement itself."""

    protocol: str
    target: Target
    database: str
    search_path: str


@dataclass(slots=True)
class SessionGate:
    """The gate of one conversation from the first proof to its last record."""

    gate: Gate
    session: UUID
    client: Peer
    protocol: str
    counts: Counts = field(default_factory=Counts)
    identity: Identity | None = None
    place: Place | None = None
    #: Whether what the client is shown is recorded, or only counted and committed to.
    records_results: bool = False
    _key: bytes = field(default=b"", repr=False)
    _key_id: str = ""
    _opened_at: Instant = field(default_factory=lambda: Instant(0))

    # --- access ------------------------------------------------------------------------------------------------------

    def refuse_access(self, cause: str, attempted: str, target: str = "", identity: Identity | None = None) -> Record:
        """Record that nobody was let in, and why; nothing was dialled."""
        return Record(
            Kind.ACCESS_DECIDED,
            records.compact(
                {
                    "who": None if identity is None else records.who_json(identity.who),
                    "attempted": records.cut(mask_secrets(attempted)),
                    "proof": None if identity is None else records.proof_json(identity.proof),
                    "client": records.peer_json(self.client),
                    "protocol": self.protocol,
                    "target": records.cut(mask_secrets(target), 63),
                    "decision": "deny",
                    "rule": records.rule_json(self._default_rule("default")),
                    "cause": records.cut(cause),
                    "groups": [] if identity is None else records.groups_json(identity),
                }
            ),
        )

    def admit(self, admission: Admission, target: Target, database: str, attempted: str) -> tuple[Record, Permit]:
        """Let a proven identity through to a target that the policy grants it."""
        identity = admission.identity
        self.identity = identity
        self.place = Place(self.protocol, target, database, ", ".join(target.search_path))
        self.records_results = self.gate.recording.records(target)
        self._key, self._key_id = bind_key(admission.data_key), admission.data_key_id
        record = Record(
            Kind.ACCESS_DECIDED,
            records.compact(
                {
                    "who": records.who_json(identity.who),
                    "attempted": records.cut(mask_secrets(attempted)),
                    "proof": records.proof_json(identity.proof),
                    "client": records.peer_json(self.client),
                    "protocol": self.protocol,
                    "target": target.name,
                    "decision": "allow",
                    "rule": records.rule_json(self.judge(()).rule),
                    "cause": "granted",
                    "groups": records.groups_json(identity),
                }
            ),
            session=self.session,
            target=target.name,
            name=ACCESS,
        )
        return record, access_permit(self.session)

    def unreached(self, cause: str) -> Record:
        """Record that an admitted conversation found no target; the client is not told the cause."""
        identity, place = self._admitted()
        refused = self.refuse_access(
            f"target not available: {self.masked(cause)}", identity.who.name, place.target.name, identity
        )
        return Record(refused.kind, refused.members, session=self.session, target=place.target.name)

    def opened(
        self,
        dialed: Dialed,
        client_tls: Tls | None,
        banner: str,
        process_id: int,
        asked: tuple[str, str],
        now: Instant,
    ) -> Record:
        """Record who reached what, as which account; every later record of the session stands on it."""
        identity, place = self._admitted()
        self._opened_at = now
        reason, ticket = asked
        return Record(
            Kind.SESSION_OPENED,
            records.compact(
                {
                    "access": Reference(ACCESS, last=True),
                    "who": records.who_json(identity.who),
                    "proof": records.proof_json(identity.proof),
                    "groups": records.groups_json(identity),
                    "reason": self._masked_words(reason),
                    "ticket": self._masked_words(ticket),
                    "client": records.peer_json(self.client),
                    "client_banner": self._masked_words(banner),
                    "protocol": place.protocol,
                    "target": place.target.name,
                    "target_peer": records.peer_json(dialed.peer),
                    "target_account": place.target.credential.username,
                    "database": place.database,
                    "target_session": {"pid": process_id, "local_port": dialed.local_port},
                    "tls": records.compact(
                        {"client": records.tls_json(client_tls), "target": records.tls_json(dialed.tls)}
                    ),
                    "policy": self.gate.policy,
                    "mode": "interactive",
                    "release": "journal",
                    "recording": {
                        "terminal": False,
                        "results": "masked" if self.records_results else "digest",
                        "input": "off",
                    },
                    "privileged": self._is_privileged(),
                    "vendor": False,
                    "data_key": self._key_id,
                    "ends_at": stamp(self.ends_at()),
                }
            ),
            session=self.session,
            target=place.target.name,
            name=OPENED,
        )

    def closed(self, cause: Cause, now: Instant) -> Record:
        """Record the end of an opened session and its sums."""
        _, place = self._admitted()
        counts = self.counts
        return Record(
            Kind.SESSION_CLOSED,
            {
                "opened": Reference(OPENED, last=True),
                "cause": cause,
                "duration_us": max(0, now - self._opened_at),
                "statements": counts.statements,
                "allowed": counts.allowed,
                "denied": counts.denied,
                "held": 0,
                "rows": counts.rows,
                "values_masked": 0,
                "bytes_to_client": counts.bytes_to_client,
                "bytes_to_target": counts.bytes_to_target,
                "recording_complete": True,
            },
            session=self.session,
            target=place.target.name,
        )

    # --- statements --------------------------------------------------------------------------------------------------

    def is_granted(self) -> bool:
        """Tell whether the policy in force still grants this conversation its target."""
        identity, place = self._admitted()
        return self.gate.target(identity, place.target.name) is not None

    def ends_at(self) -> Instant:
        """When the session must end: the login's end or the policy's maximum, whichever is first."""
        identity, _ = self._admitted()
        longest = self.longest_us()
        return identity.expires_at if longest is None else min(identity.expires_at, Instant(self._opened_at + longest))

    def longest_us(self) -> int | None:
        """How long a session may last by the policy in force."""
        identity, place = self._admitted()
        return self.gate.limits(identity, place.target).max_us

    def idle_us(self) -> int | None:
        """How long the client may be silent while nothing runs, by the policy in force."""
        identity, place = self._admitted()
        return self.gate.limits(identity, place.target).idle_us

    def judge(self, operations: Sequence[Operation]) -> Decision:
        """Decide without a record: for a text that nobody has asked to run yet."""
        identity, place = self._admitted()
        return self.gate.decide(identity, place.target, operations)

    def decide(self, statement: Statement, shown: Sequence[records.Shown], now: Instant) -> Decided:
        """Decide a statement, number it and make its record."""
        return self._decided(statement, shown, self.judge(statement.operations), None, now)

    def refuse(self, statement: Statement, why: Unsupported, now: Instant) -> Decided:
        """Record a statement that never travels, whatever the policy says."""
        reason = Deny(self._default_rule("unsupported"), why.message, why.hint)
        return self._decided(statement, (), reason, why, now)

    def _decided(
        self,
        statement: Statement,
        shown: Sequence[records.Shown],
        decision: Decision,
        unsupported: Unsupported | None,
        now: Instant,
    ) -> Decided:
        self.counts.statements += 1
        number = self.counts.statements
        permit = None
        if isinstance(decision, Allow):
            self.counts.allowed += 1
            permit = statement_permit(self.session, number)
        else:
            self.counts.denied += 1
        cause = decision.reason if isinstance(decision, Deny) else "granted"
        # A parser quotes the text in its message, and a policy's answer the names in it.
        cause = self.masked(cause) if unsupported is None else self._masked_words(cause)
        record = self._record(statement, shown, decision, number, cause)
        return Decided(number, decision, record, permit, now, unsupported)

    def _record(
        self, statement: Statement, shown: Sequence[records.Shown], decision: Decision, number: int, cause: str
    ) -> Record:
        _, place = self._admitted()
        key = self.gate.storage_key
        understood = bool(statement.analyses) and all(analysis.understood for analysis in statement.analyses)
        spans = [span for analysis in statement.analyses for span in analysis.literals]
        text = mask_text(statement.text, spans, understood, key.key, key.id)
        fingerprints = " ".join(analysis.fingerprint for analysis in statement.analyses[:16])
        return Record(
            Kind.STATEMENT_DECIDED,
            records.compact(
                {
                    "statement": str(uuid5(self.session, str(number))),
                    "no": number,
                    "dialect": place.protocol,
                    "text": text.text,
                    "lossy": True if text.lossy else None,
                    "text_bytes": len(statement.text),
                    **records.parameters_json(shown, understood, key),
                    "fingerprint": fingerprints,
                    "text_mac": text_mac(self._key, statement.text),
                    "bytes_mac": self._bytes_mac(statement, place),
                    "bind_key": self._key_id,
                    **records.operations_json(statement.operations, key),
                    "decision": "allow" if isinstance(decision, Allow) else "deny",
                    "rule": records.rule_json(decision.rule),
                    "cause": records.cut(cause, 512),
                    "flags": list(statement.flags),
                }
            ),
            session=self.session,
            target=place.target.name,
            name=statement_name(number),
        )

    def result(self) -> Result:
        """Start counting what one result discloses."""
        return Result(OutputMac(self._key), kept=Kept(self.gate.recording) if self.records_results else None)

    def finished(self, decided: Decided, end: Finished, now: Instant) -> Record:
        """Record how a statement ended, once."""
        _, place = self._admitted()
        sent = sum(result.sent for result in end.results)
        rows = min(max(end.rows, sum(result.rows for result in end.results)), _MOST)
        self.counts.rows = min(self.counts.rows + rows, _MOST)
        return Record(
            Kind.STATEMENT_FINISHED,
            records.compact(
                {
                    "decided": Reference(statement_name(decided.number), last=True),
                    "outcome": end.outcome,
                    "forwarded": end.forwarded,
                    "rows": rows,
                    "bytes_to_client": sent,
                    "bytes_from_target": end.bytes_from_target,
                    "duration_us": max(0, now - decided.at),
                    "error": self._error(end),
                    "transaction": end.transaction,
                    "results": [_result_json(result) for result in end.results[:RESULTS_SHOWN]],
                }
            ),
            session=self.session,
            target=place.target.name,
        )

    def _error(self, end: Finished) -> dict[str, Json] | None:
        if not end.error_code:
            return None
        # A server quotes values in its messages, so they are masked as a text that nobody understood.
        # A server's codes are five digits and letters; anything else is what a liar says.
        code = end.error_code if _SQLSTATE.fullmatch(end.error_code) else "?????"
        return records.compact({"code": code, "text": self._masked_words(end.error_text)})

    def masked(self, words: str) -> str:
        """Give what may be recorded of words that may repeat what somebody sent."""
        key = self.gate.storage_key
        return mask_words(words, key.key, key.id)

    def _masked_words(self, text: str) -> str:
        key = self.gate.storage_key
        return mask_text(records.cut(text, 1_024).encode(), (), False, key.key, key.id).text if text else ""

    def _bytes_mac(self, statement: Statement, place: Place) -> str:
        fields = [
            (commitment.PROTOCOL, place.protocol.encode()),
            (commitment.TARGET, place.target.name.encode()),
            (commitment.ACCOUNT, place.target.credential.username.encode()),
            (commitment.DATABASE, place.database.encode()),
            (commitment.PINNED, place.search_path.encode()),
            (commitment.TEXT, statement.text),
            *(commitment.parameter_field(parameter.value) for parameter in statement.parameters),
        ]
        if statement.parameter_formats:
            fields.append(commitment.formats_field(commitment.PARAMETER_FORMATS, statement.parameter_formats))
        if statement.result_formats:
            fields.append(commitment.formats_field(commitment.RESULT_FORMATS, statement.result_formats))
        return bytes_mac(self._key, fields)

    def _is_privileged(self) -> bool:
        """Privileged means that more than reading and writing rows is granted."""
        beyond = (Operation("privileged", "", impact) for impact in (Impact.SCHEMA, Impact.ADMIN))
        return any(isinstance(self.judge((operation,)), Allow) for operation in beyond)

    def _default_rule(self, name: str) -> Rule:
        return Rule(RuleName(name), "default", self.gate.policy)

    def _admitted(self) -> tuple[Identity, Place]:
        if self.identity is None or self.place is None:
            raise AssertionError("nothing is decided before a proof was accepted")
        return self.identity, self.place


def _result_json(result: Result) -> Json:
    members: dict[str, Json] = {
        "rows": result.rows,
        "bytes": result.sent,
        "disclosed_mac": result.mac.hexdigest(),
        "recorded": "digest",
    }
    if result.kept is not None:
        members["recorded"] = "truncated" if result.kept.is_truncated else "full"
        members["recorded_rows"] = result.kept.rows
    return members
