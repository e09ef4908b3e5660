"""The index of recordings, entered from leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from tests.support import evidence_records as made
from tests.support.identities import fresh_database
from tests.support.leaves import leaves
from vestibule.evidence.recording import Stored
from vestibule.model.login import StateUnavailable
from vestibule.model.record import Kind, Record
from vestibule.stores.index import enter
from vestibule.stores.replays import ReplayIndex

ONE, TWO = UUID(int=1), UUID(int=2)


def chunk(session: UUID, seq: int, moments: tuple[int, int], statements: tuple[int, int]) -> Record:
    about = Stored(f"{seq}" * 64, 10, bytes(16), "f" * 64, 20, UUID(int=9))
    members = {
        "stream": "results",
        "seq": seq,
        "object": about.members(),
        "first_us": moments[0],
        "last_us": moments[1],
        "events": 1,
        "statements": list(statements),
        "recovered": False,
    }
    return Record(Kind.CHUNK_SEALED, members, session=session)  # type: ignore[arg-type] # as it is written


def masked(session: UUID, number: int) -> Record:
    record = made.decided(session, number)
    columns = [{"name": "ssn", "transform": "keep_last"}]
    plan = {"tier": "A", "form": "text", "digest": "0" * 64, "columns": columns}
    return Record(record.kind, {**record.members, "mask_plan": plan}, record.session, record.target, record.name)


SCENE = [
    made.access(ONE),
    made.opened(ONE),
    made.decided(ONE, 1),
    masked(ONE, 2),
    chunk(ONE, 0, (0, 100), (1, 1)),
    chunk(ONE, 1, (150, 300), (1, 2)),
    chunk(ONE, 2, (300, 900), (2, 2)),
    made.access(TWO),
    made.opened(TWO),
    chunk(TWO, 0, (0, 5), (1, 1)),
]


def ask(folder: Path, question: Callable[[ReplayIndex], Awaitable[object]], entered: int = 1) -> object:
    async def run() -> object:
        engine = await fresh_database(folder)
        whole = leaves(folder, SCENE)
        for _ in range(entered):
            async with engine.begin() as connection:
                await enter(connection, whole)
        try:
            return await question(ReplayIndex(engine))
        finally:
            await engine.dispose()

    return asyncio.run(run())


def seq(found: object) -> int | None:
    return None if found is None else found.seq  # type: ignore[attr-defined,no-any-return] # a chunk


def test_a_chunk_is_found_by_its_place(tmp_path) -> None:
    found = ask(tmp_path, lambda index: index.chunk(ONE, 1))

    assert (found.seq, found.first_us, found.last_us, found.object.sha256) == (1, 150, 300, "1" * 64)


@pytest.mark.parametrize(("session", "at"), [(ONE, 3), (UUID(int=7), 0)])
def test_a_chunk_that_is_not_in_the_log_is_not_found(tmp_path, session, at) -> None:
    assert ask(tmp_path, lambda index: index.chunk(session, at)) is None


@pytest.mark.parametrize(("session", "count"), [(ONE, 3), (TWO, 1), (UUID(int=7), 0)])
def test_chunks_are_counted_and_entering_them_again_changes_nothing(tmp_path, session, count) -> None:
    assert ask(tmp_path, lambda index: index.count(session), entered=2) == count


@pytest.mark.parametrize(("moment", "place"), [(0, 0), (100, 0), (101, 1), (300, 1), (301, 2), (901, None)])
def test_a_moment_leads_to_the_first_chunk_that_is_not_over(tmp_path, moment, place) -> None:
    assert seq(ask(tmp_path, lambda index: index.at(ONE, moment))) == place


@pytest.mark.parametrize(("number", "place"), [(1, 0), (2, 1), (3, None)])
def test_a_statement_leads_to_the_first_chunk_that_may_hold_its_results(tmp_path, number, place) -> None:
    assert seq(ask(tmp_path, lambda index: index.of_statement(ONE, number))) == place


def test_masked_columns_are_known_by_statement(tmp_path) -> None:
    assert ask(tmp_path, lambda index: index.masked(ONE, [1, 2])) == {2: {"ssn": "keep_last"}}


def test_a_database_that_cannot_answer_says_so(tmp_path) -> None:
    async def run() -> None:
        engine = await fresh_database(tmp_path)
        async with engine.begin() as connection:
            await connection.exec_driver_sql("DROP TABLE chunk")
        with pytest.raises(StateUnavailable):
            await ReplayIndex(engine).count(ONE)
        await engine.dispose()

    asyncio.run(run())
