"""Approvals over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI

from tests.support.approvals import ASKER, AUDITOR, BEA, CAY, OUTSIDER, REQUEST, Site, open_site
from tests.support.control_plane import House
from vestibule.control import approvals as service
from vestibule.control.api import approvals as routes
from vestibule.control.api.asking import SESSION_COOKIE, current_identity
from vestibule.control.approval_view import shown_hash
from vestibule.control.approvals import Approvals, Watch
from vestibule.model.approval import Request
from vestibule.model.identity import Identity
from vestibule.model.login import StateUnavailable
from vestibule.model.names import GroupName

pytestmark = pytest.mark.asyncio
PATH = "/api/v1/approvals"


@dataclass
class Desk:
    """The routes over a site; whoever asks is `who`."""

    site: Site
    app: FastAPI = field(default_factory=FastAPI)

    def __post_init__(self) -> None:
        self.app.state.approvals = self.site.service
        self.app.include_router(routes.router)

    async def ask(self, who: Identity, path: str = "", method: str = "GET", **more: Any) -> httpx2.Response:
        self.app.dependency_overrides[current_identity] = lambda: who
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="https://v") as client:
            return await client.request(method, f"{PATH}{path}", **more)

    async def answer(self, who: Identity, asked: Request, word: str = "approve", **more: Any) -> httpx2.Response:
        body = {"shown": shown_hash(asked), **more.pop("body", {})}
        return await self.ask(who, f"/{asked.approval}/{word}", "POST", json=body, **more)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_site(tmp_path) as site:
        yield Desk(site)


# --- looking


async def test_an_approver_sees_what_will_run_who_asks_from_where_and_until_when(desk: Desk) -> None:
    asked = await desk.site.open()
    [row] = (await desk.ask(BEA)).json()["approvals"]
    shown = (await desk.ask(BEA, f"/{asked.approval}")).json()
    assert row == shown
    assert (shown["text"], shown["parameters"], shown["operations"]) == (
        REQUEST.text,
        [dict(each) for each in REQUEST.parameters],
        [dict(each) for each in REQUEST.operations],
    )
    assert (shown["requester"]["name"], shown["ip"], shown["banner"]) == ("dev1", "10.1.2.3", "psql")
    assert (shown["state"], shown["may_answer"], shown["live"]) == ("pending", True, True)
    assert shown["requested_at"] < shown["expires_at"]
    assert shown["shown"] == shown_hash(asked)


async def test_neither_key_nor_commitment_is_served(desk: Desk) -> None:
    asked = await desk.site.open()
    text = (await desk.ask(BEA, f"/{asked.approval}")).text
    assert asked.key_id not in text
    assert asked.bytes_mac not in text


async def test_who_may_not_see_a_request_learns_nothing(desk: Desk) -> None:
    asked = await desk.site.open()
    assert (await desk.ask(OUTSIDER)).json() == {"approvals": [], "next": None}
    hidden = await desk.ask(OUTSIDER, f"/{asked.approval}")
    absent = await desk.ask(OUTSIDER, "/AR-0000000000")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.text.replace(asked.approval, "AR-0000000000") == absent.text
    assert (await desk.answer(OUTSIDER, asked)).status_code == 404


async def test_a_requester_and_an_auditor_see_and_may_not_answer(desk: Desk) -> None:
    asked = await desk.site.open()
    for who in (ASKER, AUDITOR):
        assert (await desk.ask(who, f"/{asked.approval}")).json()["may_answer"] is False
        assert (await desk.answer(who, asked)).status_code == 403
    assert desk.site.records == []


async def test_lists_are_pages(desk: Desk) -> None:
    asked = []
    for number in range(5):
        desk.site.clock.pass_seconds(number % 2)
        asked.append((await desk.site.open(text=f"DELETE {number}")).approval)
    seen: list[str] = []
    more: dict[str, Any] = {}
    while True:
        page = (await desk.ask(BEA, params={"limit": 2, **more})).json()
        seen += [row["approval"] for row in page["approvals"]]
        if page["next"] is None:
            break
        more = {"before": page["next"]}
    assert sorted(seen) == sorted(asked)
    assert (await desk.ask(BEA, params={"state": "granted"})).json()["approvals"] == []


# --- answering


async def test_an_approval_is_given_and_shown(desk: Desk) -> None:
    asked = await desk.site.open()
    answer = await desk.answer(CAY, asked, body={"comment": "fine", "channel": "cli"})
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["state"], shown["granted"], shown["may_answer"]) == ("granted", 1, False)
    assert [(each["by"], each["answer"], each["comment"], each["channel"]) for each in shown["answers"]] == [
        ("cay", "granted", "fine", "cli")
    ]
    assert desk.site.records[0].members["channel"] == "cli"


async def test_a_refusal_is_given(desk: Desk) -> None:
    asked = await desk.site.open()
    assert (await desk.answer(BEA, asked, "deny")).json()["state"] == "refused"
    assert desk.site.answers() == ["refused"]


async def test_the_second_of_two_who_race_gets_a_conflict_that_says_so(desk: Desk) -> None:
    asked = await desk.site.open()
    desk.app.dependency_overrides[current_identity] = lambda: people.pop()
    people = [BEA, CAY]
    body = {"shown": shown_hash(asked)}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(desk.app), base_url="https://v") as client:
        answers = await asyncio.gather(
            *(client.post(f"{PATH}/{asked.approval}/{word}", json=body) for word in ("approve", "deny"))
        )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    [conflict] = [answer for answer in answers if answer.status_code == 409]
    assert conflict.headers["content-type"] == "application/problem+json"
    assert "already by" in conflict.json()["detail"]
    assert len(desk.site.records) == 1


async def test_an_answer_to_what_was_not_shown_is_a_conflict(desk: Desk) -> None:
    asked = await desk.site.open()
    answer = await desk.answer(BEA, asked, body={"shown": "0" * 64})
    assert answer.status_code == 409
    assert "look at it again" in answer.json()["detail"]


async def test_the_same_key_gives_the_same_answer_and_another_a_conflict(desk: Desk) -> None:
    asked = await desk.site.open()
    first, again = [await desk.answer(BEA, asked, headers={"Idempotency-Key": "k-1"}) for _ in range(2)]
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert len(desk.site.records) == 1
    assert (await desk.answer(BEA, asked, headers={"Idempotency-Key": "k-2"})).status_code == 409
    assert (await desk.answer(BEA, asked)).status_code == 409


async def test_a_requester_withdraws(desk: Desk) -> None:
    asked = await desk.site.open()
    path = f"/{asked.approval}/withdraw"
    assert (await desk.ask(BEA, path, "POST", json={})).status_code == 403
    assert (await desk.ask(ASKER, path, "POST", json={"comment": "no"})).json()["state"] == "withdrawn"
    assert (await desk.ask(ASKER, path, "POST", json={})).status_code == 409
    assert (await desk.ask(OUTSIDER, path, "POST", json={})).status_code == 404


async def test_without_evidence_nothing_is_answered(desk: Desk) -> None:
    asked = await desk.site.open()
    desk.site.is_full = True
    assert (await desk.answer(BEA, asked)).status_code == 503
    assert await desk.site.state(asked) == "pending"


@pytest.mark.parametrize(
    "id_", ["AR-", "x", "AR-000000000O0", "AR-0000000000%0a", "%27%20OR%201=1--", "..%2f..%2fetc", "AR-%F0%9F%92%A9"]
)
async def test_a_hostile_id_is_a_problem(desk: Desk, id_: str) -> None:
    for method, word in (("GET", ""), ("POST", "/approve"), ("POST", "/deny"), ("POST", "/withdraw")):
        answer = await desk.ask(BEA, f"/{id_}{word}", method, json={"shown": "0" * 64})
        assert answer.status_code in (404, 405, 422)


async def test_an_id_may_be_typed_in_small_letters(desk: Desk) -> None:
    asked = await desk.site.open()
    assert (await desk.ask(BEA, f"/{asked.approval.lower()}")).json()["approval"] == asked.approval


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"shown": None},
        {"shown": "0" * 63},
        {"shown": "0" * 64, "comment": "x" * 1_025},
        {"shown": "0" * 64, "comment": 7},
        {"shown": "0" * 64, "channel": "web"},
        {"shown": "0" * 64, "granted": True},
        [],
        "x",
    ],
)
async def test_a_malformed_answer_is_a_problem_that_does_not_repeat_it(desk: Desk, body: Any) -> None:
    asked = await desk.site.open()
    answer = await desk.ask(BEA, f"/{asked.approval}/approve", "POST", json=body)
    assert answer.status_code == 422
    assert "xxxx" not in answer.text
    assert desk.site.records == []


@pytest.mark.parametrize(
    "query",
    [
        {"before": "x"},
        {"before": "1/AR-"},
        {"before": "9" * 17 + "/AR-0000000000"},
        {"state": "x"},
        {"limit": 0},
        {"limit": 201},
    ],
)
async def test_a_malformed_question_is_a_problem(desk: Desk, query: dict[str, Any]) -> None:
    assert (await desk.ask(BEA, params=query)).status_code == 422


async def test_a_body_is_bounded(desk: Desk) -> None:
    asked = await desk.site.open()
    answer = await desk.ask(BEA, f"/{asked.approval}/approve", "POST", content=b" " * 70_000)
    assert answer.status_code == 413


# --- live


async def events(approvals: Approvals, watch: Watch, count: int) -> list[bytes]:
    stream = routes._events(approvals, watch)
    found = [await asyncio.wait_for(anext(stream), 5) for _ in range(count)]
    await stream.aclose()  # type: ignore[attr-defined]
    return found


async def test_a_stream_gives_what_changes_to_who_may_see_it(desk: Desk) -> None:
    site = desk.site
    watch = site.service.watch(BEA)
    hidden = await site.open(approvers=frozenset({GroupName("leads")}))
    asked = await site.open(text="DELETE\n\ndata: forged\n\n")
    first, second = await events(site.service, watch, 2)
    assert first.startswith(b":")
    name, data, *rest = second.decode().split("\n")
    assert (name, rest) == ("event: approval", ["", ""])
    shown = json.loads(data.removeprefix("data: "))
    assert (shown["approval"], shown["may_answer"]) == (asked.approval, True)
    assert hidden.approval not in second.decode()


async def test_a_stream_shows_signs_of_life_and_ends_in_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KEEP_ALIVE", 0.01)
    monkeypatch.setattr(routes, "STREAM_LIFE", 0.1)
    desk.app.dependency_overrides[current_identity] = lambda: BEA
    answer = await desk.ask(BEA, "/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.count(": \n\n") >= 2
    assert len([desk.site.service.watch(BEA) for _ in range(8)]) == 8


async def test_a_stream_goes_on_where_one_request_cannot_be_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise StateUnavailable("locked")

    watch = desk.site.service.watch(BEA)
    await desk.site.open()
    stream = routes._events(desk.site.service, watch)
    await anext(stream)
    with monkeypatch.context() as patched:
        patched.setattr(desk.site.service, "show", fail)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    asked = await desk.site.open(text="DELETE FROM cards")
    assert asked.approval in (await asyncio.wait_for(waiting, 5)).decode()


async def test_streams_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_WATCHES", 0)
    answer = await desk.ask(BEA, "/events")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


async def test_a_stream_ends_with_the_login(desk: Desk) -> None:
    watch = desk.site.service.watch(BEA)
    reading = asyncio.create_task(events(desk.site.service, watch, 2))
    await asyncio.sleep(0.02)
    desk.site.service.end_watches(BEA.who.login)
    with pytest.raises(StopAsyncIteration):
        await reading


# --- who asks


@pytest.fixture
def signed_in(house: House, desk: Desk) -> House:
    house.app.state.approvals = desk.site.service
    house.app.include_router(routes.router)
    return house


async def asked_of(desk: Desk, token_groups: tuple[str, ...]) -> Request:
    return await desk.site.open(approvers=frozenset(map(GroupName, token_groups)))


@pytest.mark.parametrize("path", ["", "/events", "/AR-0000000000"])
async def test_nobody_is_answered_without_a_proof(signed_in: House, path: str) -> None:
    async with signed_in.another_browser() as client:
        assert (await client.get(f"{PATH}{path}")).status_code == 401
        assert (await client.post(f"{PATH}/AR-0000000000/approve", json={"shown": "0" * 64})).status_code == 401


async def test_a_revoked_approver_answers_nothing(signed_in: House, desk: Desk) -> None:
    token = await signed_in.token()
    me = (await signed_in.ask("GET", "/api/v1/me", token)).json()
    asked = await asked_of(desk, tuple(me["groups"]))
    body = {"shown": shown_hash(asked)}
    assert (await signed_in.ask("GET", f"{PATH}/{asked.approval}", token)).status_code == 200
    assert (await signed_in.ask("POST", "/api/v1/logout", token)).status_code in (200, 204)
    for word in ("approve", "deny"):
        answer = await signed_in.ask("POST", f"{PATH}/{asked.approval}/{word}", token, json=body)
        assert answer.status_code == 401
    assert (await desk.site.state(asked), desk.site.records) == ("pending", [])


async def test_a_token_answers_without_any_cookie(signed_in: House, desk: Desk) -> None:
    token = await signed_in.token()
    me = (await signed_in.ask("GET", "/api/v1/me", token)).json()
    asked = await asked_of(desk, tuple(me["groups"]))
    answer = await signed_in.ask("POST", f"{PATH}/{asked.approval}/approve", token, json={"shown": shown_hash(asked)})
    assert answer.json()["state"] == "granted"


async def test_a_cookie_that_another_site_uses_answers_nothing(signed_in: House, desk: Desk) -> None:
    await signed_in.browser.get(await signed_in.begin())
    assert SESSION_COOKIE in signed_in.browser.cookies
    asked = await asked_of(desk, ("engineering",))
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        answer = await signed_in.browser.post(
            f"{PATH}/{asked.approval}/approve", json={"shown": shown_hash(asked)}, headers=origin
        )
        assert answer.status_code == 403
    assert desk.site.records == []


async def test_a_token_for_targets_answers_nothing(signed_in: House, desk: Desk) -> None:
    whole = await signed_in.token()
    made = await signed_in.ask("POST", "/api/v1/tokens", whole, json={"targets": ["core"]})
    scoped = made.json()["token"]
    asked = await asked_of(desk, ("engineering",))
    answer = await signed_in.ask("POST", f"{PATH}/{asked.approval}/approve", scoped, json={"shown": shown_hash(asked)})
    assert answer.status_code == 403
