"""How bound parameters are shown."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.model.statement import Parameter
from vestibule.protocols.postgres.values import shown


@pytest.mark.parametrize(
    ("type_", "data", "text"),
    [
        (16, b"\x01", b"true"),
        (20, struct.pack("!q", -9), b"-9"),
        (21, struct.pack("!h", 7), b"7"),
        (23, struct.pack("!i", 123456789), b"123456789"),
        (25, b"078-05-1120", b"078-05-1120"),
        (26, struct.pack("!I", 4_294_967_295), b"4294967295"),
        (701, struct.pack("!d", 1.5), b"1.5"),
        (2950, bytes(range(16)), b"00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (3802, b'\x01{"a":1}', b'{"a":1}'),
    ],
)
def test_a_common_binary_value_is_shown_as_the_server_prints_it(type_: int, data: bytes, text: bytes) -> None:
    assert shown([Parameter(type_, 1, data)]) == [(type_, text)]


def test_text_and_null_are_shown_as_they_are() -> None:
    assert shown([Parameter(25, 0, b"x"), Parameter(0, 1, None)]) == [(25, b"x"), (0, None)]


def test_a_binary_value_of_an_unknown_layout_shows_its_length_alone() -> None:
    assert shown([Parameter(1700, 1, b"\x00\x01\x02")]) == [(1700, b"<3 bytes>")]


@given(st.integers(0, 5_000), st.binary(max_size=40))
def test_whatever_a_client_binds_is_shown_without_an_error(type_: int, data: bytes) -> None:
    [(_, text)] = shown([Parameter(type_, 1, data)])
    assert text is not None
