import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.masks import FORMATS, TYPES, transforms, typmods, values
from vestibule.masking.transforms import BPCHAR, CHAR, JSON, JSONB, NAME, PARTED, TEXT, VARCHAR, XML, cell
from vestibule.model.plan import Transform

HIDE, NULL = Transform(), Transform("null")
INT4, BYTEA, DATE, TEXT_ARRAY = 23, 17, 1082, 1009


def keep(first=0, last=0) -> Transform:
    return Transform("keep", first, last)


@given(transforms, st.sampled_from(TYPES), st.sampled_from(FORMATS), typmods)
def test_null_stays_null(transform, type_oid, coding, typmod):
    assert cell(transform, None, type_oid, coding, typmod) is None


@given(values, st.sampled_from(TYPES), st.sampled_from(FORMATS), typmods)
def test_the_null_transform_leaves_nothing(value, type_oid, coding, typmod):
    assert cell(NULL, value, type_oid, coding, typmod) is None


@pytest.mark.parametrize("coding", [0, 1])
@pytest.mark.parametrize("type_oid", [TEXT, VARCHAR, BPCHAR, NAME, XML])
def test_text_is_hidden_by_stars(type_oid, coding):
    assert cell(HIDE, b"123-45-6789", type_oid, coding) == b"***"
    assert cell(HIDE, b"", type_oid, coding) == b"***"


def test_hidden_json_is_json():
    assert json.loads(cell(HIDE, b'{"a": 1}', JSON, 0)) == "***"
    assert json.loads(cell(HIDE, b'{"a": 1}', JSON, 1)) == "***"
    assert json.loads(cell(HIDE, b'{"a": 1}', JSONB, 0)) == "***"


def test_hidden_jsonb_in_binary_has_its_version_first():
    assert cell(HIDE, b'\x01{"a": 1}', JSONB, 1) == b'\x01"***"'


def test_one_byte_is_hidden_by_one_star():
    assert cell(HIDE, b"x", CHAR, 0) == cell(HIDE, b"x", CHAR, 1) == cell(keep(last=1), b"x", CHAR, 0) == b"*"


@pytest.mark.parametrize("coding", [0, 1])
@pytest.mark.parametrize("type_oid", [INT4, BYTEA, DATE, TEXT_ARRAY, 0, 99_999])
@pytest.mark.parametrize("transform", [HIDE, NULL, keep(2, 2)])
def test_a_type_that_is_not_text_becomes_null_in_either_format(transform, type_oid, coding):
    assert cell(transform, b"12345678", type_oid, coding) is None


def test_a_format_that_is_neither_becomes_null():
    assert cell(HIDE, b"x", TEXT, 2) is cell(keep(last=1), b"xxxx", TEXT, 2) is None


@pytest.mark.parametrize(
    ("transform", "value", "shown"),
    [
        (keep(last=4), "123-45-6789", "***6789"),
        (keep(first=3), "123-45-6789", "123***"),
        (keep(6, 4), "4111111111111111111111", "411111***1111"),
        (keep(6, 4), "41111111111111111111", "411111***1111"),
        (keep(6, 4), "4111111111111111", "***"),
        (keep(last=4), "12345678", "***5678"),
        (keep(last=4), "1234567", "***"),
        (keep(last=4), "", "***"),
        (keep(last=2), "ééß€", "***ß€"),
        (keep(first=1), "𝄞x", "𝄞***"),
        (keep(first=1), "𝄞", "***"),
        (keep(), "anything", "***"),
    ],
)
def test_a_part_is_shown_where_twice_as_many_characters_are_there(transform, value, shown):
    assert cell(transform, value.encode(), TEXT, 0) == shown.encode()


@pytest.mark.parametrize(
    "value", [b"\xff" * 20, b"1234567890\xc3", b"\xed\xa0\x80" * 9, b"\xc0\x80" * 9, b"\xf4\x90\x80\x80" * 9]
)
def test_what_is_not_utf_8_is_hidden_whole(value):
    assert cell(keep(last=1), value, TEXT, 0) == b"***"


@pytest.mark.parametrize("type_oid", [JSON, JSONB, XML])
def test_no_part_of_a_document_is_shown(type_oid):
    assert cell(keep(2, 2), b'{"secret": 1}', type_oid, 0) == cell(HIDE, b"", type_oid, 0)


def test_the_blanks_that_fill_a_char_up_are_not_its_value():
    assert cell(keep(last=4), b"123456789 ".ljust(20), BPCHAR, 0, 24) == b"***6789"
    assert cell(keep(last=4), b"123".ljust(20), BPCHAR, 0, 24) == b"***"
    assert cell(keep(last=4), b"123".ljust(20), VARCHAR, 0, 24) == b"***    "


@pytest.mark.parametrize("type_oid", [VARCHAR, BPCHAR])
def test_a_result_is_cut_to_what_its_type_may_hold(type_oid):
    assert [cell(HIDE, b"abcd", type_oid, 0, 4 + n) for n in (1, 2, 3, 4)] == [b"*", b"**", b"***", b"***"]
    assert cell(keep(1, 1), b"abcd", type_oid, 0, 4 + 4) == b"a***"
    assert cell(keep(2, 2), "äöüßabcd".encode(), type_oid, 0, 4 + 6) == "äö***c".encode()
    assert cell(keep(2), b"abcd", type_oid, 0, 4 + 1) == b"a"


@given(transforms, values, st.sampled_from([VARCHAR, BPCHAR]), st.sampled_from(FORMATS), st.integers(1, 9))
def test_no_result_is_longer_than_its_type_may_hold(transform, value, type_oid, coding, n):
    shown = cell(transform, value, type_oid, coding, 4 + n)
    assert shown is None or len(shown.decode()) <= n


@pytest.mark.parametrize("typmod", [-1, 0, 4, -(2**31)])
def test_a_modifier_that_says_no_length_bounds_nothing(typmod):
    assert cell(keep(last=4), b"12345678", VARCHAR, 0, typmod) == b"***5678"


@given(st.sampled_from([HIDE, NULL]), values, values, st.sampled_from(TYPES), st.sampled_from(FORMATS), typmods)
def test_hidden_values_cannot_be_told_apart(transform, one, other, type_oid, coding, typmod):
    shown = [cell(transform, value, type_oid, coding, typmod) for value in (one or b"", other or b"")]
    assert shown[0] == shown[1]


@given(
    st.integers(0, 6).flatmap(lambda count: st.text(min_size=count, max_size=count)),
    st.integers(0, 4).flatmap(lambda count: st.text(min_size=count, max_size=count)),
    st.text(),
    st.text(),
    st.sampled_from(sorted(PARTED)),
    st.sampled_from(FORMATS),
    typmods,
)
def test_values_with_the_same_shown_ends_cannot_be_told_apart(first, last, one, other, type_oid, coding, typmod):
    transform, ends = keep(len(first), len(last)), len(first) + len(last)
    tail = last if type_oid != BPCHAR else last.replace(" ", "_")
    middles = [middle + "." * ends for middle in (one, other)]
    shown = [
        cell(transform, (first + middle + tail).encode(errors="ignore"), type_oid, coding, typmod) for middle in middles
    ]
    assert shown[0] == shown[1]


@given(transforms, st.text(max_size=12), st.text(max_size=12), st.sampled_from(sorted(PARTED)), typmods)
def test_values_too_short_to_be_shown_cannot_be_told_apart(transform, one, other, type_oid, typmod):
    short = [text[: max(0, 2 * (transform.first + transform.last) - 1)].encode() for text in (one, other)]
    shown = [cell(transform, value, type_oid, 0, typmod) for value in short]
    assert shown[0] == shown[1]
