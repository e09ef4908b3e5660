import json
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence.canonical import (
    Header,
    decode_header,
    encode_body,
    encode_header,
    leaf_hash,
    uuid7,
)
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.model.names import Instant, TargetName
from vestibule.model.record import Kind, Reference

SALT = bytes(range(16))
STOPPED = {"queue_empty": True, "open_sessions": 0, "cause": "operator"}
HEADER = Header(
    kind=Kind.NODE_STOPPED,
    id=UUID("019b7a1c-0000-7000-8000-000000000001"),
    t=Instant(1_767_323_045_000_001),
    node="gate1.0",
    epoch=1,
    n=7,
    prev=bytes(32),
    session=None,
    sn=None,
    sprev=None,
    target=None,
    body=sha256(b"").digest(),
    length=0,
)

hashes = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 2**53 - 1)
sessions = st.one_of(
    st.tuples(st.none(), st.none(), st.none()),
    st.tuples(st.uuids(), st.none(), st.none()),
    st.tuples(st.uuids(), numbers, hashes),
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=63).map(TargetName)


@st.composite
def header_values(draw) -> Header:
    session, sn, sprev = draw(sessions)
    return Header(
        kind=draw(st.sampled_from(Kind)),
        id=draw(st.uuids()),
        t=Instant(draw(st.integers(0, 253_402_300_799_999_999))),
        node=draw(st.from_regex(r"[A-Za-z0-9_-]{1,20}\.[a-z0-9]{1,10}", fullmatch=True)),
        epoch=draw(numbers),
        n=draw(numbers),
        prev=draw(hashes),
        session=session,
        sn=sn,
        sprev=sprev,
        target=draw(st.none() | names),
        body=draw(hashes),
        length=draw(numbers),
    )


def test_a_header_has_its_members_in_the_order_of_the_format() -> None:
    assert encode_header(HEADER) == (
        b'{"v":1,"kind":"NodeStopped","id":"019b7a1c-0000-7000-8000-000000000001",'
        b'"t":"2026-01-02T03:04:05.000001Z","node":"gate1.0","epoch":1,"n":7,'
        b'"prev":"0000000000000000000000000000000000000000000000000000000000000000",'
        b'"session":null,"sn":null,"sprev":null,"target":null,'
        b'"body":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","len":0}'
    )


@given(header_values())
def test_a_header_is_read_back_as_it_was_written(header) -> None:
    data = encode_header(header)
    assert decode_header(data) == header
    assert b"\n" not in data
    assert len(data) <= 1_024


@given(header_values(), st.data())
def test_a_changed_header_is_refused_or_means_something_else(header, data) -> None:
    encoded = bytearray(encode_header(header))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_header(bytes(encoded))
    except EvidenceFormatError:
        return
    assert decoded != header
    assert encode_header(decoded) == encoded


@given(st.binary(max_size=1_100) | st.integers(0, 1_024).map(lambda depth: b"[" * depth))
def test_arbitrary_bytes_are_refused_as_a_header(data) -> None:
    with pytest.raises(EvidenceFormatError):
        decode_header(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":2'),
        (b'"v":1', b'"v":true'),
        (b'"n":7', b'"n":7.0'),
        (b'"n":7', b'"n":07'),
        (b'"n":7', b'"n":-7'),
        (b'"n":7', b'"n":true'),
        (b'"n":7', b'"n":9007199254740992'),
        (b'"n":7', b'"n":7,"n":7'),
        (b'"epoch":1,"n":7', b'"n":7,"epoch":1'),
        (b'"len":0', b'"len":0,"more":0'),
        (b'"len":0', b'"len":0 '),
        (b'"len":0}', b'"len":0}\n'),
        (b"NodeStopped", b"NodeHalted"),
        (b"NodeStopped", b"Node\\u0053topped"),
        (b".000001Z", b".000001+00:00"),
        (b".000001Z", b".00001Z"),
        (b".000001Z", b".000001"),
        (b"05.0", b"61.0"),
        (b"05.0", b"05,0"),
        (b"T03:", b"T24:"),
        (b"2026-01-02", b"2026-02-30"),
        (b'"target":null', b'"target":"\\u0061"'),
        (b'"target":null', b'"target":"\\q"'),
        (b'"target":null', b'"target":"\xff"'),
        (b"gate1.0", b"gate/1.0"),
        (b"gate1.0", b"../.0"),
        (b"e3b0", b"E3B0"),
        (b"019b7a1c-", b"019B7A1C-"),
        (b'"session":null', b'"session":7'),
        (b'"sn":null', b'"sn":0'),
    ],
)
def test_a_header_in_another_form_is_refused(old, new) -> None:
    data = encode_header(HEADER)
    assert old in data
    with pytest.raises(EvidenceFormatError):
        decode_header(data.replace(old, new, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"node": ""},
        {"node": "a b"},
        {"node": "n" * 65},
        {"target": TargetName("t" * 64)},
        {"n": -1},
        {"epoch": 2**53},
        {"prev": b""},
        {"t": Instant(-1)},
        {"t": Instant(253_402_300_800_000_000)},
        {"sn": 0},
        {"sn": 0, "sprev": bytes(32)},
        {"session": UUID(int=0), "sn": 1},
        {"target": TargetName("\ud800")},
    ],
)
def test_a_header_with_impossible_values_is_not_written(change) -> None:
    with pytest.raises(EvidenceFormatError):
        encode_header(replace(HEADER, **change))


def test_a_leaf_is_the_hash_of_the_header_behind_a_zero_byte() -> None:
    assert leaf_hash(b'{"i":0}').hex() == "d829edd0713a1bb05e3cd0616924a4c5bde21e36e537149a20239edafa8825f1"


def test_a_body_starts_with_its_salt_and_keeps_the_order_of_the_table() -> None:
    assert encode_body(Kind.NODE_STOPPED, STOPPED, SALT) == (
        b'{"salt":"AAECAwQFBgcICQoLDA0ODw","cause":"operator","open_sessions":0,"queue_empty":true}'
    )


def test_a_body_is_one_line_without_control_characters() -> None:
    detail = 'a\nb\x00c\x7fd\x85e\u2028f"\\g'
    body = encode_body(Kind.AUDIT_FAULT, {"fault": "journal_full", "phase": "started", "detail": detail}, SALT)
    assert b'"a\\nb\\u0000c\\u007fd\\u0085e\xe2\x80\xa8f\\"\\\\g"' in body
    assert json.loads(body)["detail"] == detail


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_text_in_a_body_is_read_back_exactly_by_any_reader(detail) -> None:
    body = encode_body(Kind.AUDIT_FAULT, {"fault": "spool_full", "phase": "ended", "detail": detail}, SALT)
    assert json.loads(body).get("detail", "") == detail
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in body.decode())


@pytest.mark.parametrize(
    "change",
    [
        {"cause": "whim"},
        {"cause": Reference("opened")},
        {"open_sessions": -1},
        {"open_sessions": 2**53},
        {"open_sessions": 0.0},
        {"open_sessions": True},
        {"queue_empty": 1},
        {"queue_empty": None},
        {"mood": "good"},
        {"salt": "mine"},
    ],
)
def test_a_body_with_members_of_another_kind_or_type_is_refused(change) -> None:
    with pytest.raises(EvidenceFormatError):
        encode_body(Kind.NODE_STOPPED, STOPPED | change, SALT)


def test_an_error_about_a_body_names_the_member_and_never_its_value() -> None:
    with pytest.raises(EvidenceFormatError, match=r"NodeStopped\.cause") as caught:
        encode_body(Kind.NODE_STOPPED, STOPPED | {"cause": "078-05-1120"}, SALT)
    assert "078" not in str(caught.value)


def test_a_body_over_its_limit_is_refused() -> None:
    members = {
        "policy": "0" * 64,
        "text": "x" * 60_000,
        "source": "file",
        "effective_at": "2026-01-02T03:04:05.000000Z",
    }
    with pytest.raises(EvidenceFormatError, match="60,000"):
        encode_body(Kind.POLICY_APPLIED, members, SALT)


def test_a_body_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(EvidenceFormatError):
        encode_body(Kind.AUDIT_FAULT, {"fault": "spool_full", "phase": "ended", "detail": "\ud800"}, SALT)


def test_a_salt_has_sixteen_bytes() -> None:
    with pytest.raises(EvidenceFormatError):
        encode_body(Kind.NODE_STOPPED, STOPPED, b"short")


def test_a_uuid_carries_its_millisecond_and_the_given_randomness() -> None:
    made = uuid7(Instant(1_767_323_045_123_456), bytes(10))
    assert str(made) == "019b7ca9-8d03-7000-8000-000000000000"
    assert uuid7(Instant(1_767_323_045_123_456), b"\xff" * 10) == UUID("019b7ca9-8d03-7fff-bfff-ffffffffffff")
    assert made.version == 7
