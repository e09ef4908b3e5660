"""Identities and answers to a proof as JSON, for the bus between control and data process.

1. Writing and reading are inverse. What does not read exactly is a `ValueError` without the value.
2. `data_key` is a secret: it travels on the bus only, never into a log or a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from vestibule.model.event import Admission
from vestibule.model.identity import Identity, Proof, Refusal, Who, WhoType
from vestibule.model.names import GroupName, Instant, LoginName, TargetName
from vestibule.wire.jsonrpc import Json, Params
from vestibule.wire.reading import integer, mapping, read, text, texts

_TYPES: Mapping[str, WhoType] = {"human": "human", "agent": "agent", "workload": "workload"}


def answer_to_json(answer: Admission | Refusal) -> dict[str, Json]:
    """Write the answer to a `prove` call."""
    if isinstance(answer, Refusal):
        return {"refused": answer.value}
    return {
        "identity": identity_to_json(answer.identity),
        "data_key_id": answer.data_key_id,
        "data_key": answer.data_key.hex(),
    }


def answer_from_json(document: Json) -> Admission | Refusal:
    """Read the answer to a `prove` call."""
    if isinstance(document, Mapping) and "refused" in document:
        return read(document, "refused", Refusal)
    members = mapping(document)
    return Admission(
        identity=identity_from_json(members.get("identity")),
        data_key_id=text(members, "data_key_id"),
        data_key=read(members, "data_key", bytes.fromhex),
    )


def identity_to_json(identity: Identity) -> dict[str, Json]:
    """Write an identity."""
    who, proof = identity.who, identity.proof
    return {
        "who": who_to_json(who),
        "groups": sorted(identity.groups),
        "proof": {
            "method": proof.method,
            "credential": proof.credential,
            "amr": list(proof.amr),
            "acr": proof.acr,
            "auth_time": proof.auth_time,
            "assurance": proof.assurance,
        },
        "expires_at": identity.expires_at,
        "targets": None if identity.targets is None else sorted(identity.targets),
    }


def identity_from_json(document: Json) -> Identity:
    """Read an identity."""
    members = mapping(document)
    return Identity(
        who=who_from_json(members.get("who")),
        groups=frozenset(GroupName(group) for group in texts(members, "groups")),
        proof=_proof(mapping(members.get("proof"))),
        expires_at=Instant(integer(members, "expires_at")),
        targets=_targets(members),
    )


def who_to_json(who: Who) -> dict[str, Json]:
    """Write a subject."""
    return {
        "iss": who.issuer,
        "sub": who.subject,
        "name": who.name,
        "type": who.type,
        "login": str(who.login),
    }


def who_from_json(document: Json) -> Who:
    """Read a subject."""
    members = mapping(document)
    return Who(
        issuer=text(members, "iss"),
        subject=text(members, "sub"),
        name=LoginName(text(members, "name")),
        type=read(members, "type", _TYPES.__getitem__),
        login=read(members, "login", UUID),
    )


def _proof(members: Params) -> Proof:
    return Proof(
        method=text(members, "method"),
        credential=text(members, "credential"),
        amr=tuple(texts(members, "amr")),
        acr=text(members, "acr"),
        auth_time=None if members.get("auth_time") is None else Instant(integer(members, "auth_time")),
        assurance=text(members, "assurance"),
    )


def _targets(members: Params) -> frozenset[TargetName] | None:
    # A missing member must not read as "all": only null does.
    if "targets" in members and members["targets"] is None:
        return None
    return frozenset(TargetName(name) for name in texts(members, "targets"))
