"""From a StartupMessage inside TLS to an open session.

1. Nothing is dialled, and no failed log-in counted, before a proof has arrived.
2. The decision on access is durable before the target is dialled, the opening before the client is let in.
3. Who has shown a certificate in the handshake is asked for nothing more. If it is refused, so is the client: no
   password is asked for behind it.
4. A client that is refused is told what to do; what a target did wrong is for the record and the operator.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Literal

from vestibule.gate.gate import Gate
from vestibule.gate.permit import OPENED, session_permit
from vestibule.gate.reading import Reader
from vestibule.gate.session import SessionGate
from vestibule.model.decision import Permit
from vestibule.model.effect import Close, Dial, Effect, Opened, Persist, Prove, Send, Wake
from vestibule.model.errors import ClientProtocolError, TargetProtocolError, TargetUnavailable
from vestibule.model.event import Admission, Dialed, DialFailed, Side
from vestibule.model.identity import Identity, Refusal
from vestibule.model.names import SECOND, Instant, TargetName
from vestibule.model.target import Target
from vestibule.protocols.base import Conversation
from vestibule.protocols.postgres import errors
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.answering import PINNED, REPORTED
from vestibule.protocols.postgres.authentication import LoggedIn
from vestibule.protocols.postgres.authentication import Login as TargetLogin
from vestibule.protocols.postgres.codec import decode_backend, decode_first, decode_frontend, encode, password
from vestibule.protocols.postgres.frames import TARGET, UNPROVEN, Frame, FrameReader, Rows, client_limits
from vestibule.protocols.postgres.knowing import Knowing
from vestibule.protocols.postgres.learning import QUESTION, Learned, Learning
from vestibule.protocols.postgres.scram import SaltedPasswords
from vestibule.protocols.postgres.session import Session
from vestibule.protocols.postgres.startup import Startup, read_startup, target_startup

#: How long a client may take to answer, and a target to let us in.
PASSWORD_TIME: Final = 60 * SECOND
TARGET_TIME: Final = 20 * SECOND
#: How a server refuses a setting at log-in: its value, its name (a version does not know it), or its being set now.
BAD_SETTING: Final = ("22", "42704", "55P02")
#: Causes for the record where it is not the token that is refused.
CAUSES: Final = {
    Refusal.PERSON_FULL: "limit reached: sessions of one person",
    Refusal.ADDRESS_FULL: "limit reached: sessions from one address",
    Refusal.TARGET_FULL: "limit reached: sessions at the target",
}


class Stage(Enum):
    """What the log-in waits for."""

    STARTUP = "the startup packet"
    PASSWORD = "the password"
    PROOF = "the proof of identity"
    DIAL = "the connection to the target"
    ACCESS = "the target's authentication"
    SETTINGS = "the target's settings"
    CATALOG = "the target's catalog"
    OVER = "nothing"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all conversations of a data process share."""

    gate: Gate
    reader: Reader
    salted: SaltedPasswords
    bind_limit: int = 64 << 20


@dataclass(slots=True)
class _Reached:
    """What is known of the target's side so far."""

    target: Target
    database: str
    permit: Permit
    dialed: Dialed | None = None
    login: TargetLogin | None = None
    process_id: int = 0
    cancel: bytes = b""
    settings: dict[str, str] = field(default_factory=dict)
    learning: Learning | None = None


class Login:
    """Logs one client in; `session` is there once the target is open to it."""

    def __init__(self, conversation: Conversation, around: Surroundings) -> None:
        self._conversation, self._around = conversation, around
        self.gate = SessionGate(around.gate, conversation.session, conversation.client, "postgres")
        self.client = FrameReader(Side.CLIENT, UNPROVEN)
        self.target = FrameReader(Side.TARGET, TARGET)
        self.stage = Stage.STARTUP
        self.session: Session | None = None
        self.now = Instant(0)
        self._effects: list[Effect] = []
        self._startup: Startup | None = None
        self._method: Literal["token", "certificate"] = "token"
        self._token_length = 0
        self._reached: _Reached | None = None

    def take_effects(self) -> list[Effect]:
        """Hand over what the present event asked for."""
        effects, self._effects = self._effects, []
        return effects

    # --- the client --------------------------------------------------------------------------------------------------

    def receive_client(self, data: bytes) -> None:
        """Take the client's bytes; before the session they can only be the startup packet and a password."""
        try:
            if self.stage is Stage.STARTUP:
                self._read_startup(data)
            else:
                self.client.feed(data)
                self._read_password()
        except ClientProtocolError as error:
            self._refuse(errors.violation(error), f"protocol error: {self.gate.masked(str(error))}")

    def _read_startup(self, data: bytes) -> None:
        message = decode_first(data[4:])
        if not isinstance(message, pg.StartupMessage):
            raise ClientProtocolError("a startup packet was expected")
        self._startup = startup = read_startup(message)
        hello = b"" if startup.negotiation is None else encode(startup.negotiation)
        tls = self._conversation.tls
        if tls is not None and tls.client_certificate:
            if hello:
                self._tell_client(hello)
            self._prove("certificate", tls.client_certificate)
            return
        self.stage = Stage.PASSWORD
        self._effects.append(Wake(Instant(self.now + PASSWORD_TIME)))
        self._tell_client(hello + encode(pg.AuthenticationCleartextPassword()))

    def _read_password(self) -> None:
        if self.stage is not Stage.PASSWORD:
            # Nothing more is read before the session; the bytes wait, and there may not be many.
            if len(self.client) > 64 << 10:
                raise ClientProtocolError("the client speaks before it was let in")
            return
        item = self.client.next()
        if item is None:
            return
        if not isinstance(item, Frame):
            raise ClientProtocolError("a password was expected")
        message = decode_frontend(item.type, item.body)
        if not isinstance(message, pg.PasswordMessage):
            raise ClientProtocolError("a password was expected")
        token = password(message)
        self._token_length = len(token)
        self._prove("token", token)

    def _prove(self, method: Literal["token", "certificate"], shown: bytes) -> None:
        self._method, self.stage = method, Stage.PROOF
        given = self._given
        wanted = given.user.target if "+" in given.name else given.database
        self._effects.append(Prove(method, shown, given.name, wanted))

    @property
    def _given(self) -> Startup:
        if self._startup is None:
            raise AssertionError("the startup packet comes first")
        return self._startup

    # --- the proof ---------------------------------------------------------------------------------------------------

    def proven(self, answer: Admission | Refusal) -> None:
        """Take the identity port's answer."""
        if isinstance(answer, Refusal):
            by_token = self._method == "token"
            told = errors.proof_refused(answer, self._token_length) if by_token else errors.certificate_refused(answer)
            self._refuse(told, CAUSES.get(answer, f"{self._method} {answer.value}"))
            return
        identity = answer.identity
        if not self._names(identity):
            cause = f"the {self._method} is {identity.who.name}'s"
            self._refuse(errors.login_differs(self._method), cause, identity)
            return
        target = self._choose(identity)
        if target is None:
            targets = self._around.gate.targets(identity)
            self._refuse(errors.target_refused(each.name for each in targets), "target not granted", identity)
            return
        database = self._database(target)
        if database is None:
            text = f"vestibule: choose a database of {target.name}: {', '.join(target.databases)}"
            self._refuse(errors.ended("3D000", text), "database not offered", identity)
            return
        self._admit(answer, target, database)

    def _names(self, identity: Identity) -> bool:
        """Whether the login that was typed is the proven one, or was left open."""
        login = self._given.user.login
        return login in ("", "_") or login.casefold() == identity.who.name.casefold()

    def _choose(self, identity: Identity) -> Target | None:
        """Find the target: named in the user name, else by the database, else the only one there is."""
        gate, user = self._around.gate, self._given.user
        if user.role:
            # No roles are granted yet, and one that is not granted looks like a target that does not exist.
            return None
        if "+" in self._given.name:
            return gate.target(identity, TargetName(user.target))
        named = gate.target(identity, TargetName(self._given.database)) if self._given.database else None
        if named is not None:
            return named
        granted = gate.targets(identity)
        return granted[0] if len(granted) == 1 else None

    def _database(self, target: Target) -> str | None:
        asked = self._given.database
        if not asked or ("+" not in self._given.name and asked == target.name):
            return target.databases[0]
        return asked if asked in target.databases else None

    def _admit(self, admission: Admission, target: Target, database: str) -> None:
        record, permit = self.gate.admit(admission, target, database, self._given.name)
        self._reached = _Reached(target, database, permit)
        self.stage = Stage.DIAL
        # With the dial: a host that answers that it cannot serve now is not the last one to be tried.
        hello = encode(target_startup(self._given, target, database, self._conversation.session))
        self._effects += [Persist(record), Wake(Instant(self.now + TARGET_TIME)), Dial(target, permit, hello)]

    # --- the target --------------------------------------------------------------------------------------------------

    def dialed(self, facts: Dialed) -> None:
        """Log in to the target that was reached."""
        reached = self._at_target
        self.stage = Stage.ACCESS
        end_point = None if facts.tls is None else facts.tls.end_point
        nonce = hashlib.sha256(b"scram" + self._conversation.seed).digest()[:24]
        reached.login = TargetLogin(reached.target, facts.password, end_point, nonce, self._around.salted)
        # The password has done its work once the log-in has it.
        reached.dialed = Dialed(facts.peer, facts.local_port, facts.tls, b"")

    def dial_failed(self, failure: DialFailed) -> None:
        """Tell the client that there is no target, and nobody but the record why."""
        # The driver, which dialled, has told the operator.
        self._fail_target(failure.cause, fault="")

    def receive_target(self, data: bytes) -> None:
        """Take the target's bytes up to its first ReadyForQuery, and its answer about the catalog."""
        try:
            self.target.feed(data)
            while self.session is None and self.stage is not Stage.OVER and (item := self.target.next()) is not None:
                if isinstance(item, Frame):
                    self._target_message(decode_backend(item.type, item.body))
                elif isinstance(item, Rows):
                    self._learning.take_rows(item)
                else:
                    raise TargetProtocolError("unexpected CopyData in log-in")
        except (TargetProtocolError, TargetUnavailable) as error:
            self._fail_target(str(error))

    def _target_message(self, message: pg.BackendMessage) -> None:
        match self.stage:
            case Stage.ACCESS:
                self._authenticate(message)
            case Stage.SETTINGS:
                self._settle(message)
            case Stage.CATALOG:
                self._learn(message)
            case _:
                raise TargetProtocolError(f"unexpected target message {type(message).__name__} in log-in")

    def _authenticate(self, message: pg.BackendMessage) -> None:
        login = self._at_target.login
        if login is None:
            raise AssertionError("the target was dialled")
        answer = login.receive(message)
        if isinstance(answer, LoggedIn):
            self._at_target.login = None
            self.stage = Stage.SETTINGS
        elif answer:
            self._tell_target(answer)

    def _settle(self, message: pg.BackendMessage) -> None:
        reached = self._at_target
        match message:
            case pg.ParameterStatus(name=name, value=value):
                # The others are for nobody, and a target that lies has as many as it likes.
                if name in REPORTED or name in PINNED:
                    reached.settings[name] = value
            case pg.BackendKeyData():
                reached.process_id = message.process_id
                reached.cancel = encode(pg.CancelRequest(message.process_id, message.secret_key))
            case pg.NoticeResponse():
                pass
            case pg.ErrorResponse():
                self._refused_by_target(message)
            case pg.ReadyForQuery():
                self._open()
            case _:
                raise TargetProtocolError(f"unexpected target message {type(message).__name__} in log-in")

    def _refused_by_target(self, error: pg.ErrorResponse) -> None:
        code, text = error.text("C"), error.text("M")
        if not code.startswith(BAD_SETTING):
            raise TargetUnavailable(f"the target refused the log-in: {code} {text}")
        # The client's own setting was wrong, and only the client can mend it.
        self._tell_client(encode(errors.ended(code, f"vestibule: {text}")))
        self._abandon(f"a setting of the client's was refused: {code}")

    def _open(self) -> None:
        """Record the opening, and behind that ask the target which functions it has of its own."""
        reached, startup = self._at_target, self._given
        for name, value in PINNED.items():
            if reached.settings.get(name, value) != value:
                raise TargetProtocolError(f"the target will not keep {name} at {value}")
        if reached.dialed is None:
            raise AssertionError("the target was dialled")
        notes = dict(startup.notes)
        asked = (notes.get("reason", ""), notes.get("ticket", ""))
        record = self.gate.opened(
            reached.dialed, self._conversation.tls, startup.application_name, reached.process_id, asked, self.now
        )
        self.stage = Stage.CATALOG
        self._effects += [Persist(record), Opened(self._conversation.cancel_key)]
        self._effects.append(Send(Side.TARGET, QUESTION, session_permit(self._conversation.session)))
        reached.learning = Learning(reached.target)

    def _learn(self, message: pg.BackendMessage) -> None:
        learning = self._learning
        if isinstance(message, pg.NoticeResponse | pg.ParameterStatus):
            return
        learned = learning.take(message)
        self.target.columns = learning.columns
        if isinstance(learned, Learned):
            self.gate.note_search_path(learned.search_path)
            self._begin(learned)

    @property
    def _learning(self) -> Learning:
        if self._at_target.learning is None:
            raise TargetProtocolError("rows in log-in")
        return self._at_target.learning

    def _begin(self, learned: Learned) -> None:
        """Let the client in."""
        reached, conversation = self._at_target, self._conversation
        self.client.limits = client_limits(self._around.bind_limit)
        poison = "vestibule_" + hashlib.sha256(b"poison" + conversation.seed).hexdigest()[:16]
        reader = self._around.reader
        known = Knowing(self.gate, replace(learned, catalog=reader.shared(learned.catalog)))
        key = conversation.cancel_key
        told = int.from_bytes(key[:4], "big", signed=True)
        processes = {reached.process_id: told}
        self.session = session = Session(
            self.gate, reader, known, self.client, self.target, poison, reached.cancel, processes
        )
        session.now = session.last_asked_at = self.now
        settings = [encode(pg.ParameterStatus(*pair)) for pair in reached.settings.items() if pair[0] in REPORTED]
        welcome = [
            encode(pg.AuthenticationOk()),
            *settings,
            encode(pg.BackendKeyData(told, key[4:])),
            encode(pg.ReadyForQuery("I")),
        ]
        self._tell_client(b"".join(welcome), after=OPENED)
        self._effects.append(Wake(session.deadline()))
        self.stage = Stage.OVER

    # --- the ways out ------------------------------------------------------------------------------------------------

    def lose(self, side: Side) -> None:
        """One side is gone. A client that leaves before it has proven anything has not failed."""
        if side is Side.TARGET:
            self._fail_target("the target closed the connection in log-in")
        elif self.stage in (Stage.STARTUP, Stage.PASSWORD, Stage.PROOF):
            self._close("client_closed")
        else:
            self._abandon("the client left during the log-in")

    def woken(self) -> None:
        """Time is over."""
        if self.stage is Stage.PASSWORD:
            self._refuse(errors.ended("08P01", "vestibule: no password came in time"), "no password came in time")
        elif self.stage in (Stage.DIAL, Stage.ACCESS, Stage.SETTINGS, Stage.CATALOG):
            self._fail_target(f"no answer in time: {self.stage.value}")

    def unrecorded(self) -> None:
        """Nobody is let in while evidence cannot be recorded."""
        self._tell_client(encode(errors.evidence_unwritable()))
        self._close("evidence_fault")

    def told_to_end(self, text: str) -> None:
        """End before the session began."""
        self._tell_client(encode(errors.ended("57P01", text)))
        self._abandon("ended by the gateway")

    def _refuse(self, error: pg.ErrorResponse, cause: str, identity: Identity | None = None) -> None:
        startup = self._startup
        attempted = "" if startup is None else startup.name
        target = "" if startup is None else startup.user.target
        self._effects.append(Persist(self.gate.refuse_access(cause, attempted, target, identity)))
        self._tell_client(encode(error))
        self._close("refused")

    def _fail_target(self, cause: str, fault: str | None = None) -> None:
        self._tell_client(encode(errors.target_unreachable(self._at_target.target.name)))
        self._abandon(cause, cause if fault is None else fault)

    def _abandon(self, cause: str, fault: str = "") -> None:
        """Record how an admitted log-in ended without a session, or a session before its first statement."""
        if self.stage is Stage.CATALOG:
            self._effects.append(Persist(self.gate.closed("target_closed", self.now)))
        elif self._reached is not None:
            self._effects.append(Persist(self.gate.unreached(cause)))
        self._close(cause, fault)

    def _close(self, reason: str, fault: str = "") -> None:
        self.stage = Stage.OVER
        self._effects.append(Close(reason, fault))

    # --- small things ------------------------------------------------------------------------------------------------

    @property
    def _at_target(self) -> _Reached:
        if self._reached is None:
            raise AssertionError("nothing is dialled before a proof was accepted")
        return self._reached

    def _tell_client(self, data: bytes, after: str = "") -> None:
        self._effects.append(Send(Side.CLIENT, data, after=after))

    def _tell_target(self, data: bytes) -> None:
        self._effects.append(Send(Side.TARGET, data, self._at_target.permit))
