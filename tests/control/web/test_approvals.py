import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from markupsafe import escape

from tests.support.approvals import POLICY
from tests.support.asked import HOSTILE, TOKEN, requester
from tests.support.browser import forms_of
from tests.support.pages import Browser, Rooms, form_at, send, words_of
from vestibule.control.approval_view import shown_hash
from vestibule.control.web.visible import visible
from vestibule.model.approval import Request
from vestibule.model.decision import Rule
from vestibule.model.identity import Peer
from vestibule.model.names import GroupName, LoginName, RuleName, TargetName

pytestmark = pytest.mark.asyncio


def path(asked: Request) -> str:
    return f"/approvals/{asked.approval}"


async def read(browser: Browser, asked: Request) -> str:
    return words_of((await browser.get(path(asked))).text)


async def test_a_page_shows_everything_that_a_person_decides_on(rooms: Rooms) -> None:
    asked = await rooms.ask()
    words = await read(await rooms.signed_in("dora"), asked)
    for needed in (
        "DELETE public.loans",
        "DELETE FROM loans WHERE branch = $1 AND borrower_ssn = masked value MZXW6Y",
        "'2019-01-01' -- TCK-4711",
        "$1 integer 17",
        "delete public.loans write",
        "select public.loans read",
        "Deletes and updates in production need a second pair of eyes.",
        "Asked by dev1",
        f"Known from {rooms.house.issuer.issuer}",
        "Groups engineering",
        "From 192.0.2.44",
        "Client psql 15.18",
        "Target core-banking ( postgres )",
        "Database core , as account vestibule_rw",
        "Search path public",
        "Rule delete in production",
        "Answered by dba-managers",
        "statement 7",
        "Asked 0 s ago",
        "Closes in 15 min",
        "waiting",
        "0 of 1 approval",
        asked.approval,
        shown_hash(asked)[:16],
    ):
        assert needed in words
    assert TOKEN not in words


async def test_an_approver_approves_and_sees_what_became_of_it(rooms: Rooms) -> None:
    asked = await rooms.ask()
    browser = await rooms.signed_in("dora")
    answer = await send(browser, await form_at(browser, path(asked)), answer="approve", reason="TCK-4711 is right")
    assert (answer.status_code, answer.headers["location"]) == (303, path(asked))
    assert await rooms.desk.state(asked) == "granted"

    words = await read(browser, asked)
    assert "approved by dora" in words
    assert "TCK-4711 is right" in words
    assert "It is approved, and has not run yet." in words
    record = rooms.desk.records[-1].members
    assert (record["answer"], record["channel"]) == ("granted", "web")


async def test_an_approver_denies_with_a_reason_and_never_without(rooms: Rooms) -> None:
    asked = await rooms.ask()
    browser = await rooms.signed_in("dora")
    form = await form_at(browser, path(asked))
    for reason in ("", "   \n"):
        again = await send(browser, form, answer="deny", reason=reason)
        assert again.status_code == 422
        assert "Say why" in words_of(again.text)
        assert await rooms.desk.state(asked) == "pending"

    assert (await send(browser, form, answer="deny", reason="Not on a Friday")).status_code == 303
    assert await rooms.desk.state(asked) == "refused"
    assert "It was denied and will not run. " in await read(browser, asked)


@pytest.mark.parametrize("word", ["", "APPROVE", "granted", "approve,deny"])
async def test_what_is_neither_yes_nor_no_is_no_answer(rooms: Rooms, word: str) -> None:
    asked = await rooms.ask()
    browser = await rooms.signed_in("dora")
    assert (await send(browser, await form_at(browser, path(asked)), answer=word)).status_code == 400
    assert await rooms.desk.state(asked) == "pending"


async def test_a_reason_that_is_too_long_is_told_so_and_kept_in_the_form(rooms: Rooms) -> None:
    asked = await rooms.ask()
    browser = await rooms.signed_in("dora")
    again = await send(browser, await form_at(browser, path(asked)), answer="approve", reason="r" * 501)
    assert again.status_code == 422
    assert "r" * 500 in again.text
    assert await rooms.desk.state(asked) == "pending"


@pytest.mark.parametrize("shown", ["", "0" * 64, "\u00e4", None])
async def test_an_answer_to_something_else_than_what_is_shown_is_refused(rooms: Rooms, shown: str | None) -> None:
    asked, other = await rooms.ask(), await rooms.ask(text="SELECT 1")
    browser = await rooms.signed_in("dora")
    form = await form_at(browser, path(asked))
    given = shown_hash(other) if shown is None else shown
    answer = await send(browser, form, answer="approve", shown=given)
    assert answer.status_code == 409
    assert "look at it again" in words_of(answer.text)
    assert await rooms.desk.state(asked) == "pending"


async def test_an_answer_that_is_sent_again_changes_nothing(rooms: Rooms) -> None:
    asked = await rooms.ask(quorum=2)
    browser = await rooms.signed_in("dora")
    form = await form_at(browser, path(asked))
    assert (await send(browser, form, answer="approve")).status_code == 303
    for word in ("approve", "deny"):
        again = await send(browser, form, answer=word, reason="x")
        assert again.status_code == 409
        assert "answered" in words_of(again.text)
    kept = await rooms.desk.store.find(asked.approval)
    assert kept is not None
    assert (kept.state, kept.granted, len(kept.answers)) == ("pending", 1, 1)
    assert "1 of 2 approvals" in await read(browser, asked)
    assert "You have answered; others have yet to." in await read(browser, asked)


async def test_a_form_of_one_request_does_not_answer_another(rooms: Rooms) -> None:
    asked, other = await rooms.ask(), await rooms.ask()
    browser = await rooms.signed_in("dora")
    form = await form_at(browser, path(asked))
    form.action = path(other)
    assert (await send(browser, form, answer="approve")).status_code == 403
    assert await rooms.desk.state(other) == "pending"


async def test_nobody_is_offered_to_answer_their_own_request_and_nobody_can(rooms: Rooms) -> None:
    asked = await rooms.ask(approvers=frozenset({GroupName("engineering")}))
    dev1, dev2 = await rooms.signed_in("dev1"), await rooms.signed_in("dev2")
    assert "somebody else answers" in await read(dev1, asked)
    page = (await dev1.get(path(asked))).text
    assert [form.action for form in forms_of(page)] == ["/sign-out"]

    form = await form_at(dev2, path(asked))
    token = await form_at(dev1, "/approvals", "/sign-out")
    form.fields["form_token"] = token.fields["form_token"]
    assert (await send(dev1, form, answer="approve")).status_code == 403
    assert await rooms.desk.state(asked) == "pending"


async def test_somebody_whom_it_does_not_concern_learns_nothing(rooms: Rooms) -> None:
    asked = await rooms.ask()
    eve = await rooms.signed_in("eve")
    there = await eve.get(path(asked))
    nowhere = await eve.get("/approvals/AR-0000000000")
    assert there.status_code == nowhere.status_code == 404
    assert words_of(there.text) == words_of(nowhere.text)
    assert asked.approval not in (await eve.get("/approvals")).text
    assert (await eve.get(f"{path(asked)}/standing")).status_code == 404


@pytest.mark.parametrize("name", ["AR-", "AR-abcdefghij", "AR-0000000000%0a", "..%2f..%2fhealthz", "AR-00000000000"])
async def test_a_name_that_is_none_is_not_found(rooms: Rooms, name: str) -> None:
    dora = await rooms.signed_in("dora")
    assert (await dora.get(f"/approvals/{name}")).status_code == 404


async def test_the_list_has_what_waits_for_its_reader_first_then_others_then_the_past(rooms: Rooms) -> None:
    await rooms.ask(operations=({"verb": "update", "object": "mine.to_answer", "impact": "write"},))
    done = await rooms.ask(operations=({"verb": "drop", "object": "past.one", "impact": "schema"},))
    both = frozenset(map(GroupName, ("dba-managers", "engineering")))
    answered = await rooms.ask(
        operations=({"verb": "delete", "object": "of.others", "impact": "write"},), approvers=both, quorum=2
    )
    dora = await rooms.signed_in("dora")
    for asked in (done, answered):
        await send(dora, await form_at(dora, path(asked)), answer="approve")

    words = words_of((await dora.get("/approvals")).text)
    order = ["Waiting for you 1", "mine.to_answer", "Waiting for others 1", "of.others", "Recent answers", "past.one"]
    places = [words.index(each) for each in order]
    assert places == sorted(places)


async def test_an_empty_list_says_so_in_words(rooms: Rooms) -> None:
    words = words_of((await (await rooms.signed_in("dora")).get("/approvals")).text)
    assert "Nothing waits for your answer." in words
    assert "No request has been answered yet." in words


async def test_what_is_over_can_not_be_answered_and_the_standing_takes_the_form_away(rooms: Rooms) -> None:
    asked = await rooms.ask()
    dora = await rooms.signed_in("dora")
    form = await form_at(dora, path(asked))
    standing = f"{path(asked)}/standing?shown={shown_hash(asked)}"
    assert "hx-swap-oob" not in (await dora.get(standing)).text

    rooms.house.clock.pass_seconds(15 * 60)
    late = await send(dora, form, answer="approve")
    assert late.status_code == 409
    assert "expired" in words_of(late.text)
    await rooms.desk.service.sweep()
    part = (await dora.get(standing)).text
    assert "hx-swap-oob" in part
    assert "Nobody answered in time" in words_of(part)
    assert not forms_of(part)


async def test_a_page_that_shows_something_else_is_told_to_look_again(rooms: Rooms) -> None:
    asked = await rooms.ask()
    dora = await rooms.signed_in("dora")
    part = (await dora.get(f"{path(asked)}/standing?shown={'0' * 64}")).text
    assert "This has changed since you opened the page." in words_of(part)
    assert not forms_of(part)


async def test_without_evidence_there_is_no_answer(rooms: Rooms) -> None:
    asked = await rooms.ask()
    dora = await rooms.signed_in("dora")
    form = await form_at(dora, path(asked))
    rooms.desk.is_full = True
    answer = await send(dora, form, answer="approve")
    assert answer.status_code == 503
    assert "evidence cannot be recorded" in words_of(answer.text)
    assert await rooms.desk.state(asked) == "pending"


async def test_streams_are_bounded(rooms: Rooms) -> None:
    dora = await rooms.signed_in("dora")
    who = await rooms.identity_of(dora)
    watches = [rooms.desk.service.watch(who) for _ in range(8)]
    answer = await dora.get("/approvals/live", headers={"HX-Request": "true"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    for watch in watches:
        watch.close()


async def test_nobody_hears_of_changes_without_a_session(rooms: Rooms) -> None:
    browser = await rooms.browser()
    assert (await browser.get("/approvals/live", headers={"HX-Request": "true"})).status_code == 401
    assert (await browser.get("/approvals/live")).status_code == 303


async def test_a_stream_is_one_and_ends_with_the_log_in(rooms: Rooms) -> None:
    dora = await rooms.signed_in("dora")
    login = (await rooms.identity_of(dora)).who.login
    reading = asyncio.ensure_future(dora.get("/approvals/live"))
    await asyncio.sleep(0.2)
    assert not reading.done()

    await rooms.house.service.revoke_login(login)
    rooms.desk.service.end_watches(login)
    async with asyncio.timeout(10):
        answer = await reading
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert re.findall(r"event: (\w+)", answer.text) == ["changed", "ended"]


def everywhere(text: str, issuer: str) -> dict[str, Any]:
    """Put one text into every field that somebody else may choose."""
    who = requester(issuer)
    return {
        "reason": text,
        "banner": text,
        "text": text,
        "account": text,
        "database": text,
        "search_path": text,
        "protocol": text,
        "client": Peer(text, 1),
        "target": TargetName(text),
        "rule": Rule(RuleName(text), "guardrails", POLICY),
        "groups": frozenset({GroupName(text)}),
        "requester": replace(who, subject="u-other", name=LoginName(text)),
        "parameters": ({"type": text, "value": text, "null": False},),
        "operations": ({"verb": text, "object": text, "impact": text},),
    }


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_text_in_every_field_is_text(rooms: Rooms, text: str) -> None:
    asked = await rooms.ask(**everywhere(text, rooms.house.issuer.issuer))
    plain = await rooms.ask(**everywhere("plain", rooms.house.issuer.issuer))
    dora = await rooms.signed_in("dora")
    for where in (path(asked), "/approvals", f"{path(asked)}/standing?shown=x"):
        page = (await dora.get(where)).text
        assert not re.search(
            r"<(script|img|svg|base|div hx-get=/sign|form action=https)[^>]*(alert|evil|onload|=/x)", page
        )
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\u200f\ufeff]", page)
    page, usual = (await dora.get(path(asked))).text, (await dora.get(path(plain))).text
    assert tags(page) == tags(usual)
    pieces = visible(text)
    assert all(str(escape(piece.code or piece.text)) in page for piece in pieces)


def tags(page: str) -> list[str]:
    """The tags of a page in order, but for the spans that only colour a text."""
    return [tag for tag in re.findall(r"<(/?[a-z0-9]+)", page) if tag not in ("span", "/span")]


async def test_a_hostile_reason_is_text_for_whoever_reads_it_next(rooms: Rooms) -> None:
    asked = await rooms.ask(quorum=2)
    dora = await rooms.signed_in("dora")
    form = await form_at(dora, path(asked))
    assert (await send(dora, form, answer="approve", reason="<script>alert(1)</script>\u202e")).status_code == 303
    page = (await dora.get(path(asked))).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "U+202E" in page
