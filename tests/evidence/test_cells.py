import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence.cells import cell


def binary(type_: int, value: bytes):
    return cell(type_, True, value)


def numeric(number: Decimal) -> bytes:
    """A numeric as the server sends it, made the slow way."""
    sign, _, exponent = number.as_tuple()
    scale = max(0, -exponent)
    whole, _, behind = f"{abs(number):f}".partition(".")
    whole = whole.rjust(-(-len(whole) // 4) * 4, "0")
    behind = behind.ljust(-(-len(behind) // 4) * 4, "0")
    groups = [int((whole + behind)[at : at + 4]) for at in range(0, len(whole + behind), 4)]
    weight = len(whole) // 4 - 1
    while groups and not groups[0]:
        groups.pop(0)
        weight -= 1
    while groups and not groups[-1]:
        groups.pop()
    return struct.pack(f"!HhHH{len(groups)}H", len(groups), weight, 0x4000 if sign else 0, scale, *groups)


def test_text_is_given_as_it_is_and_null_stays_null() -> None:
    assert cell(25, False, b"a\xc3\xa9") == "aé"
    assert cell(23, False, b"\xff") == "�"
    assert cell(25, True, None) is None


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (16, "01", "t"),
        (16, "00", "f"),
        (17, "00ff", "\\x00ff"),
        (20, "ffffffffffffffff", "-1"),
        (21, "0007", "7"),
        (23, "80000000", "-2147483648"),
        (25, "c3a9", "é"),
        (26, "ffffffff", "4294967295"),
        (700, "3fc00000", "1.5"),
        (701, "3fb999999999999a", "0.1"),
        (1043, "61", "a"),
        (1082, "00000001", "2000-01-02"),
        (1114, "0000000000000001", "2000-01-01 00:00:00.000001"),
        (1184, "ffffffffffffffff", "1999-12-31 23:59:59.999999+00"),
        (1700, "00000000c0000000", "NaN"),
        (2950, "00000000000000000000000000000007", "00000000-0000-0000-0000-000000000007"),
        (3802, "017b7d", "{}"),
    ],
)
def test_the_usual_binary_forms_are_decoded(type_, value, text) -> None:
    assert binary(type_, bytes.fromhex(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**18), max_value=10**18))
def test_every_numeric_is_the_number_that_was_sent(number) -> None:
    assert Decimal(str(binary(1700, numeric(number)))) == number


@pytest.mark.parametrize("value", ["0", "0.00", "10000", "0.0001", "-0.00001", "123456789.000100"])
def test_numerics_at_the_borders_of_their_groups_keep_their_scale(value) -> None:
    assert binary(1700, numeric(Decimal(value))) == value


@pytest.mark.parametrize(
    ("type_", "value"),
    [(600, "00"), (16, "02"), (20, "00"), (1082, "7fffffff"), (25, "ff"), (3802, "02"), (2950, "00")],
)
def test_what_cannot_be_decoded_is_given_by_its_size(type_, value) -> None:
    assert binary(type_, bytes.fromhex(value)) == len(value) // 2


@given(st.sampled_from([16, 17, 18, 20, 21, 23, 26, 700, 701, 1082, 1114, 1184, 1700, 2950, 3802]), st.binary())
def test_no_bytes_make_an_error(type_, value) -> None:
    assert isinstance(binary(type_, value), str | int)
