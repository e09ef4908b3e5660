from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.evidence_records import conversation, heartbeat
from tests.support.journals import NODE, journal, stored, write, write_all
from vestibule.stores.chain_end import ChainEnd, find_end
from vestibule.stores.disk import Disk
from vestibule.stores.folder import Folder
from vestibule.stores.segment_file import SEALED, JournalDamaged

Find = Callable[..., ChainEnd]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def find(path: Path) -> Iterator[Find]:
    held: list[Folder] = []

    def look(node: str = NODE) -> ChainEnd:
        held.append(Folder(path, Disk(), 4096, 4096))
        try:
            return find_end(held[-1], node)
        finally:
            held[-1].release()

    return look


def unseal(path: Path, tail: bytes = b"") -> None:
    """Leave a segment as a crash would."""
    path.chmod(0o600)
    content = path.read_bytes() + tail
    path.write_bytes(content.ljust(64 * 4096, b"\0"))


def test_a_new_folder_has_no_record_and_was_left_clean(find: Find) -> None:
    assert find() == ChainEnd(None, 0, 0, clean=True)


def test_a_closed_journal_ends_with_its_last_record(find: Find, path: Path) -> None:
    with journal(path) as to:
        write_all(to, [[record] for record in conversation(UUID(int=1), 2)])
    end, last = find(), stored(path)[-1]
    assert end.last is not None
    assert (end.last.epoch, end.last.n, end.last.leaf) == (1, 6, last.leaf)
    assert (end.epoch, end.torn_bytes, end.clean) == (1, 0, True)
    assert end.leaf == last.leaf


def test_a_segment_that_a_crash_left_is_cut_sealed_and_told(find: Find, path: Path) -> None:
    with journal(path) as to:
        write(to, heartbeat())
    whole = (path / "1-0.seg").read_bytes()
    unseal(path / "1-0.seg", tail=whole[:100])
    end = find()
    assert (end.torn_bytes, end.clean) == (100, False)
    assert (path / "1-0.seg").read_bytes() == whole
    assert (path / "1-0.seg").stat().st_mode & 0o777 == SEALED
    assert find() == ChainEnd(end.last, 1, 0, clean=True)


def test_an_epoch_without_records_counts_and_the_link_goes_to_the_one_before(find: Find, path: Path) -> None:
    with journal(path) as to:
        write(to, heartbeat())
    with journal(path):
        pass
    end = find()
    assert end.epoch == 2
    assert end.last is not None
    assert end.last.epoch == 1


def test_something_torn_with_records_behind_it_is_damage(find: Find, path: Path) -> None:
    for beat in range(2):
        with journal(path) as to:
            write(to, heartbeat(beat))
    unseal(path / "1-0.seg", tail=b"torn")
    with pytest.raises(JournalDamaged, match=r"1-0\.seg is torn although later segments hold records"):
        find()


def test_the_folder_of_another_writer_is_refused(find: Find, path: Path) -> None:
    with journal(path) as to:
        write(to, heartbeat())
    with pytest.raises(JournalDamaged, match=r"was written by 'n1\.w0', not by 'n1\.w1'"):
        find("n1.w1")
