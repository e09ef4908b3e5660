"""How the gate's values are written as members of records; empty members are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha1, sha256
from typing import Final
from uuid import UUID

from vestibule.evidence.literals import mask_name, mask_value
from vestibule.gate.gate import StorageKey
from vestibule.model.approval import Written
from vestibule.model.decision import Rule
from vestibule.model.event import Tls
from vestibule.model.identity import Identity, Peer, Proof, Who
from vestibule.model.names import Digest, RuleName, stamp
from vestibule.model.plan import Column, Form, Label, Plan
from vestibule.model.record import Json
from vestibule.model.statement import Analysis, Operation

#: Bounds that keep a body below its limit of 60,000 bytes whatever the client sends; a text takes 32,768 at most.
OPERATIONS_SHOWN: Final = 64
OPERATIONS_BYTES: Final = 8_000
PARAMETERS_SHOWN: Final = 256
PARAMETERS_BYTES: Final = 14_000
COLUMNS_SHOWN: Final = 32
CLEARED_SHOWN: Final = 32
VALUE_BYTES: Final = 1_024
NAME_CHARACTERS: Final = 256
GROUPS_SHOWN: Final = 256
GROUPS_BYTES: Final = 16_000

Shown = tuple[int, bytes | None]


def statement_id(session: UUID, number: int) -> str:
    """Write the UUIDv5 (RFC 9562, 5.5) of a session's statement, whose name space is the session."""
    digits = sha1(session.bytes + b"%d" % number, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def compact(members: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out members that are empty; numbers and False stay."""
    # False is 0, and nothing else that is empty is.
    return {name: value for name, value in members.items() if value or value == 0}


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


def written_json(written: Written) -> dict[str, Json]:
    """Write a reference to a durable record of another journal."""
    return {"id": str(written.id), "leaf": written.leaf}


def tls_json(tls: Tls | None) -> dict[str, Json] | None:
    """Write one side of `tls`; None is plain text."""
    if tls is None:
        return None
    return compact({"version": tls.version, "cipher": tls.cipher, "certificate": tls.certificate})


def groups_json(identity: Identity) -> list[Json]:
    """Write the groups in a fixed order, as many as a record may hold."""
    return list(_within(GROUPS_BYTES, [cut(group) for group in sorted(identity.groups)[:GROUPS_SHOWN]]))


def operations_json(operations: Sequence[Operation], key: StorageKey) -> dict[str, Json]:
    """Write `ops` through the storage mask, and how many more there are than may be shown."""
    masked = [mask_name(operation.object, key.key, key.id) for operation in operations[:OPERATIONS_SHOWN]]
    names = _within(OPERATIONS_BYTES, map(cut, masked))
    shown: list[Json] = [
        compact({"verb": operation.verb, "object": name, "impact": operation.impact.word})
        for operation, name in zip(operations, names, strict=False)
    ]
    return {"ops": shown, "ops_more": len(operations) - len(shown) or None}


def plan_json(plans: Sequence[Plan | None]) -> dict[str, Json] | None:
    """Write how the answers of a message are masked, as one plan; None where nothing is."""
    decided = [plan for plan in plans if plan is not None]
    if not decided:
        return None
    worst = max(decided, key=lambda plan: plan.form is Form.PLAIN)
    digest = decided[0].digest
    if len(decided) > 1:
        digest = Digest(sha256("".join(plan.digest for plan in decided).encode()).hexdigest())
    masked = [column for plan in decided for column in plan.columns or () if column.mask is not None]
    return compact(
        {
            "tier": "B",
            "form": worst.form.value,
            "digest": digest,
            "columns": [_masked(column) for column in masked[:COLUMNS_SHOWN]],
        }
    )


def clear_by_json(analyses: Sequence[Analysis], shown: Sequence[Label], stored: Sequence[Label]) -> list[Json]:
    """Name the mask entries that let columns of an answer pass which are masked wherever they are stored."""
    cleared = {label.rule for label in stored}.difference(label.rule for label in shown)
    if not cleared:
        return []
    passed: set[RuleName] = set()
    for analysis in analyses:
        if analysis.stored is None:
            # What is computed may be made of any of them.
            return list[Json](sorted(cleared)[:CLEARED_SHOWN])
        columns = analysis.stored.columns or ()
        passed |= {column.mask.rule for column in columns if column.mask is not None}
    return list[Json](sorted(cleared & passed)[:CLEARED_SHOWN])


def _masked(column: Column) -> dict[str, Json]:
    origin = "" if column.origin is None else f"{column.origin[0]}.{column.origin[1]}"
    mask = column.mask
    if mask is None:
        raise AssertionError("only masked columns are listed")
    shown = mask.transform
    name = f"keep {shown.first}+{shown.last}" if shown.kind == "keep" else shown.kind
    return compact({"name": cut(column.name, 63), "origin": origin, "transform": name, "rule": cut(mask.rule)})


def parameters_json(parameters: Sequence[Shown], understood: bool, key: StorageKey) -> dict[str, Json]:
    """Write `parameters` through the storage mask, and how many more there are than may be shown."""
    shown = [(type_, _value(value, understood, key)) for type_, value in parameters[:PARAMETERS_SHOWN]]
    values = _within(PARAMETERS_BYTES, [value or "" for _, value in shown])
    rows: list[Json] = [_parameter(type_, value) for (type_, value), _ in zip(shown, values, strict=False)]
    return {"parameters": rows, "parameters_more": len(parameters) - len(rows) or None}


def _value(value: bytes | None, understood: bool, key: StorageKey) -> str | None:
    if value is not None and len(value) > VALUE_BYTES:
        return f"<{len(value)} bytes>"
    return mask_value(value, understood, key.key, key.id)


def _parameter(type_: int, value: str | None) -> dict[str, Json]:
    return {"type": str(type_), "null": True} if value is None else {"type": str(type_), "value": value, "null": False}


def _within(budget: int, texts: Iterable[str]) -> Iterator[str]:
    """Give texts as long as they fit a budget of bytes, each with what stands around it."""
    for text in texts:
        # A control character takes six bytes of JSON, a quote or a backslash two.
        budget -= 48 + len(text.encode(errors="surrogatepass")) * (2 if text.isprintable() else 6)
        if budget < 0:
            return
        yield text
