"""How the gate's values are written as members of records; empty members are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vestibule.evidence.literals import mask_value
from vestibule.gate.gate import StorageKey
from vestibule.model.decision import Rule
from vestibule.model.event import Tls
from vestibule.model.identity import Identity, Peer, Proof, Who
from vestibule.model.names import stamp
from vestibule.model.record import Json
from vestibule.model.statement import Operation

#: Bounds that keep a body below its limit of 60,000 bytes whatever the client sends.
OPERATIONS_SHOWN: Final = 64
PARAMETERS_SHOWN: Final = 256
VALUES_BYTES: Final = 16_384
NAME_CHARACTERS: Final = 256
GROUPS_SHOWN: Final = 256

Shown = tuple[int, bytes | None]


def compact(members: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out members that are empty; numbers and False stay."""
    return {name: value for name, value in members.items() if value is not None and value not in ("", [], {}, ())}


def cut(text: str, characters: int = NAME_CHARACTERS) -> str:
    """Bound a string that somebody else chose."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def who_json(who: Who) -> dict[str, Json]:
    """Write a `who`."""
    return {
        "iss": cut(who.issuer),
        "sub": cut(who.subject),
        "name": cut(who.name),
        "type": who.type,
        "login": str(who.login),
    }


def proof_json(proof: Proof) -> dict[str, Json]:
    """Write a `proof`."""
    return compact(
        {
            "method": proof.method,
            "credential": proof.credential,
            "amr": [cut(entry) for entry in proof.amr[:16]],
            "acr": cut(proof.acr),
            "auth_time": None if proof.auth_time is None else stamp(proof.auth_time),
            "assurance": proof.assurance,
        }
    )


def peer_json(peer: Peer) -> dict[str, Json]:
    """Write a `peer`."""
    return {"ip": peer.ip, "port": peer.port}


def rule_json(rule: Rule) -> dict[str, Json]:
    """Write a `rule`."""
    return {"name": rule.name, "section": rule.section, "policy": rule.policy}


def tls_json(tls: Tls | None) -> dict[str, Json] | None:
    """Write one side of `tls`; None is plain text."""
    if tls is None:
        return None
    return compact({"version": tls.version, "cipher": tls.cipher, "certificate": tls.certificate})


def groups_json(identity: Identity) -> list[Json]:
    """Write the groups in a fixed order."""
    return [cut(group) for group in sorted(identity.groups)[:GROUPS_SHOWN]]


def operations_json(operations: Sequence[Operation]) -> dict[str, Json]:
    """Write `ops`, and how many more there are than may be shown."""
    shown: list[Json] = [
        compact({"verb": operation.verb, "object": cut(operation.object), "impact": operation.impact.word})
        for operation in operations[:OPERATIONS_SHOWN]
    ]
    more = len(operations) - len(shown)
    return {"ops": shown, "ops_more": more or None}


def parameters_json(parameters: Iterable[Shown], understood: bool, key: StorageKey) -> list[Json]:
    """Write parameters through the storage mask; values share a budget, the rest is counted by its length."""
    budget = VALUES_BYTES
    rows: list[Json] = []
    for number, (type_, value) in enumerate(parameters):
        if number == PARAMETERS_SHOWN:
            break
        rows.append(_parameter(type_, value, understood, key, min(budget, 1_024)))
        budget -= min(budget, len(value or b""))
    return rows


def _parameter(type_: int, value: bytes | None, understood: bool, key: StorageKey, room: int) -> dict[str, Json]:
    if value is None:
        return {"type": str(type_), "null": True}
    if len(value) > room:
        return {"type": str(type_), "value": f"<{len(value)} bytes>", "null": False}
    return {"type": str(type_), "value": mask_value(value, understood, key.key, key.id), "null": False}
