"""The journal as its users see it."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.evidence_records import access, closed, conversation, decided, finished, heartbeat, opened
from tests.support.journals import Clock, assert_chained, journal, open_journal, same_random, stored, write, write_all
from tests.support.small_disk import fill, small_disk
from vestibule.evidence.canonical import ZERO_LEAF
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.record import Kind
from vestibule.stores.segments import Journal, JournalDamaged, JournalInUse, Position

ADA = UUID("0190a0a0-0000-7000-8000-000000000001")
GOLDEN = Path(__file__).with_name("golden") / "1-0.seg"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


# Bytes


def test_a_segment_has_exactly_the_bytes_that_were_laid_down_once(path: Path) -> None:
    with journal(path, clock=Clock(), random=same_random()) as to:
        for record in conversation(ADA, 2):
            assert write(to, record).error is None
    assert (path / "1-0.seg").read_bytes() == GOLDEN.read_bytes()


# Starts


def test_a_first_start_is_clean_and_has_nothing_before_it(path: Path) -> None:
    with journal(path) as to:
        assert (to.previous, to.clean, to.torn) == (None, True, False)
        assert write(to, heartbeat()).error is None
    assert stored(path)[0].header.prev == ZERO_LEAF


def test_a_start_is_a_new_epoch_linked_to_the_last_record(path: Path) -> None:
    for beat in range(3):
        with journal(path) as to:
            write(to, heartbeat(beat))
    records = stored(path)
    assert [(each.header.epoch, each.header.n) for each in records] == [(1, 0), (2, 0), (3, 0)]
    assert_chained(records)
    with journal(path) as to:
        assert to.previous == Position(3, 0, records[-1].leaf)
        assert to.clean


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_torn_tail_is_cut_at_whatever_byte_it_ends_and_the_start_says_so(tmp_path: Path) -> None:
    with journal(tmp_path / "whole") as to:
        write_all(to, [[access(ADA)], [heartbeat()]])
    content = (tmp_path / "whole" / "1-0.seg").read_bytes()
    first = stored(tmp_path / "whole")[0].frame.end
    for length in (*range(1, len(content), 23), first, first + 1, len(content) - 1):
        path = tmp_path / f"cut at {length}"
        path.mkdir()
        (path / "1-0.seg").write_bytes(content[:length].ljust(16_384, b"\0"))
        with journal(path) as to:
            # Zeros at the cut cannot be told from the room behind it.
            assert to.torn is any(content[first if length >= first else 0 : length])
            assert not to.clean
            assert write(to, heartbeat(1)).error is None
        records = stored(path)
        assert len(records) == (2 if length >= first else 1)
        assert_chained(records)


def test_a_bad_frame_with_a_good_one_behind_it_refuses_to_start_and_changes_nothing(path: Path) -> None:
    with journal(path) as to:
        for beat in range(3):
            write(to, heartbeat(beat))
    segment = path / "1-0.seg"
    content = bytearray(segment.read_bytes())
    content[20] ^= 1
    segment.chmod(0o600)
    segment.write_bytes(content)
    with pytest.raises(JournalDamaged, match="damaged at offset 0"):
        open_journal(path)
    assert segment.read_bytes() == content
    # The refusal let go of the folder.
    with pytest.raises(JournalDamaged):
        open_journal(path)


def test_a_second_writer_is_refused_and_the_first_is_not_disturbed(path: Path) -> None:
    with journal(path) as to:
        with pytest.raises(JournalInUse):
            open_journal(path)
        assert write(to, heartbeat()).error is None
    with journal(path) as to:
        assert write(to, heartbeat()).error is None


# Appends


def test_a_ticket_gives_id_and_leaf_of_each_record_in_order(path: Path) -> None:
    with journal(path) as to:
        ticket = write(to, access(ADA), opened(ADA))
    assert [(each.id, each.leaf) for each in ticket.written] == [(each.header.id, each.leaf) for each in stored(path)]


def test_a_hundred_producers_get_one_dense_chain_and_dense_sessions(path: Path) -> None:
    failed: list[object] = []

    def produce(to: Journal, session: UUID) -> None:
        for record in conversation(session, 10):
            if write(to, record).error is not None:
                failed.append(record)

    with journal(path) as to:
        threads = [threading.Thread(target=produce, args=(to, UUID(int=number))) for number in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    records = stored(path)
    assert failed == []
    assert len(records) == 100 * 23
    assert_chained(records)


def test_a_closed_journal_has_written_what_waited_and_takes_nothing_more(path: Path) -> None:
    to = open_journal(path)
    tickets = [to.append([heartbeat(beat)]) for beat in range(2_000)]
    to.close()
    assert all(ticket.done and ticket.error is None for ticket in tickets)
    assert len(stored(path)) == 2_000
    assert (path / "1-0.seg").stat().st_mode & 0o777 == 0o440
    assert "closed" in str(write(to, heartbeat()).error)


def test_a_line_that_is_full_refuses(path: Path) -> None:
    with journal(path) as to:
        ticket = write(to, *[access(ADA)] * 40_000)
        assert "too many" in str(ticket.error)


@pytest.mark.asyncio
async def test_a_commit_returns_what_was_written_and_raises_what_was_refused(path: Path) -> None:
    to = open_journal(path, call=asyncio.get_running_loop().call_soon_threadsafe)
    written = await to.commit(access(ADA), opened(ADA))
    assert [each.leaf for each in written] == [each.leaf for each in stored(path)]
    with pytest.raises(EvidenceUnavailable, match="decided/1"):
        await to.commit(finished(ADA, 1))
    await asyncio.to_thread(to.close)


@pytest.mark.asyncio
async def test_callbacks_run_in_the_event_loops_thread(path: Path) -> None:
    loop = asyncio.get_running_loop()
    to = open_journal(path, call=loop.call_soon_threadsafe)
    threads: list[int] = []
    ready = asyncio.Event()

    def told(_: object) -> None:
        threads.append(threading.get_ident())
        ready.set()

    to.append([heartbeat()], told)
    await asyncio.wait_for(ready.wait(), 10)
    assert threads == [threading.get_ident()]
    await asyncio.to_thread(to.close)


def test_a_journal_whose_loop_has_ended_still_writes(path: Path) -> None:
    loop = asyncio.new_event_loop()
    to = open_journal(path, call=loop.call_soon_threadsafe)
    loop.close()
    ticket = to.append([heartbeat()], lambda _: None)
    to.close()
    assert ticket.done
    assert len(stored(path)) == 1


# Killed


@pytest.mark.slow
def test_what_was_told_durable_is_there_after_kill_9_at_any_instant_and_the_chain_is_dense(path: Path) -> None:
    told: set[str] = set()
    chance = random.Random(11)
    for _ in range(12):
        with writer(path) as process:
            assert process.stdout
            assert process.stdout.readline().startswith(b"started")
            time.sleep(chance.uniform(0.0, 0.15))
            process.send_signal(signal.SIGKILL)
            told |= leaves(process.stdout.read())
    with journal(path):
        pass
    records = stored(path)
    assert_chained(records)
    assert told <= {record.leaf.hex() for record in records}
    assert len(told) > 100


def leaves(output: bytes) -> set[str]:
    """Read what a writer was told is durable; its last line may have been cut by the kill."""
    lines = [line.split() for line in output.decode().split("\n")[:-1]]
    return {leaf for words in lines if words[0] == "durable" for leaf in words[1:]}


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.support.journal_writer", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


# A disk that is really full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 4 << 20) as mounted:
        yield mounted


@pytest.mark.case("E-10")
def test_a_full_disk_refuses_decisions_keeps_ends_and_resumes_by_itself(disk: Path) -> None:
    path = disk / "journal"
    with journal(path) as to:
        for record in (access(ADA), opened(ADA), decided(ADA, 1)):
            assert write(to, record).error is None
        ballast = fill(disk)
        # The first refusal comes while the segment still has room for what ends things.
        no = 1
        while (ticket := write(to, decided(ADA, no := no + 1))).error is None:
            assert write(to, finished(ADA, no)).error is None
        assert "no room" in str(ticket.error)
        assert to.state == "full"
        assert not to.admits_sessions
        assert write(to, finished(ADA, 1)).error is None
        for beat in range(100):
            assert write(to, heartbeat(beat)).error is None
        # When space returns
        ballast.unlink()
        deadline = time.monotonic() + 10
        while to.state == "full":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert write(to, decided(ADA, no + 1)).error is None
        assert write(to, closed(ADA, no + 1)).error is None
    records = stored(path)
    assert_chained(records)
    faults = [record.body for record in records if record.header.kind is Kind.AUDIT_FAULT]
    assert [b'"phase":"started"' in body for body in faults] == [True, False]
    assert b'"refused":{"sessions":0,"statements":1}' in faults[1]


@pytest.mark.case("E-11")
def test_a_writer_that_was_killed_on_a_full_disk_starts_there_again_and_loses_nothing(disk: Path) -> None:
    path = disk / "journal"
    with writer(path) as process:
        assert process.stdout
        process.stdout.readline()
        ballast = fill(disk)
        told = b""
        while b"journal_full" not in told:
            told += process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read()
    assert ballast.exists()
    fill(disk)
    with journal(path) as to:
        assert not to.clean
        assert to.state == "full"
        assert write(to, heartbeat()).error is None
        assert write(to, access(ADA)).error is not None
    records = stored(path)
    assert_chained(records)
    assert leaves(told) <= {record.leaf.hex() for record in records}


# Numbers for operators


def test_what_was_made_durable_is_counted(path: Path) -> None:
    with journal(path) as to:
        before = to.measured("0")
        for beat in range(3):
            write(to, heartbeat(beat))
        after = to.measured("0")
    grown = {name: after.counts[name, key] - before.counts[name, key] for name, key in after.counts}
    assert grown["vestibule_journal_records_total"] == grown["vestibule_journal_commits_total"] == 3
    assert grown["vestibule_journal_bytes_total"] > 3 * 100
    assert after.gauges["vestibule_journal_waiting_records", ("0",)] == 0
    assert after.gauges["vestibule_journal_free_bytes", ("0",)] > 0
    assert after.gauges["vestibule_journal_fault", ("0",)] == 0
