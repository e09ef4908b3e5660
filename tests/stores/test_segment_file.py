from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.evidence_records import heartbeat
from tests.support.journals import NODE, START, same_random
from vestibule.evidence.canonical import ZERO_LEAF
from vestibule.stores.chain import Chain
from vestibule.stores.segment_file import SEALED, JournalDamaged, SegmentFile, Survey, segment_files, survey

BATCHES = (3, 1, 6)


def frames(batches: Sequence[int] = BATCHES) -> list[list[bytes]]:
    """Encode batches of so many records."""
    chain = Chain(NODE, 1, ZERO_LEAF, same_random())
    found = []
    for count in batches:
        draft = chain.draft()
        for beat in range(count):
            draft.add([heartbeat(beat)], START)
        chain.accept(draft)
        found.append([encoded.frame for encoded in draft.encoded])
    return found


def segment(folder: Path, content: bytes, size: int = 16_384) -> SegmentFile:
    path = folder / "1-0.seg"
    path.write_bytes(content.ljust(size, b"\0"))
    path.chmod(0o600)
    return SegmentFile(path, 1, 0)


def whole(batches: Sequence[Sequence[bytes]]) -> bytes:
    return b"".join(frame for batch in batches for frame in batch)


def test_a_whole_segment_is_read_to_its_end(tmp_path: Path) -> None:
    content = whole(frames())
    found = survey(segment(tmp_path, content))
    assert (len(found.leaves), found.end, found.torn) == (10, len(content), 0)
    assert found.batch == len(whole(frames()[:2]))
    assert found.last is not None
    assert found.last.n == 9


def test_an_empty_segment_has_no_record(tmp_path: Path) -> None:
    found = survey(segment(tmp_path, b""))
    assert found == Survey((), None, 0, 0, 0)


def test_a_tail_torn_at_any_byte_is_cut_behind_the_last_whole_frame(tmp_path: Path) -> None:
    batches = frames((1, 2))
    content = whole(batches)
    ends = [0, len(batches[0][0]), len(batches[0][0]) + len(batches[1][0]), len(content)]
    for length in (*range(1, len(content), 3), *ends[1:]):
        found = survey(segment(tmp_path, content[:length]))
        assert found.end == max(end for end in ends if end <= length)
        # Zeros at the cut cannot be told from the room behind it.
        assert found.end + found.torn <= length


def test_pages_of_the_last_batch_that_came_out_of_order_are_a_torn_batch(tmp_path: Path) -> None:
    batches = frames()
    start = len(whole(batches[:2]))
    for missing in range(5):
        last = [bytes(len(frame)) if place == missing else frame for place, frame in enumerate(batches[2])]
        found = survey(segment(tmp_path, whole([*batches[:2], last])))
        assert found.end == start + len(whole([batches[2][:missing]]))
        assert len(found.leaves) == 4 + missing
        assert found.torn > 0


def test_a_bad_frame_with_a_good_one_of_a_later_batch_behind_it_is_damage(tmp_path: Path) -> None:
    batches = frames()
    for place in range(4):
        content = bytearray(whole(batches))
        offset = sum(len(frame) for frame in [*batches[0], *batches[1]][:place])
        content[offset + 40] ^= 1
        with pytest.raises(JournalDamaged, match=rf"1-0\.seg is damaged at offset {offset}: "):
            survey(segment(tmp_path, bytes(content)))


def test_a_hole_with_a_later_batch_behind_it_is_damage(tmp_path: Path) -> None:
    batches = frames()
    with pytest.raises(JournalDamaged):
        survey(segment(tmp_path, whole([batches[0], [bytes(len(batches[1][0]))], batches[2]])))


def test_whatever_is_wrong_in_a_sealed_segment_is_damage(tmp_path: Path) -> None:
    content = whole(frames())
    cut = segment(tmp_path, content[:-1], len(content) - 1)
    assert survey(cut).torn > 0
    cut.path.chmod(SEALED)
    with pytest.raises(JournalDamaged):
        survey(cut)


def test_records_under_another_segments_name_are_damage(tmp_path: Path) -> None:
    named = segment(tmp_path, whole(frames()))
    with pytest.raises(JournalDamaged, match="numbers"):
        survey(SegmentFile(named.path, 1, 3))
    with pytest.raises(JournalDamaged, match="numbers"):
        survey(SegmentFile(named.path, 2, 0))


def test_segments_are_listed_by_number_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("10-0.seg", "9-0.seg", "9-100.seg", "9-20.seg", "lock", "spare", "01-0.seg", "x.seg"):
        (tmp_path / name).touch()
    assert [each.path.name for each in segment_files(tmp_path)] == ["9-0.seg", "9-20.seg", "9-100.seg", "10-0.seg"]


@given(st.binary(max_size=2_000), st.integers(0, 2_000))
def test_arbitrary_bytes_are_whole_torn_or_damaged_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    content = bytearray(whole(frames((1, 2))))
    content[at : at + len(junk)] = junk
    folder = tmp_path_factory.getbasetemp()
    try:
        found = survey(segment(folder, bytes(content)))
    except JournalDamaged:
        return
    assert found.end <= len(content)
