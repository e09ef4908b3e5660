"""A record as bytes: header (the leaf of the tree) and body, each one line of JSON, and the hashes over them.

1. Bytes stored = bytes hashed: nobody re-serialises.
2. UTF-8, no spaces, members in the order of their table, control characters escaped, whole numbers below 2^53 only.
3. The header holds nothing sensitive. The body starts with 16 random bytes, so that its hash is no help in guessing it.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from vestibule.evidence.commitment import OutputMac, bind_key, bytes_mac, storage_token, text_mac
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.kinds import BODY
from vestibule.evidence.members import INTEGER_LIMIT
from vestibule.model.names import Instant, TargetName, stamp
from vestibule.model.record import Json, Kind

__all__ = [
    "BODY_LIMIT",
    "HEADER_LIMIT",
    "ZERO_LEAF",
    "EvidenceFormatError",
    "Header",
    "OutputMac",
    "bind_key",
    "bytes_mac",
    "decode_header",
    "encode_body",
    "encode_header",
    "leaf_hash",
    "storage_token",
    "text_mac",
    "uuid7",
]

HEADER_LIMIT: Final = 1_024
BODY_LIMIT: Final = 60_000
SALT_BYTES: Final = 16
#: `prev` of a writer's very first record, `sprev` of a session's first.
ZERO_LEAF: Final = bytes(32)

_NODE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_HEX32 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile("[\x7f-\x9f]")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = Instant(253_402_300_800_000_000)
_NAMES: Final = (
    "v", "kind", "id", "t", "node", "epoch", "n", "prev", "session", "sn", "sprev", "target", "body", "len",
)  # fmt: skip
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Header:
    """The leaf of a record: who wrote it when, where it stands in both chains, and the hash of its body."""

    kind: Kind
    id: UUID
    t: Instant
    node: str
    epoch: int
    n: int
    prev: bytes
    session: UUID | None
    sn: int | None
    sprev: bytes | None
    target: TargetName | None
    body: bytes
    length: int


def encode_body(kind: Kind, members: Mapping[str, Json], salt: bytes) -> bytes:
    """Write a body as it is stored: `salt`, then the members in the order of the kind's table."""
    if len(salt) != SALT_BYTES:
        raise EvidenceFormatError(f"a salt has {SALT_BYTES} bytes")
    stored = BODY[kind](kind, members)
    if not isinstance(stored, Mapping):
        raise AssertionError("a body is an object")
    body = _line({"salt": urlsafe_b64encode(salt).rstrip(b"=").decode(), **stored})
    if len(body) > BODY_LIMIT:
        raise EvidenceFormatError(f"a body of {kind} has {len(body):,} bytes; at most {BODY_LIMIT:,} are stored")
    return body


def encode_header(header: Header) -> bytes:
    """Write a header as it is stored."""
    _check(header)
    session = "null" if header.session is None else f'"{header.session}"'
    sn = "null" if header.sn is None else header.sn
    sprev = "null" if header.sprev is None else f'"{header.sprev.hex()}"'
    target = "null" if header.target is None else _line(header.target).decode()
    encoded = (
        f'{{"v":1,"kind":"{header.kind}","id":"{header.id}","t":"{stamp(header.t)}","node":"{header.node}",'
        f'"epoch":{header.epoch},"n":{header.n},"prev":"{header.prev.hex()}","session":{session},"sn":{sn},'
        f'"sprev":{sprev},"target":{target},"body":"{header.body.hex()}","len":{header.length}}}'
    ).encode()
    if len(encoded) > HEADER_LIMIT:
        raise EvidenceFormatError(f"a header has {len(encoded):,} bytes; at most {HEADER_LIMIT:,} are stored")
    return encoded


def decode_header(data: bytes) -> Header:
    """Read a header; it must be byte for byte what `encode_header` writes."""
    if len(data) > HEADER_LIMIT:
        raise EvidenceFormatError(f"a header has {len(data):,} bytes; at most {HEADER_LIMIT:,} are stored")
    try:
        members = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise EvidenceFormatError("a header is not one line of JSON in UTF-8") from None
    if not isinstance(members, dict) or tuple(members) != _NAMES or members["v"] != 1:
        raise EvidenceFormatError("a header does not have the members of version 1 in their order")
    header = _header(members)
    if encode_header(header) != data:
        raise EvidenceFormatError("a header is not written in its one canonical form")
    return header


def leaf_hash(header: bytes) -> bytes:
    """Hash a header as a leaf of the tree (RFC 9162, 2.1.1)."""
    return sha256(b"\x00" + header).digest()


def uuid7(instant: Instant, random: bytes) -> UUID:
    """Make the UUIDv7 (RFC 9562, 5.7) of a moment from 10 random bytes."""
    if len(random) != 10:
        raise EvidenceFormatError("a UUIDv7 takes 10 random bytes")
    noise = int.from_bytes(random, "big")
    milliseconds = (instant // 1_000) & ((1 << 48) - 1)
    value = milliseconds << 80 | 7 << 76 | (noise >> 62 & 0xFFF) << 64 | 0b10 << 62 | noise & ((1 << 62) - 1)
    return UUID(int=value)


def _line(value: object) -> bytes:
    try:
        # JSON escapes only what is below U+0020; DEL and C1 could still drive a terminal.
        return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", _ENCODER.encode(value)).encode()
    except UnicodeEncodeError:
        raise EvidenceFormatError("text holds half of a surrogate pair") from None


def _check(header: Header) -> None:
    if len(header.node) > 64 or not _NODE.fullmatch(header.node):
        raise EvidenceFormatError("node must be <node>.<writer> of at most 64 letters, digits, - _ and dots")
    if header.target is not None and len(header.target) > 63:
        raise EvidenceFormatError("target must have at most 63 characters")
    if not 0 <= header.t < _LAST:
        raise EvidenceFormatError("t must lie between the years 1970 and 9999")
    for number in (header.epoch, header.n, header.length, header.sn or 0):
        if not 0 <= number < INTEGER_LIMIT:
            raise EvidenceFormatError("epoch, n, sn and len must be whole numbers from 0 to below 2^53")
    if len(header.prev) != 32 or len(header.body) != 32 or (header.sprev is not None and len(header.sprev) != 32):
        raise EvidenceFormatError("prev, sprev and body must have 32 bytes")
    if (header.sn is None) != (header.sprev is None) or (header.sn is not None and header.session is None):
        raise EvidenceFormatError("sn and sprev stand together, and only with a session")


def _header(members: Mapping[str, object]) -> Header:
    return Header(
        kind=_kind(members["kind"]),
        id=_uuid(members["id"]),
        t=_instant(members["t"]),
        node=_text(members["node"]),
        epoch=_integer(members["epoch"]),
        n=_integer(members["n"]),
        prev=_hash(members["prev"]),
        session=None if members["session"] is None else _uuid(members["session"]),
        sn=None if members["sn"] is None else _integer(members["sn"]),
        sprev=None if members["sprev"] is None else _hash(members["sprev"]),
        target=None if members["target"] is None else TargetName(_text(members["target"])),
        body=_hash(members["body"]),
        length=_integer(members["len"]),
    )


def _kind(value: object) -> Kind:
    try:
        return Kind(_text(value))
    except ValueError:
        raise EvidenceFormatError("a header has an unknown kind") from None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise EvidenceFormatError("a header has a member that is not text")


def _integer(value: object) -> int:
    if type(value) is int:
        return value
    raise EvidenceFormatError("a header has a member that is not a whole number")


def _hash(value: object) -> bytes:
    if isinstance(value, str) and _HEX32.fullmatch(value):
        return bytes.fromhex(value)
    raise EvidenceFormatError("a header has a hash that is not 64 lower-case hexadecimal digits")


def _uuid(value: object) -> UUID:
    try:
        return UUID(_text(value))
    except ValueError:
        raise EvidenceFormatError("a header has an id that is not a UUID") from None


def _instant(value: object) -> Instant:
    try:
        since = datetime.fromisoformat(_text(value)) - _EPOCH
    except (ValueError, TypeError):
        raise EvidenceFormatError("a header has a time that is not YYYY-MM-DDThh:mm:ss.ffffffZ") from None
    return Instant(since // timedelta(microseconds=1))
