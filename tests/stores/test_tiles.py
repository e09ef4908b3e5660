from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from vestibule.evidence.log import Grown, publication
from vestibule.evidence.merkle import Frontier
from vestibule.evidence.tiles import TileHashes
from vestibule.stores.tiles import LogFolder


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder(tmp_path / "log")


def entry(index: int) -> bytes:
    return b'{"i":%d}' % index


def entries(start: int, end: int) -> list[bytes]:
    return [entry(index) for index in range(start, end)]


def publish(folder: LogFolder, sizes: list[int]) -> None:
    """Publish trees of these sizes, one growing out of the other."""
    old, tree = 0, Frontier()
    for size in sizes:
        leaves = [sha256(b"\0" + entry(index)).digest() for index in range(old, size)]
        larger, tiles = tree.extend(leaves)
        hashes = Grown(TileHashes(old, folder.read), old, leaves, tiles)
        folder.write(publication(old, size, hashes, entries))
        folder.release(size, b"note of %d\n" % size)
        old, tree = size, larger


def files(folder: LogFolder) -> set[str]:
    return {str(path.relative_to(folder.root)) for path in folder.root.rglob("*") if path.is_file()}


def test_files_are_read_only_and_the_checkpoint_is_not(folder: LogFolder) -> None:
    publish(folder, [3])
    assert stat.S_IMODE((folder.root / "tile/0/000.p/3").stat().st_mode) == 0o440
    assert stat.S_IMODE((folder.root / "checkpoint").stat().st_mode) == 0o600
    assert folder.read("tile/entries/000.p/3") == bytes.fromhex(
        "00077b2269223a307d00077b2269223a317d00077b2269223a327d"
    )


def test_a_checkpoint_is_there_under_its_size_and_as_the_newest(folder: LogFolder) -> None:
    assert folder.checkpoint() is None
    publish(folder, [3, 10])
    assert folder.checkpoint() == b"note of 10\n"
    assert folder.sizes() == [3, 10]
    assert folder.read("checkpoints/3") == b"note of 3\n"


def test_the_same_file_again_is_harmless(folder: LogFolder) -> None:
    publish(folder, [300])
    before = {path: folder.read(path) for path in files(folder)}
    publish(folder, [300])
    assert {path: folder.read(path) for path in files(folder)} == before


def test_the_folder_holds_nothing_but_the_log_even_when_a_write_is_cut_off(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(folder, [3])
    before = files(folder)

    def stop(fd: int) -> None:
        raise OSError("cut off")

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(OSError, match="cut off"):
        folder.write([("tile/0/000.p/4", b"half")])
    assert files(folder) == before
    monkeypatch.undo()
    folder.write([("tile/0/000.p/4", b"whole")])
    assert folder.read("tile/0/000.p/4") == b"whole"


def test_every_name_is_made_durable_up_to_the_root(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("vestibule.stores.tiles.sync_folder", synced.append)
    folder.write([("tile/0/x001/234.p/5", b"")])
    names = ("", "tile", "tile/0", "tile/0/x001", "tile/0/x001/234.p")
    assert sorted(synced) == [folder.root / name for name in names]


@pytest.mark.parametrize("published", [1, 255, 257, 511, 700, 65_537])
def test_what_is_beyond_the_published_size_is_removed_and_nothing_else(folder: LogFolder, published: int) -> None:
    publish(folder, sorted({published // 3 + 1, published}))
    before = files(folder)
    beyond = published + 600
    old = [sha256(b"\0" + entry(index)).digest() for index in range(beyond)]
    _, tiles = Frontier().extend(old)
    hashes = Grown(TileHashes(0, folder.read), 0, old, tiles)
    folder.write(
        publication(published, beyond, hashes, lambda start, end: [entry(index) for index in range(start, end)])
    )
    added = files(folder) - before
    assert added
    assert folder.remove_beyond(published) == len(added)
    assert files(folder) == before
    assert folder.remove_beyond(published) == 0


def test_an_empty_folder_has_nothing_to_remove(folder: LogFolder) -> None:
    assert folder.remove_beyond(0) == 0


def test_the_verifier_key_is_one_line(folder: LogFolder) -> None:
    folder.put_vkey("name+00000000+key")
    number = (folder.root / "log.vkey").stat().st_ino
    folder.put_vkey("name+00000000+key")
    assert folder.read("log.vkey") == b"name+00000000+key\n"
    assert (folder.root / "log.vkey").stat().st_ino == number


def test_the_age_of_the_newest_checkpoint_is_its_file_s(folder: LogFolder) -> None:
    assert folder.checkpoint_age() is None
    folder.release(1, b"note")
    age = folder.checkpoint_age()
    assert age is not None
    os.utime(folder.root / "checkpoint", (0, os.stat(folder.root / "checkpoint").st_mtime - 1_000))
    later = folder.checkpoint_age()
    assert later is not None
    assert later - age >= 999
