import pytest
from google_crc32c import value as crc32c
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence import verify
from vestibule.evidence.errors import DamagedSegment, EvidenceFormatError, TornSegment
from vestibule.evidence.segment import encode_frame, parse_segment_name, read_frames, segment_name

HEADERS = [b'{"v":1,"kind":"Heartbeat","n":%d}' % n for n in range(5)]
FRAMES = [encode_frame(header, b"body of " + header) for header in HEADERS]
SEGMENT = b"".join(FRAMES)


def headers(data: bytes) -> list[bytes]:
    return [frame.header for frame in read_frames(data)]


def test_a_frame_is_laid_out_as_the_format_says() -> None:
    assert encode_frame(b"{}", b"[]").hex() == "00000002000000027b7d5b5d653364a8"


@pytest.mark.parametrize("tail", [b"", b"\x00", bytes(3), bytes(4), bytes(4096)])
def test_frames_are_read_back_up_to_the_zeros(tail) -> None:
    assert headers(SEGMENT + tail) == HEADERS


def test_frames_know_where_they_stand() -> None:
    frames = list(read_frames(memoryview(SEGMENT)))
    assert [SEGMENT[frame.offset : frame.end] for frame in frames] == FRAMES
    assert [frame.body for frame in frames] == [b"body of " + header for header in HEADERS]


def test_reading_can_start_at_any_frame() -> None:
    assert [frame.header for frame in read_frames(SEGMENT, len(FRAMES[0]))] == HEADERS[1:]


@pytest.mark.parametrize("tail", [b"", bytes(64)])
def test_a_frame_that_was_not_written_whole_is_torn(tail) -> None:
    for cut in range(1, len(FRAMES[-1]) - 3):
        with pytest.raises(TornSegment) as caught:
            headers(SEGMENT[:-cut] + tail)
        assert caught.value.offset == sum(map(len, FRAMES[:-1]))


def test_a_bad_frame_with_a_good_one_behind_it_is_damage() -> None:
    for position in range(len(FRAMES[0]), len(FRAMES[0]) + len(FRAMES[1])):
        data = bytearray(SEGMENT)
        data[position] ^= 0x40
        with pytest.raises(DamagedSegment) as caught:
            headers(data)
        assert caught.value.offset == len(FRAMES[0])


def test_bytes_behind_the_end_are_damage_unless_the_segment_is_being_written() -> None:
    data = SEGMENT + bytes(2_000_000) + b"x"
    with pytest.raises(DamagedSegment):
        headers(data)
    assert [frame.header for frame in read_frames(data, whole=False)] == HEADERS


def test_a_frame_behind_zeros_is_damage() -> None:
    with pytest.raises(DamagedSegment):
        headers(FRAMES[0] + bytes(len(FRAMES[1])) + FRAMES[2])


@given(st.binary(max_size=300), st.integers(0, len(SEGMENT)), st.booleans())
def test_arbitrary_bytes_give_frames_or_a_defined_error(noise, offset, whole) -> None:
    for data in (noise, SEGMENT[:offset] + noise, SEGMENT[:offset] + noise + SEGMENT[offset:]):
        try:
            for frame in read_frames(data, whole=whole):
                assert encode_frame(frame.header, frame.body) == data[frame.offset : frame.end]
        except (TornSegment, DamagedSegment):
            continue


@pytest.mark.parametrize(("header", "body"), [(b"", b""), (b"h" * 1_025, b""), (b"h", b"b" * 60_001)])
def test_a_record_over_its_limits_is_not_framed(header, body) -> None:
    with pytest.raises(EvidenceFormatError):
        encode_frame(header, body)


def test_a_segment_is_named_after_its_first_record() -> None:
    assert segment_name(3, 1_000) == "3-1000.seg"
    assert parse_segment_name("3-1000.seg") == (3, 1_000)


@pytest.mark.parametrize(
    "name", ["", "3-1000", "03-1.seg", "3-01.seg", "-1-0.seg", "3-1000.seg\n", "3_0.seg", "٣-0.seg"]
)
def test_a_segment_has_one_name_only(name) -> None:
    with pytest.raises(EvidenceFormatError):
        parse_segment_name(name)


@given(st.binary(max_size=300))
def test_writer_and_verifier_compute_the_same_check_value(content):
    assert verify.crc32c(content) == crc32c(content).to_bytes(4, "big")


def test_the_check_value_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283
