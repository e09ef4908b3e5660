"""One conversation at the gate: admits it, numbers and decides its statements, says what is recorded.

1. Every statement gets exactly one `StatementDecided`, and one `StatementFinished` once its outcome is known.
2. Only a decision that allows comes with a permit; without a permit nothing can be sent to a target.
3. What is recorded has passed the storage mask; commitments are over the exact bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID

from vestibule.evidence.commitment import OutputMac, bind_key, bytes_mac, text_mac
from vestibule.evidence.literals import MaskedText, mask_secrets, mask_text, mask_words
from vestibule.gate import records
from vestibule.gate.gate import Gate
from vestibule.gate.kept import Kept
from vestibule.gate.masks import Charted, Key, Loaded, chart, clean_functions, key_of
from vestibule.gate.outcome import Cause, Counts, Decided, Finished, Result, result_json
from vestibule.gate.permit import ACCESS, OPENED, access_permit, statement_name, statement_permit
from vestibule.gate.place import Place, committed
from vestibule.gate.unmasking import unmasking
from vestibule.masking.catalog import Snapshot
from vestibule.masking.sensitive import Sensitive
from vestibule.model.decision import Allow, Decision, Deny, Hold, Permit, Rule
from vestibule.model.event import Admission, Dialed, Tls
from vestibule.model.identity import Identity, Peer
from vestibule.model.names import Instant, RuleName, stamp
from vestibule.model.plan import Label
from vestibule.model.record import Json, Kind, Record, Reference
from vestibule.model.statement import Impact, Operation, Statement, Unsupported
from vestibule.model.target import Target
from vestibule.policy.engine import Engine, worst

#: Stored text is cut to this many characters; the record says how long it was.
TEXT_CHARACTERS = 16_384
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
#: The largest count that a record holds, whatever a target says.
_MOST = 2**53 - 1
_WORDS = {Allow: "allow", Deny: "deny", Hold: "hold"}
#: Column and result counts that one record may carry.
RESULTS_SHOWN = 64
_UNSTORABLE = Unsupported(
    "58030",
    "vestibule: what this session is shown can no longer be recorded safely, so nothing more is carried out in it",
    "Connect again; the operator has been alarmed.",
)


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
    #: What the client calls itself, as it may be stored.
    banner: str = ""
    #: Whether what the client is shown is recorded, or only counted and committed to.
    records_results: bool = False
    #: What is stored could not be masked: nothing more is carried out.
    has_failed: bool = False
    _key: bytes = field(default=b"", repr=False)
    _key_id: str = ""
    _marked_by: Engine | None = None
    _marked: tuple[tuple[Label, ...], tuple[Label, ...]] = ((), ())
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
        identity, place = self.admitted()
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
        identity, place = self.admitted()
        self._opened_at = now
        self.banner = self._masked_words(banner)
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
                    "client_banner": self.banner,
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
                    "mask_tier": "B" if self.labels() else "",
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
        _, place = self.admitted()
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
                "held": counts.held,
                "rows": counts.rows,
                "values_masked": min(counts.values_masked, _MOST),
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
        identity, place = self.admitted()
        return self.gate.target(identity, place.target.name) is not None

    def ends_at(self) -> Instant:
        """When the session must end: the login's end or the policy's maximum, whichever is first."""
        identity, _ = self.admitted()
        longest = self.longest_us()
        return identity.expires_at if longest is None else min(identity.expires_at, Instant(self._opened_at + longest))

    def longest_us(self) -> int | None:
        """How long a session may last by the policy in force."""
        identity, place = self.admitted()
        return self.gate.limits(identity, place.target).max_us

    def idle_us(self) -> int | None:
        """How long the client may be silent while nothing runs, by the policy in force."""
        identity, place = self.admitted()
        return self.gate.limits(identity, place.target).idle_us

    def note_search_path(self, search_path: str) -> None:
        """Take the search path that the target says is in force."""
        _, place = self.admitted()
        self.place = replace(place, search_path=search_path)

    # --- masks -------------------------------------------------------------------------------------------------------

    @property
    def search_path(self) -> str:
        """The search path in force."""
        return self.admitted()[1].search_path

    def labels(self) -> tuple[Label, ...]:
        """List what masks the answers of this conversation."""
        return self._marks()[0]

    def labels_for(self, lifted: frozenset[str] | None) -> tuple[Label, ...]:
        """The same for a statement that asks to see through masks, as if people had approved."""
        if lifted is None:
            return self.labels()
        identity, place = self.admitted()
        return self.gate.lifted(identity, place.target, lifted)[1]

    def stored_labels(self) -> tuple[Label, ...]:
        """List what masks all that is stored of this conversation, whoever it is that sees more."""
        return self._marks()[1]

    def _marks(self) -> tuple[tuple[Label, ...], tuple[Label, ...]]:
        """Look up what masks screen and storage, once for each policy: every statement asks many times."""
        engine = self.gate.engine
        if self._marked_by is not engine:
            identity, place = self.admitted()
            self._marked_by, self._marked = engine, engine.labels(identity, place.target)
        return self._marked

    def keeps_results(self) -> bool:
        """Tell whether what the client is shown is recorded: never where nothing is masked any more."""
        return self.records_results and self.gate.recording.records(self.admitted()[1].target)

    def loaded(self, now: Instant) -> Loaded | None:
        """Give the snapshot of the target that the process has, unless it is too old."""
        return self.gate.masks.loaded(self._snapshot_key(), now)

    def charting(self, rows: Callable[[], Iterable[Sequence[str]]]) -> Callable[[], Charted]:
        """Give the work of making a snapshot, and what is sensitive in it, of what the target has just said."""
        labels, clean = self.labels(), clean_functions(self.admitted()[1].target)
        known = self.gate.masks.known
        return lambda: chart(rows(), labels, clean, known)

    def keep_snapshot(self, charted: Charted, now: Instant, *, is_shared: bool) -> Loaded:
        """Keep a snapshot that the target has just given."""
        return self.gate.masks.keep(self._snapshot_key(), charted, now, is_shared=is_shared)

    def close_masks(self, known: Snapshot, labels: tuple[Label, ...]) -> Sensitive:
        """Find what is sensitive at the target under some labels."""
        return self.gate.masks.close(known, labels, self.admitted()[1].target)

    def _snapshot_key(self) -> Key:
        _, place = self.admitted()
        return key_of(place.target, place.database)

    # --- deciding ----------------------------------------------------------------------------------------------------

    def judge(self, operations: Sequence[Operation]) -> Decision:
        """Decide without a record: for a text that nobody has asked to run yet."""
        identity, place = self.admitted()
        return self.gate.decide(identity, place.target, operations)

    def judge_statement(self, statement: Statement) -> Decision:
        """The same for a statement, which may ask to see through masks too."""
        decision = self.judge(statement.operations)
        lifted = self.lifts(statement)
        if lifted is None:
            return decision
        identity, place = self.admitted()
        return worst((self.gate.lifted(identity, place.target, lifted)[0], decision))

    def lifts(self, statement: Statement) -> frozenset[str] | None:
        """Say which masks a statement asks to see through; None where nothing is masked or it does not ask."""
        return unmasking(statement.text) if self.labels() else None

    def decide(
        self, statement: Statement, shown: Sequence[records.Shown], now: Instant, decision: Decision | None = None
    ) -> Decided:
        """Decide a statement, number it and make its record; `decision` is its judgement of just now, if it has one."""
        if self.has_failed:
            return self.refuse(statement, _UNSTORABLE, now)
        return self._decided(statement, shown, decision or self.judge_statement(statement), None, now)

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
        match decision:
            case Allow():
                self.counts.allowed += 1
                permit = statement_permit(self.session, number)
            case Deny():
                self.counts.denied += 1
            case Hold():
                self.counts.held += 1
        cause = "granted"
        if not isinstance(decision, Allow):
            # A parser quotes the text in its message, and a policy's answer the names in it.
            reason = decision.reason
            cause = self.masked(reason) if unsupported is None else self._masked_words(reason)
        record = self._record(statement, shown, decision, number, cause)
        return Decided(number, decision, record, permit, now, unsupported)

    def _record(
        self, statement: Statement, shown: Sequence[records.Shown], decision: Decision, number: int, cause: str
    ) -> Record:
        _, place = self.admitted()
        key = self.gate.storage_key
        understood = bool(statement.analyses) and all(analysis.understood for analysis in statement.analyses)
        text = self._masked_text(statement)
        fingerprints = " ".join(analysis.fingerprint for analysis in statement.analyses[:16])
        return Record(
            Kind.STATEMENT_DECIDED,
            records.compact(
                {
                    "statement": records.statement_id(self.session, number),
                    "no": number,
                    "dialect": place.protocol,
                    "text": text.text,
                    "lossy": True if text.lossy else None,
                    "text_bytes": len(statement.text),
                    **records.parameters_json(shown, understood, key),
                    "fingerprint": fingerprints,
                    "text_mac": text_mac(self._key, statement.text),
                    "bytes_mac": self.commitment(statement, self._key),
                    "bind_key": self._key_id,
                    **records.operations_json(statement.operations, key),
                    "decision": _WORDS[type(decision)],
                    "rule": records.rule_json(decision.rule),
                    "cause": records.cut(cause, 512),
                    "mask_plan": records.plan_json([analysis.plan for analysis in statement.analyses]),
                    "clear_by": [] if isinstance(decision, Deny) else self._clear_by(statement),
                    "flags": [*statement.flags, *([] if self.lifts(statement) is None else ["unmask"])],
                }
            ),
            session=self.session,
            target=place.target.name,
            name=statement_name(number),
        )

    def fail_storage_mask(self, now: Instant) -> Record | None:
        """Note that something could not be masked for storage, and was not stored; say so once."""
        if self.has_failed:
            return None
        self.has_failed = True
        return self.storage_fault("started", now)

    def storage_fault(self, phase: Literal["started", "ended"], now: Instant) -> Record:
        """Record that what is stored cannot be masked, or that the session in which it could not is over."""
        detail = f"session {self.session}: an answer could not be masked, and is not recorded"
        members: dict[str, Json] = {"fault": "storage_mask_leak", "phase": phase, "since": stamp(now), "detail": detail}
        return Record(Kind.AUDIT_FAULT, members)

    def _clear_by(self, statement: Statement) -> list[Json]:
        shown = self.labels_for(self.lifts(statement))
        return records.clear_by_json(statement.analyses, shown, self.stored_labels())

    def shows_whole(self, statement: Statement) -> bool:
        """Tell whether a record holds the whole text of a statement."""
        return not self._masked_text(statement).is_cut

    def _masked_text(self, statement: Statement) -> MaskedText:
        key = self.gate.storage_key
        understood = bool(statement.analyses) and all(analysis.understood for analysis in statement.analyses)
        spans = [span for analysis in statement.analyses for span in analysis.literals]
        return mask_text(statement.text, spans, understood, key.key, key.id)

    def result(self) -> Result:
        """Start counting what one result discloses."""
        return Result(OutputMac(self._key), kept=Kept(self.gate.recording) if self.keeps_results() else None)

    def finished(self, decided: Decided, end: Finished, now: Instant) -> Record:
        """Record how a statement ended, once."""
        _, place = self.admitted()
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
                    "results": [result_json(result) for result in end.results[:RESULTS_SHOWN]],
                }
            ),
            session=self.session,
            target=place.target.name,
        )

    def _error(self, end: Finished) -> dict[str, Json] | None:
        if not end.error_code:
            return None
        # A server quotes values in its messages, and only a liar has codes of another form.
        code = end.error_code if _SQLSTATE.fullmatch(end.error_code) else "?????"
        return records.compact({"code": code, "text": self._masked_words(end.error_text)})

    def masked(self, words: str) -> str:
        """Give what may be recorded of words that may repeat what somebody sent."""
        key = self.gate.storage_key
        return mask_words(words, key.key, key.id)

    def _masked_words(self, text: str) -> str:
        key = self.gate.storage_key
        return mask_text(records.cut(text, 1_024).encode(), (), False, key.key, key.id).text if text else ""

    def commitment(self, statement: Statement, key: bytes) -> str:
        """Commit to the exact bytes of a statement and to where they go, under a session's or an approval's key."""
        return bytes_mac(key, committed(self.admitted()[1], statement))

    def _is_privileged(self) -> bool:
        """Privileged means that more than reading and writing rows is granted."""
        beyond = (Operation("privileged", "", impact) for impact in (Impact.SCHEMA, Impact.ADMIN))
        return any(isinstance(self.judge((operation,)), Allow) for operation in beyond)

    def _default_rule(self, name: str) -> Rule:
        return Rule(RuleName(name), "default", self.gate.policy)

    def admitted(self) -> tuple[Identity, Place]:
        """Give who asks, and where statements go."""
        if self.identity is None or self.place is None:
            raise AssertionError("nothing is decided before a proof was accepted")
        return self.identity, self.place
