import errno
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.faulty_disk import FaultyDisk
from vestibule.evidence.recording import Place
from vestibule.evidence.spool import FRAME_OVERHEAD, HEAD_BYTES, decode_frames, decode_head
from vestibule.stores.spool import Spool, files

KEY = bytes(range(32))
SESSION = UUID("018f0000-0000-7000-8000-000000000001")
PLACE = Place(SESSION, UUID(int=9), 2)


class Torn(FaultyDisk):
    """Writes only a part of what it is given, as often as it is told to."""

    times = 0

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if self.times:
            self.times -= 1
            super().write(fd, data[: len(data) // 2], offset)
            raise OSError(errno.EIO, "Input/output error")
        super().write(fd, data, offset)


def read(path: Path) -> bytes:
    data = path.read_bytes()
    plain, end = decode_frames(data, KEY)
    assert end == len(data)
    return plain


def test_a_part_is_named_after_its_session_and_chunk_and_holds_nothing_in_clear(tmp_path) -> None:
    part = Spool(tmp_path, 1 << 20).begin(PLACE, KEY)
    part.write(5, b"an account number")
    part.write(6, b", another")

    path = tmp_path / f"{SESSION}.2"
    assert part.path == path
    assert decode_head(path.read_bytes()).place == PLACE
    assert read(path) == b"an account number, another"
    assert b"account" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_every_part_has_a_key_of_its_own(tmp_path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    for seq in (0, 1):
        spool.begin(Place(SESSION, UUID(int=9), seq), KEY).write(0, b"the same")

    one, two = (path.read_bytes()[HEAD_BYTES:] for path in sorted(tmp_path.iterdir()))
    assert one != two


def test_what_failed_is_written_again_before_anything_else_and_with_the_same_bytes(tmp_path) -> None:
    disk = Torn()
    part = Spool(tmp_path, 1 << 20, disk).begin(PLACE, KEY)
    part.write(0, b"first")
    disk.times = 2
    for attempt in (lambda: part.write(1, b"second"), part.write_again):
        with pytest.raises(OSError, match="Input/output"):
            attempt()
    with pytest.raises(AssertionError):
        part.write(2, b"third")
    part.write_again()
    part.write(2, b"third")

    assert read(part.path) == b"firstsecondthird"


def test_a_part_that_was_not_begun_leaves_nothing(tmp_path) -> None:
    disk = Torn()
    spool = Spool(tmp_path, 1 << 20, disk)
    disk.times = 1
    with pytest.raises(OSError, match="Input/output"):
        spool.begin(PLACE, KEY)

    assert list(tmp_path.iterdir()) == []
    assert spool.used == 0
    spool.begin(PLACE, KEY)


def test_the_limit_holds_like_a_full_disk_and_what_is_dropped_makes_room(tmp_path) -> None:
    spool = Spool(tmp_path, HEAD_BYTES + FRAME_OVERHEAD + 10)
    part = spool.begin(PLACE, KEY)
    part.write(0, bytes(10))
    assert spool.is_full
    with pytest.raises(OSError, match="full") as caught:
        part.write(0, b"x")
    assert caught.value.errno == errno.ENOSPC
    part.close()
    part.drop()

    assert not spool.is_full
    assert spool.used == 0
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_run_left_counts(tmp_path) -> None:
    Spool(tmp_path, 1 << 20).begin(PLACE, KEY).write(0, b"left")

    assert Spool(tmp_path, 1 << 20).used == HEAD_BYTES + FRAME_OVERHEAD + 4


def test_parts_are_listed_in_the_order_of_their_chunks_and_other_files_are_not(tmp_path) -> None:
    other = UUID(int=1)
    for name in (f"{SESSION}.10", f"{SESSION}.9", f"{other}.0", f"{SESSION}.01", "lock", "x.1", f"{SESSION}.1.new"):
        (tmp_path / name).touch()

    assert [(session, seq) for _, session, seq in files(tmp_path)] == [(other, 0), (SESSION, 9), (SESSION, 10)]


def test_a_part_is_durable_once_it_was_synced(tmp_path) -> None:
    disk = FaultyDisk()
    part = Spool(tmp_path, 1 << 20, disk).begin(PLACE, KEY)
    part.write(0, b"x")
    part.sync()

    assert disk.syncs == 1
