"""What clients were shown, over HTTP: pages of tables, recorded first, and of running sessions as they go on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.control.api.test_sessions import ONE, TWO, House, house
from tests.support import evidence_records as made
from tests.support.leaves import leaves
from tests.support.recorded_rows import Shelf, result
from vestibule.evidence.recording import Event
from vestibule.model.record import Record
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.stores.index import enter

pytestmark = pytest.mark.asyncio

__all__ = ["house"]


def shelf_of(house: House) -> Shelf:
    assert house.shelf is not None
    return house.shelf


async def record(house: House, session: UUID = ONE) -> None:
    first = [*result(1, 10, ["id", "ssn"], ["1", "***"], ["2", None]), *result(2, 20, ["n"], ["x"])]
    await shelf_of(house).chunk(session, 0, first)


async def tables(house: House, session: UUID = ONE, **query: Any) -> dict[str, Any]:
    answer = await house.ask(f"/{session}/replay/results", **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_rows_are_tables_under_their_statement_and_the_look_is_recorded_first(house: House) -> None:
    await record(house)
    page = await tables(house)

    assert page["tables"][0] == {
        "statement": 1,
        "at_us": 10,
        "columns": [{"name": "id", "type": 25, "masked": None}, {"name": "ssn", "type": 25, "masked": None}],
        "continued": False,
        "rows": [["1", "***"], ["2", None]],
        "ended": True,
        "tag": "SELECT 2",
        "error": None,
    }
    assert page["over"]
    assert (page["missing"], page["statements"]) == ([], [])
    assert [(view.members["action"], view.members["sessions"]) for view in house.views] == [("replay", [str(ONE)])]


async def test_nothing_is_shown_when_the_look_cannot_be_recorded(house: House) -> None:
    await record(house)
    house.is_full = True
    answer = await house.ask(f"/{ONE}/replay/results")

    assert answer.status_code == 503
    assert "***" not in answer.text


@pytest.mark.parametrize("groups", [(), ("engineering",)])
async def test_only_auditors_and_administrators_look(house: House, groups: tuple[str, ...]) -> None:
    house.groups = groups
    assert (await house.ask(f"/{ONE}/replay/results")).status_code == 403
    assert house.views == []


async def test_pages_follow_each_other(house: House) -> None:
    await record(house)
    first = await tables(house, limit=1)
    second = await tables(house, limit=1, after=first["next"])

    assert (first["tables"][0]["rows"], second["tables"][0]["rows"]) == ([["1", "***"]], [["2", None]])
    assert second["tables"][0]["continued"]
    assert not first["over"]


@pytest.mark.parametrize("query", [{"at_us": 11}, {"statement": 2}])
async def test_a_moment_or_a_statement_is_where_it_begins(house: House, query: dict[str, int]) -> None:
    await record(house)

    assert [table["statement"] for table in (await tables(house, **query))["tables"]] == [2]


async def test_masked_columns_are_told(house: House, tmp_path: Path) -> None:
    decided = made.decided(ONE, 7)
    columns = [{"name": "ssn", "transform": "keep_last"}]
    plan = {"tier": "A", "form": "text", "digest": "0" * 64, "columns": columns}
    members = {**decided.members, "mask_plan": plan}
    records = [made.access(ONE), made.opened(ONE), Record(decided.kind, members, ONE, decided.target, decided.name)]
    async with shelf_of(house).engine.begin() as connection:
        await enter(connection, leaves(tmp_path / "more", records))
    await shelf_of(house).chunk(ONE, 0, result(7, 1, ["id", "ssn"], ["1", "6789"]))

    assert [each["masked"] for each in (await tables(house))["tables"][0]["columns"]] == [None, "keep_last"]


async def test_a_value_that_cannot_be_decoded_is_its_size(house: House) -> None:
    head = encode(pg.RowDescription((pg.Field("p", 0, 0, 600, -1, -1, 1),)))
    events = result(1, 1, ["p"], ["12345678"])
    events[0] = Event(1, 1, events[0].part, head)
    await shelf_of(house).chunk(ONE, 0, events)

    assert (await tables(house))["tables"][0]["rows"] == [[{"bytes": 8}]]


@pytest.mark.parametrize("query", [{"after": "x"}, {"limit": 0}, {"limit": 5_001}, {"wait": 21}, {"at_us": -1}])
async def test_what_is_not_understood_is_a_problem(house: House, query: dict[str, Any]) -> None:
    assert (await house.ask(f"/{ONE}/replay/results", **query)).status_code == 422
    assert house.views == []


async def test_a_recording_that_was_changed_is_a_problem_that_says_so(house: House) -> None:
    await record(house)
    [path] = (shelf_of(house).folder / "objects" / "obj").glob("*/*")
    path.chmod(0o600)
    path.write_bytes(b"forged")
    answer = await house.ask(f"/{ONE}/replay/results")

    assert answer.status_code == 500
    assert "chunk 0" in answer.json()["detail"]


async def test_whoever_follows_a_running_session_sees_new_rows_within_a_second(house: House) -> None:
    shelf = shelf_of(house)
    part = shelf.part(TWO, 0, result(1, 1, ["n"], ["a"])[:2])
    first = await tables(house, TWO)
    waiting: asyncio.Task[dict[str, Any]] = asyncio.create_task(tables(house, TWO, after=first["next"], wait=10))
    await asyncio.sleep(0.1)
    shelf.go_on(part, result(2, 2, ["n"], ["b"]))
    began = time.monotonic()
    page = await waiting

    assert time.monotonic() - began < 1
    assert [table["rows"] for table in page["tables"]] == [[["b"]]]
    assert not page["over"]
    assert len(house.views) == 2


async def test_new_statements_end_the_wait_too(house: House) -> None:
    page = await tables(house, TWO, seen=0, wait=10)

    assert [row["number"] for row in page["statements"]] == [1]


async def test_a_wait_without_anything_new_ends_in_time_and_is_not_over(house: House) -> None:
    began = time.monotonic()
    page = await tables(house, TWO, seen=1, wait=0.4)

    assert 0.3 < time.monotonic() - began < 2
    assert (page["tables"], page["statements"], page["over"]) == ([], [], False)


async def test_a_session_that_has_ended_ends_the_wait(house: House) -> None:
    page = await tables(house, ONE, wait=10)

    assert page["over"]


async def test_an_unknown_session_is_not_found(house: House) -> None:
    assert (await house.ask("/0c000000/replay/results")).status_code == 404
