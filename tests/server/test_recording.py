import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.doors import eventually
from tests.support.recordings import KEY, SESSION, Studio
from tests.support.small_disk import fill, small_disk
from vestibule.evidence.recording import Part
from vestibule.evidence.spool import HEAD_BYTES, decode_frames
from vestibule.model.record import Kind
from vestibule.server import recording as module
from vestibule.server.recording import BULK_BYTES, CHUNK_BYTES, QUEUE_BYTES, Ending
from vestibule.stores.disk import Disk

pytestmark = pytest.mark.asyncio

MakeStudio = Callable[..., Studio]


class SwitchedDisk(Disk):
    """A disk that fails or hangs while it is told to."""

    def __init__(self) -> None:
        self.fails = False
        self.syncs = 0
        self.going = threading.Event()
        self.going.set()

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self.going.wait(20)
        if self.fails:
            raise OSError(errno.EIO, "Input/output error")
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self.syncs += 1
        super().sync(fd)


@pytest_asyncio.fixture
async def make_studio(tmp_path: Path) -> AsyncIterator[MakeStudio]:
    made: list[Studio] = []

    def make(**options: object) -> Studio:
        made.append(Studio(tmp_path, **options))  # type: ignore[arg-type] # whatever a test wants
        return made[-1]

    yield make
    for studio in made:
        studio.close()


def in_spool(studio: Studio) -> bytes:
    """What could be read of the spool now, if the process died."""
    parts = [path.read_bytes() for path in sorted((studio.folder / "spool").iterdir())]
    return b"".join(decode_frames(part, KEY)[0] for part in parts if len(part) >= HEAD_BYTES)


# --- what is shown ---------------------------------------------------------------------------------------------------


async def test_what_was_shown_is_in_a_chunk_with_its_moment_and_statement(make_studio: MakeStudio) -> None:
    studio = make_studio()
    studio.keep(b"rows", 3, 17, head=b"columns")
    ending = await studio.finish()

    assert [(e.offset_us, e.statement, e.part, e.data) for e in studio.events()] == [
        (17, 3, Part.HEAD, b"columns"),
        (17, 3, Part.FRAMES, b"rows"),
    ]
    assert ending == Ending(1, True)
    assert ending.members() == {"chunks": {"results": 1}}


async def test_it_is_in_the_spool_within_fifty_milliseconds(make_studio: MakeStudio) -> None:
    studio = make_studio()
    studio.keep(b"rows")
    assert studio.parts() == []
    await asyncio.sleep(0.12)

    assert studio.parts() == [f"{SESSION}.0"]
    assert b"rows" in in_spool(studio)


async def test_it_is_written_at_once_from_sixty_four_kibibytes_on(
    make_studio: MakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_SECONDS", 60.0)
    studio = make_studio()
    studio.keep(b"x" * 64 * 1024)

    await eventually(lambda: len(in_spool(studio)) > 64 * 1024)


async def test_it_survives_a_power_cut_after_a_second_or_a_mebibyte(
    make_studio: MakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SYNC_SECONDS", 0.3)
    disk = SwitchedDisk()
    studio = make_studio(disk=disk)
    studio.keep(b"rows")
    await asyncio.sleep(0.15)
    assert disk.syncs == 0
    await eventually(lambda: disk.syncs == 1)

    monkeypatch.setattr(module, "SYNC_SECONDS", 60.0)
    for _ in range(17):
        studio.keep(b"x" * 64 * 1024)
    await eventually(lambda: disk.syncs >= 2)


async def test_a_chunk_is_cut_at_its_size_and_begins_with_the_description(make_studio: MakeStudio) -> None:
    studio = make_studio()
    for number in range(1, 40):
        studio.keep(b"%02d" % number * 16 * 1024, number, head=b"same columns")
        await asyncio.sleep(0)
    ending = await studio.finish()

    chunks = [studio.opened(chunk) for chunk in studio.chunks]
    assert [chunk.members["seq"] for chunk in studio.chunks] == list(range(ending.chunks))
    assert ending.chunks >= 4
    assert all(chunk[0].part is Part.HEAD for chunk in chunks)
    assert all(sum(len(event.data) for event in chunk) < CHUNK_BYTES + 64 * 1024 for chunk in chunks)
    assert studio.shown() == b"".join(b"%02d" % number * 16 * 1024 for number in range(1, 40))


async def test_one_statement_alone_fills_larger_chunks(make_studio: MakeStudio) -> None:
    studio = make_studio()
    for _ in range(64):
        studio.keep(b"x" * 64 * 1024)
        await asyncio.sleep(0.001)
    ending = await studio.finish()

    assert ending.chunks == 4 * 1024 * 1024 // BULK_BYTES
    assert len(studio.shown()) == 4 * 1024 * 1024


async def test_a_chunk_is_never_cut_inside_a_message(make_studio: MakeStudio) -> None:
    studio = make_studio()
    studio.keep(b"begin", 1)
    for _ in range(40):
        studio.keep(b"x" * 64 * 1024, 1, goes_on=True)
        await asyncio.sleep(0.001)
    studio.keep(b"next", 1)
    await studio.finish()

    assert [studio.opened(chunk)[0].data for chunk in studio.chunks] == [b"begin", b"next"]


async def test_statements_that_take_turns_repeat_their_descriptions(make_studio: MakeStudio) -> None:
    studio = make_studio()
    for number in (1, 1, 2, 1):
        studio.keep(b"row", number, head=b"columns of %d" % number)
    await studio.finish()

    heads = [event.data for event in studio.events() if event.part is Part.HEAD]
    assert heads == [b"columns of 1", b"columns of 2", b"columns of 1"]


async def test_silence_seals_what_there_is_and_the_session_goes_on(
    make_studio: MakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.1)
    studio = make_studio()
    studio.keep(b"one")
    await eventually(lambda: len(studio.chunks) == 1)
    studio.keep(b"two")
    ending = await studio.finish()

    assert ending == Ending(2, True)
    assert studio.shown() == b"onetwo"


async def test_a_session_that_was_shown_nothing_has_no_chunk(make_studio: MakeStudio) -> None:
    studio = make_studio()

    assert (await studio.finish()).members() == {}
    assert studio.journal.records == []


async def test_the_spool_is_empty_once_the_records_are_durable_and_not_before(make_studio: MakeStudio) -> None:
    studio = make_studio(journal="told")
    studio.keep(b"rows")
    task = asyncio.ensure_future(studio.finish())
    await eventually(lambda: studio.chunks)
    await asyncio.sleep(0.05)
    assert studio.parts() == [f"{SESSION}.0"]
    assert not task.done()
    studio.journal.tickets[0].settle()

    assert await task == Ending(1, True)
    assert studio.parts() == []
    assert studio.spool.used == 0


# --- pressure and faults ---------------------------------------------------------------------------------------------


async def test_a_spool_that_hangs_holds_the_session_up_with_what_one_write_takes(make_studio: MakeStudio) -> None:
    disk = SwitchedDisk()
    studio = make_studio(disk=disk)
    disk.going.clear()
    kept = 0
    while not studio.recording.is_full:
        studio.keep(b"x" * 4 * 1024)
        kept += 4 * 1024
        await asyncio.sleep(0)
    assert kept <= QUEUE_BYTES
    disk.going.set()
    await eventually(lambda: studio.pressures)

    assert not studio.recording.is_full
    await studio.finish()
    assert len(studio.shown()) == kept


async def test_a_spool_that_cannot_be_written_stops_output_and_goes_on_when_it_can(make_studio: MakeStudio) -> None:
    disk = SwitchedDisk()
    studio = make_studio(disk=disk)
    disk.fails = True
    studio.keep(b"one")
    await eventually(lambda: studio.recording.is_full)
    studio.keep(b"two")
    disk.fails = False
    await eventually(lambda: not studio.recording.is_full)

    assert await studio.finish() == Ending(1, True)
    assert studio.shown() == b"onetwo"
    assert studio.faults == 0


async def test_the_fault_and_its_end_are_recorded(make_studio: MakeStudio) -> None:
    disk = SwitchedDisk()
    studio = make_studio(disk=disk)
    disk.fails = True
    studio.keep(b"one")
    await eventually(lambda: studio.journal.kinds() == [Kind.AUDIT_FAULT])
    disk.fails = False
    await eventually(lambda: len(studio.journal.records) == 2)

    assert [(r.members["fault"], r.members["phase"]) for r in studio.journal.records] == [
        ("spool_full", "started"),
        ("spool_full", "ended"),
    ]


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_spool_that_stays_unwritable_ends_the_session_and_what_is_lost_is_a_gap(
    make_studio: MakeStudio, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr(module, "FAULT_SECONDS", 0.4)
    monkeypatch.setattr(module, "FINISH_SECONDS", 0.3)
    disk = SwitchedDisk()
    studio = make_studio(disk=disk)
    disk.fails = not hangs
    if hangs:
        disk.going.clear()
    studio.keep(b"never written", at_us=5)
    await eventually(lambda: studio.faults == 1)
    ending = await studio.finish()
    disk.going.set()

    assert not ending.is_complete
    assert ending.gap is not None
    assert ending.gap["cause"] == "evidence_fault"
    assert int(str(ending.gap["bytes"])) > len(b"never written")
    assert ending.members()["recording_complete"] is False
    await asyncio.sleep(0.3)
    assert studio.faults == 1


async def test_what_reached_the_spool_before_a_fault_is_sealed_all_the_same(
    make_studio: MakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINISH_SECONDS", 0.2)
    disk = SwitchedDisk()
    studio = make_studio(disk=disk)
    studio.keep(b"written")
    await eventually(lambda: studio.parts())
    await asyncio.sleep(0.05)
    disk.fails = True
    studio.keep(b"lost")
    await eventually(lambda: studio.recording.is_full)
    ending = await studio.finish()
    await eventually(lambda: studio.chunks)

    assert ending.chunks == 1
    assert studio.shown() == b"written"
    assert not studio.chunks[0].sequenced


async def test_a_full_spool_is_a_spool_that_cannot_be_written(make_studio: MakeStudio) -> None:
    studio = make_studio(limit=100_000)
    studio.keep(b"x" * 90_000)
    await eventually(lambda: studio.parts())
    studio.keep(b"x" * 20_000)

    await eventually(lambda: studio.recording.is_full)


async def test_two_hundred_sessions_at_once_lose_nothing_and_stay_bounded(make_studio: MakeStudio) -> None:
    studio = make_studio()
    sessions = [module.UUID(int=number + 1) for number in range(200)]
    recordings = [studio.begin(session) for session in sessions]
    for turn in range(8):
        for recording in recordings:
            await eventually(lambda recording=recording: not recording.is_full)
            recording.keep(module.Keep(1, b"%d" % turn * 32 * 1024), module.Instant(0))
        await asyncio.sleep(0)
    endings: list[Ending] = []
    for recording in recordings:
        recording.finish(endings.append)
    await eventually(lambda: len(endings) == 200)

    assert {ending.is_complete for ending in endings} == {True}
    assert len(studio.shown(sessions[7])) == 8 * 32 * 1024
    assert studio.recorder.spool_bytes == 0


async def test_a_full_disk_stops_output_and_what_was_shown_is_recorded_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024 * 1024) as disk:
        studio = Studio(disk)
        studio.keep(b"first")
        await eventually(lambda: studio.parts())
        ballast = fill(disk)
        for number in range(8):
            studio.keep(b"%d" % number * 16 * 1024)
        await eventually(lambda: studio.recording.is_full and studio.recorder._troubled)
        ballast.unlink()
        await eventually(lambda: not studio.recording.is_full)
        ending = await studio.finish()

        assert ending.is_complete
        assert studio.shown() == b"first" + b"".join(b"%d" % number * 16 * 1024 for number in range(8))
        studio.close()


async def test_a_session_that_ends_after_the_process_has_stopped_recording_is_not_complete(
    make_studio: MakeStudio,
) -> None:
    studio = make_studio()
    studio.keep(b"rows")
    await eventually(lambda: studio.parts())
    await asyncio.sleep(0.05)
    studio.recording.stop()

    assert await studio.finish() == Ending(1, False)
