"""Asking people over the bus: what is said, what is understood, and that whatever goes wrong is a refusal."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from uuid import UUID

import pytest

from tests.support.approvals import REQUEST
from tests.support.scripted import SOMEBODY, FakeApprovals, conversation, target
from vestibule.bus import Peer, connect
from vestibule.model.approval import ApprovalId, Candidate, Grant, Offer
from vestibule.model.approval import Written as Reference
from vestibule.model.effect import Ask, Seek, Spend
from vestibule.model.event import Asked, Sought, Spent
from vestibule.model.names import Digest, Instant, TargetName
from vestibule.model.record import Written
from vestibule.server.approvals import Asker, BusApprovals, answer
from vestibule.wire.approval import candidate_to_json, grant_to_json, offer_to_json, request_from_json

pytestmark = pytest.mark.asyncio

NAME = ApprovalId("AR-7Q2M4V0XKD")
URL = f"https://vestibule.bank.example/approvals/{NAME}"
OFFER = Offer(NAME, str(UUID(int=3)), b"k" * 32, URL)
CANDIDATE = Candidate(
    NAME, str(UUID(int=3)), b"k" * 32, "b" * 64, "f1", "granted", Digest("5" * 64), Instant(10**15), URL
)
GRANT = Grant(UUID(int=4), Reference(UUID(int=5), "c" * 64), (Reference(UUID(int=6), "d" * 64),), 0)
WRITTEN = Written(UUID(int=9), b"\x0f" * 32)
SPEND = Spend(NAME, 7, "b" * 64)


class Control:
    """The control process's end of a bus, which says what the test wants and keeps what it hears."""

    def __init__(self, **answers: Any) -> None:
        self.heard: list[tuple[str, Any]] = []
        self._near, self._far = Peer(), Peer()
        self.approvals = BusApprovals(self._near)
        for method in ("approval_seek", "approval_open", "approval_spend", "approval_withdraw"):
            self._far.on(method, lambda params, method=method: self._hear(method, params, answers.get(method)))

    def _hear(self, method: str, params: Any, told: Any) -> Any:
        self.heard.append((method, params))
        return told

    async def __aenter__(self) -> Control:
        ours, theirs = socket.socketpair()
        await connect(ours, self._near)
        await connect(theirs, self._far)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._near.close()
        self._far.close()
        await asyncio.sleep(0.01)


async def test_what_is_offered_and_what_there_is_come_back() -> None:
    told = {"offer": offer_to_json(OFFER), "candidates": [candidate_to_json(CANDIDATE)], "cause": ""}
    async with Control(approval_seek=told) as control:
        facts = conversation()
        sought = await control.approvals.seek(facts, SOMEBODY, TargetName("core"))
    assert sought == Sought(OFFER, (CANDIDATE,))
    who = {"iss": SOMEBODY.who.issuer, "sub": SOMEBODY.who.subject, "name": "dev1"}
    assert control.heard == [("approval_seek", {"session": str(facts.session), **who, "target": "core"})]


async def test_a_request_travels_with_the_name_of_its_record() -> None:
    async with Control(approval_open={}) as control:
        await control.approvals.ask(REQUEST, WRITTEN)
    ((_, heard),) = control.heard
    assert request_from_json(heard["request"]) == REQUEST
    assert heard["record"] == {"id": str(WRITTEN.id), "leaf": "0f" * 32}


@pytest.mark.parametrize(
    ("told", "spent"),
    [
        ({"grant": grant_to_json(GRANT)}, Spent(NAME, GRANT)),
        ({"refused": "it is spent already"}, Spent(NAME, None, "it is spent already")),
        ({"refused": "it is over", "permit": None}, Spent(NAME, None, "it is over")),
        ({"refused": "it is over", "permit": grant_to_json(GRANT)}, Spent(NAME, None, "it is over", GRANT)),
    ],
)
async def test_a_permit_is_spent_or_it_is_said_why_not(told: Any, spent: Spent) -> None:
    async with Control(approval_spend=told) as control:
        assert await control.approvals.spend(conversation(), SOMEBODY, TargetName("core"), SPEND) == spent
    ((_, heard),) = control.heard
    assert (heard["approval"], heard["number"], heard["bytes_mac"]) == (NAME, 7, "b" * 64)


async def test_a_withdrawal_is_told_and_waits_for_nothing() -> None:
    facts = conversation()
    async with Control() as control:
        control.approvals.withdraw(facts, NAME, "client_closed")
        await asyncio.sleep(0.05)
    expected = {"approval": NAME, "session": str(facts.session), "why": "client_closed"}
    assert control.heard == [("approval_withdraw", expected)]


async def test_a_withdrawal_that_nobody_hears_disturbs_nothing() -> None:
    BusApprovals(Peer()).withdraw(conversation(), NAME, "client_closed")


ASKER = Asker(conversation(), SOMEBODY, target())
REFUSALS = [
    (Seek(), Sought(None, cause="approvals are not available now")),
    (Ask(REQUEST, "requested"), Asked(REQUEST.approval, "approvals are not available now")),
    (SPEND, Spent(NAME, None, "approvals are not available now")),
]


@pytest.mark.parametrize(("effect", "refusal"), REFUSALS)
@pytest.mark.parametrize("told", [None, [], {"offer": 1, "candidates": [], "cause": ""}, {"grant": {}}, "x"])
async def test_a_malformed_answer_is_a_refusal(effect: Any, refusal: Any, told: Any) -> None:
    async with Control(approval_seek=told, approval_open=told, approval_spend=told) as control:
        given = await answer(control.approvals, ASKER, effect, WRITTEN)
    assert given == (Asked(REQUEST.approval) if isinstance(effect, Ask) else refusal)


@pytest.mark.parametrize(("effect", "refusal"), REFUSALS)
async def test_whatever_fails_on_the_way_is_a_refusal(effect: Any, refusal: Any) -> None:
    approvals = FakeApprovals()
    approvals.error = ConnectionError("a secret of somebody's")
    assert await answer(approvals, ASKER, effect, WRITTEN) == refusal


@pytest.mark.parametrize(("effect", "refusal"), [REFUSALS[0], REFUSALS[2]])
async def test_nobody_asks_before_it_is_known_who_it_is(effect: Any, refusal: Any) -> None:
    assert await answer(FakeApprovals(), Asker(conversation(), None, None), effect, None) == refusal


async def test_what_is_not_recorded_is_not_put_before_people() -> None:
    approvals = FakeApprovals()
    assert await answer(approvals, ASKER, Ask(REQUEST, "requested"), None) == REFUSALS[1][1]
    assert approvals.asked == []
