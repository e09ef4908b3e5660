import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.doors import eventually
from tests.support.recordings import SESSION, Studio
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.record import Kind
from vestibule.server import recording, sealing
from vestibule.server.recording import Ending

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Studio]:
    monkeypatch.setattr(sealing, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(recording, "QUIET_SECONDS", 0.05)
    studio = Studio(tmp_path)
    yield studio
    studio.close()


def break_store(studio: Studio) -> None:
    (studio.folder / "objects").write_bytes(b"a file where the folder belongs")


def mend_store(studio: Studio) -> None:
    (studio.folder / "objects").unlink()


async def test_the_object_is_there_before_its_record(studio: Studio) -> None:
    studio.journal.mode = "told"
    studio.keep(b"rows")
    await eventually(lambda: studio.chunks)

    assert studio.shown() == b"rows"
    assert studio.chunks[0].sequenced


async def test_while_the_store_is_down_nothing_is_lost_and_the_session_goes_on(studio: Studio) -> None:
    break_store(studio)
    for word in (b"one", b"two", b"three"):
        studio.keep(word)
        await asyncio.sleep(0.15)
    assert studio.chunks == []
    assert not studio.recording.is_full
    assert studio.parts() == [f"{SESSION}.{seq}" for seq in range(3)]
    mend_store(studio)
    await eventually(lambda: len(studio.chunks) == 3)

    assert [chunk.members["seq"] for chunk in studio.chunks] == [0, 1, 2]
    assert studio.shown() == b"onetwothree"
    await eventually(lambda: studio.parts() == [])


async def test_the_fault_of_the_store_and_its_end_are_recorded(studio: Studio) -> None:
    break_store(studio)
    studio.keep(b"rows")
    await eventually(lambda: studio.journal.kinds() == [Kind.AUDIT_FAULT])
    mend_store(studio)
    await eventually(lambda: studio.journal.kinds().count(Kind.AUDIT_FAULT) == 2)

    faults = [record.members for record in studio.journal.records if record.kind is Kind.AUDIT_FAULT]
    assert [(fault["fault"], fault["phase"]) for fault in faults] == [
        ("object_store_down", "started"),
        ("object_store_down", "ended"),
    ]


async def test_a_session_does_not_wait_long_for_a_store_that_is_down_and_its_chunks_follow(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "FINISH_SECONDS", 0.2)
    break_store(studio)
    studio.keep(b"rows")
    ending = await studio.finish()
    assert ending == Ending(1, False)
    mend_store(studio)
    await eventually(lambda: studio.chunks)

    # The session's own chain has ended: what comes now is said from outside.
    assert not studio.chunks[0].sequenced
    assert studio.shown() == b"rows"


async def test_a_record_that_failed_is_written_again_with_the_same_object(studio: Studio) -> None:
    studio.journal.mode = "told"
    studio.keep(b"rows")
    await eventually(lambda: len(studio.chunks) == 1)
    studio.journal.tickets[0].settle(EvidenceUnavailable("told to"))
    await eventually(lambda: len(studio.chunks) == 2)
    assert studio.parts() == [f"{SESSION}.0"]
    studio.journal.tickets[1].settle()
    await eventually(lambda: studio.parts() == [])

    assert studio.chunks[0].members == studio.chunks[1].members


async def test_a_part_that_cannot_be_dropped_stops_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise PermissionError("not allowed")

    monkeypatch.setattr(sealing.SpoolPart, "drop", fail)
    studio.keep(b"one")
    await eventually(lambda: len(studio.chunks) == 1)
    studio.keep(b"two")

    assert await studio.finish() == Ending(2, True)


async def test_what_is_left_at_the_end_of_the_process_stays_in_the_spool(studio: Studio) -> None:
    break_store(studio)
    studio.keep(b"rows")
    await eventually(lambda: studio.journal.kinds() == [Kind.AUDIT_FAULT])
    studio.close()
    mend_store(studio)
    await asyncio.sleep(0.2)

    assert studio.chunks == []
    assert studio.parts() == [f"{SESSION}.0"]
