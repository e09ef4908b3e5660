"""PostgreSQL for the playbook: a relay with the sample policy, a client that logs in, a target that lets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from tests.support.gates import admission, gate
from tests.support.playbook import START, Playbook, World
from tests.support.scram_server import ScramServer
from vestibule.gate.gate import Gate
from vestibule.gate.reading import Knowledge, Reader, read
from vestibule.model.event import Admission, Dialed, DialFailed, Side, Tls
from vestibule.model.identity import Peer, Refusal
from vestibule.model.names import SECOND, Instant
from vestibule.model.statement import Parsed, Unknown, Unsupported
from vestibule.protocols.base import Conversation
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0, decode_backend, decode_first, decode_frontend, encode
from vestibule.protocols.postgres.learning import QUESTION
from vestibule.protocols.postgres.login import Surroundings
from vestibule.protocols.postgres.relay import PostgresRelay
from vestibule.protocols.postgres.scram import SaltedPasswords

SESSION = UUID("018f0000-0000-7000-8000-000000000001")
TARGET_PASSWORD = b"known to the gateway alone"
TOKEN = b"vst_known-to-alice-alone"
USER = "alice+core-banking"
CANCEL_KEY = b"\x00\x00\x00\x07KEY4"
REACHED = Dialed(Peer("10.0.0.5", 5432), 40_000, Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384"), TARGET_PASSWORD)
SETTINGS = {"server_version": "15.8", "client_encoding": "UTF8", "standard_conforming_strings": "on", "secret": "x"}


class PgWire:
    """Reads what reaches either side, message by message."""

    def __init__(self) -> None:
        self._waiting = dict.fromkeys(Side, b"")
        self._has_begun = False

    def write(self, side: Side, message: object) -> bytes:
        """Write a message."""
        return encode(message)  # type: ignore[arg-type]  # a test that says something else fails here

    def read(self, side: Side, data: bytes) -> list[object]:
        """Read the messages that are whole."""
        waiting, messages = self._waiting[side] + data, list[object]()
        if side is Side.TARGET and not self._has_begun and waiting:
            size = int.from_bytes(waiting[:4])
            messages.append(decode_first(waiting[4:size]))
            waiting, self._has_begun = waiting[size:], True
        while len(waiting) >= 5 and len(waiting) > (size := int.from_bytes(waiting[1:5])):
            decode = decode_backend if side is Side.CLIENT else decode_frontend
            messages.append(decode(waiting[0], waiting[5 : 1 + size]))
            waiting = waiting[1 + size :]
        self._waiting[side] = waiting
        return messages


class Greeter:
    """A target up to the first statement of the client: it asks for SCRAM, and has no functions of its own."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self._scram = ScramServer(TARGET_PASSWORD, iterations=1)
        self._settings = SETTINGS if settings is None else settings
        self._steps = iter((self._challenge, self._accept))

    def __call__(self, message: object) -> bytes:
        """Answer a message of the gateway's."""
        match message:
            case pg.StartupMessage():
                return encode(pg.AuthenticationSASL(("SCRAM-SHA-256",)))
            case pg.PasswordMessage(body=body):
                return next(self._steps)(body)
            case pg.Query() if is_question(message):
                return knowledge()
            case _:
                return b""

    def _challenge(self, body: bytes) -> bytes:
        first = body.partition(b"\0")[2][4:]
        return encode(pg.AuthenticationSASLContinue(self._scram.challenge(first)))

    def _accept(self, body: bytes) -> bytes:
        settings = [pg.ParameterStatus(*pair) for pair in self._settings.items()]
        key = pg.BackendKeyData(4711, b"real")
        final = pg.AuthenticationSASLFinal(self._scram.final(body))
        return written(final, pg.AuthenticationOk(), *settings, key, pg.ReadyForQuery("I"))


def written(*messages: pg.Message) -> bytes:
    """Messages as bytes."""
    return b"".join([encode(message) for message in messages])


def is_question(message: object) -> bool:
    """Tell whether this is the gateway's own question about the catalog."""
    return isinstance(message, pg.Query) and encode(message) == QUESTION


def knowledge(*rows: tuple[bytes, ...], status: pg.TransactionStatus = "I") -> bytes:
    """Answer the gateway's own question about the catalog."""
    shape = pg.RowDescription((pg.Field("x", 0, 0, 25, -1, -1, 0),) * 6)
    return written(shape, *map(pg.DataRow, rows), pg.CommandComplete("SELECT 0"), pg.ReadyForQuery(status))


def analyse_large(text: bytes, knowledge: object) -> Parsed | Unsupported | Unknown:
    """Answer an `Analyse`."""
    assert isinstance(knowledge, Knowledge)
    return read(text, knowledge)


def proven(*groups: str) -> Admission:
    """An accepted proof of a login that lasts twelve hours."""
    made = admission(*groups)
    return replace(made, identity=replace(made.identity, expires_at=Instant(START + 12 * 3600 * SECOND)))


def before_login(
    *groups: str,
    at: Gate | None = None,
    proof: Admission | Refusal | None = None,
    dialed: Dialed | DialFailed = REACHED,
    certificate: bytes = b"",
) -> Playbook:
    """A relay that has not received a byte; the client may have shown a `certificate` in the handshake."""
    tls = Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", client_certificate=certificate)
    conversation = Conversation(SESSION, Peer("192.0.2.7", 50_000), tls, START, bytes(16), CANCEL_KEY)
    relay = PostgresRelay(conversation, Surroundings(at or gate(), Reader(), SaltedPasswords()))
    world = World(proof or proven(*groups), dialed, analyse_large)
    playbook = Playbook(relay, PgWire(), world, SESSION)
    playbook.replies[Side.TARGET] = Greeter()
    return playbook


def startup(user: str = USER, **parameters: str) -> pg.StartupMessage:
    """What a client begins with."""
    return pg.StartupMessage(PROTOCOL_3_0, (("user", user), *parameters.items()))


def log_in(playbook: Playbook, user: str = USER, **parameters: str) -> None:
    """Let the client begin and give its token."""
    playbook.client(startup(user, **parameters))
    playbook.client(pg.PasswordMessage(TOKEN + b"\0"))


def session(*groups: str, at: Gate | None = None, target: Callable[[object], bytes] | None = None) -> Playbook:
    """An open session, with nothing seen yet; `target` answers from here on, or the test does."""
    playbook = before_login(*groups, at=at)
    log_in(playbook)
    assert pg.ReadyForQuery("I") in playbook.to(Side.CLIENT), "the session is open"
    del playbook.replies[Side.TARGET]
    if target is not None:
        playbook.replies[Side.TARGET] = target
    return playbook


def last_error(play: Playbook) -> tuple[str, str, str]:
    """Severity, code and text of the last thing that the client was told."""
    told = [message for message in play.to(Side.CLIENT) if isinstance(message, pg.ErrorResponse)]
    return told[-1].text("V"), told[-1].text("C"), told[-1].text("M")


def denied(play: Playbook) -> dict[str, object]:
    """The one record of a log-in that was refused."""
    (record,) = play.attempted
    assert record.kind == "AccessDecided"
    assert record.members["decision"] == "deny"
    return dict(record.members)
