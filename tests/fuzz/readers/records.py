"""Evidence: headers, bodies, segments, the spool, chunks, recorded results, and whole journals for an auditor."""

from __future__ import annotations

import io
import json
import struct
import tempfile
from atexit import register
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from hashlib import sha256
from os import getpid
from pathlib import Path
from random import Random
from shutil import rmtree
from typing import Any, Final
from unittest.mock import patch
from uuid import UUID

from tests.fuzz.readers.base import Reader
from tests.support.data_folder import HEX, LOGIN, PROOF, START, WHO, WriterChain
from vestibule.evidence import cells, cobblestone, recording, results, segment, spool, verify
from vestibule.evidence.canonical import BODY_LIMIT, HEADER_LIMIT, decode_header, encode_body, encode_header, read_link
from vestibule.evidence.errors import DamagedSegment, EvidenceFormatError, TornSegment
from vestibule.evidence.log import LogState, Row, integrate
from vestibule.evidence.recording import Event, Part, Place, Stored
from vestibule.model.names import stamp
from vestibule.model.record import Json, Kind
from vestibule.model.statement import Parameter
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres import values
from vestibule.protocols.postgres.codec import encode

GOLDEN: Final = Path(__file__).parents[2] / "golden" / "records.json"
CHUNKS: Final = Path(__file__).parents[2] / "evidence" / "golden"
KEY: Final = bytes(range(32))
PLACE: Final = Place(UUID(int=1), UUID(int=9), 3)
SALT: Final = bytes(16)
#: The types whose binary form is known, and one that is not.
TYPES: Final = (*cells._BINARY, 1_009)
_LINE: Final = b"\n"


def header(data: bytes) -> bool:
    """A header."""
    try:
        read = decode_header(data)
    except EvidenceFormatError:
        return False
    assert encode_header(read) == data
    link = read_link(data)
    assert (link.node, link.n, link.body, link.length) == (read.node, read.n, read.body, read.length)
    return True


def body(data: bytes) -> bool:
    """The members of a body as JSON, behind its kind and a line's end."""
    word, _, text = data.partition(_LINE)
    try:
        kind, members = Kind(word.decode(errors="replace")), json.loads(text)
    except (ValueError, RecursionError):
        return False
    try:
        written = encode_body(kind, members, SALT)
    except EvidenceFormatError:
        return False
    assert len(written) <= BODY_LIMIT
    again = json.loads(written)
    del again["salt"]
    assert encode_body(kind, again, SALT) == written
    return True


def frames(data: bytes) -> bool:
    """A segment as it is."""
    read = []
    try:
        for frame in segment.read_frames(data):
            read.append(segment.encode_frame(frame.header, frame.body))
    except (TornSegment, DamagedSegment) as error:
        assert 0 <= error.offset <= len(data)
        return False
    assert b"".join(read) == data[: sum(map(len, read))]
    return bool(read)


def rows(data: bytes) -> bool:
    """Records one behind the other, in frames with the right check value, integrated into a log."""
    pieces = data.split(_LINE)
    pairs = [(one, other) for one, other in zip(pieces[::2], pieces[1::2], strict=False)]
    stream = b""
    for one, other in pairs:
        if not 0 < len(one) <= HEADER_LIMIT or len(other) > BODY_LIMIT:
            return False
        stream += segment.encode_frame(one, other)
    read = list(segment.read_frames(stream + bytes(64)))
    assert [(frame.header, frame.body) for frame in read] == pairs
    done = integrate(LogState(), (Row("gate1.0", *pair) for pair in pairs))
    assert done.state.tree.size == len(done.leaves) <= len(pairs)
    return len(done.leaves) == len(pairs) > 0


def name(data: bytes) -> bool:
    """A segment's name."""
    text = data.decode(errors="replace")
    try:
        epoch, n = segment.parse_segment_name(text)
    except EvidenceFormatError:
        return False
    assert segment.segment_name(epoch, n) == text
    return True


# --- recordings ------------------------------------------------------------------------------------------------------


def part(data: bytes) -> bool:
    """A part of the spool."""
    try:
        plain, whole = spool.decode_frames(data, KEY)
    except EvidenceFormatError:
        return False
    assert whole <= len(data)
    return bool(plain)


def chunk(data: bytes) -> bool:
    """An object as it is stored; its record names these very bytes."""
    about = Stored(sha256(data).hexdigest(), len(data), SALT, sha256(SALT).hexdigest(), 79, PLACE.key)
    try:
        recording.unseal(data, PLACE, KEY, about)
    except EvidenceFormatError:
        return False
    raise AssertionError("a chunk has another content than its record names, and was taken")


def packed(data: bytes) -> bool:
    """A chunk that is sealed rightly around what is not compressed rightly; the first bytes are the size it claims."""
    size, content = struct.unpack_from("!I", data.ljust(4, b"\0"))[0] % recording.CHUNK_LIMIT, data[4:]
    envelope = recording.encode_envelope(PLACE)
    sealed = envelope + cobblestone.seal(KEY, bytes(24), envelope, content)
    about = Stored(sha256(sealed).hexdigest(), len(sealed), SALT, HEX, size, PLACE.key)
    try:
        recording.unseal(sealed, PLACE, KEY, about)
    except EvidenceFormatError:
        return False
    raise AssertionError("a chunk has another content than its record names, and was taken")


def events(data: bytes) -> bool:
    """The events of a chunk, read as results."""
    try:
        recording.span(data)
        reader = results.Results()
        read = [item for _, event in recording.decode_events(data) for item in reader.feed(event)]
    except EvidenceFormatError:
        return False
    return bool(read)


def shown(data: bytes) -> bool:
    """A description and frames, the length of the first in front, in events that are whole."""
    size = struct.unpack_from("!H", data.ljust(2, b"\0"))[0] % 200
    reader, random = results.Results(), Random(len(data))
    pieces = [(Part.HEAD, data[2 : 2 + size])]
    at = 2 + size
    while at < len(data):
        end = at + 1 + int(random.random() * 200)
        pieces.append((Part.FRAMES if at == 2 + size or random.random() < 0.2 else Part.PIECE, data[at:end]))
        at = end
    try:
        read = [item for kind, piece in pieces for item in reader.feed(Event(1, 7, kind, piece))]
    except EvidenceFormatError:
        return False
    return len(read) > 1


def value(data: bytes) -> bool:
    """A value of a type that the first byte names, in text and in binary."""
    type_, content = TYPES[data[0] % len(TYPES)] if data else 25, data[1:]
    assert isinstance(cells.cell(type_, False, content), str)
    shown_as = cells.cell(type_, True, content)
    [(_, text)] = values.shown([Parameter(type_, 1, content)])
    assert isinstance(text, bytes)
    return isinstance(shown_as, str)


# --- the auditor's program -------------------------------------------------------------------------------------------


@cache
def _shelf() -> Path:
    """A folder in memory that goes with the process that has made it; those that it forks have folders in it."""
    made = Path(tempfile.mkdtemp(prefix="vestibule-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    register(rmtree, made, ignore_errors=True)
    return made


@cache
def _folder(process: int) -> Path:
    made = _shelf() / str(process)
    for name in ("objects", "log", "journal/gate1.0"):
        (made / name).mkdir(parents=True)
    return made


def audited(data: bytes) -> bool:
    """Records of one writer, `kind session members` a line, in a journal whose chains and hashes are right."""
    folder = _folder(getpid())
    (folder / "journal" / "gate1.0" / "1-0.seg").write_bytes(b"".join(_chained(data.split(_LINE))))
    told = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    # It waits for a gateway that may be writing; none is.
    with patch("time.sleep"), redirect_stdout(told):
        failed = verify.main([str(folder), *(["--json"] if len(data) & 1 else [])])
    told.seek(0)
    report = told.read()
    assert all(each.isprintable() for each in report.splitlines())
    assert failed
    return "PASS V09" in report


def _chained(lines: list[bytes]) -> Iterator[bytes]:
    previous = HEX
    chains: dict[bytes, tuple[int, str]] = {}
    for n, line in enumerate(lines[:40]):
        fields = line.split(b" ", 2)
        if len(fields) < 3 or not fields[0].isalpha():
            fields = [b"Heartbeat", b"-", line]
        kind, session, content = fields
        sn, sprev = chains.get(session, (0, HEX))
        is_sequenced = session not in (b"-", b"?")
        of_session = (
            b'"%s","sn":%d,"sprev":"%s"' % (session, sn, sprev.encode())
            if is_sequenced
            else b'null,"sn":null,"sprev":null'
        )
        written = (
            b'{"v":1,"kind":"%s","id":"%s","t":"%s","node":"gate1.0","epoch":1,"n":%d,"prev":"%s","session":%s,'
            b'"target":null,"body":"%s","len":%d}'
            % (
                *(kind, str(UUID(int=n)).encode(), stamp(START).encode(), n, previous.encode(), of_session),
                *(sha256(content).hexdigest().encode(), len(content)),
            )
        )
        if len(written) > HEADER_LIMIT:
            return
        previous = sha256(b"\0" + written).hexdigest()
        if is_sequenced:
            chains[session] = (sn + 1, previous)
        yield segment.encode_frame(written, content)


def read_header(data: bytes) -> bool:
    """A header as it is, in front of an auditor."""
    findings: list[str] = []
    taken = verify.Recordings(_folder(getpid()) / "objects", findings.append)
    judge = verify.Records(lambda check, text: findings.append(text), taken)
    judge.take(data, b"{}", "here")
    return not findings


# --- whole ones ------------------------------------------------------------------------------------------------------


def _golden() -> list[dict[str, Any]]:
    return list(json.loads(GOLDEN.read_text()))


def _headers() -> list[bytes]:
    return [record["header"].encode() for record in _golden()]


def _bodies() -> list[bytes]:
    return [record["kind"].encode() + _LINE + json.dumps(record["members"]).encode() for record in _golden()]


def _journal() -> WriterChain:
    chain = WriterChain("gate1.0", Random(7))
    chain.start()
    chain.heartbeat(1)
    session = chain.open_session()
    session.finish(session.decide())
    session.record()
    session.close()
    return chain


def _segments() -> list[bytes]:
    [(_, data)] = _journal().segments(100)
    return [data, data + bytes(-len(data) % 4_096), data[: len(data) // 2]]


def _rows() -> list[bytes]:
    rows = _journal().rows
    return [_LINE.join(part for row in rows[:size] for part in (row.header, row.body)) for size in (1, 3, len(rows))]


def _stories() -> list[bytes]:
    """What a writer says of a session with a chunk and a statement that two people talk about."""
    _shelf()
    session, permit = str(UUID(int=77)), str(UUID(int=21))
    ref = {"id": str(UUID(int=4)), "leaf": HEX}
    about: dict[str, Json] = Stored("ab" * 32, 183, SALT, "cd" * 32, 79, UUID(LOGIN)).members()
    said: list[tuple[str, str, dict[str, Any]]] = [
        ("NodeStarted", "-", {"version": "1", "python": "3.11", "clean": True}),
        ("SessionOpened", session, {"who": WHO}),
        ("StatementDecided", session, {"decision": "allow", "no": 1}),
        ("StatementFinished", session, {"decided": ref, "forwarded": True, "rows": 1}),
        ("ChunkSealed", session, {"stream": "results", "seq": 0, "object": about}),
        ("Heartbeat", "-", {"beat": 1, "sessions_open": 1, "sessions_digest": HEX}),
        ("ApprovalRequested", session, _asked(ref)),
        ("ApprovalAnswered", "-", _answered(ref, permit)),
        ("PermitUsed", session, _used(ref, permit)),
        ("SessionClosed", session, {"last_sn": 7, "chunks": {"results": 1}, "recording_complete": True}),
        ("SessionClosed", "-", {"chunks": {"results": 2}, "recording_complete": False}),
        ("LogGenesis", "-", {"origin": "o", "generation": 1, "vkey": "o+1+AA=="}),
    ]
    lines = [f"{kind} {of} {json.dumps(content, separators=(',', ':'))}".encode() for kind, of, content in said]
    return [_LINE.join(lines), _LINE.join(lines[:5] + lines[9:10]), _LINE.join([*lines[:2], *lines[6:9]]), lines[0]]


def _asked(ref: dict[str, str]) -> dict[str, Any]:
    bound = {"bytes_mac": HEX, "bind_key": LOGIN, "approvers": ["dba"], "quorum": 1, "expires_at": stamp(START)}
    return {"approval": "AR-7Q2M4V0XKD", "decided": ref, "scope": "statement", "requester": WHO, "text": "x", **bound}


def _answered(ref: dict[str, str], permit: str) -> dict[str, Any]:
    given = {"permit": {"id": permit, "uses": 1, "expires_at": stamp(START)}, "four_eyes": {"group": "dba"}}
    return {"request": ref, "answer": "granted", "approver": {**WHO, "sub": "u2"}, "proof": PROOF, **given}


def _used(ref: dict[str, str], permit: str) -> dict[str, Any]:
    bound = {"bytes_mac": HEX, "bind_key": LOGIN, "equal": True, "result": "spent", "uses_left": 0}
    return {"permit": permit, "request": ref, "answers": [ref], "decided": ref, **bound}


def _recorded() -> list[bytes]:
    head = encode(
        pg.RowDescription(tuple(pg.Field(f"c{type_}", 0, 0, type_, -1, -1, type_ % 2) for type_ in (25, 1700, 23)))
    )
    frames = b"".join(
        map(
            encode,
            [
                pg.DataRow((b"a", None, b"7")),
                pg.DataRow((b"", b"\0\1\0\0\0\0\0\0\0\7", b"\0\0\0\7")),
                pg.CommandComplete("SELECT 2"),
            ],
        )
    )
    return [
        struct.pack("!H", len(head)) + head + frames,
        struct.pack("!H", 5) + b"H\0\0\0\7" + encode(pg.CopyData(b"1\n")),
    ]


def _events() -> list[bytes]:
    made = []
    for data in _recorded():
        size = struct.unpack_from("!H", data)[0]
        pieces = [
            (Part.HEAD, data[2 : 2 + size]),
            (Part.FRAMES, data[2 + size :]),
            (Part.PIECE, b"D"),
            (Part.FRAMES, b""),
        ]
        made.append(b"".join(recording.encode_event(Event(at, 1, *piece)) for at, piece in enumerate(pieces)))
    return made


def _values() -> list[bytes]:
    contents = [
        b"",
        b"\0",
        b"\1{}",
        bytes(4),
        bytes(8),
        bytes(16),
        b"\0\2\0\1\0\0\0\4\0\7\x26\x0f",
        b"\x7f\xff" * 4,
        b"text",
    ]
    return [bytes([number]) + content for number in range(len(TYPES)) for content in contents]


def _stored(file: str) -> list[bytes]:
    return [bytes.fromhex(json.loads((CHUNKS / file).read_text())["data"])]


def _packed() -> list[bytes]:
    plains = (_events()[0], b"x" * 100_000, b"")
    return [struct.pack("!I", len(plain)) + recording._compressed(plain) for plain in plains]


_MEMBERS: Final = (
    b'"',
    b'":',
    b"{}",
    b"[]",
    b'{"a":1}',
    b"null",
    b"true",
    b"1.5",
    b'"leaf":',
    b'"session":',
    b"9" * 30,
)

READERS: Final = (
    Reader("records.header", header, _headers, 500, (b'"', b",", b"null", b'"target":"', b"-31T", b"\\u007f")),
    Reader("records.body", body, _bodies, 400, _MEMBERS),
    Reader("records.segment", frames, _segments, 150, (b'{"v":1,"kind":"', bytes(12))),
    Reader("records.rows", rows, _rows, 120, (b'{"v":1,"kind":"', _LINE)),
    Reader("records.name", name, lambda: [b"0-0.seg", b"12-4096.seg"], 60),
    Reader("records.spool", part, lambda: _stored("spool.json"), 150, (b"VSP1",)),
    Reader("records.chunk", chunk, lambda: _stored("chunk.json"), 100, (b"VSO1",)),
    Reader("records.packed", packed, _packed, 60, (b"\x28\xb5\x2f\xfd",)),
    Reader("records.events", events, _events, 200),
    Reader("records.shown", shown, _recorded, 200),
    Reader("records.value", value, _values, 300),
    Reader("records.audited", audited, _stories, 20, (*_MEMBERS, _LINE, b"SessionClosed - ", b"StatementFinished ")),
    Reader("records.auditor-header", read_header, _headers, 150, (b'"', b"\xff", b"Heartbeat", b"null", b"}")),
)
