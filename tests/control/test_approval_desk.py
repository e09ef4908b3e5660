"""Approvals over the bus."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.approvals import (
    BEA,
    CAY,
    MINUTE,
    REQUEST,
    REQUESTER,
    SESSION,
    Site,
    open_site,
    opening,
    request,
)
from vestibule.control import approval_desk
from vestibule.control.approval_desk import MAX_OFFERS_OF_SESSION, MAX_OPEN_OF_ONE, new_id
from vestibule.control.desk import Live
from vestibule.model.approval import Offer, Request
from vestibule.model.login import StateUnavailable
from vestibule.model.names import GroupName, Instant
from vestibule.wire.approval import approval_id, candidate_from_json, grant_from_json, offer_from_json

pytestmark = pytest.mark.asyncio
OTHER = UUID(int=5)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as made:
        yield made


def live(session: UUID, worker: int = 0, subject: str = "u-1") -> Live:
    return Live(session, worker, UUID(int=1), REQUESTER.issuer, subject, "dev1", "core-banking", "10.1.2.3", 1)


async def offered(site: Site, **changes: Any) -> tuple[Offer, Request]:
    offer = offer_from_json((await site.seek())["offer"])
    asked = replace(REQUEST, approval=offer.approval, key_id=offer.key_id)
    return offer, replace(asked, **changes)


# --- seeking


async def test_an_offer_has_an_id_a_key_and_a_page_of_its_own(site: Site) -> None:
    one, two = (await offered(site))[0], (await offered(site))[0]
    assert one.url == f"https://vestibule.example:8443/approvals/{one.approval}"
    assert await site.keys.data_key(UUID(one.key_id)) == one.key
    assert len(one.key) == 32
    assert len({one.approval, two.approval}) == len({one.key, two.key}) == 2


async def test_ids_are_ones_that_people_can_read_to_each_other() -> None:
    made = {new_id() for _ in range(500)}
    assert len(made) == 500
    assert all(approval_id(each) == each and re.fullmatch(r"AR-[^ILOU]{10}", each) for each in made)


async def test_what_is_open_for_a_person_at_a_target_is_given_with_its_key(site: Site) -> None:
    pending = await site.open()
    site.clock.pass_seconds(1)
    granted = await site.open(text="DELETE FROM customers", fingerprint="f2")
    await site.answer(BEA, granted)
    for over in (await site.open(text="a"), await site.open(text="b")):
        await site.answer(BEA, over, granted=over.text == "a")
        await site.spend(over)
    found = [candidate_from_json(each) for each in (await site.seek(worker=3, session=str(OTHER)))["candidates"]]
    assert [(each.approval, each.state, each.fingerprint) for each in found] == [
        (pending.approval, "pending", "f1"),
        (granted.approval, "granted", "f2"),
    ]
    for candidate, asked in zip(found, (pending, granted), strict=True):
        assert candidate.key == await site.keys.data_key(UUID(asked.key_id))
        assert (candidate.bytes_mac, candidate.policy) == (asked.bytes_mac, asked.rule.policy)
        assert candidate.expires_at == asked.expires_at


@pytest.mark.parametrize("changes", [{"iss": "https://other.example"}, {"sub": "u-2"}, {"target": "payments"}])
async def test_nothing_is_given_for_another_person_or_target(site: Site, changes: dict[str, str]) -> None:
    await site.open()
    assert (await site.seek(**changes))["candidates"] == []


async def test_nothing_is_given_that_has_expired(site: Site) -> None:
    asked = await site.open()
    site.clock.now = asked.expires_at
    assert (await site.seek())["candidates"] == []


async def test_after_a_start_a_permit_is_still_found_with_its_key(site: Site) -> None:
    asked = await site.open()
    await site.answer(BEA, asked)
    before = (await site.seek())["candidates"]
    site.again()
    assert (await site.seek())["candidates"] == before


async def test_a_person_has_so_many_requests_open_and_no_more(site: Site) -> None:
    for _ in range(MAX_OPEN_OF_ONE):
        last = await site.open(live=False)
    answer = await site.seek()
    assert answer["offer"] is None
    assert answer["cause"].startswith("32 of your requests are open already")
    assert len(answer["candidates"]) == MAX_OPEN_OF_ONE
    assert (await site.seek(sub="u-2"))["offer"] is not None
    await site.answer(BEA, last, granted=False)
    assert (await site.seek())["offer"] is not None


async def test_no_request_is_opened_beyond_the_bound_with_offers_of_before(site: Site) -> None:
    _, kept = await offered(site, live=False)
    for _ in range(MAX_OPEN_OF_ONE):
        await site.open(live=False, session=OTHER)
    with pytest.raises(ValueError, match="open already"):
        await site.call("approval_open", opening(kept))


async def test_the_gateway_has_so_many_requests_open_and_no_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_desk, "MAX_OPEN", 1)
    await site.open()
    answer = await site.seek(sub="u-2")
    assert (answer["offer"], "too many requests" in answer["cause"]) == (None, True)


async def test_offers_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = await offered(site)
    _, second = await offered(site)
    for _ in range(MAX_OFFERS_OF_SESSION - 1):
        _, last = await offered(site)
    with pytest.raises(ValueError, match="not offered"):
        await site.call("approval_open", opening(first))
    await site.call("approval_open", opening(second))
    await site.call("approval_open", opening(last))
    monkeypatch.setattr(approval_desk, "MAX_OFFERS", MAX_OFFERS_OF_SESSION - 2)
    assert (await site.seek(session=str(OTHER)))["offer"] is None


async def test_what_is_opened_is_no_offer_any_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_desk, "MAX_OFFERS", 1)
    for number in range(3):
        await site.open(text=f"DELETE {number}")


async def test_without_a_state_database_nothing_is_offered_and_a_person_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: str) -> tuple[UUID, bytes]:
        raise StateUnavailable("locked")

    monkeypatch.setattr(site.keys, "new_data_key", fail)
    assert await site.seek() == {
        "offer": None,
        "candidates": [],
        "cause": "approvals cannot be asked for now; try again",
    }


# --- opening


async def test_an_opened_request_is_pending_with_the_reference_to_its_record(site: Site) -> None:
    _, asked = await offered(site)
    assert await site.call("approval_open", opening(asked)) == {}
    kept = await site.store.find(asked.approval)
    assert kept is not None
    assert (kept.request, kept.state, kept.record.id, kept.record.leaf) == (asked, "pending", UUID(int=77), "a" * 64)


async def test_an_id_is_opened_once(site: Site) -> None:
    _, asked = await offered(site)
    opened = await asyncio.gather(
        *(site.call("approval_open", opening(asked)) for _ in range(5)), return_exceptions=True
    )
    assert sorted(isinstance(each, ValueError) for each in opened) == [False, True, True, True, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"approval": "AR-0000000000"},
        {"key_id": "00000000-0000-4000-8000-00000000000b"},
        {"session": OTHER},
        {"target": "payments"},
        {"requester": replace(REQUESTER, subject="u-2")},
        {"requester": replace(REQUESTER, issuer="https://other.example")},
    ],
)
async def test_what_was_not_offered_is_not_opened(site: Site, changes: dict[str, Any]) -> None:
    _, asked = await offered(site, **changes)
    with pytest.raises(ValueError, match="not offered to this session"):
        await site.call("approval_open", opening(asked))


async def test_what_was_offered_to_another_process_is_not_opened(site: Site) -> None:
    _, asked = await offered(site)
    with pytest.raises(ValueError, match="not offered"):
        await site.call("approval_open", opening(asked), worker=1)


async def test_what_was_offered_to_a_session_that_ended_is_not_opened(site: Site) -> None:
    _, asked = await offered(site)
    _, other = await offered(site)
    await site.desk.session_closed(SESSION)
    with pytest.raises(ValueError, match="not offered"):
        await site.call("approval_open", opening(asked))
    await site.desk.lost(0)
    with pytest.raises(ValueError, match="not offered"):
        await site.call("approval_open", opening(other))


async def test_what_has_expired_is_not_opened(site: Site) -> None:
    _, asked = await offered(site)
    site.clock.now = asked.expires_at
    with pytest.raises(ValueError, match="expired"):
        await site.call("approval_open", opening(asked))


async def test_opening_may_be_tried_again_after_a_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> bool:
        raise StateUnavailable("locked")

    _, asked = await offered(site)
    with monkeypatch.context() as patched:
        patched.setattr(site.desk._store, "add", fail)
        with pytest.raises(StateUnavailable):
            await site.call("approval_open", opening(asked))
    assert await site.call("approval_open", opening(asked)) == {}


# --- spending


async def granted(site: Site, **changes: Any) -> Request:
    asked = await site.open(**changes)
    await site.answer(BEA, asked)
    return asked


async def test_a_spent_permit_names_the_records_that_it_stands_on(site: Site) -> None:
    asked = await site.open(quorum=2)
    await site.answer(BEA, asked)
    kept = await site.answer(CAY, asked)
    grant = grant_from_json((await site.spend(asked))["grant"])
    assert (grant.permit, grant.request, grant.uses_left) == (kept.permit, kept.record, 0)
    assert [answer.id for answer in grant.answers] == [UUID(int=1), UUID(int=2)]
    assert await site.state(asked) == "spent"


@pytest.mark.case("E-21")
async def test_a_permit_is_spent_once_however_many_try_at_once(site: Site) -> None:
    asked = await granted(site)
    answers = await asyncio.gather(*(site.spend(asked, worker) for worker in range(8)))
    assert sum("grant" in answer for answer in answers) == 1
    refused = next(answer for answer in answers if "refused" in answer)
    assert refused["refused"] == "it has been used already"
    assert grant_from_json(refused["permit"]).uses_left == 0


async def test_a_permit_that_was_spent_before_a_start_is_spent_after_it(site: Site) -> None:
    asked = await granted(site)
    await site.spend(asked)
    site.again()
    assert "refused" in await site.spend(asked)


async def test_any_session_of_the_same_person_may_spend_it(site: Site) -> None:
    asked = await granted(site)
    assert "grant" in await site.spend(asked, worker=2, session=str(OTHER))


@pytest.mark.case("E-20")
@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"bytes_mac": "c" * 64}, "the statement is not the one that was approved"),
        ({"bytes_mac": ""}, "the statement is not the one that was approved"),
        ({"bytes_mac": "B" * 64}, "the statement is not the one that was approved"),
        ({"target": "payments"}, "it is for another target"),
    ],
)
async def test_a_permit_is_for_its_bytes_and_its_target(site: Site, changes: dict[str, str], cause: str) -> None:
    asked = await granted(site)
    answer = await site.spend(asked, **changes)
    assert answer["refused"] == cause
    assert grant_from_json(answer["permit"]).uses_left == 1
    assert "grant" in await site.spend(asked)


@pytest.mark.parametrize("changes", [{"iss": "https://other.example"}, {"sub": "u-2"}, {"approval": "AR-0000000000"}])
async def test_for_another_person_there_is_no_permit(site: Site, changes: dict[str, str]) -> None:
    asked = await granted(site)
    assert await site.spend(asked, **changes) == {"refused": "there is no such approval of yours", "permit": None}


async def test_why_a_permit_is_not_spent_is_told(site: Site) -> None:
    causes = {}
    pending = await site.open()
    causes["pending"] = (await site.spend(pending))["refused"]
    refused = await site.open(text="b")
    await site.answer(BEA, refused, granted=False)
    causes["refused"] = (await site.spend(refused))["refused"]
    late = await granted(site, text="c")
    site.clock.now = late.expires_at
    causes["late"] = (await site.spend(late))["refused"]
    causes["too late to be answered"] = (await site.spend(pending))["refused"]
    await site.service.sweep()
    causes["lapsed"] = (await site.spend(late))["refused"]
    assert causes == {
        "pending": "it is not answered yet",
        "refused": "it was refused",
        "late": "it has expired",
        "too late to be answered": "it has expired",
        "lapsed": "it has expired",
    }


async def test_half_a_quorum_is_no_permit(site: Site) -> None:
    asked = await site.open(quorum=2)
    await site.answer(BEA, asked)
    assert await site.spend(asked) == {"refused": "it is not answered yet", "permit": None}


# --- telling


async def test_who_waits_is_told_of_the_answer(site: Site) -> None:
    asked = await site.open(worker=3)
    await site.answer(BEA, asked, comment="fine")
    told = {"session": str(SESSION), "approval": asked.approval, "answer": "granted", "by": "bea", "comment": "fine"}
    assert site.told == [(3, "answered", told)]


async def test_who_waits_is_told_of_the_last_answer_of_a_quorum_alone(site: Site) -> None:
    asked = await site.open(quorum=2)
    await site.answer(BEA, asked)
    assert site.told == []
    await site.answer(CAY, asked, granted=False)
    assert [told[2]["answer"] for told in site.told] == ["refused"]


async def test_nobody_is_told_where_nobody_waits(site: Site) -> None:
    asked = await site.open(live=False)
    await site.answer(BEA, asked)
    assert site.told == []


# --- ends


async def test_a_session_that_ends_takes_its_live_requests_with_it_and_no_others(site: Site) -> None:
    waits, again = await site.open(), await site.open(live=False, text="b")
    elsewhere = await site.open(session=OTHER, text="c")
    await site.desk.session_closed(SESSION)
    await site.service.sweep()
    assert [await site.state(each) for each in (waits, again, elsewhere)] == ["withdrawn", "pending", "pending"]
    assert site.records[0].members["comment"] == "the session ended"
    assert site.told == []


async def test_a_dead_process_takes_its_live_requests_with_it_and_no_others(site: Site) -> None:
    lost, kept = await site.open(worker=0), await site.open(worker=1, session=OTHER, text="b")
    await site.desk.lost(0)
    await site.service.sweep()
    assert [await site.state(each) for each in (lost, kept)] == ["withdrawn", "pending"]


async def test_a_session_that_ends_while_it_opens_a_request_leaves_nothing_that_waits(site: Site) -> None:
    for turn in (0, 1):
        _, asked = await offered(site, text=f"DELETE {turn}")
        works = [site.call("approval_open", opening(asked)), site.desk.session_closed(SESSION)]
        await asyncio.gather(*(works if turn else reversed(works)), return_exceptions=True)
        await site.service.sweep()
        assert await site.state(asked) in ("unknown", "withdrawn")


async def test_a_permit_outlives_the_session_that_asked(site: Site) -> None:
    asked = await granted(site)
    await site.desk.session_closed(SESSION)
    await site.service.sweep()
    assert "grant" in await site.spend(asked, session=str(OTHER))


async def withdraw(site: Site, asked: Request, session: UUID, worker: int = 0) -> None:
    params = {"approval": asked.approval, "session": str(session), "why": "cancelled by the client"}
    await site.call("approval_withdraw", params, worker)
    await site.service.sweep()


async def test_the_session_that_holds_a_request_withdraws_it_and_is_not_told(site: Site) -> None:
    asked = await site.open()
    await withdraw(site, asked, SESSION)
    assert (await site.state(asked), site.told) == ("withdrawn", [])
    assert site.records[0].members["comment"] == "cancelled by the client"


async def test_the_requester_withdraws_from_another_session_and_who_waits_is_told(site: Site) -> None:
    asked = await site.open()
    site.live[OTHER] = live(OTHER, worker=1)
    await withdraw(site, asked, OTHER, worker=1)
    assert await site.state(asked) == "withdrawn"
    assert [(told[0], told[2]["answer"]) for told in site.told] == [(0, "withdrawn")]


@pytest.mark.parametrize(
    ("session", "worker", "known"),
    [
        (OTHER, 0, None),
        (OTHER, 0, live(OTHER, subject="u-2")),
        (OTHER, 0, live(OTHER, worker=1)),
        (SESSION, 1, None),
    ],
)
async def test_nobody_else_withdraws_a_request(site: Site, session: UUID, worker: int, known: Live | None) -> None:
    asked = await site.open()
    if known is not None:
        site.live[OTHER] = known
    with pytest.raises(ValueError, match="only the session"):
        await withdraw(site, asked, session, worker)
    await site.service.sweep()
    assert await site.state(asked) == "pending"


async def test_a_granted_request_is_not_withdrawn(site: Site) -> None:
    asked = await granted(site)
    site.live[SESSION] = live(SESSION)
    await withdraw(site, asked, SESSION)
    assert await site.state(asked) == "granted"


# --- hostile calls

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
METHODS = ["approval_seek", "approval_open", "approval_spend", "approval_withdraw"]
NAMES = ["session", "iss", "sub", "name", "target", "request", "record", "approval", "number", "bytes_mac", "why"]


@pytest.mark.parametrize("method", METHODS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(params=st.dictionaries(st.sampled_from(NAMES), JSON))
async def test_a_malformed_call_is_a_value_error(site: Site, method: str, params: Any) -> None:
    with pytest.raises(ValueError):
        await site.call(method, params)


@pytest.mark.parametrize(
    "hostile", ["", "AR-", "AR-' OR 1=1--", "../../etc/passwd", "AR-0000000000\n", "ar-0000000000"]
)
async def test_a_hostile_id_is_a_value_error(site: Site, hostile: str) -> None:
    asked = request(expires_at=Instant(site.clock() + MINUTE))
    with pytest.raises(ValueError):
        await site.spend(asked, approval=hostile)
    with pytest.raises(ValueError):
        await site.call(
            "approval_open", {**opening(asked), "request": {**opening(asked)["request"], "approval": hostile}}
        )


async def test_groups_of_approvers_are_those_of_the_request(site: Site) -> None:
    asked = await site.open(approvers=frozenset({GroupName("dba-leads")}))
    assert [kept.request.approval for kept in await site.service.list(CAY)] == [asked.approval]
    assert await site.service.list(BEA) == []
