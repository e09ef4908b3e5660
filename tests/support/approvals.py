"""Approvals for tests: a request like a real one, and strategies for any."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from vestibule.model.approval import ApprovalId, Candidate, Grant, Offer, Request, Written
from vestibule.model.decision import Rule
from vestibule.model.identity import Peer, Who
from vestibule.model.names import Digest, GroupName, Instant, LoginName, RuleName, TargetName
from vestibule.wire.approval import ALPHABET

POLICY: Final = Digest("5" * 64)
REQUESTER: Final = Who("https://idp.bank.example", "u-1", LoginName("dev1"), "human", UUID(int=1))
SESSION: Final = UUID("0192aa00-0000-7000-8000-000000000001")
MINUTE: Final = 60_000_000

REQUEST: Final = Request(
    approval=ApprovalId("AR-7Q2M4V0XKD"),
    key_id="00000000-0000-4000-8000-00000000000a",
    bytes_mac="b" * 64,
    fingerprint="f1",
    rule=Rule(RuleName("delete in production"), "guardrails", POLICY),
    reason="Deleting in production needs a second person.",
    requester=REQUESTER,
    groups=frozenset({GroupName("engineering")}),
    client=Peer("10.1.2.3", 50_000),
    banner="psql",
    session=SESSION,
    number=7,
    protocol="postgres",
    target=TargetName("core-banking"),
    account="vestibule_rw",
    database="core",
    search_path="public",
    text="DELETE FROM loans WHERE id = <n:k1:AAAA>",
    text_bytes=31,
    parameters=({"type": "23", "value": "<n:k1:BBBB>", "null": False},),
    operations=({"verb": "delete", "object": "public.loans", "impact": "write"},),
    approvers=frozenset({GroupName("dba-managers")}),
    quorum=1,
    requested_at=Instant(1_000_000_000_000_000),
    expires_at=Instant(1_000_000_000_000_000 + 15 * MINUTE),
    live=True,
)


def request(**changes: Any) -> Request:
    """Make a request like `REQUEST`, with changes."""
    return replace(REQUEST, **changes)


IDS = st.text(ALPHABET, min_size=10, max_size=10).map(lambda letters: ApprovalId(f"AR-{letters}"))
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda digest: Digest(digest.hex()))
COUNTS = st.integers(0, 2**53 - 1)
INSTANTS = COUNTS.map(Instant)
KEYS = st.binary(min_size=1, max_size=32)
GROUPS = st.frozensets(st.text().map(GroupName), max_size=3)
STATES = st.sampled_from(["pending", "granted", "refused", "expired", "withdrawn", "spent"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=3,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=8), VALUES, max_size=3), max_size=3).map(tuple)
WHOS = st.builds(
    Who, st.text(), st.text(), st.text().map(LoginName), st.sampled_from(["human", "agent", "workload"]), st.uuids()
)
WRITTEN = st.builds(Written, st.uuids(), DIGESTS)
OFFERS = st.builds(Offer, IDS, st.text(), KEYS, st.text())
CANDIDATES = st.builds(Candidate, IDS, st.text(), KEYS, DIGESTS, st.text(), STATES, DIGESTS, INSTANTS, st.text())
GRANTS = st.builds(Grant, st.uuids(), WRITTEN, st.lists(WRITTEN, max_size=3).map(tuple), COUNTS)
REQUESTS = st.builds(
    Request,
    approval=IDS,
    bytes_mac=DIGESTS,
    rule=st.builds(Rule, st.text().map(RuleName), st.sampled_from(["access", "guardrails", "default"]), DIGESTS),
    requester=WHOS,
    groups=GROUPS,
    client=st.builds(Peer, st.text(), COUNTS),
    number=COUNTS,
    target=st.text().map(TargetName),
    text_bytes=COUNTS,
    parameters=OBJECTS,
    operations=OBJECTS,
    approvers=GROUPS,
    quorum=st.integers(1, 2**53 - 1),
    requested_at=INSTANTS,
    expires_at=INSTANTS,
)
