import errno
import os
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.faulty_disk import FaultyDisk
from tests.support.small_disk import fill, small_disk
from vestibule.stores.objects import Directory, ObjectMissing

DATA = b"an object"
NAME = sha256(DATA).hexdigest()


class FailingDisk(FaultyDisk):
    def write(self, fd: int, data: bytes, offset: int) -> None:
        super().write(fd, data[:3], offset)
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "objects")


def test_an_object_is_found_under_the_sha_256_of_its_bytes(store, tmp_path) -> None:
    assert store.put(DATA) == NAME
    assert store.get(NAME) == DATA
    assert store.exists(NAME)
    assert (tmp_path / "objects" / "obj" / NAME[:2] / NAME).read_bytes() == DATA


def test_nobody_may_write_an_object_and_others_may_not_read_it(store, tmp_path) -> None:
    store.put(DATA)

    path = tmp_path / "objects" / "obj" / NAME[:2] / NAME
    assert path.stat().st_mode & 0o777 == 0o440
    assert path.parent.stat().st_mode & 0o077 == 0


def test_putting_an_object_again_changes_nothing(store, tmp_path) -> None:
    store.put(DATA)
    before = (tmp_path / "objects" / "obj" / NAME[:2] / NAME).stat()

    assert store.put(DATA) == NAME
    assert (tmp_path / "objects" / "obj" / NAME[:2] / NAME).stat() == before


def test_a_name_that_stands_for_other_bytes_is_never_taken_for_the_object(store, tmp_path) -> None:
    path = tmp_path / "objects" / "obj" / NAME[:2] / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"forged")

    with pytest.raises(OSError, match="not what its name says"):
        store.put(DATA)


def test_what_is_not_there_is_missing(store) -> None:
    assert not store.exists(NAME)
    with pytest.raises(ObjectMissing):
        store.get(NAME)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", NAME.upper(), NAME[:-1], NAME + "0", f"{NAME}\n"])
def test_what_is_no_name_leads_nowhere(store, name) -> None:
    with pytest.raises(ObjectMissing):
        store.get(name)


def test_an_object_that_was_not_written_whole_never_has_its_name(tmp_path) -> None:
    with pytest.raises(OSError, match="No space"):
        Directory(tmp_path, FailingDisk()).put(DATA)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not Directory(tmp_path).exists(NAME)


def test_what_crashes_left_is_removed_and_nothing_else(store, tmp_path) -> None:
    store.put(DATA)
    left = tmp_path / "objects" / "new" / "0123"
    left.write_bytes(b"half")

    store.drop_unfinished()

    assert not left.exists()
    assert store.exists(NAME)


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path) -> None:
    with small_disk(tmp_path / "disk", 256 * 1024) as disk:
        store = Directory(disk / "objects")
        store.put(DATA)
        fill(disk)
        with pytest.raises(OSError, match="No space"):
            store.put(os.urandom(64 * 1024))
        assert store.get(NAME) == DATA
        assert list((disk / "objects" / "new").iterdir()) == []
