import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.approvals import BEA, CAY, MINUTE, REQUEST, REQUESTER, REQUESTS, request
from tests.support.identities import fresh_database
from vestibule.model.approval import ApprovalId, Request, Written
from vestibule.model.identity import Identity
from vestibule.model.login import StateUnavailable
from vestibule.model.names import GroupName, Instant
from vestibule.stores import approvals
from vestibule.stores.approvals import ApprovalStore, Given, Sight

pytestmark = pytest.mark.asyncio
RECORD = Written(UUID(int=7), "a" * 64)
PERMIT = UUID(int=9)
NOW = REQUEST.requested_at
ALL = Sight("", "", frozenset(), sees_all=True)


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = await fresh_database(tmp_path)
    yield made
    await made.dispose()


@pytest.fixture
def store(engine: AsyncEngine) -> ApprovalStore:
    return ApprovalStore(engine)


def later(offset: int) -> Instant:
    return Instant(NOW + offset)


def answer(who: Identity, granted: bool = True, **changes: Any) -> Given:
    return replace(Given(who.who, granted, "fine", "cli", later(5), Written(UUID(int=8), "c" * 64), "r"), **changes)


def numbered(number: int) -> ApprovalId:
    return ApprovalId(f"AR-{number:010d}")


async def test_a_request_comes_back_as_it_was_kept(store: ApprovalStore) -> None:
    assert await store.add(REQUEST, RECORD)

    kept = await store.find(REQUEST.approval)
    assert kept is not None
    assert (kept.request, kept.record, kept.state, kept.granted, kept.answers) == (REQUEST, RECORD, "pending", 0, ())
    assert await store.find(numbered(0)) is None


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=REQUESTS)
async def test_any_request_comes_back_as_it_was_kept(store: ApprovalStore, asked: Request) -> None:
    await store.add(asked, RECORD)
    kept = await store.find(asked.approval)
    assert kept is not None
    assert kept.request.approval == asked.approval


async def test_an_id_is_kept_once(store: ApprovalStore) -> None:
    await store.add(REQUEST, RECORD)
    assert not await store.add(request(text="DELETE FROM customers"), RECORD)
    kept = await store.find(REQUEST.approval)
    assert kept is not None
    assert kept.request == REQUEST


async def test_an_answer_comes_back_as_it_was_given(store: ApprovalStore) -> None:
    await store.add(REQUEST, RECORD)
    assert await store.answer(REQUEST.approval, answer(BEA), "granted", PERMIT)

    kept = await store.find(REQUEST.approval)
    assert kept is not None
    assert (kept.state, kept.granted, kept.permit, kept.ended_at) == ("granted", 1, PERMIT, later(5))
    assert kept.answers == (answer(BEA),)


async def test_a_person_answers_once(store: ApprovalStore) -> None:
    await store.add(request(quorum=3), RECORD)
    assert await store.answer(REQUEST.approval, answer(BEA), "pending", None)
    assert not await store.answer(REQUEST.approval, answer(BEA), "pending", None)
    kept = await store.find(REQUEST.approval)
    assert kept is not None
    assert (kept.granted, len(kept.answers)) == (1, 1)


@pytest.mark.parametrize("state", ["refused", "granted"])
async def test_what_is_answered_takes_no_other_answer_and_no_end(store: ApprovalStore, state: Any) -> None:
    await store.add(REQUEST, RECORD)
    await store.answer(REQUEST.approval, answer(BEA, state == "granted"), state, PERMIT)
    assert not await store.answer(REQUEST.approval, answer(CAY), "granted", PERMIT)
    assert not await store.end(REQUEST.approval, "withdrawn", later(6))
    kept = await store.find(REQUEST.approval)
    assert kept is not None
    assert (kept.state, len(kept.answers)) == (state, 1)


async def test_of_two_answers_at_once_one_counts(engine: AsyncEngine) -> None:
    stores = ApprovalStore(engine), ApprovalStore(engine)
    await stores[0].add(REQUEST, RECORD)
    answers = await asyncio.gather(
        stores[0].answer(REQUEST.approval, answer(BEA), "granted", PERMIT),
        stores[1].answer(REQUEST.approval, answer(CAY, granted=False), "refused", None),
    )
    assert sorted(answers) == [False, True]


@pytest.mark.case("E-21")
async def test_of_many_who_spend_a_permit_on_several_connections_exactly_one_does(tmp_path: Path) -> None:
    engines = [await fresh_database(tmp_path) for _ in range(4)]
    stores = [ApprovalStore(engine) for engine in engines]
    await stores[0].add(REQUEST, RECORD)
    await stores[0].answer(REQUEST.approval, answer(BEA), "granted", PERMIT)
    spent = await asyncio.gather(*(store.spend(REQUEST.approval, later(9)) for store in stores * 5))
    assert sum(spent) == 1
    for engine in engines:
        await engine.dispose()


async def test_a_spent_permit_is_spent_for_who_opens_the_database_again(tmp_path: Path) -> None:
    first = await fresh_database(tmp_path)
    store = ApprovalStore(first)
    await store.add(REQUEST, RECORD)
    await store.answer(REQUEST.approval, answer(BEA), "granted", PERMIT)
    assert await store.spend(REQUEST.approval, later(9))
    await first.dispose()

    second = await fresh_database(tmp_path)
    assert not await ApprovalStore(second).spend(REQUEST.approval, later(10))
    await second.dispose()


async def test_only_a_granted_permit_is_spent_and_only_in_time(store: ApprovalStore) -> None:
    await store.add(REQUEST, RECORD)
    assert not await store.spend(REQUEST.approval, later(1))
    await store.answer(REQUEST.approval, answer(BEA), "granted", PERMIT)
    assert not await store.spend(REQUEST.approval, REQUEST.expires_at)
    assert await store.spend(REQUEST.approval, Instant(REQUEST.expires_at - 1))


async def test_a_permit_that_nobody_used_lapses(store: ApprovalStore) -> None:
    await store.add(REQUEST, RECORD)
    await store.answer(REQUEST.approval, answer(BEA), "granted", PERMIT)
    assert await store.lapse(Instant(REQUEST.expires_at - 1)) == []
    assert await store.lapse(REQUEST.expires_at) == [REQUEST.approval]
    assert not await store.spend(REQUEST.approval, later(1))


async def test_a_list_shows_own_requests_and_those_of_ones_groups(store: ApprovalStore) -> None:
    other = replace(REQUESTER, subject="u-2")
    await store.add(request(approval=numbered(1)), RECORD)
    await store.add(request(approval=numbered(2), requester=other, approvers=frozenset({GroupName("leads")})), RECORD)

    async def seen(sight: Sight) -> set[str]:
        return {kept.request.approval for kept in await store.search(sight, None, None, 10)}

    assert await seen(Sight(REQUESTER.issuer, "u-1", frozenset())) == {numbered(1)}
    assert await seen(Sight("https://other.example", "u-1", frozenset())) == set()
    assert await seen(Sight("x", "y", frozenset({GroupName("leads"), GroupName("a")}))) == {numbered(2)}
    assert await seen(Sight("x", "y", frozenset({GroupName("lead")}))) == set()
    assert await seen(ALL) == {numbered(1), numbered(2)}


async def test_lists_are_pages_and_lose_nothing_where_moments_are_equal(store: ApprovalStore) -> None:
    for number in range(7):
        await store.add(request(approval=numbered(number), requested_at=later(number // 3)), RECORD)
    seen, before = [], None
    while page := await store.search(ALL, None, before, 2):
        seen += [kept.request.approval for kept in page]
        before = page[-1].request.requested_at, page[-1].request.approval
    assert seen == [numbered(number) for number in reversed(range(7))]
    assert await store.search(ALL, "granted", None, 10) == []


async def test_what_is_open_is_counted_for_one_and_for_all(store: ApprovalStore) -> None:
    other = replace(REQUESTER, subject="u-2")
    await store.add(request(approval=numbered(1)), RECORD)
    await store.add(request(approval=numbered(2), requester=other), RECORD)
    await store.add(request(approval=numbered(3), expires_at=later(10)), RECORD)
    await store.end(numbered(1), "withdrawn", later(1))
    assert await store.count_open(REQUESTER.issuer, "u-1", later(5)) == (1, 2)
    assert await store.count_open(REQUESTER.issuer, "u-1", later(10)) == (0, 1)
    opened = await store.open_of(REQUESTER.issuer, "u-1", REQUEST.target, later(5))
    assert [kept.request.approval for kept in opened] == [numbered(3)]


async def test_deadlines_are_found(store: ApprovalStore) -> None:
    assert await store.next_due() is None
    await store.add(request(approval=numbered(1)), RECORD)
    await store.add(request(approval=numbered(2), expires_at=later(MINUTE)), RECORD)
    assert await store.next_due() == later(MINUTE)
    assert [kept.request.approval for kept in await store.due(later(MINUTE))] == [numbered(2)]


async def test_what_waits_live_is_found_by_its_session(store: ApprovalStore) -> None:
    await store.add(request(approval=numbered(1)), RECORD)
    await store.add(request(approval=numbered(2), session=UUID(int=5)), RECORD)
    await store.add(request(approval=numbered(3), live=False), RECORD)
    assert [kept.request.approval for kept in await store.pending_live(UUID(int=5))] == [numbered(2)]
    assert len(await store.pending_live()) == 2


async def test_what_is_old_and_over_is_forgotten_with_its_answers(store: ApprovalStore, engine: AsyncEngine) -> None:
    await store.add(request(approval=numbered(1)), RECORD)
    await store.add(request(approval=numbered(2)), RECORD)
    await store.answer(numbered(1), answer(BEA, granted=False), "refused", None)
    await store.purge(Instant(REQUEST.expires_at + 1))
    assert [kept.request.approval for kept in await store.search(ALL, None, None, 10)] == [numbered(2)]
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM approval_answer")) == 0
        assert await connection.scalar(text("SELECT count(*) FROM approval_group")) == 1


@pytest.mark.parametrize("words", ["'; DROP TABLE approval; --", "\x00", "\U0001f511", "%"])
async def test_hostile_words_are_words(store: ApprovalStore, words: str) -> None:
    await store.add(request(text=words, banner=words), RECORD)
    assert await store.find(ApprovalId(words)) is None
    assert await store.search(Sight(words, words, frozenset({GroupName(words)})), None, None, 5) == []
    kept = await store.find(REQUEST.approval)
    assert kept is not None
    assert kept.request.text == words


async def test_no_table_of_approvals_holds_a_key(store: ApprovalStore) -> None:
    columns = {column.name for table in (approvals.APPROVAL, approvals.ANSWER) for column in table.columns}
    assert not columns & {"key", "data_key", "wrapped"}


async def test_a_database_that_is_gone_is_told_without_the_parameters(
    store: ApprovalStore, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE approval_answer"))
        await connection.execute(text("DROP TABLE approval_group"))
        await connection.execute(text("DROP TABLE approval"))
    with pytest.raises(StateUnavailable) as caught:
        await store.add(request(text="secret"), RECORD)
    assert "secret" not in str(caught.value)
    with pytest.raises(StateUnavailable):
        await store.find(REQUEST.approval)


async def test_what_waits_is_counted_and_the_oldest_is_known(store: ApprovalStore) -> None:
    assert await store.waiting() == (0, None)
    for number in (1, 2):
        await store.add(replace(REQUEST, approval=numbered(number), requested_at=later(-number)), RECORD)
    assert await store.waiting() == (2, later(-2))
    await store.end(numbered(2), "withdrawn", NOW)
    assert await store.waiting() == (1, later(-1))
