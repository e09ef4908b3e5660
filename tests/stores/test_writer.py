"""What the writer does when the disk does not do what it should."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.evidence_records import access, closed, conversation, decided, finished, heartbeat, opened
from tests.support.faulty_disk import FaultyDisk
from tests.support.journals import KIB, assert_chained, bodies, open_journal, stored, until, write, write_all
from vestibule.model.record import Kind, Record
from vestibule.stores.segments import Journal

ADA = UUID(int=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def journal(path: Path, disk: FaultyDisk) -> Iterator[Journal]:
    made = open_journal(path, disk=disk)
    yield made
    disk.gate.set()
    made.close()


def start_session(to: Journal) -> None:
    for record in (access(ADA), opened(ADA)):
        assert write(to, record).error is None


def big(beat: int, size: int = 40 * KIB) -> Record:
    """Make a record that fills a segment quickly."""
    sinks = [{"name": "x" * 16_000, "next": 0, "lag_s": 0} for _ in range(size // (16 * KIB))]
    return Record(Kind.HEARTBEAT, {**heartbeat(beat).members, "sinks": sinks})


# One sync for all


def test_what_arrives_during_a_sync_is_one_batch_with_one_sync(journal: Journal, disk: FaultyDisk) -> None:
    start_session(journal)
    disk.hold()
    first = journal.append([decided(ADA, 1)])
    assert disk.waiting.wait(10)
    before = disk.syncs
    rest = [journal.append([decided(ADA, no)]) for no in range(2, 102)]
    disk.gate.set()
    until(lambda: all(ticket.done for ticket in (first, *rest)))
    assert disk.syncs == before + 2
    assert all(ticket.error is None for ticket in rest)


def test_a_batch_has_at_most_512_records_and_4_mebibytes(path: Path) -> None:
    disk = FaultyDisk()
    journal = open_journal(path, disk=disk, segment_bytes=16 << 20)
    write(journal, heartbeat())
    disk.hold()
    journal.append([heartbeat()])
    assert disk.waiting.wait(10)
    del disk.batches[:]
    small = [journal.append([heartbeat(beat)]) for beat in range(600)]
    large = [journal.append([big(beat, 56 * KIB)]) for beat in range(120)]
    disk.gate.set()
    until(lambda: all(ticket.done for ticket in (*small, *large)))
    assert max(batch.count(b'{"v":1,') for batch in disk.batches) == 512
    assert max(len(batch) for batch in disk.batches) <= 4 << 20
    journal.close()


def test_nobody_is_told_before_the_sync_has_returned(journal: Journal, disk: FaultyDisk) -> None:
    disk.hold()
    ticket = journal.append([access(ADA)])
    assert disk.waiting.wait(10)
    time.sleep(0.05)
    assert not ticket.done
    assert ticket.written == ()
    disk.gate.set()
    until(lambda: ticket.done)
    assert len(ticket.written) == 1


# A defect in a record


def test_a_record_that_cannot_be_written_is_refused_and_its_neighbours_are_not(
    journal: Journal, path: Path, disk: FaultyDisk
) -> None:
    disk.hold()
    journal.append([heartbeat(0)])
    assert disk.waiting.wait(10)
    good = journal.append([heartbeat(1)])
    bad = journal.append([Record(Kind.HEARTBEAT, {"beat": -1})])
    unknown = journal.append([finished(ADA, 9)])
    after = journal.append([heartbeat(2)])
    disk.gate.set()
    until(lambda: after.done and unknown.done)
    assert (good.error, after.error) == (None, None)
    assert "beat" in str(bad.error)
    assert "decided/9" in str(unknown.error)
    assert_chained(stored(path))


def test_an_append_larger_than_a_segment_is_refused(journal: Journal) -> None:
    ticket = write(journal, *[big(beat) for beat in range(10)])
    assert "larger than a segment" in str(ticket.error)
    assert write(journal, heartbeat()).error is None


# Segments


def test_a_full_segment_is_sealed_and_the_chain_goes_on_in_the_next(journal: Journal, path: Path) -> None:
    for beat in range(30):
        assert write(journal, big(beat)).error is None
    segments = sorted(path.glob("*.seg"), key=lambda each: int(each.stem.split("-")[1]))
    assert len(segments) > 3
    assert [each.stat().st_mode & 0o777 for each in segments] == [0o440] * (len(segments) - 1) + [0o600]
    assert_chained(stored(path))
    assert len(stored(path)) == 30


def test_the_next_segment_is_allocated_while_the_present_one_still_has_room(journal: Journal, path: Path) -> None:
    write(journal, big(0))
    assert not (path / "spare").exists()
    for beat in range(4):
        write(journal, big(beat))
    until((path / "spare").exists)
    assert [each.name for each in path.glob("*.seg")] == ["1-0.seg"]


# No room


def test_without_room_decisions_are_refused_at_once_and_what_ends_things_is_written(
    journal: Journal, path: Path, disk: FaultyDisk
) -> None:
    # Given
    start_session(journal)
    assert write(journal, decided(ADA, 1)).error is None
    # When
    disk.room = False
    write_all(journal, [[big(beat)] for beat in range(5)])
    until(lambda: journal.state == "full")
    # Then
    assert not journal.admits_sessions
    started = time.monotonic()
    refused = write(journal, decided(ADA, 2))
    assert time.monotonic() - started < 1
    assert "no room" in str(refused.error)
    assert write(journal, finished(ADA, 1)).error is None
    assert write(journal, heartbeat(9)).error is None
    faults = bodies(stored(path), Kind.AUDIT_FAULT)
    assert [(fault["fault"], fault["phase"]) for fault in faults] == [("journal_full", "started")]


def test_writing_resumes_by_itself_and_the_end_of_the_fault_says_what_was_refused(
    journal: Journal, path: Path, disk: FaultyDisk
) -> None:
    start_session(journal)
    disk.free_bytes = -1
    until(lambda: write(journal, decided(ADA, 1)).error is not None)
    refused = 1 + sum(write(journal, record).error is not None for record in (decided(ADA, 2), access(UUID(int=2))))
    assert refused == 3
    # When nobody writes anything and space comes back
    disk.free_bytes = None
    until(lambda: journal.state == "writing")
    # Then
    assert write(journal, decided(ADA, 3)).error is None
    until(lambda: len(bodies(stored(path), Kind.AUDIT_FAULT)) == 2)
    ended = bodies(stored(path), Kind.AUDIT_FAULT)[1]
    assert (ended["phase"], ended["refused"]) == ("ended", {"sessions": 1, "statements": 2})
    assert_chained(stored(path))


def test_of_a_refused_append_what_is_no_decision_is_written(journal: Journal, path: Path, disk: FaultyDisk) -> None:
    start_session(journal)
    assert write(journal, decided(ADA, 1)).error is None
    disk.free_bytes = -1
    until(lambda: journal.state == "full" or write(journal, heartbeat()).error is not None)
    ticket = write(journal, finished(ADA, 1), decided(ADA, 2), finished(ADA, 2, "refused"))
    assert ticket.error is not None
    until(lambda: len(bodies(stored(path), Kind.STATEMENT_FINISHED)) == 1)
    assert len(bodies(stored(path), Kind.STATEMENT_DECIDED)) == 1


def test_when_the_segment_is_full_the_reserve_takes_what_ends_things(
    journal: Journal, path: Path, disk: FaultyDisk
) -> None:
    assert (path / "reserve").exists()
    disk.room = False
    tickets = write_all(journal, [[big(beat)] for beat in range(9)])
    assert all(ticket.error is None for ticket in tickets)
    assert not (path / "reserve").exists()
    # The reserve is full as well: what comes now waits for room.
    waiting = [journal.append([big(beat)]) for beat in range(9)]
    refused = write(journal, access(ADA))
    assert refused.error is not None
    assert not all(ticket.done for ticket in waiting)
    disk.room = True
    until(lambda: all(ticket.done for ticket in waiting))
    assert all(ticket.error is None for ticket in waiting)
    until(lambda: journal.state == "writing")
    assert (path / "reserve").exists()
    assert_chained(stored(path))


def test_the_smallest_segment_grows_when_there_is_room_for_what_did_not_fit(path: Path) -> None:
    disk = FaultyDisk()
    open_journal(path, disk=disk, reserve_bytes=4096).close()
    disk.room = False
    journal = open_journal(path, disk=disk, reserve_bytes=4096)
    assert journal.state == "full"
    waiting = journal.append([big(0)])
    disk.room = True
    until(lambda: waiting.done)
    assert waiting.error is None
    journal.close()
    assert_chained(stored(path))


def test_little_room_admits_no_sessions_while_statements_go_on(path: Path) -> None:
    journal = open_journal(path, min_free=1 << 60)
    assert not journal.admits_sessions
    assert journal.state == "writing"
    assert write(journal, access(ADA)).error is None
    journal.close()


# A slow disk


def test_a_decision_that_is_late_is_refused_while_the_disk_still_hangs(path: Path) -> None:
    disk = FaultyDisk()
    journal = open_journal(path, disk=disk, commit_timeout=0.2)
    start_session(journal)
    disk.hold()
    written = journal.append([decided(ADA, 1)])
    assert disk.waiting.wait(10)
    line = journal.append([decided(ADA, 2)])
    patient = journal.append([heartbeat()])
    until(lambda: written.done and line.done)
    assert "not durable within 0.2 s" in str(written.error)
    assert "not durable within 0.2 s" in str(line.error)
    assert not patient.done
    # When the disk answers after all
    disk.gate.set()
    until(lambda: patient.done)
    # Then what was written says that nothing followed, and the other was never written
    until(lambda: len(bodies(stored(path), Kind.AUDIT_FAULT)) == 2)
    journal.close()
    records = stored(path)
    assert [body["no"] for body in bodies(records, Kind.STATEMENT_DECIDED)] == [1]
    (said,) = bodies(records, Kind.STATEMENT_FINISHED)
    assert (said["outcome"], said["forwarded"]) == ("not_reached", False)
    faults = bodies(records, Kind.AUDIT_FAULT)
    assert faults[1]["refused"] == {"sessions": 0, "statements": 2}
    assert_chained(records)


def test_what_was_refused_late_cannot_be_finished_a_second_time(path: Path) -> None:
    disk = FaultyDisk()
    journal = open_journal(path, disk=disk, commit_timeout=0.1)
    start_session(journal)
    disk.hold()
    late = journal.append([decided(ADA, 1)])
    assert disk.waiting.wait(10)
    until(lambda: late.done)
    own = journal.append([finished(ADA, 1, "not_reached")])
    disk.gate.set()
    until(lambda: own.done)
    assert own.error is not None
    journal.close()
    assert len(bodies(stored(path), Kind.STATEMENT_FINISHED)) == 1


# A failing disk


@pytest.mark.parametrize("kept", [None, 0, 300])
def test_after_a_failed_sync_nothing_is_taken_for_durable_and_a_new_epoch_follows(
    journal: Journal, path: Path, disk: FaultyDisk, kept: int | None
) -> None:
    # Given
    start_session(journal)
    before = len(stored(path))
    disk.sync_error, disk.kept = OSError(errno.EIO, "Input/output error"), kept
    # When
    ticket = write(journal, decided(ADA, 1), decided(ADA, 2))
    # Then
    assert "Input/output error" in str(ticket.error)
    assert ticket.written == ()
    assert journal.state == "down"
    assert write(journal, decided(ADA, 3)).error is not None
    # When the disk works again
    disk.sync_error = None
    until(lambda: journal.state == "writing")
    assert write(journal, decided(ADA, 4)).error is None
    journal.close()
    # Then
    records = stored(path)
    assert_chained(records)
    assert {record.header.epoch for record in records} == {1, 2}
    found = [body["no"] for body in bodies(records, Kind.STATEMENT_DECIDED)]
    assert found == ([1, 2, 4] if kept is None else [4])
    # What is on disk though it was refused was not reached; the session's own chain goes on.
    assert [body["outcome"] for body in bodies(records, Kind.STATEMENT_FINISHED)] == ["not_reached"] * (len(found) - 1)
    assert [body["phase"] for body in bodies(records, Kind.AUDIT_FAULT)] == ["started", "ended"]
    assert bodies(records, Kind.AUDIT_FAULT)[1]["refused"] == {"sessions": 0, "statements": 3}
    assert len(records) > before


def test_what_ends_things_survives_a_failed_sync_once_and_only_once(
    path: Path, journal: Journal, disk: FaultyDisk
) -> None:
    start_session(journal)
    assert write(journal, decided(ADA, 1)).error is None
    assert write(journal, finished(ADA, 1)).error is None
    assert write(journal, heartbeat(0)).error is None
    frame = len(disk.batches[-1])
    disk.hold()
    journal.append([heartbeat(1)])
    assert disk.waiting.wait(10)
    # Given a batch of which the first record reached the disk and the second did not
    disk.good, disk.sync_error, disk.kept = 1, OSError(errno.EIO, "Input/output error"), frame
    tickets = [journal.append([heartbeat(2), heartbeat(3)]), journal.append([closed(ADA, 1)])]
    disk.gate.set()
    until(lambda: journal.state == "down")
    assert not any(ticket.done for ticket in tickets)
    # When
    disk.sync_error = None
    until(lambda: all(ticket.done for ticket in tickets))
    # Then
    assert [len(ticket.written) for ticket in tickets] == [2, 1]
    journal.close()
    records = stored(path)
    assert_chained(records)
    assert sorted(body["beat"] for body in bodies(records, Kind.HEARTBEAT)) == [0, 1, 2, 3]
    assert len(bodies(records, Kind.SESSION_CLOSED)) == 1
    assert {record.leaf for record in records} >= {each.leaf for ticket in tickets for each in ticket.written}


def test_a_journal_that_is_down_at_the_end_says_so_to_whoever_waits(path: Path) -> None:
    disk = FaultyDisk()
    journal = open_journal(path, disk=disk)
    write(journal, heartbeat(0))
    disk.sync_error, disk.kept = OSError(errno.EIO, "Input/output error"), 0
    waiting = [journal.append([heartbeat(1)])]
    until(lambda: journal.state == "down")
    waiting.append(journal.append([heartbeat(2)]))
    journal.close()
    assert all("closed" in str(ticket.error) for ticket in waiting)
    disk.sync_error = None
    again = open_journal(path, disk=disk)
    assert again.previous is not None
    assert again.previous.n == 0
    again.close()


# The folder goes


def test_a_journal_whose_folder_was_removed_refuses_and_writes_into_nothing(path: Path, journal: Journal) -> None:
    start_session(journal)
    moved = path.with_name("moved")
    path.rename(moved)
    assert "removed or replaced" in str(write(journal, decided(ADA, 1)).error)
    assert journal.state == "down"
    path.mkdir()
    time.sleep(0.2)
    assert write(journal, decided(ADA, 2)).error is not None
    assert list(path.iterdir()) == []
    # When the folder is put back
    path.rmdir()
    moved.rename(path)
    until(lambda: journal.state == "writing")
    assert write(journal, decided(ADA, 3)).error is None
    assert_chained(stored(path))


def test_a_journal_whose_segment_was_deleted_stays_down(path: Path, journal: Journal) -> None:
    start_session(journal)
    (path / "1-0.seg").unlink()
    assert write(journal, decided(ADA, 1)).error is not None
    time.sleep(0.3)
    assert journal.state == "down"
    assert write(journal, decided(ADA, 2)).error is not None


def test_a_journal_whose_lock_was_deleted_writes_nothing_more(path: Path, journal: Journal) -> None:
    start_session(journal)
    (path / "lock").unlink()
    before = stored(path)
    assert "lock was removed" in str(write(journal, decided(ADA, 1)).error)
    time.sleep(0.2)
    assert [each.leaf for each in stored(path)] == [each.leaf for each in before]


# A defect of the writer


def test_a_defect_in_the_writer_refuses_everybody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_type))

    class Broken(FaultyDisk):
        broken = False

        def sync(self, fd: int) -> None:
            if self.broken:
                raise ZeroDivisionError
            super().sync(fd)

    disk = Broken()
    journal = open_journal(path, disk=disk)
    assert write(journal, access(ADA)).error is None
    disk.broken = True
    assert "failed" in str(write(journal, access(ADA)).error)
    until(lambda: journal.state == "down")
    assert write(journal, access(ADA)).error is not None
    journal.close()
    assert raised == [ZeroDivisionError]
    # The folder is free again for a start.
    open_journal(path).close()


def test_a_listener_that_fails_keeps_nobody_else_from_being_told(path: Path) -> None:
    told = threading.Event()
    errors: list[BaseException] = []

    def call(function: Callable[[], None]) -> None:
        try:
            function()
        except ZeroDivisionError as error:
            errors.append(error)

    disk = FaultyDisk()
    journal = open_journal(path, disk=disk, call=call)
    disk.hold()
    journal.append([heartbeat()])
    assert disk.waiting.wait(10)
    journal.append([heartbeat()], lambda _: 1 // 0)  # type: ignore[arg-type, return-value]  # the defect
    journal.append([heartbeat()], lambda _: told.set())
    disk.gate.set()
    assert told.wait(10)
    assert len(errors) == 1
    journal.close()


def test_a_session_written_whole_reads_back_whole(journal: Journal, path: Path) -> None:
    tickets = write_all(journal, [[record] for record in conversation(ADA, 5)])
    assert [record.leaf for record in stored(path)] == [each.leaf for ticket in tickets for each in ticket.written]
    assert_chained(stored(path))
