"""Who may answer what, and what an answer does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.support.approvals import (
    ASKER,
    AUDITOR,
    BEA,
    CAY,
    MINUTE,
    OUTSIDER,
    REQUEST,
    Site,
    open_site,
    person,
)
from vestibule.control import approvals
from vestibule.control.approval_view import shown_bytes, shown_hash, view
from vestibule.control.approvals import AnsweredOtherwise, MayNotAnswer, NoSuchApproval, TooManyWatches
from vestibule.evidence.commitment import bind_key, shown_mac
from vestibule.model.approval import ApprovalId, Request
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.identity import Identity
from vestibule.model.names import GroupName, Instant
from vestibule.model.record import Kind

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as made:
        yield made


async def reaches(site: Site, asked: Request, state: str) -> None:
    with site.service.watch(BEA) as watch:
        while await site.state(asked) != state:
            await watch.next(1)


# --- looking


async def test_approvers_see_what_waits_for_them_requesters_their_own_and_auditors_all(site: Site) -> None:
    asked = await site.open()
    for viewer in (ASKER, BEA, AUDITOR, person("u-1")):
        assert (await site.service.show(viewer, asked.approval)).request == asked
        assert [kept.request for kept in await site.service.list(viewer)] == [asked]


async def test_for_anybody_else_there_is_none(site: Site) -> None:
    asked = await site.open()
    for viewer in (OUTSIDER, person("u-1", issuer="https://other.example"), person("plat", "platform")):
        assert await site.service.list(viewer) == []
        with pytest.raises(NoSuchApproval) as hidden:
            await site.service.show(viewer, asked.approval)
        with pytest.raises(NoSuchApproval) as absent:
            await site.service.show(viewer, ApprovalId("AR-0000000000"))
        assert str(hidden.value).replace(asked.approval, "AR-0000000000") == str(absent.value)
        with pytest.raises(NoSuchApproval):
            await site.answer(viewer, asked)


# --- answering


async def test_a_grant_is_recorded_with_who_how_and_what_was_shown(site: Site) -> None:
    asked = await site.open()
    site.clock.pass_seconds(41)
    kept = await site.answer(CAY, asked, comment="seen by me", channel="cli")

    assert (kept.state, kept.granted) == ("granted", 1)
    [record] = site.records
    assert (record.kind, record.session, record.target) == (Kind.APPROVAL_ANSWERED, asked.session, asked.target)
    assert not record.sequenced
    key = await site.keys.data_key(UUID(asked.key_id))
    assert key is not None
    members: Any = dict(record.members)
    assert members.pop("proof")["credential"] == "credential-1"
    assert members.pop("approver")["sub"] == "cay"
    assert members == {
        "request": {"id": str(UUID(int=77)), "leaf": "a" * 64},
        "answer": "granted",
        "four_eyes": {"not_requester": True, "not_sponsor": True, "not_agent_owner": True, "group": "dba-managers"},
        "granted_so_far": 1,
        "channel": "cli",
        "shown_mac": shown_mac(bind_key(key), shown_bytes(view(asked))),
        "comment": "seen by me",
        "permit": {"id": str(kept.permit), "uses": 1, "expires_at": view(asked)["expires_at"]},
        "latency_ms": 41_000,
    }


@pytest.mark.case("E-22")
async def test_nobody_approves_their_own_request_whatever_their_groups(site: Site) -> None:
    asked = await site.open()
    for viewer in (ASKER, person("u-1", "dba-managers", "platform", "internal-audit")):
        with pytest.raises(MayNotAnswer, match="your own request"):
            await site.answer(viewer, asked)
        assert not site.service.may_answer(viewer, await site.service.show(viewer, asked.approval))
    assert (await site.state(asked), site.records) == ("pending", [])


async def test_the_same_subject_of_another_issuer_is_another_person(site: Site) -> None:
    asked = await site.open()
    other = person("u-1", "dba-managers", issuer="https://other.example")
    assert (await site.answer(other, asked)).state == "granted"


async def test_an_auditor_sees_and_does_not_answer(site: Site) -> None:
    asked = await site.open()
    with pytest.raises(MayNotAnswer, match="answered by the groups dba-managers"):
        await site.answer(AUDITOR, asked)


async def test_an_agent_does_not_answer(site: Site) -> None:
    asked = await site.open()
    agent = person("bot", "dba-managers")
    agent = Identity(
        type(agent.who)("i", "bot", agent.who.name, "agent", UUID(int=3)), agent.groups, agent.proof, agent.expires_at
    )
    with pytest.raises(MayNotAnswer, match="agent"):
        await site.answer(agent, asked)


async def test_who_is_logged_in_no_more_does_not_answer(site: Site) -> None:
    asked = await site.open()
    with pytest.raises(MayNotAnswer, match="expired"):
        await site.answer(person("bea", "dba-managers", expires_at=site.clock()), asked)


async def test_a_quorum_is_made_of_different_people(site: Site) -> None:
    asked = await site.open(quorum=2)
    first = await site.answer(BEA, asked)
    assert (first.state, first.granted, first.permit) == ("pending", 1, None)
    with pytest.raises(AnsweredOtherwise, match="you have answered"):
        await site.answer(BEA, asked)
    with pytest.raises(AnsweredOtherwise):
        await site.answer(person("bea", "dba-leads", "dba-managers"), asked, granted=False)
    assert "permit" not in site.records[0].members
    second = await site.answer(CAY, asked)
    assert (second.state, second.granted) == ("granted", 2)
    assert [record.members["granted_so_far"] for record in site.records] == [1, 2]
    assert site.records[1].members["permit"]


async def test_one_refusal_refuses(site: Site) -> None:
    asked = await site.open(quorum=2)
    await site.answer(BEA, asked)
    assert (await site.answer(CAY, asked, granted=False)).state == "refused"
    with pytest.raises(AnsweredOtherwise, match="was refused already by cay"):
        await site.answer(person("dan", "dba-managers"), asked)
    assert site.answers() == ["granted", "refused"]
    assert site.records[1].members["granted_so_far"] == 1


@pytest.mark.parametrize("granted", [True, False])
async def test_of_two_who_answer_at_once_the_second_is_told(site: Site, granted: bool) -> None:
    asked = await site.open()
    answers = await asyncio.gather(
        site.answer(BEA, asked), site.answer(CAY, asked, granted=granted), return_exceptions=True
    )
    [failure] = [answer for answer in answers if isinstance(answer, BaseException)]
    assert isinstance(failure, AnsweredOtherwise)
    assert "already by" in str(failure)
    assert len(site.records) == 1


async def test_of_many_who_answer_at_once_a_quorum_counts_and_no_more(site: Site) -> None:
    asked = await site.open(quorum=3)
    crowd = [person(f"p{number}", "dba-managers") for number in range(10)]
    answers = await asyncio.gather(*(site.answer(who, asked) for who in crowd), return_exceptions=True)
    assert sum(isinstance(answer, AnsweredOtherwise) for answer in answers) == 7
    assert site.answers() == ["granted"] * 3
    assert await site.state(asked) == "granted"


@pytest.mark.parametrize("shown", ["", "0" * 64, "\ud800", shown_hash(REQUEST).upper()])
async def test_an_answer_to_something_else_than_what_is_shown_is_refused(site: Site, shown: str) -> None:
    asked = await site.open()
    with pytest.raises(AnsweredOtherwise, match="not what you saw"):
        await site.answer(BEA, asked, shown=shown)
    assert (await site.state(asked), site.records) == ("pending", [])


async def test_an_answer_to_one_request_is_none_to_another(site: Site) -> None:
    one, two = await site.open(), await site.open(text="DELETE FROM customers")
    with pytest.raises(AnsweredOtherwise):
        await site.answer(BEA, two, shown=shown_hash(one))


async def test_no_answer_comes_after_the_deadline(site: Site) -> None:
    asked = await site.open()
    site.clock.now = asked.expires_at
    with pytest.raises(AnsweredOtherwise, match="has expired"):
        await site.answer(BEA, asked)


async def test_a_comment_passes_the_storage_mask_before_it_is_recorded_kept_or_told(site: Site) -> None:
    asked = await site.open()
    kept = await site.answer(BEA, asked, comment="card 4111 1111 1111 1111 of ada@bank.example")
    for words in (site.records[0].members["comment"], kept.answers[0].comment, site.told[0][2]["comment"]):
        assert "4111" not in str(words)
        assert "bank.example" not in str(words)


async def test_the_same_answer_sent_again_counts_once(site: Site) -> None:
    asked = await site.open()
    first = await site.answer(BEA, asked, repeat_key="k-1")
    assert await site.answer(BEA, asked, repeat_key="k-1") == first
    assert len(site.records) == 1
    for changed in ({"repeat_key": "k-2"}, {"repeat_key": ""}, {"repeat_key": "k-1", "granted": False}):
        with pytest.raises(AnsweredOtherwise):
            await site.answer(BEA, asked, **changed)
    with pytest.raises(AnsweredOtherwise):
        await site.answer(CAY, asked, repeat_key="k-1")


# --- evidence first


async def test_an_answer_that_cannot_be_recorded_has_no_effect(site: Site) -> None:
    asked = await site.open()
    site.is_full = True
    for granted in (True, False):
        with pytest.raises(EvidenceUnavailable):
            await site.answer(BEA, asked, granted=granted)
    with pytest.raises(EvidenceUnavailable):
        await site.service.withdraw(ASKER, asked.approval)
    assert (await site.state(asked), site.told) == ("pending", [])
    assert "refused" in await site.spend(asked)


async def test_an_answer_has_no_effect_before_its_record_is_durable(site: Site) -> None:
    asked = await site.open()
    site.flows.clear()
    answering = asyncio.create_task(site.answer(BEA, asked))
    await asyncio.sleep(0.05)
    assert (await site.state(asked), site.told) == ("pending", [])
    assert "refused" in await site.spend(asked)
    site.flows.set()
    assert (await answering).state == "granted"
    assert "grant" in await site.spend(asked)


# --- withdrawing and time


async def test_a_requester_withdraws_and_nobody_else(site: Site) -> None:
    asked = await site.open()
    for viewer in (BEA, AUDITOR):
        with pytest.raises(MayNotAnswer, match="only dev1"):
            await site.service.withdraw(viewer, asked.approval)
    assert (await site.service.withdraw(ASKER, asked.approval, "not needed")).state == "withdrawn"
    assert site.answers() == ["withdrawn"]
    assert site.records[0].members["comment"] == "not needed"
    with pytest.raises(AnsweredOtherwise):
        await site.service.withdraw(ASKER, asked.approval)
    with pytest.raises(AnsweredOtherwise, match="was withdrawn"):
        await site.answer(BEA, asked)


async def test_no_answer_in_time_is_recorded_and_told_once(site: Site) -> None:
    asked = await site.open()
    site.clock.now = asked.expires_at - 1
    await site.service.sweep()
    assert site.records == []
    site.clock.now = asked.expires_at
    await asyncio.gather(site.service.sweep(), site.service.sweep())
    assert site.answers() == ["expired"]
    assert await site.state(asked) == "expired"
    assert [told[2]["answer"] for told in site.told] == ["expired"]


async def test_an_end_that_cannot_be_recorded_is_tried_again(site: Site) -> None:
    asked, other = await site.open(), await site.open(text="DELETE FROM customers")
    site.is_full = True
    site.service.retract(other.approval, "the session ended")
    site.clock.now = asked.expires_at
    with pytest.raises(EvidenceUnavailable):
        await site.service.sweep()
    assert (await site.state(asked), await site.state(other)) == ("pending", "pending")
    site.is_full = False
    await site.service.sweep()
    assert (await site.state(asked), await site.state(other)) == ("expired", "withdrawn")


async def test_what_is_about_to_be_withdrawn_takes_no_answer(site: Site) -> None:
    asked = await site.open()
    site.service.retract(asked.approval, "the session ended")
    with pytest.raises(AnsweredOtherwise, match="was withdrawn"):
        await site.answer(BEA, asked)


async def test_a_request_expires_at_its_deadline_and_a_withdrawal_waits_for_nothing(site: Site) -> None:
    running = asyncio.create_task(site.service.run())
    asked, other = await site.open(), await site.open(text="DELETE FROM customers")
    site.clock.now = asked.expires_at - 50_000
    site.service.retract(other.approval, "the session ended")
    async with asyncio.timeout(5):
        await reaches(site, other, "withdrawn")
        assert await site.state(asked) == "pending"
        site.clock.now = asked.expires_at
        await reaches(site, asked, "expired")
    running.cancel()
    await asyncio.wait([running])


async def test_the_deadlines_go_on_after_a_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "PAUSE", 0.02)
    asked = await site.open()
    site.is_full = True
    site.clock.now = asked.expires_at
    running = asyncio.create_task(site.service.run())
    await asyncio.sleep(0.06)
    assert await site.state(asked) == "pending"
    site.is_full = False
    async with asyncio.timeout(5):
        await reaches(site, asked, "expired")
    running.cancel()
    await asyncio.wait([running])


async def test_after_a_start_nobody_waits_live_and_permits_stay_good(site: Site) -> None:
    waits = await site.open()
    runs_again = await site.open(live=False, text="DELETE FROM customers")
    granted = await site.open(text="DELETE FROM cards")
    await site.answer(BEA, granted)
    service, _ = site.again()
    await service.start()
    assert await site.state(waits) == "withdrawn"
    assert await site.state(runs_again) == "pending"
    assert site.answers() == ["granted", "withdrawn"]
    assert "grant" in await site.spend(granted)


async def test_what_is_long_over_leaves_the_lists(site: Site) -> None:
    asked = await site.open()
    await site.answer(BEA, asked, granted=False)
    site.clock.now = Instant(asked.expires_at + approvals.KEPT_FOR)
    await site.service.sweep()
    assert await site.state(asked) == "refused"
    site.clock.now += approvals.PURGE_EVERY + MINUTE
    await site.service.sweep()
    assert await site.state(asked) == "unknown"


# --- watching


async def test_who_watches_is_told_of_every_change(site: Site) -> None:
    with site.service.watch(BEA) as watch:
        asked = await site.open()
        assert await watch.next(1) == {asked.approval}
        await site.answer(BEA, asked)
        assert await watch.next(1) == {asked.approval}
        await site.spend(asked)
        assert await watch.next(1) == {asked.approval}
        assert await watch.next(0.01) == frozenset()


async def test_changes_are_given_one_after_the_other_until_the_watch_ends(site: Site) -> None:
    seen = []
    watch = site.service.watch(BEA)
    asked = await site.open()
    async for changed in watch:
        seen.append(changed)
        watch.close()
    assert seen == [{asked.approval}]


async def test_a_watch_ends_with_the_login_and_with_the_service(site: Site) -> None:
    one, two, three = (site.service.watch(who) for who in (BEA, CAY, AUDITOR))
    site.service.end_watches(BEA.who.login)
    assert await one.next(1) is None
    assert await two.next(0.01) == frozenset()
    site.service.close()
    assert await two.next(1) is None
    assert await three.next(1) is None


async def test_watches_are_bounded_for_one_and_for_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [site.service.watch(BEA) for _ in range(approvals.MAX_WATCHES_OF_ONE)]
    with pytest.raises(TooManyWatches):
        site.service.watch(BEA)
    own[0].close()
    own.append(site.service.watch(BEA))
    monkeypatch.setattr(approvals, "MAX_WATCHES", approvals.MAX_WATCHES_OF_ONE)
    with pytest.raises(TooManyWatches):
        site.service.watch(CAY)


async def test_a_watch_that_nobody_holds_leaves_its_place(site: Site) -> None:
    for _ in range(3 * approvals.MAX_WATCHES_OF_ONE):
        site.service.watch(BEA)


async def test_a_watch_that_nobody_reads_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "UNREAD", 2)
    watch = site.service.watch(BEA)
    for number in range(3):
        site.service.opened(ApprovalId(f"AR-{number:010d}"))
    assert await watch.next(1) is None
    assert len([site.service.watch(BEA) for _ in range(approvals.MAX_WATCHES_OF_ONE)]) == approvals.MAX_WATCHES_OF_ONE


async def test_a_group_with_a_long_name_is_recorded_cut(site: Site) -> None:
    long = "g" * 3_000
    asked = await site.open(approvers=frozenset({GroupName(long)}))
    await site.answer(person("bea", long), asked)
    four_eyes: Any = site.records[0].members["four_eyes"]
    assert len(four_eyes["group"]) == 256
