"""The relay of PostgreSQL: a log-in, then a session; pure, one event in, effects out.

1. Whoever breaks the protocol ends the conversation, both sides; nothing resynchronises.
2. The client is told whose fault it was; a target's fault is for the record and the operator.
3. A session that is told to finish ends between two statements and outside a transaction, where nothing of it is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from vestibule.model import wording
from vestibule.model.effect import Effect, Wake
from vestibule.model.errors import ClientProtocolError, TargetProtocolError
from vestibule.model.event import (
    Analysed,
    Answered,
    Asked,
    Computed,
    Dialed,
    DialFailed,
    Ended,
    Event,
    Proven,
    Received,
    Side,
    Sought,
    Spent,
    Told,
    Unrecorded,
    Woken,
)
from vestibule.model.names import Instant
from vestibule.protocols.base import Conversation
from vestibule.protocols.postgres.answering import Answering
from vestibule.protocols.postgres.asking import Asking
from vestibule.protocols.postgres.login import Login, Stage, Surroundings
from vestibule.protocols.postgres.session import Session

_SHUTDOWN = "the gateway is shutting down"
_ENDED_BY_PERSON = "ended by an administrator"


class PostgresRelay:
    """One PostgreSQL conversation."""

    def __init__(self, conversation: Conversation, around: Surroundings) -> None:
        self._login = Login(conversation, around)
        self._asking: Asking | None = None
        self._answering: Answering | None = None
        #: The client has gone, and what it said before is not handled yet.
        self._is_gone = False
        #: The session ends as soon as nothing of it runs.
        self._is_finishing = False

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """Take one event and say what is to be done, in order."""
        session = self._login.session
        if session is None:
            return self._log_in(event, now)
        if session.is_over:
            return ()
        session.now = now
        if now >= session.due_at and not isinstance(event, Woken):
            # A statement may come before the alarm has rung: it is too late all the same.
            session.check_time()
        if not session.is_over:
            self._converse(session, event)
            self._go_on(session)
        return session.take_effects()

    # --- before the session ------------------------------------------------------------------------------------------

    def _log_in(self, event: Event, now: Instant) -> Sequence[Effect]:
        login = self._login
        login.now = now
        if login.stage is Stage.OVER:
            return ()
        match event:
            case Received(side=Side.CLIENT, data=data):
                login.receive_client(data)
            case Received(data=data):
                login.receive_target(data)
            case Proven(answer=answer):
                login.proven(answer)
            case Dialed():
                login.dialed(event)
            case DialFailed():
                login.dial_failed(event)
            case Ended(side=side):
                login.lose(side)
            case Woken():
                login.woken()
            case Unrecorded():
                login.unrecorded()
            case Told(what="kill" | "revoke" | "finish" | "drain" | "evidence"):
                login.told_to_end(wording.session_ended(_why(event)))
            case Analysed() | Computed() | Told() | Sought() | Asked() | Answered() | Spent():
                pass
            case _:
                assert_never(event)
        effects = login.take_effects()
        return effects if login.session is None else [*effects, *self._start(login.session)]

    def _start(self, session: Session) -> list[Effect]:
        """Go on with whatever either side has said already."""
        self._asking, self._answering = Asking(session), Answering(session)
        self._guarded(session, b"", Side.TARGET)
        self._guarded(session, b"", Side.CLIENT)
        self._go_on(session)
        return session.take_effects()

    # --- the session -------------------------------------------------------------------------------------------------

    def _converse(self, session: Session, event: Event) -> None:
        match event:
            case Received(side=side, data=data):
                self._guarded(session, data, side)
            case Analysed(result=result):
                self._asks.analysed(result)
            case Computed():
                self._guarded(session, event, Side.TARGET)
            case Unrecorded(records=records):
                session.undo_from(frozenset(records))
                self._asks.advance()
            case Ended(side=Side.CLIENT) if self._asks.is_behind:
                self._is_gone = True
            case Ended(side=side):
                session.lose(side)
            case Woken():
                session.check_time()
                self._guarded(session, b"", Side.CLIENT)
            case Told():
                self._tell(session, event)
            case Sought() | Asked() | Answered() | Spent():
                session.holding.take(event)
                self._asks.advance()
            case Proven() | Dialed() | DialFailed():
                raise AssertionError("the log-in is over")
            case _:
                assert_never(event)

    def _go_on(self, session: Session) -> None:
        """Have the next slice of what has arrived at once, but not before others."""
        if session.is_over:
            return
        if self._is_finishing and session.is_at_rest and self._asks.is_at_rest:
            session.end("shutdown", wording.session_ended(_SHUTDOWN))
        elif self._asks.is_behind:
            session.effects.append(Wake(session.now))
        elif self._is_gone:
            self._is_gone = False
            session.lose(Side.CLIENT)

    def _guarded(self, session: Session, said: bytes | Computed, side: Side) -> None:
        """Take bytes, or what was made of them; a breach of the protocol ends the session."""
        try:
            if side is Side.TARGET:
                self._hear(said)
                # An answer may be what the client's next message was waiting for.
                self._asks.advance()
            elif isinstance(said, bytes) and said:
                self._asks.receive(said)
            else:
                self._asks.advance()
        except ClientProtocolError as error:
            session.end("protocol_error", f"vestibule: {error}", error.code)
        except TargetProtocolError as error:
            place = session.gate.place
            name = "" if place is None else place.target.name
            session.end("protocol_error", wording.target_unavailable(name), "08006", str(error))

    def _hear(self, said: bytes | Computed) -> None:
        if isinstance(said, Computed):
            self._answers.computed(said.result)
        else:
            self._answers.receive(said)

    def _tell(self, session: Session, told: Told) -> None:
        match told.what:
            case "cancel":
                session.request_cancel()
                self._asks.advance()
            case "policy":
                if not session.gate.is_granted():
                    session.end("revoked", wording.session_ended("revoked"))
                else:
                    session.check_time()
            case "revoke" if told.by == "login_expired":
                session.end("login_expired", wording.session_ended("login expired"))
            case "revoke":
                session.end("revoked", wording.session_ended("revoked"))
            case "kill":
                session.end("killed", wording.session_ended(_ENDED_BY_PERSON))
            case "finish":
                self._is_finishing = True
            case "drain":
                session.end("shutdown", wording.session_ended(_SHUTDOWN))
            case "evidence":
                session.end("evidence_fault", wording.EVIDENCE_UNWRITABLE, "58030")
            case _:
                assert_never(told.what)

    @property
    def _asks(self) -> Asking:
        if self._asking is None:
            raise AssertionError("the session has begun")
        return self._asking

    @property
    def _answers(self) -> Answering:
        if self._answering is None:
            raise AssertionError("the session has begun")
        return self._answering


def _why(told: Told) -> str:
    return {"kill": _ENDED_BY_PERSON, "finish": _SHUTDOWN, "drain": _SHUTDOWN}.get(told.what, "revoked")
