"""A statement that waits for people: one meaning of approval for all protocols.

1. An approval that was granted for exactly these bytes is spent, once; one that still waits is named again; otherwise
   people are asked. Only then the statement waits (a live hold), or is refused and run again later.
2. What is compared is a commitment under the approval's own key: text, parameters, target, account, database and
   search path. A difference in a single byte is another statement.
3. An approval is good for the policy that it was asked under, and until it expires.
4. What cannot be shown whole is not put before people: nobody approves what they do not see.
5. The permit names the record of its use, so that is durable before a byte travels.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from enum import Enum
from typing import Final

from vestibule.evidence.commitment import bind_key
from vestibule.gate import records
from vestibule.gate.outcome import Decided
from vestibule.gate.permit import spent_name, spent_permit, statement_name
from vestibule.gate.session import SessionGate
from vestibule.model import wording
from vestibule.model.approval import ApprovalId, Candidate, Grant, Offer, Request
from vestibule.model.decision import Hold
from vestibule.model.effect import Approving, Ask, Persist, Seek, Spend, Withdraw
from vestibule.model.event import Answered, Asked, Sought, Spent
from vestibule.model.names import Instant, stamp
from vestibule.model.record import Json, Kind, Record, Reference
from vestibule.model.statement import Statement, Unsupported

#: The control process ends a request in time; a little later the statement stops waiting for its word.
_GRACE_US: Final = 5_000_000
_AGAIN: Final = "Run it again to ask anew."
_NOT_ASKED: Final = "Try again later, or ask the owner of the policy."
_TOO_LONG: Final = Unsupported(
    "54000", "vestibule: the statement needs approval, and is too long to be shown to people", "Send it in parts."
)


class _Stage(Enum):
    SEEKING = "seeking"
    ASKING = "asking"
    WAITING = "waiting"
    CHECKING = "checking"
    SPENDING = "spending"
    OVER = "over"


class Held:
    """One held statement, from its decision to a permit or a refusal."""

    def __init__(self, gate: SessionGate, decided: Decided, statement: Statement, *, is_live: bool) -> None:
        """Begin to look for an approval; `is_live` says whether the statement may wait in its session."""
        if not isinstance(decided.decision, Hold):
            raise AssertionError("only a statement that is held waits for people")
        self._gate, self._statement, self._hold = gate, statement, decided.decision
        self._is_live = is_live
        self._stage = _Stage.SEEKING
        self._policy = gate.gate.policy
        self._key_id = self._mac = ""
        self._key = b""
        self._fingerprint = str(decided.record.members.get("fingerprint", ""))
        self._members = decided.record.members
        #: What is asked for, in order, since it was last taken.
        self.effects: list[Approving | Persist] = [Seek()]
        #: The decision as it was recorded; with a permit, or a reason to refuse, once the waiting is over.
        self.decided = replace(decided, record=Record(decided.record.kind, {}, name=decided.record.name))
        self.approval = ApprovalId("")
        self.url = ""
        self.expires_at = Instant(0)
        if not gate.shows_whole(statement) or "ops_more" in self._members or "parameters_more" in self._members:
            self.effects.clear()
            self._end(_TOO_LONG)

    @property
    def is_over(self) -> bool:
        """Whether it waits no more: `decided` says how it ended."""
        return self._stage is _Stage.OVER

    @property
    def is_waiting(self) -> bool:
        """Whether people can see it and the statement waits for their answer."""
        return self._stage is _Stage.WAITING

    @property
    def is_checking(self) -> bool:
        """Whether it was granted, and waits for `check`: the target is to be asked first what its names mean now."""
        return self._stage is _Stage.CHECKING

    def take_effects(self) -> list[Approving | Persist]:
        """Hand over what is asked for."""
        effects, self.effects = self.effects, []
        return effects

    # --- what happens ------------------------------------------------------------------------------------------------

    def sought(self, event: Sought, now: Instant) -> None:
        """Spend what was granted, name what waits already, or ask people."""
        if self._stage is not _Stage.SEEKING:
            return
        same = [candidate for candidate in event.candidates if self._is_of(candidate)]
        for candidate in same:
            self.approval, self.url = candidate.approval, candidate.url
            if candidate.state == "granted" and now < candidate.expires_at:
                self._spend(candidate)
                return
            if candidate.state == "pending":
                self._refuse(wording.approval_required(candidate.approval, candidate.url), "")
                return
        if event.offer is None:
            self._refuse(f"vestibule: approval cannot be asked for: {event.cause}", _NOT_ASKED)
        else:
            self._ask(event.offer, now)

    def asked(self, event: Asked) -> None:
        """Wait for the answer, if this statement may."""
        if self._stage is not _Stage.ASKING or event.approval != self.approval:
            return
        if event.cause:
            self._refuse(f"vestibule: approval cannot be asked for: {event.cause}", _NOT_ASKED)
        elif self._is_live:
            self._stage = _Stage.WAITING
        else:
            self._refuse(wording.approval_required(self.approval, self.url), "")

    def answered(self, event: Answered, now: Instant) -> None:
        """Take what people said."""
        # The answer may come before the word that the request is open.
        if self._stage not in (_Stage.ASKING, _Stage.WAITING) or event.approval != self.approval:
            return
        if event.answer != "granted":
            comment = f"Reason given: {event.comment}" if event.comment else ""
            self._refuse(wording.approval_ended(self.approval, event.answer, event.by), comment)
        elif not self._is_live:
            self._refuse(wording.approval_required(self.approval, self.url), "")
        elif self._policy != self._gate.gate.policy or now >= self.expires_at:
            self._refuse(f"vestibule: approval {self.approval} is void: the policy has changed meanwhile", _AGAIN)
        else:
            self._stage = _Stage.CHECKING

    def check(self, catalog: str) -> None:
        """Use the permit for what the statement means now; if that is not what people saw, it is refused there."""
        if self._stage is _Stage.CHECKING:
            self._statement = replace(self._statement, catalog=catalog)
            self._mac = self._gate.commitment(self._statement, self._key)
            self._stage = _Stage.SPENDING
            self.effects.append(Spend(self.approval, self.decided.number, self._mac))

    def void(self, why: Unsupported) -> None:
        """Refuse it after all: it is not what it was when it was decided."""
        self._withdraw("the statement is not the same any more")
        self.decided = replace(self.decided, permit=None)
        self._end(why)

    def spent(self, event: Spent) -> None:
        """Take the permit; its use is recorded before the statement travels."""
        if self._stage is not _Stage.SPENDING or event.approval != self.approval:
            return
        if event.grant is None:
            if event.refused is not None:
                self.effects.append(Persist(self._used(event.refused, "refused")))
            self._refuse(f"vestibule: approval {self.approval} cannot be used: {event.cause}", _AGAIN)
            return
        self.effects.append(Persist(self._used(event.grant, "spent")))
        self.decided = replace(self.decided, permit=spent_permit(self._gate.session, self.decided.number))
        self._stage = _Stage.OVER

    def cancel(self) -> None:
        """Stop to wait, as somebody asked who may stop the statement."""
        self._withdraw("cancelled by the client")
        self._end(Unsupported("57014", "canceling statement due to user request"))

    def abandon(self, why: str) -> None:
        """Stop to wait because nobody is left who would take the answer."""
        self._withdraw(why)
        self._stage = _Stage.OVER

    def check_time(self, now: Instant) -> None:
        """Stop to wait for a word that has not come in time."""
        if self.is_waiting and now >= self.expires_at + _GRACE_US:
            self._withdraw("expired")
            self._refuse(wording.approval_ended(self.approval, "expired"), _AGAIN)

    def undo(self, names: frozenset[str], why: Unsupported) -> None:
        """Refuse if the decision, or the request, could not be recorded."""
        if self.is_over:
            return
        is_lost = self.decided.record.name in names
        if is_lost or (self.approval and requested_name(self.approval) in names):
            self.decided = replace(self.decided, is_recorded=not is_lost)
            self._end(why)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _is_of(self, candidate: Candidate) -> bool:
        if candidate.policy != self._policy:
            return False
        mac = self._gate.commitment(self._statement, bind_key(candidate.key))
        return hmac.compare_digest(mac, candidate.bytes_mac)

    def _spend(self, candidate: Candidate) -> None:
        self._key_id, self._mac, self.expires_at = candidate.key_id, candidate.bytes_mac, candidate.expires_at
        self._stage = _Stage.SPENDING
        self.effects.append(Spend(candidate.approval, self.decided.number, candidate.bytes_mac))

    def _ask(self, offer: Offer, now: Instant) -> None:
        self.approval, self.url = offer.approval, offer.url
        self._key_id = offer.key_id
        self._key = bind_key(offer.key)
        self._mac = self._gate.commitment(self._statement, self._key)
        self.expires_at = Instant(now + self._hold.expires_us)
        request = self._request(now)
        self._stage = _Stage.ASKING
        name = requested_name(offer.approval)
        self.effects += [Persist(self._requested(request, name)), Ask(request, name)]

    def _request(self, now: Instant) -> Request:
        identity, place = self._gate.admitted()
        members = self._members
        return Request(
            approval=self.approval,
            key_id=self._key_id,
            bytes_mac=self._mac,
            fingerprint=self._fingerprint,
            rule=self._hold.rule,
            reason=self._hold.reason,
            requester=identity.who,
            groups=identity.groups,
            client=self._gate.client,
            banner=self._gate.banner,
            session=self._gate.session,
            number=self.decided.number,
            protocol=place.protocol,
            target=place.target.name,
            account=place.target.credential.username,
            database=place.database,
            search_path=place.search_path,
            text=str(members.get("text", "")),
            text_bytes=len(self._statement.text),
            parameters=_objects(members.get("parameters")),
            operations=_objects(members.get("ops")),
            approvers=self._hold.approvers,
            quorum=self._hold.quorum,
            requested_at=now,
            expires_at=self.expires_at,
            live=self._is_live,
            scope="statement" if self._gate.lifts(self._statement) is None else "unmask",
        )

    def _requested(self, request: Request, name: str) -> Record:
        members: dict[str, Json] = {
            "approval": request.approval,
            "decided": Reference(statement_name(request.number)),
            "scope": request.scope,
            "requester": records.who_json(request.requester),
            "text": request.text,
            "ops": list(request.operations),
            "bytes_mac": request.bytes_mac,
            "bind_key": request.key_id,
            "approvers": sorted(request.approvers),
            "quorum": request.quorum,
            "expires_at": stamp(request.expires_at),
            "channels": ["web", "api", "cli"],
            "reason": request.reason,
        }
        return Record(
            Kind.APPROVAL_REQUESTED,
            records.compact(members),
            session=self._gate.session,
            target=request.target,
            name=name,
        )

    def _used(self, grant: Grant, result: str) -> Record:
        _, place = self._gate.admitted()
        members: dict[str, Json] = {
            "permit": str(grant.permit),
            "request": records.written_json(grant.request),
            "answers": [records.written_json(answer) for answer in grant.answers],
            "decided": Reference(statement_name(self.decided.number)),
            "bytes_mac": self._mac,
            "bind_key": self._key_id,
            "equal": result == "spent",
            "result": result,
            "uses_left": grant.uses_left,
        }
        return Record(
            Kind.PERMIT_USED,
            members,
            session=self._gate.session,
            target=place.target.name,
            name=spent_name(self.decided.number) if result == "spent" else "",
        )

    def _withdraw(self, why: str) -> None:
        if self._stage in (_Stage.ASKING, _Stage.WAITING, _Stage.CHECKING):
            self.effects.append(Withdraw(self.approval, why))

    def _refuse(self, message: str, hint: str) -> None:
        self._end(Unsupported("42501", message, hint))

    def _end(self, why: Unsupported) -> None:
        self._stage = _Stage.OVER
        self.decided = replace(self.decided, unsupported=why, approval=self.approval)


def requested_name(approval: ApprovalId) -> str:
    """Name the record of a request within its session."""
    return f"requested/{approval}"


def _objects(value: Json) -> tuple[dict[str, Json], ...]:
    return tuple(dict(item) for item in value if isinstance(item, dict)) if isinstance(value, list) else ()
