import json
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.recording import Place
from vestibule.evidence.spool import FRAME_OVERHEAD, HEAD_BYTES, Frames, Head, decode_frames, decode_head

KEY = bytes(range(32))
HEAD = Head(Place(UUID(int=1), UUID(int=9), 3), UUID(int=7))
PLAIN = [b"first", b"", b"third" * 1000]
GOLDEN = Path(__file__).parent / "golden" / "spool.json"


def encoded(head: Head = HEAD) -> list[bytes]:
    frames = Frames(head, KEY)
    return [head.encode(), *(frames.encode(offset, plain) for offset, plain in enumerate(PLAIN))]


def test_a_head_is_laid_out_as_the_format_says() -> None:
    assert HEAD.encode().hex() == (
        "56535031" + "00" * 15 + "01" + "00" * 15 + "09" + "00" * 15 + "07" + "0000000000000003"
    )
    assert decode_head(HEAD.encode()) == HEAD


@pytest.mark.parametrize("data", [b"", HEAD.encode()[:-1], b"VSP2" + HEAD.encode()[4:]])
def test_another_head_is_refused(data) -> None:
    with pytest.raises(EvidenceFormatError):
        decode_head(data)


def test_a_frame_has_length_offset_and_stream_in_clear_and_nothing_else() -> None:
    frame = Frames(HEAD, KEY).encode(258, b"an account number")

    assert frame[:13].hex() == "00000021000000000000010201"
    assert len(frame) == FRAME_OVERHEAD + 17
    assert b"account" not in frame


def test_frames_are_read_back() -> None:
    data = b"".join(encoded())

    assert decode_frames(data, KEY) == (b"".join(PLAIN), len(data))
    assert decode_frames(HEAD.encode(), KEY) == (b"", HEAD_BYTES)


def test_a_torn_end_is_cut_wherever_it_was_torn() -> None:
    parts = encoded()
    whole = len(b"".join(parts[:3]))

    for size in range(whole, len(b"".join(parts)), 97):
        assert decode_frames(b"".join(parts)[:size], KEY) == (b"first", whole)


def test_zeros_behind_the_last_frame_are_cut() -> None:
    data = b"".join(encoded())

    assert decode_frames(data + bytes(4096), KEY)[1] == len(data)


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (0, 2, 3), (0, 1, 1, 2, 3)])
def test_a_frame_that_is_missing_doubled_or_moved_ends_what_is_read(order) -> None:
    parts = encoded()
    plain, end = decode_frames(b"".join(parts[n] for n in order), KEY)

    assert plain in (b"", b"first")
    assert end <= len(parts[0] + parts[1])


def test_a_part_opens_with_no_other_key_and_under_no_other_id() -> None:
    data = b"".join(encoded())
    other = Head(HEAD.place, UUID(int=8)).encode() + data[HEAD_BYTES:]

    assert decode_frames(data, bytes(32)) == (b"", HEAD_BYTES)
    assert decode_frames(other, KEY) == (b"", HEAD_BYTES)


def test_the_clear_part_of_a_frame_cannot_be_changed() -> None:
    data = bytearray(b"".join(encoded()))
    data[HEAD_BYTES + 11] ^= 1

    assert decode_frames(bytes(data), KEY) == (b"", HEAD_BYTES)


@given(st.binary(max_size=120))
def test_foreign_bytes_behind_a_head_are_torn(data) -> None:
    assert decode_frames(HEAD.encode() + data, KEY) == (b"", HEAD_BYTES)


def test_the_golden_part_still_opens() -> None:
    golden = json.loads(GOLDEN.read_text())
    data = bytes.fromhex(golden["data"])

    assert decode_frames(data, bytes.fromhex(golden["data_key"])) == (bytes.fromhex(golden["plain"]), len(data))
    assert b"".join(encoded())[: len(data)] == data
