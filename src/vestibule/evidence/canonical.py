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
from functools import lru_cache
from hashlib import sha256
from typing import Final
from uuid import UUID

import orjson

from vestibule.evidence.commitment import OutputMac, bind_key, bytes_mac, storage_token, text_mac
from vestibule.evidence.errors import EvidenceFormatError, MemberRefused
from vestibule.evidence.kinds import BODY
from vestibule.evidence.members import INTEGER_LIMIT
from vestibule.model.names import SECOND, Instant, TargetName, stamp
from vestibule.model.record import Json, Kind

__all__ = [
    "BODY_LIMIT",
    "HEADER_LIMIT",
    "ZERO_LEAF",
    "EvidenceFormatError",
    "Header",
    "Link",
    "OutputMac",
    "bind_key",
    "bytes_mac",
    "decode_header",
    "encode_body",
    "encode_header",
    "leaf_hash",
    "read_link",
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
_CONTROL = re.compile("[\x7f-\x9f]")
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NUMBER: Final = r"0|[1-9][0-9]{0,15}"
_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
#: The one form of a header; left to check are ranges, the calendar, and how a target's name is written.
_FORM: Final = re.compile(
    rf"""\{{"v":1,"kind":"(?P<kind>[A-Za-z]+)","id":"(?P<id>{_UUID})","t":"(?P<t>{_TIME})","""
    rf""""node":"(?P<node>[A-Za-z0-9_.-]{{1,64}})","epoch":(?P<epoch>{_NUMBER}),"n":(?P<n>{_NUMBER}),"""
    rf""""prev":"(?P<prev>[0-9a-f]{{64}})","session":(?:null|"(?P<session>{_UUID})"),"sn":(?:null|(?P<sn>{_NUMBER})),"""
    rf""""sprev":(?:null|"(?P<sprev>[0-9a-f]{{64}})"),"target":(?:null|(?P<target>"(?:[^"\\]|\\.)*")),"""
    rf""""body":"(?P<body>[0-9a-f]{{64}})","len":(?P<len>{_NUMBER})\}}"""
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = Instant(253_402_300_800_000_000)


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
    try:
        stored = BODY[kind](members)
    except MemberRefused as error:
        raise error.within(kind) from None
    if not isinstance(stored, dict):
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
        f'{{"v":1,"kind":"{header.kind}","id":"{header.id}",'
        f'"t":"{_second(header.t // SECOND)}.{header.t % SECOND:06d}Z","node":"{header.node}",'
        f'"epoch":{header.epoch},"n":{header.n},"prev":"{header.prev.hex()}","session":{session},"sn":{sn},'
        f'"sprev":{sprev},"target":{target},"body":"{header.body.hex()}","len":{header.length}}}'
    ).encode()
    if len(encoded) > HEADER_LIMIT:
        raise EvidenceFormatError(f"a header has {len(encoded):,} bytes; at most {HEADER_LIMIT:,} are stored")
    return encoded


def decode_header(data: bytes) -> Header:
    """Read a header; it must be byte for byte what `encode_header` writes."""
    header = _header(_form(data))
    _check(header)
    return header


@dataclass(frozen=True, slots=True)
class Link:
    """What of a header holds its writer's chain together; read faster than the whole."""

    node: str
    epoch: int
    n: int
    prev: bytes
    body: bytes
    length: int


def read_link(data: bytes) -> Link:
    """Read the link of a header, and check the form of the rest."""
    found = _form(data)
    return Link(
        node=found["node"],
        epoch=int(found["epoch"]),
        n=int(found["n"]),
        prev=bytes.fromhex(found["prev"]),
        body=bytes.fromhex(found["body"]),
        length=int(found["len"]),
    )


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


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    """Write a second; the records of one batch share it."""
    return stamp(Instant(seconds * SECOND))[:19]


@lru_cache(maxsize=64)
def _is_node(name: str) -> bool:
    return len(name) <= 64 and _NODE.fullmatch(name) is not None


def _line(value: object) -> bytes:
    try:
        # JSON escapes only what is below U+0020; DEL and C1 could still drive a terminal.
        line = orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise EvidenceFormatError("text holds half of a surrogate pair") from None
    if line.isascii() and b"\x7f" not in line:
        return line
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode()).encode()


def _check(header: Header) -> None:
    if not _is_node(header.node):
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


def _form(data: bytes) -> re.Match[str]:
    if len(data) > HEADER_LIMIT:
        raise EvidenceFormatError(f"a header has {len(data):,} bytes; at most {HEADER_LIMIT:,} are stored")
    try:
        found = _FORM.fullmatch(data.decode())
    except UnicodeDecodeError:
        raise EvidenceFormatError("a header is not UTF-8") from None
    if found is None:
        raise EvidenceFormatError("a header does not have the members of version 1 in their order and form")
    return found


def _header(found: re.Match[str]) -> Header:
    return Header(
        kind=_kind(found["kind"]),
        id=_uuid(found["id"]),
        t=_instant(found["t"]),
        node=found["node"],
        epoch=int(found["epoch"]),
        n=int(found["n"]),
        prev=bytes.fromhex(found["prev"]),
        session=None if found["session"] is None else _uuid(found["session"]),
        sn=None if found["sn"] is None else int(found["sn"]),
        sprev=None if found["sprev"] is None else bytes.fromhex(found["sprev"]),
        target=None if found["target"] is None else TargetName(_string(found["target"])),
        body=bytes.fromhex(found["body"]),
        length=int(found["len"]),
    )


def _kind(word: str) -> Kind:
    try:
        return Kind(word)
    except ValueError:
        raise EvidenceFormatError("a header has an unknown kind") from None


def _uuid(text: str) -> UUID:
    # Half the time of UUID(text), which looks for other forms too.
    return UUID(int=int(text.replace("-", ""), 16))


def _string(text: str) -> str:
    try:
        name = str(json.loads(text))
    except ValueError:
        raise EvidenceFormatError("a header has a target that is no JSON string") from None
    if _line(name).decode() != text:
        raise EvidenceFormatError("a header has a target that is not written in its one form")
    return name


def _instant(text: str) -> Instant:
    try:
        since = datetime.fromisoformat(text) - _EPOCH
    except (ValueError, TypeError):
        raise EvidenceFormatError("a header has a time that is not YYYY-MM-DDThh:mm:ss.ffffffZ") from None
    return Instant(since // timedelta(microseconds=1))
