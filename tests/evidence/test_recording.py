import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence import recording
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.kinds import OBJECT
from vestibule.evidence.recording import (
    CHUNK_LIMIT,
    Event,
    Part,
    Place,
    Span,
    Stored,
    decode_envelope,
    decode_events,
    encode_envelope,
    encode_event,
    seal,
    span,
    stored,
    unseal,
)

KEY = bytes(range(32))
PLACE = Place(UUID(int=1), UUID(int=9), 3)
EVENTS = [
    Event(0, 1, Part.HEAD, b"T\x00\x00\x00\x06\x00\x00"),
    Event(5, 1, Part.FRAMES, b"D\x00\x00\x00\x06\x00\x00"),
    Event(7, 2, Part.PIECE, b""),
]
PLAIN = b"".join(map(encode_event, EVENTS))
GOLDEN = Path(__file__).parent / "golden" / "chunk.json"


def sealed(plain: bytes = PLAIN, place: Place = PLACE) -> tuple[bytes, Stored]:
    return seal(place, KEY, bytes(24), bytes(16), plain)


# --- events ----------------------------------------------------------------------------------------------------------


def test_an_event_is_laid_out_as_the_format_says() -> None:
    assert encode_event(Event(1, 2, Part.FRAMES, b"ab")).hex() == "00000000000000010000000201000000026162"


def test_events_are_read_back_with_the_place_behind_each() -> None:
    found = list(decode_events(PLAIN))

    assert [event for _, event in found] == EVENTS
    assert found[-1][0] == len(PLAIN)
    assert [event for _, event in decode_events(PLAIN, found[0][0])] == EVENTS[1:]


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_cut_event_is_an_error(cut) -> None:
    with pytest.raises(EvidenceFormatError):
        list(decode_events(PLAIN[:-17][:-cut]))


@given(st.binary(max_size=80))
def test_foreign_bytes_give_events_or_a_defined_error(data) -> None:
    with suppress(EvidenceFormatError):
        assert b"".join(encode_event(event) for _, event in decode_events(data)) == data


def test_a_span_says_what_events_cover() -> None:
    assert span(PLAIN) == Span(3, 0, 7, 1, 2)
    assert span(b"") == Span(0, 0, 0, 0, 0)


# --- the envelope ----------------------------------------------------------------------------------------------------


def test_an_envelope_is_laid_out_as_the_format_says() -> None:
    assert encode_envelope(PLACE).hex() == (
        "56534f3101010100" + "00" * 15 + "01" + "00" * 15 + "09" + "0000000000000003"
    )
    assert decode_envelope(encode_envelope(PLACE)) == PLACE


@pytest.mark.parametrize("at", range(8))
def test_another_envelope_is_refused(at) -> None:
    data = bytearray(encode_envelope(PLACE))
    data[at] ^= 0x40

    with pytest.raises(EvidenceFormatError, match="not a recording chunk"):
        decode_envelope(bytes(data))


def test_a_short_object_is_refused() -> None:
    with pytest.raises(EvidenceFormatError, match="shorter"):
        decode_envelope(encode_envelope(PLACE)[:-1])


# --- chunks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [b"", PLAIN, PLAIN * 20_000])
def test_a_chunk_gives_back_its_events(plain) -> None:
    data, about = sealed(plain)

    assert unseal(data, PLACE, KEY, about) == plain
    assert about.plain_bytes == len(plain)
    assert about.size == len(data)


def test_a_chunk_is_compressed_within_a_window_of_a_mebibyte() -> None:
    data, _ = sealed(PLAIN * 100_000)
    packed = recording.cobblestone.unseal(KEY, data[:48], data[48:])

    assert len(data) < len(PLAIN) * 10_000
    assert zstandard.get_frame_parameters(packed).window_size <= 1 << 20


def test_a_chunk_opens_only_in_its_own_place() -> None:
    data, about = sealed()

    for place in (replace(PLACE, seq=4), replace(PLACE, session=UUID(int=2)), replace(PLACE, key=UUID(int=8))):
        with pytest.raises(EvidenceFormatError, match="another place"):
            unseal(data, place, KEY, about)


def test_a_chunk_whose_envelope_was_changed_with_the_record_does_not_open() -> None:
    other = replace(PLACE, seq=4)
    data, about = sealed()
    moved = encode_envelope(other) + data[48:]
    digest = recording.sha256(moved).hexdigest()

    with pytest.raises(EvidenceFormatError, match="another key or place"):
        unseal(moved, other, KEY, replace(about, sha256=digest))


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"plain_sha256": "0" * 64}, {"plain_bytes": 1}])
def test_a_chunk_that_is_not_the_one_of_its_record_does_not_open(change) -> None:
    data, about = sealed()

    with pytest.raises(EvidenceFormatError):
        unseal(data, PLACE, KEY, replace(about, **change))


def test_nothing_larger_than_the_limit_is_made_or_expanded() -> None:
    with pytest.raises(EvidenceFormatError, match="at most"):
        sealed(bytes(CHUNK_LIMIT + 1))
    data, about = sealed()
    with pytest.raises(EvidenceFormatError, match="at most"):
        unseal(data, PLACE, KEY, replace(about, plain_bytes=CHUNK_LIMIT + 1))


def test_the_salt_keeps_the_plain_hash_from_telling_the_content() -> None:
    one, two = (seal(PLACE, KEY, bytes(24), bytes([n]) * 16, PLAIN)[1] for n in (1, 2))

    assert one.plain_sha256 != two.plain_sha256
    assert one.sha256 == two.sha256


def test_what_a_record_says_of_a_chunk_passes_its_check_and_is_read_back() -> None:
    _, about = sealed()

    assert OBJECT(about.members()) == about.members()
    assert stored(about.members()) == about


def test_the_golden_chunk_still_opens() -> None:
    golden = json.loads(GOLDEN.read_text())
    place = Place(UUID(golden["session"]), UUID(golden["object"]["key"]), golden["seq"])

    plain = unseal(bytes.fromhex(golden["data"]), place, bytes.fromhex(golden["data_key"]), stored(golden["object"]))

    assert [[e.offset_us, e.statement, int(e.part), e.data.hex()] for _, e in decode_events(plain)] == golden["events"]
