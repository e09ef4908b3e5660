from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.evidence_records import heartbeat
from tests.support.journals import journal, stored, write, write_all
from vestibule.control import journals as module
from vestibule.control.journals import Journals
from vestibule.evidence.errors import RolledBack
from vestibule.evidence.log import Leaf
from vestibule.stores.log import Place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for node, count in (("n1.a", 5), ("n1.b", 3)):
        with journal(tmp_path / node, node=node) as to:
            write_all(to, [[heartbeat(beat)] for beat in range(count)])
    return tmp_path


@pytest.fixture
def journals(folder: Path) -> Iterator[Journals]:
    made = Journals(folder)
    yield made
    made.close()


def who(found: list[module.Found]) -> str:
    return "".join(each.place.node[-1] for each in found)


def test_all_writers_are_read_each_in_its_own_order(journals: Journals) -> None:
    assert who(journals.read(100)) == "aaaaabbb"
    assert journals.read(100) == []


def test_no_writer_is_kept_waiting_by_another(journals: Journals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 2)
    assert who(journals.read(100)) == "aabb"
    assert who(journals.read(100)) == "aab"


def test_never_more_is_read_than_asked_for(journals: Journals) -> None:
    assert [who(journals.read(3)) for _ in range(4)] == ["aaa", "aab", "bb", ""]


def test_what_is_given_back_comes_first(journals: Journals) -> None:
    first = journals.read(2)
    journals.give_back(first)
    assert journals.read(3)[:2] == first


def test_of_a_chain_that_stopped_nothing_comes_not_even_what_was_given_back(journals: Journals) -> None:
    journals.give_back(journals.read(6))
    journals.stop("n1.a", "for a reason")
    journals.stop("n1.a", "for another")
    assert journals.stopped == {"n1.a": "for a reason"}
    assert who(journals.read(100)) == "bbb"


def test_a_damaged_chain_stops_and_the_others_go_on(folder: Path, journals: Journals) -> None:
    path = folder / "n1.a" / "1-0.seg"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    assert who(journals.read(100) + journals.read(100)) == "bbb"
    assert "damaged at offset 0" in journals.stopped["n1.a"]


def test_a_writer_that_cannot_be_read_now_is_read_later(folder: Path, journals: Journals) -> None:
    (folder / "n1.a" / "1-0.seg").rename(folder / "kept")
    (folder / "n1.a" / "1-0.seg").symlink_to(folder / "nowhere")
    assert who(journals.read(100)) == "bbb"
    assert journals.stopped == {}
    (folder / "n1.a" / "1-0.seg").unlink()
    (folder / "kept").rename(folder / "n1.a" / "1-0.seg")
    assert who(journals.read(100)) == "aaaaa"


def test_reading_resumes_behind_the_last_leaf(folder: Path, journals: Journals) -> None:
    third = stored(folder / "n1.a")[2]
    leaf = Leaf(0, "n1.a", 1, 2, third.leaf)
    journals.resume({"n1.a": leaf}, {"n1.a": Place("n1.a", 1, 0, third.frame.offset)})
    assert who(journals.read(100)) == "aabbb"


def test_a_chain_whose_last_leaf_is_not_there_any_more_stops(folder: Path, journals: Journals) -> None:
    third = stored(folder / "n1.a")[2]
    journals.resume({"n1.a": Leaf(0, "n1.a", 1, 2, bytes(32))}, {"n1.a": Place("n1.a", 1, 0, third.frame.offset)})
    assert "any more" in journals.stopped["n1.a"]
    assert who(journals.read(100)) == "bbb"


def test_a_published_entry_is_taken_only_if_it_is_the_next_of_its_writer(folder: Path, journals: Journals) -> None:
    entries = [each.frame.header for each in stored(folder / "n1.a")]
    assert journals.take(entries[0]).header == entries[0]
    with pytest.raises(RolledBack, match=r"n1\.a does not hold"):
        journals.take(entries[2])


def test_a_published_entry_of_a_writer_that_is_gone_is_refused(folder: Path, journals: Journals) -> None:
    (entry, *_) = (each.frame.header for each in stored(folder / "n1.a"))
    (folder / "n1.a").rename(folder / "n1.c")
    with pytest.raises(RolledBack):
        journals.take(entry)


def test_a_writer_that_appears_later_is_found(folder: Path, journals: Journals) -> None:
    journals.read(100)
    with journal(folder / "n1.c", node="n1.c") as to:
        write(to, heartbeat())
        assert who(journals.read(100)) == "c"
