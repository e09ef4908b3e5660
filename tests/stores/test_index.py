"""Search over what the journal holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support import evidence_records as made
from tests.support.identities import fresh_database
from tests.support.leaves import leaves
from vestibule.model.login import StateUnavailable
from vestibule.model.record import Kind, Record
from vestibule.stores.index import Leaf, Search, SessionIndex, enter

ONE, TWO = UUID("0a000000-0000-4000-8000-000000000001"), UUID("0b000000-0000-4000-8000-000000000002")
ANY = Search()


def scene() -> list[Record]:
    policy = Record(
        Kind.POLICY_APPLIED,
        {"policy": "3" * 64, "text": "version: 1", "source": "file", "effective_at": "2026-07-01T18:00:00.000000Z"},
    )
    return [
        policy,
        made.access(ONE),
        made.opened(ONE),
        made.decided(ONE, 1),
        made.finished(ONE, 1, rows=7),
        made.decided(ONE, 2, "deny", "DROP TABLE t"),
        made.closed(ONE),
        made.access(TWO),
        made.opened(TWO),
        made.decided(TWO, 1),
    ]


def ask(
    folder: Path, question: Callable[[SessionIndex], Awaitable[object]], entered: int = 1, parts: int = 1
) -> object:
    """Enter the scene, `entered` times, cut into `parts`; then ask."""

    async def run() -> object:
        engine: AsyncEngine = await fresh_database(folder)
        whole = leaves(folder, scene())
        step = -(-len(whole) // parts)
        batches = [whole[at : at + step] for at in range(0, len(whole), step)]
        for batch in batches * entered:
            await _enter(engine, batch)
        try:
            return await question(SessionIndex(engine))
        finally:
            await engine.dispose()

    return asyncio.run(run())


async def _enter(engine: AsyncEngine, batch: list[Leaf]) -> None:
    async with engine.begin() as connection:
        await enter(connection, batch)


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_a_closed_session_shows_who_what_and_how_it_ended(tmp_path: Path, parts: int) -> None:
    [found] = ask(tmp_path, lambda index: index.find("0a00"), parts=parts)  # type: ignore[misc] - a list of rows
    assert (found.session, found.name, found.target, found.account) == (ONE, "ada", "core-banking", "vestibule_rw")
    assert found.closed_at is not None
    assert found.opened_at < found.closed_at


def test_statements_carry_decision_and_outcome(tmp_path: Path) -> None:
    first, second = ask(tmp_path, lambda index: index.statements(ONE, 0, 10))  # type: ignore[misc] - a list of rows
    assert (first.number, first.decision, first.outcome, first.rows, first.text) == (1, "allow", "ok", 7, "SELECT 1")
    assert (second.number, second.decision, second.outcome, second.rule) == (2, "deny", None, "engineers")


def test_entering_again_changes_nothing(tmp_path: Path) -> None:
    once = ask(tmp_path / "a", lambda index: index.search(ANY, None, 10)) if (tmp_path / "a").mkdir() is None else None
    (tmp_path / "b").mkdir()
    twice = ask(tmp_path / "b", lambda index: index.search(ANY, None, 10), entered=2)
    assert once == twice


def test_pages_are_whole_and_do_not_overlap(tmp_path: Path) -> None:
    async def pages(index: SessionIndex) -> list[UUID]:
        [newest] = await index.search(ANY, None, 1)
        [oldest] = await index.search(ANY, (newest.opened_at, newest.session), 1)
        assert await index.search(ANY, (oldest.opened_at, oldest.session), 1) == []
        return [newest.session, oldest.session]

    assert ask(tmp_path, pages) == [TWO, ONE]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Search(is_open=True), [TWO]),
        (Search(is_open=False), [ONE]),
        (Search(name="ADA"), [TWO, ONE]),
        (Search(name="bob"), []),
        (Search(target="core-banking"), [TWO, ONE]),
        (Search(target="other"), []),
        (Search(since="2027-01-15T08:00:05"), [TWO]),
        (Search(until="2027-01-15T08:00:05"), [ONE]),
        (Search(since="2028"), []),
    ],
)
def test_a_search_finds_what_it_names(tmp_path: Path, wanted: Search, expected: list[UUID]) -> None:
    rows = ask(tmp_path, lambda index: index.search(wanted, None, 10))
    assert [row.session for row in rows] == expected  # type: ignore[attr-defined] - a list of rows


def test_the_last_policy_is_known(tmp_path: Path) -> None:
    assert ask(tmp_path, lambda index: index.last_policy()) == "3" * 64


def test_an_ambiguous_prefix_finds_two(tmp_path: Path) -> None:
    assert len(ask(tmp_path, lambda index: index.find("0"))) == 2  # type: ignore[arg-type] - a list of rows


def test_a_database_that_cannot_answer_is_a_defined_error(tmp_path: Path) -> None:
    async def run() -> None:
        engine = await fresh_database(tmp_path)
        async with engine.begin() as connection:
            await connection.exec_driver_sql("DROP TABLE session")
        try:
            await SessionIndex(engine).search(ANY, None, 1)
        finally:
            await engine.dispose()

    with pytest.raises(StateUnavailable):
        asyncio.run(run())
