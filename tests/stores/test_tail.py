from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.evidence_records import access, conversation, heartbeat
from tests.support.journals import KIB, Stored, journal, open_journal, stored, write, write_all
from vestibule.evidence.log import Leaf
from vestibule.evidence.segment import encode_frame
from vestibule.model.record import Kind, Record
from vestibule.stores.log import Place
from vestibule.stores.segment_file import JournalDamaged
from vestibule.stores.tail import Found, Tail, read_places


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "n1.w0"


@pytest.fixture
def tail(path: Path) -> Iterator[Tail]:
    path.mkdir()
    made = Tail(path)
    yield made
    made.close()


def is_same(found: list[Found], records: list[Stored]) -> bool:
    return [(each.header, each.body, each.place.offset) for each in found] == [
        (each.frame.header, each.frame.body, each.frame.offset) for each in records
    ]


def test_records_are_given_once_as_they_come(path: Path, tail: Tail) -> None:
    assert tail.read(10) == []
    with journal(path) as to:
        seen: list[Found] = []
        for record in conversation(UUID(int=1), 3):
            write(to, record)
            new = tail.read(10)
            assert len(new) == 1
            seen += new
        assert tail.read(10) == []
        assert is_same(seen, stored(path))


def test_reading_goes_on_over_segments_and_epochs_and_empty_ones(path: Path, tail: Tail) -> None:
    for epoch in range(4):
        with journal(path, segment_bytes=256 * KIB) as to:
            if epoch != 2:
                big = Record(Kind.HEARTBEAT, {**heartbeat().members, "sinks": _sinks()})
                write_all(to, [[big] for _ in range(9)])
    assert len(list(path.glob("*.seg"))) > 4
    found: list[Found] = []
    while new := tail.read(4):
        found += new
    assert is_same(found, stored(path))


def _sinks() -> list[dict[str, object]]:
    return [{"name": "x" * 16_000, "next": 0, "lag_s": 0}] * 3


def test_a_record_written_between_the_last_look_and_the_next_segment_is_not_missed(path: Path, tail: Tail) -> None:
    with journal(path) as to:
        write(to, heartbeat(0))
        assert len(tail.read(10)) == 1
        write(to, heartbeat(1))
    with journal(path) as to:
        write(to, heartbeat(2))
        assert len(tail.read(10)) == 2


def test_what_is_given_was_synced_by_the_reader(path: Path, tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with journal(path) as to:
        write(to, heartbeat())
        real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(fd), real(fd)))
        assert len(tail.read(10)) == 1
        assert synced == [tail._fd]


def test_after_a_failed_sync_nothing_is_given_until_the_writer_has_gone_on(
    path: Path, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = open_journal(path)
    write(to, heartbeat())

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="Input/output"):
        tail.read(10)
    monkeypatch.undo()
    assert tail.read(10) == []
    to.close()
    with journal(path):
        assert len(tail.read(10)) == 1


def test_a_record_cut_anywhere_is_not_given_and_nothing_is_concluded_while_it_may_be_written(path: Path) -> None:
    with journal(path) as to:
        write_all(to, [[access(UUID(int=1))], [heartbeat()]])
    segment = path / "1-0.seg"
    first, second = stored(path)
    whole = segment.read_bytes()
    segment.chmod(0o600)
    for length in range(first.frame.end, second.frame.end, 13):
        segment.write_bytes(whole[:length].ljust(16_384, b"\0"))
        tail = Tail(path)
        assert len(tail.read(10)) == 1
        assert tail.read(10) == []
        assert tail.read(10) == []
        segment.write_bytes(whole.ljust(16_384, b"\0"))
        assert len(tail.read(10)) == 1
        tail.close()


def test_a_bad_frame_with_a_later_batch_behind_it_is_damage_at_the_second_look(path: Path, tail: Tail) -> None:
    to = open_journal(path)
    for beat in range(3):
        write(to, heartbeat(beat))
    frame = stored(path)[1].frame
    with (path / "1-0.seg").open("r+b") as file:
        file.seek(frame.offset + 30)
        file.write(b"\xff")
    # The first look comes with the read that gave what stands before it.
    assert len(tail.read(10)) == 1
    with pytest.raises(JournalDamaged, match=f"damaged at offset {frame.offset}"):
        tail.read(10)
    to.close()


def test_a_hole_with_a_later_batch_behind_it_is_damage_at_the_second_look(path: Path, tail: Tail) -> None:
    to = open_journal(path)
    for beat in range(3):
        write(to, heartbeat(beat))
    frame = stored(path)[1].frame
    with (path / "1-0.seg").open("r+b") as file:
        file.seek(frame.offset)
        file.write(bytes(frame.end - frame.offset))
    assert len(tail.read(10)) == 1
    with pytest.raises(JournalDamaged):
        tail.read(10)
    to.close()


def test_a_torn_segment_with_a_later_one_behind_it_is_damage(path: Path, tail: Tail) -> None:
    for beat in range(2):
        with journal(path) as to:
            write(to, heartbeat(beat))
    segment = path / "1-0.seg"
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes()[:-3])
    with pytest.raises(JournalDamaged):
        tail.read(10)


def test_what_stands_before_damage_is_given_first(path: Path, tail: Tail) -> None:
    for beat in range(3):
        with journal(path) as to:
            write(to, heartbeat(beat))
    segment = path / "2-0.seg"
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes()[:-3])
    assert len(tail.read(10)) == 1
    with pytest.raises(JournalDamaged):
        tail.read(10)


def test_seeking_goes_behind_a_record_in_whichever_segment_it_is(path: Path, tail: Tail) -> None:
    for beat in range(3):
        with journal(path) as to:
            write_all(to, [[heartbeat(beat)], [heartbeat(beat)]])
    records = stored(path)
    for place, record in enumerate(records):
        header = record.header
        leaf = Leaf(place, "n1.w0", header.epoch, header.n, record.leaf)
        tail.seek(Place("n1.w0", header.epoch, 0, record.frame.offset), leaf)
        assert is_same(tail.read(10), records[place + 1 :])


def test_headers_are_read_from_their_places(path: Path) -> None:
    with journal(path) as to:
        write_all(to, [[heartbeat(beat)] for beat in range(5)])
    records = stored(path)
    places = [Place("n1.w0", 1, 0, record.frame.offset) for record in records]
    assert read_places(path.parent, places) == [record.frame.header for record in records]
    with pytest.raises(JournalDamaged, match="holds no record"):
        read_places(path.parent, [Place("n1.w0", 1, 0, records[-1].frame.end)])


def test_a_listing_sees_a_segment_that_came_in_the_same_instant(path: Path, tail: Tail) -> None:
    assert tail.read(10) == []
    header = b'{"v":1,"kind":"Heartbeat"}'
    for n in range(3):
        (path / f"{n + 1}-0.seg").write_bytes(encode_frame(header, b"{}"))
        assert len(tail.read(10)) == 1
