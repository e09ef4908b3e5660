from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vestibule.stores.disk import Disk
from vestibule.stores.folder import RESERVE, SMALLEST_SEGMENT, SPARE, Folder, JournalInUse, Segment, is_written
from vestibule.stores.segment_file import SegmentFile, Survey

SIZE = 1 << 20


class Narrow(Disk):
    """Has room for allocations of `room` bytes at most."""

    def __init__(self, room: int) -> None:
        self.room = room

    def allocate(self, fd: int, size: int) -> None:
        if size > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().allocate(fd, size)


@pytest.fixture
def disk() -> Narrow:
    return Narrow(SIZE)


@pytest.fixture
def folder(tmp_path: Path, disk: Narrow) -> Iterator[Folder]:
    made = Folder(tmp_path / "journal", disk, SIZE, SIZE // 2)
    yield made
    made.release()


def names(folder: Folder) -> set[str]:
    return {path.name for path in folder.path.iterdir()} - {"lock"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_writer_is_refused_with_what_to_do(folder: Folder) -> None:
    with pytest.raises(JournalInUse, match="is being written by another process; stop that one"):
        Folder(folder.path, Disk(), SIZE, SIZE)


def test_a_second_process_is_refused_until_the_first_has_gone(folder: Folder) -> None:
    program = (
        "import sys; from pathlib import Path; from vestibule.stores.disk import Disk\n"
        "from vestibule.stores.folder import Folder, JournalInUse\n"
        "try:\n  Folder(Path(sys.argv[1]), Disk(), 4096, 4096)\nexcept JournalInUse:\n  sys.exit(7)\n"
    )
    command = [sys.executable, "-c", program, str(folder.path)]
    assert subprocess.run(command, check=False).returncode == 7
    held = Folder(folder.path.parent / "other", Disk(), SIZE, SIZE)
    held.release()
    assert subprocess.run([*command[:-1], str(held.path)], check=False).returncode == 0


def test_nobody_else_can_read_the_folder_or_a_segment_and_a_sealed_one_is_read_only(folder: Folder) -> None:
    segment = folder.begin(1, 0, reserve=False)
    assert mode(folder.path) == 0o700
    assert mode(segment.path) == 0o600
    segment.seal()
    assert mode(segment.path) == 0o440


def test_a_segment_starts_with_all_its_room_and_nothing_in_it(folder: Folder) -> None:
    segment = folder.begin(1, 0, reserve=False)
    assert (segment.path.name, segment.room, segment.used) == ("1-0.seg", SIZE, 0)
    assert segment.path.stat().st_blocks * 512 >= SIZE
    assert not any(segment.path.read_bytes())
    segment.close()


def test_the_spare_is_what_the_next_segment_is_made_of(folder: Folder) -> None:
    folder.allocate(SPARE)
    number = (folder.path / SPARE).stat().st_ino
    segment = folder.begin(1, 7, reserve=False)
    assert segment.path.stat().st_ino == number
    assert names(folder) == {"1-7.seg"}
    segment.close()


def test_without_room_a_segment_starts_only_in_the_reserve(folder: Folder, disk: Narrow) -> None:
    folder.allocate(RESERVE)
    disk.room = 0
    with pytest.raises(OSError, match="No space"):
        folder.begin(1, 0, reserve=False)
    segment = folder.begin(1, 0, reserve=True)
    assert segment.room == SIZE // 2
    with pytest.raises(OSError, match="No space"):
        folder.begin(1, 9, reserve=True)
    assert names(folder) == {"1-0.seg"}
    segment.close()


def test_with_little_room_and_no_reserve_a_smaller_segment_starts(folder: Folder, disk: Narrow) -> None:
    disk.room = SMALLEST_SEGMENT
    segment = folder.begin(1, 0, reserve=True)
    assert segment.room == SMALLEST_SEGMENT
    disk.room = SIZE
    segment.grow(SIZE)
    assert segment.room == SIZE
    segment.close()


def test_an_existing_segment_is_never_started_again(folder: Folder) -> None:
    folder.begin(1, 0, reserve=False).close()
    with pytest.raises(FileExistsError):
        folder.begin(1, 0, reserve=False)


def test_what_a_crash_left_of_an_allocation_goes(folder: Folder) -> None:
    (folder.path / "spare.new").write_bytes(b"x")
    folder.drop_unfinished()
    assert names(folder) == set()


def test_sealing_gives_back_the_room_that_was_not_used(folder: Folder) -> None:
    segment = folder.begin(1, 0, reserve=False)
    segment.append(b"frame")
    segment.seal()
    assert segment.path.read_bytes() == b"frame"


def test_a_file_that_is_not_at_its_path_any_more_takes_nothing(folder: Folder) -> None:
    segment = folder.begin(1, 0, reserve=False)
    segment.append(b"one")
    segment.path.unlink()
    with pytest.raises(FileNotFoundError):
        segment.append(b"two")
    segment.path.write_bytes(b"somebody else's")
    assert not segment.is_in_place
    segment.close()


def test_a_folder_that_was_replaced_or_lost_its_lock_is_not_ours(folder: Folder) -> None:
    folder.confirm()
    moved = folder.path.with_name("elsewhere")
    folder.path.rename(moved)
    with pytest.raises(FileNotFoundError):
        folder.confirm()
    folder.path.mkdir()
    (folder.path / "lock").touch()
    with pytest.raises(FileNotFoundError):
        folder.confirm()
    (folder.path / "lock").unlink()
    folder.path.rmdir()
    moved.rename(folder.path)
    folder.confirm()


def test_whether_somebody_writes_is_told_by_the_lock(folder: Folder, tmp_path: Path) -> None:
    assert is_written(folder.path)
    assert not is_written(tmp_path / "nowhere")
    other = Folder(tmp_path / "other", Disk(), SIZE, SIZE)
    other.release()
    assert not is_written(other.path)
    Folder(other.path, Disk(), SIZE, SIZE).release()


def test_cutting_leaves_what_is_whole_writes_its_last_batch_again_and_seals_it(folder: Folder) -> None:
    path = folder.path / "1-0.seg"
    path.write_bytes(b"wholetorn".ljust(4096, b"\0"))
    written: list[bytes] = []

    class Watched(Disk):
        def write(self, fd: int, data: bytes, offset: int) -> None:
            written.append(data)
            super().write(fd, data, offset)

    folder.release()
    again = Folder(folder.path, Watched(), SIZE, SIZE)
    again.cut(SegmentFile(path, 1, 0), Survey((), None, 2, 5, 4))
    assert path.read_bytes() == b"whole"
    assert written == [b"ole"]
    assert mode(path) == 0o440
    again.release()
    folder._lock = os.open(os.devnull, os.O_RDONLY)


def test_a_segment_knows_the_room_of_its_volume(folder: Folder) -> None:
    segment = folder.begin(1, 0, reserve=False)
    volume = os.statvfs(folder.path)
    assert abs(segment.free() - volume.f_bavail * volume.f_frsize) < 1 << 30
    assert isinstance(segment, Segment)
    segment.close()
