"""The PROXY protocol, version 2: how a balancer says for whom it connects (HAProxy, doc/proxy-protocol.txt, 2.2).

1. A header is read by exact bytes: `START`, then `REST`, then as many as `rest_of` says; nothing behind it is touched.
2. TCP over IPv4 and IPv6 name a client; LOCAL and UNSPEC name nobody; everything else is refused.
3. Extensions (TLVs) are skipped, but they must be whole, and a CRC-32C among them must be right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from google_crc32c import value as crc32c

from vestibule.model.identity import Peer

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
#: What is read first: no more than the shortest thing that a PostgreSQL client says, so a missing header shows at once.
START: Final = 8
REST: Final = 8
#: Addresses and extensions together; a balancer that passes a client certificate's names needs some hundred bytes.
LONGEST: Final = 4_096

_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6 = 0x00, 0x11, 0x21
_LENGTHS: Final = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36}
_CRC32C: Final = 0x03


class NoProxyHeader(Exception):
    """What came is no header that can be used; the text says why, in words for the record."""


def check_start(start: bytes) -> None:
    """See that a header begins; a plain client is told from a balancer here."""
    if start != SIGNATURE[:START]:
        raise NoProxyHeader("no PROXY protocol v2 header from a trusted proxy")


def rest_of(head: bytes) -> int:
    """Say how many bytes follow the first 16."""
    if len(head) != START + REST or not head.startswith(SIGNATURE):
        raise NoProxyHeader("no PROXY protocol v2 header from a trusted proxy")
    if head[12] not in (_LOCAL, _PROXY):
        raise NoProxyHeader("PROXY header of an unknown version or command")
    length = int(struct.unpack_from("!H", head, 14)[0])
    if length > LONGEST:
        raise NoProxyHeader("PROXY header too long")
    return length


def client_of(head: bytes, body: bytes) -> Peer | None:
    """Name the client that a whole header speaks for; None where it speaks for nobody but the proxy itself."""
    if rest_of(head) != len(body):
        raise NoProxyHeader("PROXY header cut short")
    if head[12] == _LOCAL:
        return None
    family = head[13]
    if family not in _LENGTHS:
        raise NoProxyHeader("PROXY header of an address that is not TCP")
    if len(body) < _LENGTHS[family]:
        raise NoProxyHeader("PROXY header cut short")
    # Addresses of an unspecified family have no known length, so what follows them cannot be told apart.
    if family == _UNSPEC:
        return None
    _check(head, body, _LENGTHS[family])
    return _tcp4(body) if family == _TCP4 else _tcp6(body)


def _tcp4(body: bytes) -> Peer:
    source, port = struct.unpack_from("!4s4xH", body)
    return Peer(str(IPv4Address(source)), port)


def _tcp6(body: bytes) -> Peer:
    packed, port = struct.unpack_from("!16s16xH", body)
    source = IPv6Address(packed)
    return Peer(str(source.ipv4_mapped or source), port)


def _check(head: bytes, body: bytes, begin: int) -> None:
    for kind, start, end in _extensions(body, begin):
        if kind != _CRC32C:
            continue
        if end - start != 4:
            raise NoProxyHeader("PROXY header with a CRC-32C of the wrong size")
        counted = head + body[:start] + bytes(4) + body[end:]
        if struct.pack("!I", crc32c(counted)) != body[start:end]:
            raise NoProxyHeader("PROXY header with a wrong CRC-32C")


def _extensions(body: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    while at < len(body):
        if at + 3 > len(body):
            raise NoProxyHeader("PROXY header with a torn extension")
        kind, length = struct.unpack_from("!BH", body, at)
        start, at = at + 3, at + 3 + length
        if at > len(body):
            raise NoProxyHeader("PROXY header with a torn extension")
        yield kind, start, at
