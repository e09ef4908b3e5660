from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vestibule.stores.disk import Disk, replace, sync_folder


def test_a_replaced_file_has_the_new_content_the_given_mode_and_no_draft_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(b"old")
    replace(path, b"new", 0o640)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_that_a_crash_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.new").write_bytes(b"half")
    replace(tmp_path / "checkpoint", b"whole")
    assert (tmp_path / "checkpoint").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_replacement_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(b"old")

    def refuse(fd: int) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no"):
        replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_was_not_taken_whole_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        Disk().write(fd, b"abc", 3)
        assert (tmp_path / "file").read_bytes() == b"\0\0\0abc"
        monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: len(data) - 1)
        with pytest.raises(OSError, match="only 2 of 3"):
            Disk().write(fd, b"abc", 0)
    finally:
        os.close(fd)


def test_allocated_room_is_real(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        disk = Disk()
        disk.allocate(fd, 1 << 20)
        disk.sync(fd)
        assert os.fstat(fd).st_blocks * 512 >= 1 << 20
        assert disk.free(fd) > 0
    finally:
        os.close(fd)


def test_a_folder_that_is_gone_cannot_be_synced(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "gone")
