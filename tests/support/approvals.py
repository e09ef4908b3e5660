"""Approvals for tests: a request like a real one, strategies for any, and a site where people answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.identities import Clock, fresh_database
from vestibule.control.approval_desk import ApprovalDesk, Gateway
from vestibule.control.approval_view import shown_hash
from vestibule.control.approvals import Approvals, Port
from vestibule.control.desk import Live
from vestibule.evidence.canonical import encode_body
from vestibule.evidence.literals import mask_words
from vestibule.model.approval import ApprovalId, Candidate, Grant, Offer, Request, Written
from vestibule.model.decision import Rule
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.identity import Identity, Peer, Proof, Who
from vestibule.model.names import Digest, GroupName, Instant, LoginName, RuleName, TargetName
from vestibule.model.record import Record
from vestibule.model.record import Written as Durable
from vestibule.stores.approvals import ApprovalStore, Kept
from vestibule.stores.data_keys import DataKeys, open_data_keys
from vestibule.wire.approval import ALPHABET, request_to_json
from vestibule.wire.jsonrpc import Params

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


def person(name: str, *groups: str, issuer: str = REQUESTER.issuer, **changes: Any) -> Identity:
    """Somebody who is logged in; `name` is their subject too."""
    who = Who(issuer, name, LoginName(name), "human", uuid5(NAMESPACE_URL, f"{issuer}/{name}"))
    made = Identity(who, frozenset(map(GroupName, groups)), Proof("token", "credential-1"), Instant(2**52))
    return replace(made, **changes)


ASKER: Final = person("u-1", "engineering", "dba-managers")
BEA: Final = person("bea", "dba-managers")
CAY: Final = person("cay", "dba-managers", "dba-leads")
OUTSIDER: Final = person("eve", "engineering")
AUDITOR: Final = person("aud", "internal-audit")


@dataclass
class Site:
    """Approvals over a real database, with a clock that tests move and records that they read."""

    engine: AsyncEngine
    keys: DataKeys
    clock: Clock = field(default_factory=lambda: Clock(REQUEST.requested_at))
    records: list[Record] = field(default_factory=list)
    told: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    live: dict[UUID, Live] = field(default_factory=dict)
    is_full: bool = False
    #: While this is clear, no record becomes durable.
    flows: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Put the parts together."""
        self.flows.set()
        self.store = ApprovalStore(self.engine)
        self.service, self.desk = self.again()

    def again(self) -> tuple[Approvals, ApprovalDesk]:
        """Make service and desk as a control process that has just started."""
        port = Port(self.persist, self.mask, self.clock, lambda who: GroupName("internal-audit") in who.groups)
        service = Approvals(ApprovalStore(self.engine), self.keys, port)
        gateway = Gateway("https://vestibule.example:8443", self.clock, self.live.get, self.inform)
        self.service, self.desk = service, ApprovalDesk(service, ApprovalStore(self.engine), self.keys, gateway)
        return self.service, self.desk

    def mask(self, words: str) -> str:
        """Mask as the gateway does."""
        return mask_words(words, bytes(32), "k1")

    def inform(self, worker: int, method: str, params: Params) -> None:
        """Note what a data process is told."""
        self.told.append((worker, method, dict(params)))

    async def persist(self, record: Record) -> Durable:
        """Make a record durable, if it is one that the tables allow."""
        if self.is_full:
            raise EvidenceUnavailable("full")
        await self.flows.wait()
        encode_body(record.kind, record.members, bytes(16))
        self.records.append(record)
        return Durable(UUID(int=len(self.records)), len(self.records).to_bytes(32, "big"))

    async def call(self, method: str, params: Mapping[str, Any], worker: int = 0) -> Any:
        """Call as a data process."""
        answer = self.desk.handlers(worker)[method](params)
        return await answer if inspect.isawaitable(answer) else answer

    async def seek(self, worker: int = 0, **changes: Any) -> Any:
        """Seek an approval for the statement of `REQUEST`."""
        asked = {
            "session": str(SESSION),
            "iss": REQUESTER.issuer,
            "sub": REQUESTER.subject,
            "name": REQUESTER.name,
            "target": REQUEST.target,
        }
        return await self.call("approval_seek", asked | changes, worker)

    async def open(self, worker: int = 0, **changes: Any) -> Request:
        """Seek and open a request like `REQUEST`, now."""
        asked = request(requested_at=self.clock(), expires_at=Instant(self.clock() + 15 * MINUTE), **changes)
        who = asked.requester
        offer = (
            await self.seek(
                worker, session=str(asked.session), iss=who.issuer, sub=who.subject, name=who.name, target=asked.target
            )
        )["offer"]
        asked = replace(asked, approval=offer["approval"], key_id=offer["key_id"])
        await self.call("approval_open", opening(asked), worker)
        return asked

    async def spend(self, asked: Request, worker: int = 0, **changes: Any) -> Any:
        """Spend the permit for a request."""
        params = {
            "approval": asked.approval,
            "session": str(asked.session),
            "number": 9,
            "iss": asked.requester.issuer,
            "sub": asked.requester.subject,
            "target": asked.target,
            "bytes_mac": asked.bytes_mac,
        }
        return await self.call("approval_spend", params | changes, worker)

    async def answer(self, viewer: Identity, asked: Request, granted: bool = True, **changes: Any) -> Kept:
        """Answer what is shown."""
        with_: dict[str, Any] = {"comment": "", "channel": "api", "shown": shown_hash(asked)}
        return await self.service.answer(viewer, asked.approval, granted, **(with_ | changes))

    async def state(self, asked: Request) -> str:
        """Say what has become of a request."""
        kept = await self.store.find(asked.approval)
        return "unknown" if kept is None else kept.state

    def answers(self) -> list[Any]:
        """Say what the records answer, in order."""
        return [record.members["answer"] for record in self.records]


def opening(asked: Request) -> dict[str, Any]:
    """What opens a request over the bus."""
    return {"request": request_to_json(asked), "record": {"id": str(UUID(int=77)), "leaf": "a" * 64}}


@asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[Site]:
    """Open a site in a folder of its own."""
    engine = await fresh_database(folder)
    try:
        yield Site(engine, await open_data_keys(engine, folder / "kek"))
    finally:
        await engine.dispose()
