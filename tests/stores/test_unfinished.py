from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from tests.support.evidence_records import access, closed, decided, finished, opened, released
from tests.support.journals import stored
from tests.support.log_site import Site, rows
from vestibule.model.record import Kind, Record
from vestibule.stores.unfinished import OpenSession, UnfinishedStore

pytestmark = pytest.mark.asyncio
ADA, BOB = UUID(int=1), UUID(int=2)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "data")
    yield made
    await asyncio.to_thread(made.close)


async def open_sessions(site: Site, *appends: list[Record]) -> list[OpenSession]:
    """Integrate after each append, and give what is open at the end."""
    async with site.integrator() as log, site.database() as engine:
        for records in appends:
            site.write(records)
            await log.integrated()
        store = UnfinishedStore(engine)
        return await store.sessions(await store.writers())


HISTORY = [
    access(ADA),
    opened(ADA),
    decided(ADA, 1),
    finished(ADA, 1, rows=7),
    decided(ADA, 2, "deny"),
    finished(ADA, 2, "refused", rows=0),
    decided(ADA, 3),
]


@pytest.mark.parametrize("step", [1, 2, 3, 7])
async def test_an_open_session_has_its_sums_and_its_running_statements_however_it_was_batched(
    site: Site, step: int
) -> None:
    (session,) = await open_sessions(site, *[HISTORY[start : start + step] for start in range(0, 7, step)])
    records = stored(site.data / "journal" / "n1.w0")
    assert (session.session, session.node, session.target) == (ADA, "n1.w0", "core-banking")
    assert (session.opened_id, session.opened_leaf) == (records[1].header.id, records[1].leaf)
    assert (session.opened_at, session.last_at, session.last_sn) == (records[1].header.t, records[6].header.t, 6)
    assert (session.statements, session.allowed, session.denied) == (3, 2, 1)
    assert (session.rows, session.bytes_to_client) == (7, 128)
    ((number, record_id, leaf),) = [(each.number, each.id, each.leaf) for each in session.running]
    assert (number, record_id, leaf) == (3, records[6].header.id, records[6].leaf)


@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("result", ["spent", "refused"])
async def test_a_held_statement_may_have_run_once_its_permit_is_spent(site: Site, step: int, result: str) -> None:
    history = [access(ADA), opened(ADA), decided(ADA, 1, "hold"), released(ADA, 1, result), decided(ADA, 2, "hold")]
    (session,) = await open_sessions(site, *[history[start : start + step] for start in range(0, 5, step)])
    records = stored(site.data / "journal" / "n1.w0")
    assert (session.statements, session.allowed, session.denied, session.held) == (2, 0, 0, 2)
    running = [(each.id, each.leaf) for each in session.running]
    assert running == ([(records[2].header.id, records[2].leaf)] if result == "spent" else [])


@pytest.mark.parametrize("step", [1, 3, 9])
async def test_of_a_session_that_closed_nothing_is_left(site: Site, step: int) -> None:
    whole = [*HISTORY, closed(ADA, 3)]
    assert await open_sessions(site, *[whole[start : start + step] for start in range(0, 8, step)]) == []
    async with site.database() as engine:
        assert await rows(engine, "open_session") == []
        assert await rows(engine, "open_statement") == []


async def test_only_sessions_of_the_writers_asked_for_are_listed(site: Site) -> None:
    site.write([access(ADA), opened(ADA)])
    site.write([access(BOB), opened(BOB), decided(BOB, 1)], node="n1.w1")
    async with site.integrator(), site.database() as engine:
        store = UnfinishedStore(engine)
        assert await store.writers() == ["n1.w0", "n1.w1"]
        (session,) = await store.sessions(["n1.w1"])
        assert (session.session, len(session.running)) == (BOB, 1)
        assert await store.sessions([]) == []


async def test_what_another_writer_says_does_not_move_the_sessions_own_chain(site: Site) -> None:
    (session,) = await open_sessions(site, HISTORY)
    running = session.running[0]
    reference = {"id": str(running.id), "leaf": running.leaf.hex()}
    said = Record(
        Kind.STATEMENT_FINISHED,
        {"decided": reference, "outcome": "unknown", "forwarded": True},
        ADA,
        sequenced=False,
    )
    async with site.integrator() as log, site.database() as engine:
        site.write([said], node="n1.w1")
        await log.integrated()
        (after,) = await UnfinishedStore(engine).sessions(["n1.w0"])
    assert (after.last_sn, after.last_at) == (session.last_sn, session.last_at)
    assert after.running == ()


async def test_a_log_in_that_opened_nothing_is_no_open_session(site: Site) -> None:
    assert await open_sessions(site, [access(ADA)], [access(BOB, "deny")]) == []
