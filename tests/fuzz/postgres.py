"""Valid PostgreSQL conversations, broken at random: whatever comes of them, only defined errors may come out.

Complements the property tests: those throw arbitrary bytes, this starts from streams that nearly are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random
from uuid import UUID

from tests.support.openings import carry
from tests.support.scram_server import ScramServer
from vestibule.model.errors import ClientProtocolError, TargetProtocolError, TargetUnavailable
from vestibule.model.event import Side
from vestibule.model.names import TargetName
from vestibule.model.target import Address, Credential, Target, TargetTls
from vestibule.protocols.base import CancelRequested, Refused, Speak
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.authentication import LoggedIn, Login
from vestibule.protocols.postgres.codec import PROTOCOL_3_0, decode_backend, decode_first, decode_frontend, encode
from vestibule.protocols.postgres.frames import TARGET, Copied, Frame, FrameReader, Rows, client_limits
from vestibule.protocols.postgres.opening import accept, reach
from vestibule.protocols.postgres.rows import scan
from vestibule.protocols.postgres.scram import SaltedPasswords
from vestibule.protocols.postgres.startup import read_startup, target_startup

SESSION = UUID(int=7)
#: Numbers at which arithmetic on lengths and counts goes wrong.
EDGES = (0, 1, 3, 4, 5, 255, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1)

STARTUP = pg.StartupMessage(PROTOCOL_3_0, (("user", "alice+core"), ("options", "-c DateStyle=ISO")))
FIRST = (pg.SSLRequest(), pg.GSSENCRequest(), pg.CancelRequest(7, b"abcd"), STARTUP)
CLIENT = (
    pg.Query(b"select 1"),
    pg.Parse("s", b"select $1", (23,)),
    pg.Bind("p", "s", (1,), (b"\0\0\0\7", None), (0, 1)),
    pg.Describe("P", "p"),
    pg.Execute("p", 100),
    pg.Close("S", "s"),
    pg.Flush(),
    pg.Sync(),
    pg.CopyData(b"1\tx\n"),
    pg.CopyData(bytes(70_000)),
    pg.CopyDone(),
    pg.CopyFail("no"),
    pg.Terminate(),
    pg.FunctionCall(1, (0,), (b"x",), 0),
)
BACKEND = (
    pg.AuthenticationOk(),
    pg.AuthenticationSASL(("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")),
    pg.AuthenticationSASL(("SCRAM-SHA-256",)),
    pg.AuthenticationMD5Password(b"salt"),
    pg.ParameterStatus("TimeZone", "UTC"),
    pg.BackendKeyData(7, b"abcd"),
    pg.ReadyForQuery("I"),
    pg.ErrorResponse((("S", "ERROR"), ("C", "42P01"), ("M", "relation does not exist"))),
    pg.NoticeResponse((("S", "NOTICE"), ("M", "hello"))),
    pg.NotificationResponse(7, "channel", "payload"),
    pg.ParameterDescription((23, 25)),
    pg.RowDescription((pg.Field("a", 16_384, 1, 23, 4, -1, 0), pg.Field("b", 0, 0, 25, -1, -1, 1))),
    pg.DataRow((b"1", None)),
    pg.DataRow((b"x" * 70_000, b"")),
    pg.CommandComplete("SELECT 1"),
    pg.CopyOutResponse(0, (0, 0)),
    pg.CopyData(b"1\tx\n"),
    pg.CopyDone(),
    pg.NegotiateProtocolVersion(PROTOCOL_3_0, ("_pq_.x",)),
)
AT = Target(
    TargetName("core"),
    "postgres",
    (Address("db", 5432),),
    ("core",),
    ("public",),
    TargetTls(),
    Credential("vestibule_rw", "file:secret"),
    frozenset({"scram-sha-256-plus", "scram-sha-256", "md5", "cleartext"}),
)


@dataclass
class Tally:
    """What came of the conversations."""

    accepted: int = 0
    refused: int = 0


def fuzz_postgres(seed: int, n: int) -> Tally:
    """Break `n` conversations of each kind, the same ones for the same seed; an undefined error escapes."""
    random, tally = Random(seed), Tally()
    for _ in range(n):
        for attack in (_client, _target, _opening, _reaching, _startup, _log_in):
            try:
                attack(random)
                tally.accepted += 1
            except (ClientProtocolError, TargetProtocolError, TargetUnavailable):
                tally.refused += 1
    return tally


def _client(random: Random) -> None:
    reader = FrameReader(Side.CLIENT, client_limits(bind=1 << 20))
    for piece in _pieces(random, _broken(random, _stream(random, CLIENT))):
        reader.feed(piece)
        while item := reader.next():
            if isinstance(item, Frame):
                assert encode(decode_frontend(item.type, item.body))[5:] == item.body
        assert len(reader) <= 16 << 20


def _target(random: Random) -> None:
    reader = FrameReader(Side.TARGET, TARGET)
    for piece in _pieces(random, _broken(random, _stream(random, BACKEND))):
        reader.feed(piece)
        reader.columns = random.choice((None, 2, 2, 2, 3))
        while item := reader.next():
            match item:
                case Frame():
                    decode_backend(item.type, item.body)
                case Rows(complete=True, count=count) if count > 1:
                    assert scan(item.data, 0, len(item.data), reader.columns or 0) == (len(item.data), count)
                case Copied():
                    assert item.size <= len(item.data)
                case _:
                    pass


def _opening(random: Random) -> None:
    plain, inside = (_broken(random, _stream(random, FIRST)) for _ in range(2))
    if random.random() < 0.5:
        plain = random.choice((encode(pg.SSLRequest()), b"\x16"))
    carried = carry(accept(), plain, inside, random.choice((b"", b"postgresql")))
    assert isinstance(carried.outcome, Speak | Refused | CancelRequested)
    assert carried.is_secure or not isinstance(carried.outcome, Speak)
    assert carried.largest <= 10_000


def _reaching(random: Random) -> None:
    carried = carry(reach(random.random() < 0.5), _broken(random, random.choice((b"S", b"N", b"E", b"\x16"))))
    assert carried.is_secure or isinstance(carried.outcome, Refused)


def _startup(random: Random) -> None:
    message = decode_first(_broken(random, encode(STARTUP)[4:]))
    if isinstance(message, pg.StartupMessage):
        startup = read_startup(message)
        written = target_startup(startup, AT, "core", SESSION)
        assert dict(written.parameters)["user"] == "vestibule_rw"


def _log_in(random: Random) -> None:
    """A server that knows the password, but whose bytes are broken once: a flaw must not let it pass as proven."""
    login, server = (
        Login(AT, b"secret", b"end point", bytes(16), SaltedPasswords()),
        ScramServer(b"secret", iterations=9),
    )
    broken_at, step, sent = random.randrange(4), 0, b""
    message: pg.BackendMessage = pg.AuthenticationSASL(("SCRAM-SHA-256",))
    while True:
        written = encode(message)
        if step == broken_at:
            written = written[:5] + _broken(random, written[5:])
        answer = login.receive(decode_backend(written[0], written[5:]))
        if isinstance(answer, LoggedIn):
            assert answer.method in ("md5", "cleartext") or written == encode(pg.AuthenticationOk()), answer
            return
        sent, step = answer or sent, step + 1
        message = _next(server, step, sent)


def _next(server: ScramServer, step: int, sent: bytes) -> pg.BackendMessage:
    try:
        if step == 1:
            return pg.AuthenticationSASLContinue(server.challenge(sent[5:].partition(b"\0")[2][4:]))
        if step == 2:
            return pg.AuthenticationSASLFinal(server.final(sent[5:]))
    except (AssertionError, ValueError, KeyError):
        # The test's own server does not understand the answer to a broken question.
        return pg.AuthenticationSASLFinal(b"e=other-error")
    return pg.AuthenticationOk()


def _stream(random: Random, messages: tuple[pg.Message, ...]) -> bytes:
    return b"".join(encode(random.choice(messages)) for _ in range(random.randint(1, 8)))


def _pieces(random: Random, data: bytes) -> list[bytes]:
    places = sorted(random.randint(0, len(data)) for _ in range(random.randint(0, 6)))
    borders = [0, *places, len(data)]
    return [data[one:other] for one, other in pairwise(borders)]


def _broken(random: Random, data: bytes) -> bytes:
    broken = bytearray(data)
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        at = random.randint(0, len(broken))
        match random.randrange(5):
            case 0:
                broken[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del broken[at : at + random.choice((1, 1, 4, 20))]
            case 2:
                broken[at:at] = random.randbytes(random.choice((1, 1, 4, 20)))
            case 3:
                broken[at : at + 4] = random.choice(EDGES).to_bytes(4)
            case _:
                broken[at : at + 2] = (random.choice(EDGES) & 0xFFFF).to_bytes(2)
    return bytes(broken)
