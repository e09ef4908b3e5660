"""Identities and answers to a proof as JSON, for the bus between control and data process.

1. Writing and reading are inverse. What does not read exactly is a `ValueError` without the value.
2. `data_key` is a secret: it travels on the bus only, never into a log or a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from uuid import UUID

from vestibule.model.event import Admission
from vestibule.model.identity import Identity, Proof, Refusal, Who, WhoType
from vestibule.model.names import GroupName, Instant, LoginName, TargetName
from vestibule.wire.jsonrpc import Json, Params

T = TypeVar("T")

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
        return _read(document, "refused", Refusal)
    members = _mapping(document)
    return Admission(
        identity=identity_from_json(members.get("identity")),
        data_key_id=_text(members, "data_key_id"),
        data_key=_read(members, "data_key", bytes.fromhex),
    )


def identity_to_json(identity: Identity) -> dict[str, Json]:
    """Write an identity."""
    who, proof = identity.who, identity.proof
    return {
        "who": {
            "iss": who.issuer,
            "sub": who.subject,
            "name": who.name,
            "type": who.type,
            "login": str(who.login),
        },
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
    members = _mapping(document)
    return Identity(
        who=_who(_mapping(members.get("who"))),
        groups=frozenset(GroupName(group) for group in _texts(members, "groups")),
        proof=_proof(_mapping(members.get("proof"))),
        expires_at=Instant(_integer(members, "expires_at")),
        targets=_targets(members),
    )


def _who(members: Params) -> Who:
    return Who(
        issuer=_text(members, "iss"),
        subject=_text(members, "sub"),
        name=LoginName(_text(members, "name")),
        type=_read(members, "type", _TYPES.__getitem__),
        login=_read(members, "login", UUID),
    )


def _proof(members: Params) -> Proof:
    return Proof(
        method=_text(members, "method"),
        credential=_text(members, "credential"),
        amr=tuple(_texts(members, "amr")),
        acr=_text(members, "acr"),
        auth_time=None if members.get("auth_time") is None else Instant(_integer(members, "auth_time")),
        assurance=_text(members, "assurance"),
    )


def _targets(members: Params) -> frozenset[TargetName] | None:
    # A missing member must not read as "all": only null does.
    if "targets" in members and members["targets"] is None:
        return None
    return frozenset(TargetName(name) for name in _texts(members, "targets"))


def _mapping(value: Json) -> Params:
    if not isinstance(value, Mapping):
        raise ValueError("an object is missing")
    return value


def _text(members: Params, name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value


def _texts(members: Params, name: str) -> list[str]:
    value = members.get(name)
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"{name} is not a list of strings")
    return value


def _integer(members: Params, name: str) -> int:
    value = members.get(name)
    if type(value) is not int:
        raise ValueError(f"{name} is not an integer")
    return value


def _read(members: Params, name: str, reader: Callable[[str], T]) -> T:
    try:
        return reader(_text(members, name))
    except (KeyError, ValueError):
        raise ValueError(f"{name} is not what it should be") from None
