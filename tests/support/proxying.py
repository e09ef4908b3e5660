"""What a balancer sends ahead of its clients: PROXY protocol v2 headers, written apart from the product's reader."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address

from google_crc32c import value as crc32c

CRC32C = 0x03


def header(
    ip: str, port: int, extensions: Sequence[tuple[int, bytes]] = (), *, command: int = 0x21, raw: bytes = b""
) -> bytes:
    """Write a header for a TCP client; `raw` follows the extensions."""
    source = ip_address(ip)
    nobody = bytes(len(source.packed))
    body = source.packed + nobody + struct.pack("!HH", port, 15432)
    body += b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in extensions) + raw
    family = 0x11 if source.version == 4 else 0x21
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", command, family, len(body)) + body


def with_checksum(whole: bytes) -> bytes:
    """Fill in the CRC-32C extension, whose four bytes are zero so far."""
    place = whole.index(bytes([CRC32C, 0, 4, 0, 0, 0, 0]))
    return whole[: place + 3] + struct.pack("!I", crc32c(whole)) + whole[place + 7 :]
