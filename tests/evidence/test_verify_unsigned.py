"""What nobody has signed yet: a log that was never published, and files of a publication that was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import data_folder
from tests.support.data_folder import (
    PublishedLog,
    WriterChain,
    busy_day,
    findings,
    folder_of,
    gate,
    published_folder,
    write_files,
)
from vestibule.evidence import verify
from vestibule.evidence.log import publication, publishable
from vestibule.evidence.tiles import encode_entries

LEFT = "a gateway is publishing them, or died while it did"


def cut_off(log: PublishedLog, writers: list[WriterChain]) -> tuple[dict[str, bytes], list[tuple[str, bytes]]]:
    """Give the folder before a publication, and the files that this writes before it signs, in order."""
    log.integrate(*writers)
    size = publishable(log.state.tree.size)
    files = publication(log.published, size, log.hashes, lambda start, end: log.entries[start:end])
    return folder_of(log, writers), [(f"log/{name}", data) for name, data in files]


def busy(seed: int = 3) -> tuple[dict[str, bytes], list[tuple[str, bytes]]]:
    """A busy day behind which as much again was recorded, and died while it was published."""
    _, log, writers = busy_day(seed)
    while log.state.tree.size + sum(len(each.rows) for each in writers) < 2 * 256 + 2 * log.published:
        for writer in writers[1:]:
            writer.heartbeat(1)
    return cut_off(log, writers)


def notes_of(folder: Path, files: Mapping[str, bytes]) -> str:
    write_files(folder, files)
    _, _, notes = verify.verify(str(folder), None)
    return "\n".join(notes)


@pytest.mark.slow
def test_wherever_a_publication_was_cut_off_what_it_left_is_no_fault_and_is_told(tmp_path: Path) -> None:
    files, left = busy()
    assert len(left) > 6
    for count in range(1, len(left) + 1):
        folder = tmp_path / str(count)
        assert findings(folder, files | dict(left[:count])) == {}, left[count - 1][0]
        notes = notes_of(folder, {})
        assert "younger records are not yet under a signed checkpoint; the log's files show" in notes
        assert LEFT in notes


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 40, -1])
def test_every_changed_byte_of_what_was_left_is_found(tmp_path: Path, place: int) -> None:
    files, left = busy()
    for number, (name, data) in enumerate(left):
        changed = bytearray(data)
        changed[place % len(data)] ^= 1
        found = findings(tmp_path / str(number), files | dict(left) | {name: bytes(changed)})
        assert found.keys() == {"V05"}, name


def test_what_was_left_may_not_be_of_two_larger_trees(tmp_path: Path) -> None:
    chain = gate()
    log = PublishedLog(data_folder.test_key())
    log.integrate(chain)
    log.publish()
    chain.heartbeat(0)
    _, first = cut_off(log, [chain])
    chain.heartbeat(1)
    files, second = cut_off(log, [chain])
    assert findings(tmp_path / "one", files | dict(second)) == {}
    assert "does not belong there" in str(findings(tmp_path / "two", files | dict(first) | dict(second))["V05"])


def test_a_tile_that_contradicts_the_signed_tree_fails_although_it_is_longer(tmp_path: Path) -> None:
    chain = gate()
    log = PublishedLog(data_folder.test_key())
    chain.heartbeat(0)
    log.integrate(chain)
    log.publish()
    chain.heartbeat(1)
    files, left = cut_off(log, [chain])
    turned = encode_entries([*reversed(log.entries[: log.published]), *log.entries[log.published :]])
    for number, (name, data) in enumerate(left):
        other = turned if "entries" in name else data[32 : 32 * log.published] + data[:32] + data[32 * log.published :]
        found = findings(tmp_path / str(number), files | dict(left) | {name: other})
        assert "not what the leaves give" in str(found["V05"]), name


def test_leaves_that_no_writer_has_recorded_fail_where_they_are_not_signed_either(tmp_path: Path) -> None:
    chain = gate()
    log = PublishedLog(data_folder.test_key())
    log.integrate(chain)
    log.publish()
    before = folder_of(log, [chain])
    chain.heartbeat(0)
    _, left = cut_off(log, [chain])
    assert "not the next record of its writer" in str(findings(tmp_path, before | dict(left))["V05"])


def test_a_log_that_was_never_published_is_told_as_not_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = gate()
    chain.heartbeat(0)
    log = PublishedLog(data_folder.test_key())
    files, left = cut_off(log, [chain])
    for number, more in enumerate((dict(left), {})):
        folder = tmp_path / str(number)
        assert findings(folder, files | more) == {}
        assert verify.main([str(folder)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert not [line for line in lines if line.startswith(("PASS V05", "FAIL"))]
        assert f"NOT CHECKED {verify.NEVER}" in lines
        assert any(line.startswith("NOT CHECKED 2 younger records are not yet under a signed") for line in lines)


def test_a_log_whose_files_are_gone_is_no_log_that_was_never_published(tmp_path: Path) -> None:
    chain = gate()
    files = published_folder([chain])
    chain.heartbeat(0, published=1)
    files |= {"journal/gate1.0/1-0.seg": b"".join(frame for _, frame in chain.frames)}
    kept = {name: data for name, data in files.items() if not name.startswith("log/") or name == "log/log.vkey"}
    assert "1 leaves were published, say the records" in str(findings(tmp_path, kept)["V05"])


def test_without_its_key_a_log_that_was_never_published_fails(tmp_path: Path) -> None:
    chain = gate()
    files, _ = cut_off(PublishedLog(data_folder.test_key()), [chain])
    del files["log/log.vkey"]
    assert "log/log.vkey" in str(findings(tmp_path, files)["V05"])


def test_a_saved_checkpoint_is_more_than_a_log_that_shows_nothing(tmp_path: Path) -> None:
    chain = gate()
    saved = published_folder([chain])["log/checkpoint"]
    files, left = cut_off(PublishedLog(data_folder.test_key()), [chain])
    assert "its end was cut off" in str(findings(tmp_path, files | dict(left), saved)["V05"])
