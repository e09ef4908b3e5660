"""PostgreSQL's messages in both directions, streams of them, the log-in at a target, and PROXY headers."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final
from uuid import UUID
from zlib import crc32

from tests.fuzz.readers.base import Reader
from vestibule.model.errors import ClientProtocolError, TargetProtocolError, TargetUnavailable
from vestibule.model.event import Side
from vestibule.model.names import TargetName
from vestibule.model.target import Address, Credential, Target, TargetTls
from vestibule.protocols.base import Exactly, Peek, Refused, Speak, StartTls
from vestibule.protocols.postgres import authentication, codec, frames, scram, startup
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.learning import Learning, Surveyed
from vestibule.protocols.postgres.opening import accept
from vestibule.wire import proxy
from vestibule.wire.user import read_user

NONCE: Final = b"fyko+d2lbbFgONRv9qkxdawL"
FIELD: Final = pg.Field("ssn", 16_400, 3, 25, -1, -1, 0)
_ERROR: Final = (("S", "ERROR"), ("V", "ERROR"), ("C", "42P01"), ("M", 'relation "x" does not exist'), ("P", "15"))

FIRST: Final = (
    pg.StartupMessage(3 << 16, (("user", "ada+core-banking"), ("database", "core"), ("application_name", "psql"))),
    pg.StartupMessage(
        (3 << 16) + 2,
        (
            ("user", "ada@bank.example+core/reader?ro"),
            ("options", '-c search_path=a,\\ \\"B\\" --DateStyle=ISO -cstatement_timeout=5s'),
            ("client_encoding", "'utf-8'"),
            ("search_path", 'public, "Odd ""one"""'),
            ("vestibule.reason", "incident 7"),
            ("_pq_.command_tag_format", "x"),
        ),
    ),
    pg.StartupMessage(3 << 16, (("user", "ada"), ("replication", "off"), ("TimeZone", "UTC"))),
    pg.SSLRequest(),
    pg.GSSENCRequest(),
    pg.CancelRequest(4_711, b"abcd"),
)
FRONTEND: Final = (
    pg.PasswordMessage(b"vst_golden\0"),
    pg.Query(b"SELECT ssn FROM customers WHERE id = 7; COMMIT"),
    pg.Query("SELECT 'gr\u00fc\u00df'".encode()),
    pg.Parse("s1", b"SELECT $1::int4, $2", (23, 25)),
    pg.Bind("p1", "s1", (1, 0), (b"\0\0\0\7", None), (0, 1)),
    pg.Bind("", "", (), (b"one", b"", None, b"x" * 40), (1,)),
    pg.Describe("S", "s1"),
    pg.Describe("P", "p1"),
    pg.Execute("p1", 100),
    pg.Close("P", "p1"),
    pg.Flush(),
    pg.Sync(),
    pg.Terminate(),
    pg.CopyFail("no more"),
    pg.FunctionCall(1_234, (1,), (b"abcd", None), 0),
    pg.CopyData(b"1\tada\n2\tbea\n"),
    pg.CopyDone(),
)
BACKEND: Final = (
    pg.AuthenticationOk(),
    pg.AuthenticationCleartextPassword(),
    pg.AuthenticationMD5Password(b"salt"),
    pg.AuthenticationSASL(("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")),
    pg.AuthenticationSASLContinue(b"r=" + NONCE + b"3rfc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
    pg.AuthenticationSASLFinal(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="),
    pg.AuthenticationOther(7, b"gss"),
    pg.NegotiateProtocolVersion(3 << 16, ("_pq_.a", "_pq_.b")),
    pg.BackendKeyData(4_711, bytes(range(32))),
    pg.ParameterStatus("TimeZone", "Europe/Berlin"),
    pg.ReadyForQuery("T"),
    pg.ErrorResponse(_ERROR),
    pg.NoticeResponse(_ERROR[2:]),
    pg.NotificationResponse(12, "bell", "rings"),
    pg.ParameterDescription((23, 25, 0)),
    pg.RowDescription((FIELD, pg.Field("gr\u00fc\u00df", 0, 0, 23, 4, -1, 1))),
    pg.NoData(),
    pg.DataRow((b"7", None, b"", b"078-05-1120")),
    pg.CommandComplete("INSERT 0 1"),
    pg.EmptyQueryResponse(),
    pg.ParseComplete(),
    pg.BindComplete(),
    pg.CloseComplete(),
    pg.PortalSuspended(),
    pg.CopyInResponse(0, (0, 0)),
    pg.CopyOutResponse(1, (1, 1, 1)),
    pg.CopyBothResponse(0, ()),
    pg.FunctionCallResponse(b"x"),
    pg.CopyData(b"PGCOPY\n\xff\r\n\0"),
    pg.CopyDone(),
)
SESSION: Final = UUID("018f0000-0000-7000-8000-000000000001")
TARGET: Final = Target(
    TargetName("core-banking"),
    "postgres",
    (Address("db1.internal", 5432),),
    ("core",),
    ("public",),
    TargetTls(),
    Credential("vestibule_rw", "env:PASSWORD"),
    frozenset({authentication.PLUS, authentication.SCRAM, authentication.MD5}),
)
TYPES: Final = b"QPBDECHSXpfFdcRvKZNATtnI123sGWV"


def first(data: bytes) -> bool:
    """A packet without a type byte; what it asks for is read, and written for a target."""
    try:
        message = codec.decode_first(data)
        assert codec.encode(message)[4:] == data
        if not isinstance(message, pg.StartupMessage):
            return True
        asked = startup.read_startup(message)
    except ClientProtocolError:
        return False
    told = startup.target_startup(asked, TARGET, "core", SESSION)
    assert codec.decode_first(codec.encode(told)[4:]) == told
    if asked.negotiation is not None:
        again = codec.encode(asked.negotiation)
        assert codec.decode_backend(again[0], again[5:]) == asked.negotiation
    return True


def frontend(data: bytes) -> bool:
    """A client's message, its type byte first."""
    try:
        message = codec.decode_frontend(data[0] if data else 0, data[1:])
    except ClientProtocolError:
        return False
    written = codec.encode(message)
    assert written[:1] + written[5:] == data
    if isinstance(message, pg.PasswordMessage):
        try:
            codec.password(message)
        except ClientProtocolError:
            return False
    return True


def backend(data: bytes) -> bool:
    """A target's message, its type byte first."""
    try:
        message = codec.decode_backend(data[0] if data else 0, data[1:])
    except TargetProtocolError:
        return False
    written = codec.encode(message)
    assert codec.decode_backend(written[0], written[5:]) == message
    return True


# --- streams ---------------------------------------------------------------------------------------------------------


def stream_from_client(data: bytes) -> bool:
    """A client's bytes in one piece and in several."""
    return _compare(data, Side.CLIENT, frames.client_limits(), None)


def stream_from_target(data: bytes) -> bool:
    """A target's bytes in one piece and in several; the first byte says how many columns a row has."""
    return _compare(data[1:], Side.TARGET, frames.TARGET, data[0] % 8 if data else 0)


def _compare(data: bytes, side: Side, limits: frames.Limits, columns: int | None) -> bool:
    whole, failed = _drained(side, limits, columns, [data])
    parts, failed_in_parts = _drained(side, limits, columns, _pieces(data))
    assert failed == failed_in_parts, (failed, failed_in_parts)
    # Rows before a bad one in the same slab are not handed on where the slab came whole.
    assert parts.startswith(whole) if failed else parts == whole
    return not failed


def _drained(side: Side, limits: frames.Limits, columns: int | None, pieces: Sequence[bytes]) -> tuple[bytes, bool]:
    reader, given = frames.FrameReader(side, limits), bytearray()
    reader.columns = columns
    for piece in pieces:
        reader.feed(piece)
        try:
            while (item := reader.next()) is not None:
                given += _told(item)
        except (ClientProtocolError, TargetProtocolError):
            return bytes(given), True
    return bytes(given), False


def _told(item: frames.Item) -> bytes:
    match item:
        case frames.Frame(type=tag, body=body):
            return struct.pack("!BI", tag, 4 + len(body)) + body
        case frames.Rows(data=data):
            return data
        case frames.Copied(data=data, size=size):
            # Cut anew, so only what is carried is the same.
            assert size == sum(length - 4 for _, length, _ in _frames(data))
            return b"".join(body for _, _, body in _frames(data))


def _frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        tag, length = struct.unpack_from("!BI", data, at)
        yield tag, length, data[at + 5 : at + 1 + length]
        at += 1 + length


def _pieces(data: bytes) -> list[bytes]:
    # From the input itself, so that a saved input fails again.
    random = Random(crc32(data))
    longest = random.choice([1, 3, 7, 64, 1_000, 40_000])
    pieces: list[bytes] = []
    at = 0
    while at < len(data) and len(pieces) < 200:
        size = 1 + int(random.random() * longest)
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


# --- the log-in at a target ------------------------------------------------------------------------------------------


class _Salted(scram.SaltedPasswords):
    """Costs nothing: what a server may ask for is bounded elsewhere, and tested there."""

    def derive(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        assert 0 < len(salt) <= scram.SALT_LIMIT
        assert 0 < iterations <= scram.ITERATION_LIMIT
        return b"\7" * 32


def challenge(data: bytes) -> bool:
    """A server's two SCRAM messages, with a line between them."""
    exchange = scram.Exchange(b"end point" if len(data) & 1 else None, True, NONCE)
    one, _, other = data.partition(b"\n")
    try:
        exchange.answer(one, b"secret", SALTED)
        exchange.verify(other)
    except (TargetProtocolError, TargetUnavailable):
        return False
    raise AssertionError("a server that does not know the password has proven that it does")


def at_target(data: bytes) -> bool:
    """What a target says while we log in to it: frames in a row."""
    login = authentication.Login(TARGET, b"secret", b"end point", NONCE, SALTED)
    reader = frames.FrameReader(Side.TARGET, frames.TARGET)
    reader.feed(data)
    try:
        while (item := reader.next()) is not None:
            if not isinstance(item, frames.Frame):
                return False
            if isinstance(login.receive(codec.decode_backend(item.type, item.body)), authentication.LoggedIn):
                raise AssertionError("a target that has proven nothing has let us in")
    except (TargetProtocolError, TargetUnavailable):
        return False
    return True


def learned(data: bytes) -> bool:
    """What a target answers to the gateway's own questions; the length says to which of them."""
    learning = Learning(TARGET, is_survey=bool(len(data) & 1))
    reader = frames.FrameReader(Side.TARGET, frames.TARGET)
    reader.feed(data)
    try:
        while (item := reader.next()) is not None:
            if isinstance(item, frames.Rows):
                learning.take_rows(item)
                continue
            if not isinstance(item, frames.Frame):
                return False
            answer = learning.take(codec.decode_backend(item.type, item.body))
            reader.columns = learning.columns
            if isinstance(answer, Surveyed):
                return sum(map(len, answer.rows())) > 0
            if answer is not None:
                return bool(answer.catalog.version)
    except TargetProtocolError:
        return False
    return False


def opening(data: bytes) -> bool:
    """A client's first bytes; TLS is agreed at once, with ALPN where the input has an odd length."""
    steps, at = accept(), 0
    step = next(steps)
    try:
        for _ in range(20):
            given = b""
            if isinstance(step, Peek):
                given = data[at : at + 1]
            elif isinstance(step, Exactly):
                assert 0 < step.count <= 10_000
                given, at = data[at : at + step.count], at + step.count
            elif isinstance(step, StartTls) and len(data) & 1:
                given = step.alpn.encode()
            step = steps.send(given)
    except StopIteration as end:
        if isinstance(end.value, Speak):
            first(end.value.data[4:])
        return not isinstance(end.value, Refused)
    raise AssertionError("a client that is asked for ever")


def prepared(data: bytes) -> bool:
    """A password, prepared."""
    return scram.prepare(data) != data


# --- PROXY -----------------------------------------------------------------------------------------------------------


def proxied(data: bytes) -> bool:
    """A balancer's header."""
    try:
        proxy.check_start(data[: proxy.START])
        head = data[: proxy.START + proxy.REST]
        end = len(head) + proxy.rest_of(head)
        return proxy.client_of(head, data[len(head) : end]) is not None
    except proxy.NoProxyHeader:
        return False


def user(data: bytes) -> bool:
    """A user name."""
    read = read_user(data.decode(errors="replace"))
    return bool(read.target)


def _headers() -> list[bytes]:
    four = struct.pack("!4s4sHH", bytes([192, 0, 2, 7]), bytes([10, 0, 0, 1]), 40_001, 15_432)
    six = struct.pack("!16s16sHH", b"\xfd" + bytes(15), bytes(10) + b"\xff\xff\1\2\3\4", 1, 2)
    extensions = b"\x01\0\2h2\x20\0\5\1\0\0\0\0\x04\0\0"
    made = []
    for command, family, body in ((0x21, 0x11, four), (0x21, 0x21, six), (0x20, 0, b""), (0x21, 0, b"x")):
        for more in (b"", extensions):
            head = proxy.SIGNATURE + struct.pack("!BBH", command, family, len(body + more))
            made.append(head + body + more)
        whole = proxy.SIGNATURE + struct.pack("!BBH", command, family, len(body) + 7) + body + b"\3\0\4" + bytes(4)
        made.append(whole[:-4] + struct.pack("!I", proxy.crc32c(whole)))
    return made


def _typed(messages: Sequence[Any]) -> list[bytes]:
    return [encoded[:1] + encoded[5:] for encoded in map(codec.encode, messages)]


def _streams(messages: Sequence[Any]) -> list[bytes]:
    encoded = list(map(codec.encode, messages))
    return [*encoded, *(b"".join(encoded[at : at + 4]) for at in range(len(encoded))), b"".join(encoded)]


def _from_target() -> list[bytes]:
    rows = b"".join(codec.encode(pg.DataRow((b"7", None, bytes(each)))) for each in range(5))
    return [b"\4" + each for each in _streams(BACKEND)] + [b"\3" + rows, b"\3" + rows + codec.encode(pg.Sync())]


def _long_from_target() -> list[bytes]:
    long = codec.encode(pg.DataRow((b"7", b"x" * 66_000, None)))
    copied = codec.encode(pg.CopyData(b"y" * 140_000))
    return [b"\3" + long + codec.encode(pg.CommandComplete("SELECT 1")), b"\3" + copied + copied[:9], b"\3" + long * 2]


def _log_ins() -> list[bytes]:
    def encoded(*messages: pg.BackendMessage) -> bytes:
        return b"".join(map(codec.encode, messages))

    offer, asked = BACKEND[3], BACKEND[4]
    ends = [pg.AuthenticationSASLFinal(b"v=" + b"A" * 43 + b"="), pg.AuthenticationOk(), pg.ReadyForQuery("I")]
    ours = pg.AuthenticationSASLContinue(b"r=" + _NONCE64 + b"3rfc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    return [encoded(offer, each, *ends) for each in (asked, ours)] + list(map(codec.encode, BACKEND[:7]))


def _openings() -> list[bytes]:
    ssl, gss, asked, cancel = (codec.encode(each) for each in (FIRST[3], FIRST[4], FIRST[0], FIRST[5]))
    return [ssl + asked, gss + ssl + asked, asked, cancel, ssl + cancel, ssl + asked + b"p", b"\x16" + asked[1:]]


def _catalogs() -> list[bytes]:
    functions = [
        (b"function", b"public", b"state_count", b"sql", b"s", b"f"),
        (b"type", b"public", b"box", b"code", b"v", b"1"),
    ]
    session = [
        (b"session", b"search_path", b"public", b"", b"", b""),
        (b"session", b"temporary", b"t", b"16400", b"", b""),
    ]
    end = [pg.CommandComplete("SELECT 4"), pg.ReadyForQuery("I")]
    shape = pg.RowDescription((pg.Field("x", 0, 0, 25, -1, -1, 0),) * 6)
    rows = [pg.DataRow(row) for row in (*functions, *session)]
    # One of an odd and one of an even length.
    return [b"".join(map(codec.encode, [shape, *each, *end])) for each in (rows, [*rows, pg.DataRow((b"x",) * 6)])]


SALTED: Final = _Salted()
_NONCE64: Final = b64encode(NONCE)
_WORDS: Final = (
    b"user\0",
    b"options\0",
    b"-c ",
    b"search_path",
    b"\0\0\0\4",
    b"\xff\xff\xff\xff",
    *(bytes([tag]) for tag in TYPES),
)
SCRAM_WORDS: Final = (b"r=", b"s=", b"i=", b"v=", b"e=", b"m=", b",", NONCE, b"4096", b"AAAA", b"==", b"\n")

READERS: Final = (
    Reader("codecs.first", first, lambda: [codec.encode(each)[4:] for each in FIRST], 700, _WORDS),
    Reader("codecs.frontend", frontend, lambda: _typed(FRONTEND), 1_000, _WORDS),
    Reader("codecs.backend", backend, lambda: _typed(BACKEND), 1_000, _WORDS),
    Reader("codecs.client-stream", stream_from_client, lambda: _streams(FRONTEND), 500, _WORDS),
    Reader("codecs.target-stream", stream_from_target, _from_target, 600, _WORDS),
    Reader("codecs.long-stream", stream_from_target, _long_from_target, 30),
    Reader("codecs.scram", challenge, lambda: [BACKEND[4].data + b"\n" + BACKEND[5].data], 500, SCRAM_WORDS),
    Reader("codecs.at-target", at_target, _log_ins, 400, (*_WORDS, *SCRAM_WORDS)),
    Reader("codecs.learned", learned, _catalogs, 200, (*_WORDS, b"session", b"function", b"temporary")),
    Reader("codecs.opening", opening, _openings, 200, _WORDS),
    Reader("codecs.password", prepared, lambda: ["p\u00e4ss\u00adwort".encode(), "\u0627\u0031".encode()], 50),
    Reader("codecs.proxy", proxied, _headers, 500),
    Reader("codecs.user", user, lambda: [b"ada@bank.example+core-banking/reader?ro&x"], 100),
)
