"""Keyed commitments: equal bytes under one key give equal MACs; without the key they help nobody to guess.

A plain hash beside a masked text would be solved by trying every value, so statement bytes and disclosed output are
committed with HMAC-SHA-256 under a key that is stored apart and can be destroyed. A fixed prefix separates the uses of
one key.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from vestibule.evidence.errors import EvidenceFormatError
from vestibule.model.names import Digest

PROTOCOL: Final = 0x01
TARGET: Final = 0x02
ACCOUNT: Final = 0x03
DATABASE: Final = 0x04
ROLE: Final = 0x05
PINNED: Final = 0x06
CATALOG: Final = 0x07
TEXT: Final = 0x10
BODY: Final = 0x11
MEANING: Final = 0x12
PARAMETER: Final = 0x20
PARAMETER_FORMATS: Final = 0x21
RESULT_FORMATS: Final = 0x22
PARAMETER_TYPES: Final = 0x23

#: Tags that may come several times, in order.
_REPEATED: Final = frozenset({MEANING, PARAMETER})
_TAGS: Final = frozenset(
    {
        PROTOCOL,
        TARGET,
        ACCOUNT,
        DATABASE,
        ROLE,
        PINNED,
        CATALOG,
        TEXT,
        BODY,
        MEANING,
        PARAMETER,
        PARAMETER_FORMATS,
        RESULT_FORMATS,
        PARAMETER_TYPES,
    }
)


def bind_key(data_key: bytes) -> bytes:
    """Derive the commitment key from the data key of a session or approval (HKDF-Expand, RFC 5869)."""
    return hmac.digest(data_key, b"vestibule/bind/v1\x01", sha256)


def bytes_mac(key: bytes, fields: Iterable[tuple[int, bytes]]) -> Digest:
    """Commit to what is forwarded: tagged fields, tags ascending, `MEANING` and `PARAMETER` repeated in order."""
    pieces, last = [b"vestibule-bind-v1\x00"], 0
    for tag, content in fields:
        if tag not in _TAGS or tag < last or (tag == last and tag not in _REPEATED):
            raise EvidenceFormatError("the fields of a commitment must be known and in ascending order")
        pieces += (tag.to_bytes(1, "big") + len(content).to_bytes(4, "big"), content)
        last = tag
    return Digest(hmac.digest(key, b"".join(pieces), sha256).hex())


def parameter_field(value: bytes | None) -> tuple[int, bytes]:
    """Make the field of one parameter; None is NULL, which differs from an empty value."""
    if value is None:
        return PARAMETER, b"\xff\xff\xff\xff"
    return PARAMETER, len(value).to_bytes(4, "big") + value


def formats_field(tag: int, formats: Iterable[int]) -> tuple[int, bytes]:
    """Make the field of parameter or result formats, two bytes each."""
    return tag, b"".join(number.to_bytes(2, "big") for number in formats)


def text_mac(key: bytes, text: bytes) -> Digest:
    """Commit to a statement's text as forwarded."""
    return Digest(hmac.digest(key, b"vestibule-text-v1\x00" + text, sha256).hex())


def types_field(types: Iterable[int]) -> tuple[int, bytes]:
    """Make the field of the types that a client declares for parameters, four bytes each."""
    return PARAMETER_TYPES, b"".join(number.to_bytes(4, "big") for number in types)


def shown_mac(key: bytes, shown: bytes) -> Digest:
    """Commit to what a person saw before they answered; `key` is that of the approval."""
    return Digest(hmac.digest(key, b"vestibule-shown-v1\x00" + shown, sha256).hex())


class OutputMac:
    """The commitment to disclosed output, fed as it passes."""

    __slots__ = ("_mac",)

    def __init__(self, key: bytes) -> None:
        """Start with the key of the session."""
        self._mac = hmac.new(key, b"vestibule-out-v1\x00", sha256)

    def update(self, data: bytes) -> None:
        """Add the next bytes as disclosed."""
        self._mac.update(data)

    def hexdigest(self) -> Digest:
        """Give the commitment to all bytes so far."""
        return Digest(self._mac.hexdigest())


def storage_token(key: bytes, key_id: str, class_: str, normalised: str) -> str:
    """Give the token that is stored for a value: equal values of one class and key give equal tokens."""
    mac = hmac.digest(key, class_.encode() + b"\x00" + normalised.encode(errors="surrogatepass"), sha256)
    return f"<{class_}:{key_id}:{b32encode(mac[:10]).decode()}>"
