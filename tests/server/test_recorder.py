import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.doors import eventually
from tests.support.recordings import Studio
from vestibule.model.record import Kind

pytestmark = pytest.mark.asyncio


async def test_a_full_spool_admits_no_session(tmp_path: Path) -> None:
    studio = Studio(tmp_path, limit=70_000)
    assert studio.recorder.admits_sessions
    studio.spool.take(70_000)
    assert not studio.recorder.admits_sessions
    assert studio.recorder.spool_bytes == 70_000
    studio.close()


async def test_one_fault_of_many_sessions_is_recorded_once_and_ends_with_the_last(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    for who in ("one", "two"):
        studio.recorder.failed(who, "spool_full", "No space left on device")
    studio.recorder.works("one", "spool_full")
    assert studio.journal.kinds() == [Kind.AUDIT_FAULT]
    studio.recorder.works("two", "spool_full")
    studio.recorder.works("two", "spool_full")

    assert [record.members["phase"] for record in studio.journal.records] == ["started", "ended"]
    studio.close()


async def test_a_recording_that_is_over_is_forgotten(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    other = studio.begin(UUID(int=2))
    studio.keep(b"rows")
    await studio.finish()

    await eventually(lambda: studio.recorder._recordings == {other})
    studio.close()


async def test_after_the_end_nothing_runs_and_what_was_written_stays(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    studio.keep(b"rows")
    await eventually(lambda: studio.parts())
    studio.close()
    await asyncio.sleep(0.05)

    assert studio.chunks == []
    assert len(studio.parts()) == 1
