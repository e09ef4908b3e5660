from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.proxying import CRC32C, header, with_checksum
from vestibule.model.identity import Peer
from vestibule.wire.proxy import LONGEST, REST, SIGNATURE, START, NoProxyHeader, check_start, client_of, rest_of


def read(data: bytes) -> tuple[Peer | None, bytes]:
    """Read a header as the listener does, by exact bytes; give the client and what is left unread."""
    check_start(data[:START])
    head = data[: START + REST]
    end = START + REST + rest_of(head)
    return client_of(head, data[START + REST : end]), data[end:]


def refused(data: bytes) -> str:
    with pytest.raises(NoProxyHeader) as caught:
        read(data)
    return str(caught.value)


@given(st.ip_addresses(), st.integers(0, 65_535), st.binary(max_size=40))
def test_the_client_is_named_and_nothing_behind_the_header_is_touched(ip: object, port: int, behind: bytes) -> None:
    mapped = getattr(ip, "ipv4_mapped", None)
    assert read(header(str(ip), port) + behind) == (Peer(str(mapped or ip), port), behind)


def test_an_ipv4_client_behind_an_ipv6_proxy_is_the_ipv4_client() -> None:
    assert read(header("::ffff:192.0.2.7", 9))[0] == Peer("192.0.2.7", 9)


def test_local_and_unspec_speak_for_nobody() -> None:
    assert read(header("192.0.2.7", 9, command=0x20)) == (None, b"")
    assert read(SIGNATURE + bytes([0x20, 0x00, 0, 0])) == (None, b"")
    assert read(SIGNATURE + bytes([0x21, 0x00, 0, 5]) + b"any b") == (None, b"")


def test_extensions_are_skipped_and_a_right_checksum_is_accepted() -> None:
    extensions = [(0x01, b"postgresql"), (0xEA, b"\x01vpce-1"), (0x04, b"")]
    assert read(header("192.0.2.7", 9, extensions))[0] == Peer("192.0.2.7", 9)
    assert read(with_checksum(header("2001:db8::1", 9, [*extensions, (CRC32C, bytes(4)), (0x05, b"id")])))[0] == Peer(
        "2001:db8::1", 9
    )


@given(st.integers(0, 8 * 52 - 1))
def test_one_bit_that_a_checksum_covers_is_never_lost(bit: int) -> None:
    whole = bytearray(with_checksum(header("2001:db8::1", 9, [(CRC32C, bytes(4))])))
    whole[bit // 8] ^= 1 << bit % 8
    if (bit // 8 == 13 and whole[13] == 0x20) or (bit // 8 == 12 and whole[12] == 0x20):
        return  # LOCAL, and a family that is none: neither names a client
    refused(bytes(whole))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "no PROXY"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 9 5432\r\n", "no PROXY"),
        (SIGNATURE[:8] + b"\nQUIX\x21\x11\0", "no PROXY"),
        (SIGNATURE + bytes([0x11, 0x11, 0, 12]) + bytes(12), "unknown version"),
        (SIGNATURE + bytes([0x22, 0x11, 0, 12]) + bytes(12), "unknown version"),
        (SIGNATURE + bytes([0x21, 0x12, 0, 12]) + bytes(12), "not TCP"),
        (SIGNATURE + bytes([0x21, 0x31, 0, 216]) + bytes(216), "not TCP"),
        (SIGNATURE + bytes([0x21, 0x11, 0, 11]) + bytes(11), "cut short"),
        (SIGNATURE + bytes([0x21, 0x21, 0, 35]) + bytes(35), "cut short"),
        (header("192.0.2.7", 9)[:-1], "cut short"),
        (SIGNATURE + struct.pack("!BBH", 0x21, 0x11, LONGEST + 1) + bytes(LONGEST + 1), "too long"),
        (header("192.0.2.7", 9, raw=b"\x04\0"), "torn"),
        (header("192.0.2.7", 9, raw=b"\x04\0\x02x"), "torn"),
        (header("192.0.2.7", 9, [(CRC32C, b"abc")]), "wrong size"),
        (header("192.0.2.7", 9, [(CRC32C, b"abcd")]), "wrong CRC"),
    ],
)
def test_everything_else_is_refused_and_says_why(data: bytes, words: str) -> None:
    assert words in refused(data)


def test_the_longest_header_that_is_read_is_read() -> None:
    assert read(header("192.0.2.7", 9, [(0x04, bytes(LONGEST - 12 - 3))]))[0] == Peer("192.0.2.7", 9)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda data: SIGNATURE + data)))
@example(SIGNATURE)
@example(b"")
def test_no_bytes_whatever_cause_anything_but_a_refusal(data: bytes) -> None:
    with contextlib.suppress(NoProxyHeader):
        read(data)
