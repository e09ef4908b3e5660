"""Sessions over HTTP: who may look, what is recorded first, what is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI

from tests.support import evidence_records as made
from tests.support.identities import fresh_database
from tests.support.leaves import leaves
from tests.support.policies import identity
from tests.support.recorded_rows import Shelf
from vestibule.control.api import sessions as routes
from vestibule.control.api.sessions import Sessions
from vestibule.control.api.sign_in import current_identity
from vestibule.control.viewing import Viewing
from vestibule.gate.gate import StorageKey
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.identity import Identity
from vestibule.model.record import Record
from vestibule.stores.index import SessionIndex, enter

pytestmark = pytest.mark.asyncio
ONE, TWO = UUID("0a000000-0000-4000-8000-000000000001"), UUID("0b000000-0000-4000-8000-000000000002")
HOSTILE = "SELECT '\x1b[31m', '<script>'"


@dataclass
class House:
    """The API with two sessions in its index; `groups` are those of whoever asks."""

    app: FastAPI
    views: list[Record] = field(default_factory=list)
    kills: list[tuple[UUID, str]] = field(default_factory=list)
    groups: tuple[str, ...] = ("internal-audit",)
    is_full: bool = False
    shelf: Shelf | None = None

    async def persist(self, record: Record) -> None:
        if self.is_full:
            raise EvidenceUnavailable("full")
        self.views.append(record)

    async def kill(self, session: UUID, by: str) -> bool:
        self.kills.append((session, by))
        return session == TWO

    def roles(self, who: Identity) -> frozenset[str]:
        given = {"internal-audit": "auditor", "platform": "administrator"}
        return frozenset(role for group, role in given.items() if group in who.groups)

    async def ask(self, path: str, method: str = "GET", **query: Any) -> httpx2.Response:
        self.app.dependency_overrides[current_identity] = lambda: identity(*self.groups)
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="https://v") as client:
            return await client.request(method, f"/api/v1/sessions{path}", params=query)


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    engine = await fresh_database(tmp_path)
    records = [*made.conversation(ONE, 3), made.access(TWO), made.opened(TWO), made.decided(TWO, 1, text=HOSTILE)]
    async with engine.begin() as connection:
        await enter(connection, leaves(tmp_path, records))
    app = FastAPI()
    home = House(app)
    viewing = Viewing(home.persist, StorageKey("k", bytes(32)))
    home.shelf = Shelf(tmp_path / "recordings", engine)
    app.state.sessions = Sessions(SessionIndex(engine), viewing, home.roles, home.kill, home.shelf.replayer)
    app.include_router(routes.router)
    yield home
    await engine.dispose()


async def test_an_auditor_lists_sessions_and_the_search_is_recorded(house: House) -> None:
    answer = await house.ask("", user="ada")
    assert [row["session"] for row in answer.json()["sessions"]] == [str(TWO), str(ONE)]
    [view] = house.views
    assert (view.members["action"], view.members["query"]) == ("search", "user=ada")


async def test_what_a_search_was_for_passes_the_storage_mask(house: House) -> None:
    await house.ask(
        "", user="4111 1111 1111 1111", target="ada@bank.example", since="2026-01-31", until="2026-12-31T10:00Z"
    )
    await house.ask("", user="ada", note="4111111111111111")
    first, second = (view.members["query"] for view in house.views)
    assert "4111" not in first
    assert "bank.example" not in first
    assert first.startswith("user=<value:k:")
    assert first.endswith("&since=2026-01-31&until=2026-12-31T10:00Z")
    assert second == "user=ada"


async def test_lists_are_pages(house: House) -> None:
    first = (await house.ask("", limit=1)).json()
    second = (await house.ask("", limit=1, before=first["next"])).json()
    third = (await house.ask("", limit=1, before=second["next"])).json()
    assert [page["sessions"][0]["session"] for page in (first, second)] == [str(TWO), str(ONE)]
    assert (third["sessions"], third["next"]) == ([], None)


async def test_statements_are_pages_too(house: House) -> None:
    first = (await house.ask("/0a00", limit=2)).json()
    second = (await house.ask("/0a00", limit=2, after=first["next"])).json()
    assert [row["number"] for row in first["statements"] + second["statements"]] == [1, 2, 3]
    assert second["next"] is None


async def test_a_session_is_found_by_the_beginning_of_its_id(house: House) -> None:
    answer = (await house.ask("/0a00/replay")).json()
    assert answer["session"]["session"] == str(ONE)
    assert answer["statements"][0]["outcome"] == "ok"
    assert house.views[0].members["action"] == "replay"
    assert house.views[0].members["sessions"] == [str(ONE)]


@pytest.mark.parametrize("path", ["", "/0a00", "/0a00/replay"])
async def test_nothing_is_shown_that_could_not_be_recorded(house: House, path: str) -> None:
    house.is_full = True
    answer = await house.ask(path)
    assert answer.status_code == 503
    assert "SELECT" not in answer.text
    assert "ada" not in answer.text


@pytest.mark.parametrize("path", ["", "/0a00", "/0a00/replay"])
async def test_who_has_no_role_sees_nothing(house: House, path: str) -> None:
    house.groups = ("engineering",)
    answer = await house.ask(path)
    assert answer.status_code == 403
    assert "auditor" in answer.json()["detail"]
    assert house.views == []


async def test_an_administrator_ends_a_session(house: House) -> None:
    house.groups = ("platform",)
    answer = await house.ask("/0b00/kill", "POST")
    assert answer.json() == {"session": str(TWO), "killed": True}
    assert house.kills == [(TWO, "alice")]
    assert (await house.ask("/0a00/kill", "POST")).json()["killed"] is False


async def test_an_auditor_ends_nothing(house: House) -> None:
    assert (await house.ask("/0b00/kill", "POST")).status_code == 403
    assert house.kills == []


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/ffff", {}, 404),
        ("/0", {}, 422),
        ("/zzzz", {}, 422),
        ("/" + "0a" * 40, {}, 422),
        ("", {"before": "x"}, 422),
        ("", {"before": "2026-01-01T00:00:00.000000Z/" + "-" * 36}, 422),
        ("", {"since": "yesterday"}, 422),
        ("", {"limit": 0}, 422),
        ("", {"limit": 10_000}, 422),
        ("", {"state": "both"}, 422),
    ],
)
async def test_a_malformed_question_is_a_problem_that_says_so(
    house: House, path: str, query: dict[str, Any], status: int
) -> None:
    answer = await house.ask(path, **query)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_an_ambiguous_id_is_refused(house: House, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    twin = UUID("0a000000-0000-4000-8000-0000000000ff")
    index = house.app.state.sessions.index
    async with index._engine.begin() as connection:
        await enter(connection, leaves(tmp_path / "more", [made.access(twin), made.opened(twin)]))
    answer = await house.ask("/0a00")
    assert answer.status_code == 422
    assert "several" in answer.json()["detail"]


async def test_times_compare_in_every_form(house: House) -> None:
    for since in ("2027-01-15", "2027-01-15T08:00Z", "2027-01-15T08:00:05Z"):
        assert (await house.ask("", since=since)).status_code == 200
    assert (await house.ask("", since="2027-01-16")).json()["sessions"] == []
    assert (await house.ask("", until="2027-01-15T08:00:05.000000Z")).json()["sessions"][0]["session"] == str(ONE)
