import json
from hashlib import sha256
from pathlib import Path

import pytest

from vestibule.evidence.canonical import decode_header, encode_body, encode_header, leaf_hash
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.kinds import BODY
from vestibule.model.record import Kind

GOLDEN = {
    record["kind"]: record for record in json.loads((Path(__file__).parent.parent / "golden/records.json").read_text())
}
#: What each kind cannot do without.
REQUIRED = {
    Kind.ACCESS_DECIDED: {"client", "protocol", "decision"},
    Kind.SESSION_OPENED: {
        "access", "who", "proof", "client", "protocol", "target", "target_account", "policy", "data_key", "ends_at",
    },
    Kind.SESSION_CLOSED: {"opened", "cause"},
    Kind.IDENTITY_EVENT: {"event", "source"},
    Kind.STATEMENT_DECIDED: {
        "statement", "no", "dialect", "text_bytes", "text_mac", "bytes_mac", "bind_key", "decision", "rule",
    },
    Kind.STATEMENT_FINISHED: {"decided", "outcome", "forwarded"},
    Kind.CHUNK_SEALED: {"stream", "seq", "object", "first_us", "last_us", "events", "recovered"},
    Kind.APPROVAL_REQUESTED: {
        "approval", "scope", "requester", "bytes_mac", "bind_key", "approvers", "quorum", "expires_at",
    },
    Kind.APPROVAL_ANSWERED: {"request", "answer", "granted_so_far", "latency_ms"},
    Kind.PERMIT_USED: {
        "permit", "request", "answers", "decided", "bytes_mac", "bind_key", "equal", "result", "uses_left",
    },
    Kind.POLICY_APPLIED: {"policy", "text", "source", "effective_at"},
    Kind.EVIDENCE_VIEWED: {"viewer", "action"},
    Kind.NODE_STARTED: {"version", "python", "clean"},
    Kind.NODE_STOPPED: {"cause", "open_sessions", "queue_empty"},
    Kind.HEARTBEAT: {"beat", "sessions_open", "sessions_digest"},
    Kind.AUDIT_FAULT: {"fault", "phase"},
    Kind.LOG_GENESIS: {"origin", "generation", "vkey"},
}  # fmt: skip


def test_every_kind_has_members_and_a_golden_vector() -> None:
    assert set(BODY) == set(Kind) == {Kind(name) for name in GOLDEN} == set(REQUIRED)


@pytest.mark.parametrize("kind", Kind)
def test_body_header_and_leaf_of_each_kind_are_the_golden_ones(kind) -> None:
    golden = GOLDEN[kind]
    body = encode_body(kind, golden["members"], bytes.fromhex(golden["salt"]))
    header = decode_header(golden["header"].encode())
    assert body.decode() == golden["body"]
    assert encode_header(header).decode() == golden["header"]
    assert (header.kind, header.body, header.length) == (kind, sha256(body).digest(), len(body))
    assert leaf_hash(golden["header"].encode()).hex() == golden["leaf"]


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_takes_its_required_members_alone_and_misses_each_of_them(kind) -> None:
    members = {name: GOLDEN[kind]["members"][name] for name in REQUIRED[kind]}
    encode_body(kind, members, bytes(16))
    for name in REQUIRED[kind]:
        with pytest.raises(EvidenceFormatError, match=f"{kind}.{name} is missing"):
            encode_body(kind, {key: value for key, value in members.items() if key != name}, bytes(16))


@pytest.mark.parametrize("kind", Kind)
def test_no_kind_takes_a_member_that_is_not_its_own_or_of_another_type(kind) -> None:
    members = GOLDEN[kind]["members"]
    with pytest.raises(EvidenceFormatError, match="unknown members: surprise"):
        encode_body(kind, members | {"surprise": 1}, bytes(16))
    for name in members:
        with pytest.raises(EvidenceFormatError, match=f"{kind}.{name}"):
            encode_body(kind, members | {name: 1.5}, bytes(16))
