"""Approvals as JSON, for the bus between control and data process.

1. Writing and reading are inverse. What does not read exactly is a `ValueError` without the value.
2. An approval's `key` is a secret: it travels on the bus only, never into a log or a record.
3. Identifiers, digests, moments and numbers are read in their one form; nothing is guessed or repaired.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from vestibule.model.approval import ApprovalId, Candidate, Grant, Offer, Request, Scope, State, Written
from vestibule.model.decision import Rule, Section
from vestibule.model.identity import Peer
from vestibule.model.names import Digest, GroupName, Instant, RuleName, TargetName
from vestibule.model.record import Json as Member
from vestibule.model.record import Reference
from vestibule.wire.identity import who_from_json, who_to_json
from vestibule.wire.jsonrpc import Json, Params
from vestibule.wire.reading import boolean, integer, items, mapping, read, text, texts

#: Crockford's base 32: no letter that people take for a digit.
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ID_LENGTH: Final = 10

_ID: Final = re.compile(f"AR-[{ALPHABET}]{{{ID_LENGTH}}}")
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY: Final = re.compile("([0-9a-f]{2})+")
#: Whole numbers stay below this, so that every reader reads them exactly.
_LARGEST: Final = 2**53
#: How deep a parameter or an operation may be nested.
_DEEPEST: Final = 8

_STATES: Final[Mapping[str, State]] = {
    "pending": "pending",
    "granted": "granted",
    "refused": "refused",
    "expired": "expired",
    "withdrawn": "withdrawn",
    "spent": "spent",
}
_SECTIONS: Final[Mapping[str, Section]] = {
    "access": "access",
    "guardrails": "guardrails",
    "masks": "masks",
    "default": "default",
}
_SCOPES: Final[Mapping[str, Scope]] = {"statement": "statement", "unmask": "unmask"}


def approval_id(written: str) -> ApprovalId:
    """Read an approval's id; raise `ValueError` for anything else."""
    if not _ID.fullmatch(written):
        raise ValueError("an approval's id is AR- and ten letters and digits")
    return ApprovalId(written)


def offer_to_json(offer: Offer) -> dict[str, Json]:
    """Write an offer."""
    return {"approval": offer.approval, "key_id": offer.key_id, "key": offer.key.hex(), "url": offer.url}


def offer_from_json(document: Json) -> Offer:
    """Read an offer."""
    members = mapping(document)
    return Offer(
        approval=read(members, "approval", approval_id),
        key_id=text(members, "key_id"),
        key=read(members, "key", _key),
        url=text(members, "url"),
    )


def candidate_to_json(candidate: Candidate) -> dict[str, Json]:
    """Write a candidate."""
    return {
        "approval": candidate.approval,
        "key_id": candidate.key_id,
        "key": candidate.key.hex(),
        "bytes_mac": candidate.bytes_mac,
        "fingerprint": candidate.fingerprint,
        "state": candidate.state,
        "policy": candidate.policy,
        "expires_at": candidate.expires_at,
        "url": candidate.url,
    }


def candidate_from_json(document: Json) -> Candidate:
    """Read a candidate."""
    members = mapping(document)
    return Candidate(
        approval=read(members, "approval", approval_id),
        key_id=text(members, "key_id"),
        key=read(members, "key", _key),
        bytes_mac=read(members, "bytes_mac", _digest),
        fingerprint=text(members, "fingerprint"),
        state=read(members, "state", _STATES.__getitem__),
        policy=read(members, "policy", _digest),
        expires_at=_instant(members, "expires_at"),
        url=text(members, "url"),
    )


def request_to_json(request: Request) -> dict[str, Json]:
    """Write a request."""
    return {
        "approval": request.approval,
        "key_id": request.key_id,
        "bytes_mac": request.bytes_mac,
        "fingerprint": request.fingerprint,
        "rule": {"name": request.rule.name, "section": request.rule.section, "policy": request.rule.policy},
        "reason": request.reason,
        "requester": who_to_json(request.requester),
        "groups": sorted(request.groups),
        "client": {"ip": request.client.ip, "port": request.client.port},
        "banner": request.banner,
        "session": str(request.session),
        "number": request.number,
        "protocol": request.protocol,
        "target": request.target,
        "account": request.account,
        "database": request.database,
        "search_path": request.search_path,
        "text": request.text,
        "text_bytes": request.text_bytes,
        "parameters": [_plain(parameter) for parameter in request.parameters],
        "operations": [_plain(operation) for operation in request.operations],
        "approvers": sorted(request.approvers),
        "quorum": request.quorum,
        "requested_at": request.requested_at,
        "expires_at": request.expires_at,
        "live": request.live,
        "scope": request.scope,
    }


def request_from_json(document: Json) -> Request:
    """Read a request."""
    members = mapping(document)
    return Request(
        approval=read(members, "approval", approval_id),
        key_id=text(members, "key_id"),
        bytes_mac=read(members, "bytes_mac", _digest),
        fingerprint=text(members, "fingerprint"),
        rule=_rule(mapping(members.get("rule"))),
        reason=text(members, "reason"),
        requester=who_from_json(members.get("requester")),
        groups=_groups(members, "groups"),
        client=_peer(mapping(members.get("client"))),
        banner=text(members, "banner"),
        session=read(members, "session", _uuid),
        number=_count(members, "number"),
        protocol=text(members, "protocol"),
        target=TargetName(text(members, "target")),
        account=text(members, "account"),
        database=text(members, "database"),
        search_path=text(members, "search_path"),
        text=text(members, "text"),
        text_bytes=_count(members, "text_bytes"),
        parameters=_objects(members, "parameters"),
        operations=_objects(members, "operations"),
        approvers=_groups(members, "approvers"),
        quorum=_quorum(members),
        requested_at=_instant(members, "requested_at"),
        expires_at=_instant(members, "expires_at"),
        live=boolean(members, "live"),
        scope=read(members, "scope", _SCOPES.__getitem__),
    )


def grant_to_json(grant: Grant) -> dict[str, Json]:
    """Write a grant."""
    return {
        "permit": str(grant.permit),
        "request": written_to_json(grant.request),
        "answers": [written_to_json(answer) for answer in grant.answers],
        "uses_left": grant.uses_left,
    }


def grant_from_json(document: Json) -> Grant:
    """Read a grant."""
    members = mapping(document)
    return Grant(
        permit=read(members, "permit", _uuid),
        request=written_from_json(members.get("request")),
        answers=tuple(written_from_json(answer) for answer in items(members, "answers")),
        uses_left=_count(members, "uses_left"),
    )


def written_to_json(written: Written) -> dict[str, Json]:
    """Write a reference to a durable record."""
    return {"id": str(written.id), "leaf": written.leaf}


def written_from_json(document: Json) -> Written:
    """Read a reference to a durable record."""
    members = mapping(document)
    return Written(read(members, "id", _uuid), read(members, "leaf", _digest))


# --- members ---------------------------------------------------------------------------------------------------------


def _rule(members: Params) -> Rule:
    return Rule(
        name=RuleName(text(members, "name")),
        section=read(members, "section", _SECTIONS.__getitem__),
        policy=read(members, "policy", _digest),
    )


def _peer(members: Params) -> Peer:
    return Peer(text(members, "ip"), _count(members, "port"))


def _groups(members: Params, name: str) -> frozenset[GroupName]:
    return frozenset(GroupName(group) for group in texts(members, name))


def _quorum(members: Params) -> int:
    if (quorum := _count(members, "quorum")) == 0:
        raise ValueError("quorum is not 1 or more")
    return quorum


def _instant(members: Params, name: str) -> Instant:
    return Instant(_count(members, name))


def _count(members: Params, name: str) -> int:
    number = integer(members, name)
    if not 0 <= number < _LARGEST:
        raise ValueError(f"{name} is not from 0 to below 2^53")
    return number


def _digest(written: str) -> Digest:
    return Digest(_in_form(_DIGEST, written))


def _uuid(written: str) -> UUID:
    return UUID(_in_form(_UUID, written))


def _key(written: str) -> bytes:
    return bytes.fromhex(_in_form(_KEY, written))


def _in_form(form: re.Pattern[str], written: str) -> str:
    if not form.fullmatch(written):
        raise ValueError("not in its one form")
    return written


# --- parameters and operations ---------------------------------------------------------------------------------------


def _plain(value: Member) -> Json:
    match value:
        case Reference():
            raise ValueError("a reference to a record does not travel")
        case Mapping():
            return {name: _plain(member) for name, member in value.items()}
        case None | bool() | int() | str():
            return value
        case _:
            return [_plain(item) for item in value]


def _objects(members: Params, name: str) -> tuple[Mapping[str, Member], ...]:
    return tuple(_object(mapping(item), name, 1) for item in items(members, name))


def _object(members: Params, name: str, depth: int) -> dict[str, Member]:
    return {key: _member(value, name, depth) for key, value in members.items()}


def _member(value: Json, name: str, depth: int) -> Member:
    if depth > _DEEPEST:
        raise ValueError(f"{name} is nested too deep")
    match value:
        case Mapping():
            return _object(value, name, depth + 1)
        case None | bool() | str():
            return value
        case int() if -_LARGEST < value < _LARGEST:
            return value
        case Sequence():
            return [_member(item, name, depth + 1) for item in value]
        case _:
            raise ValueError(f"{name} holds what no record holds")
