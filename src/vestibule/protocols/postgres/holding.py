"""A held statement as this protocol shows it: what the client is told while people decide.

1. The client is told at once where people answer, and again every 25 seconds: that keeps the connection alive, and
   shows that it is.
2. Everything behind the held message waits in the reader. While the reader is full, the end of a client's connection
   stands behind what it has not sent yet: every 3 seconds it is told something that it knows, which a client that has
   gone answers with a reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vestibule.gate.approvals import Held
from vestibule.gate.outcome import Cause, Decided
from vestibule.model import wording
from vestibule.model.effect import Wake
from vestibule.model.event import Answered, Approving, Asked, Sought, Spent
from vestibule.model.names import SECOND, Instant
from vestibule.model.statement import Statement, Unsupported
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.messages import NoticeResponse, ParameterStatus
from vestibule.protocols.postgres.owed import Running

if TYPE_CHECKING:
    from vestibule.protocols.postgres.session import Session

#: Half of what common balancers and drivers allow a silent connection.
NOTICE_EVERY: Final = 25 * SECOND
PROBE_EVERY: Final = 3 * SECOND
#: Always so, as the gateway pins it.
_KNOWN: Final = encode(ParameterStatus("client_encoding", "UTF8"))


class Holding:
    """The statement at the head of a session's line while people decide about it, if there is one."""

    def __init__(self, session: Session) -> None:
        """Begin without one."""
        self._session = session
        self._held: Held | None = None
        #: The client is not read, as too much waits already.
        self._is_full = False
        self._next_notice: Instant | None = None
        self._next_probe = Instant(0)

    def __bool__(self) -> bool:
        """Tell whether a statement waits."""
        return self._held is not None

    @property
    def due_at(self) -> Instant | None:
        """When it must be looked at again."""
        if self._held is not None and self._next_notice is not None and self._is_full:
            return min(self._next_notice, self._next_probe)
        return self._next_notice

    def begin(self, decided: Decided, statement: Statement) -> None:
        """Let a statement wait; nothing is told before people can see the request."""
        session = self._session
        # Locks are never held while a person thinks, and what is behind in a pipeline may need an answer.
        is_live = session.is_idle and session.status == "I"
        self._held = Held(session.gate, decided, statement, is_live=is_live)
        self._next_notice, self._is_full = None, False
        self._go_on()

    def take(self, event: Approving) -> None:
        """Take what the approvals say."""
        held, now = self._held, self._session.now
        match event:
            case _ if held is None:
                return
            case Sought():
                held.sought(event, now)
            case Asked():
                held.asked(event)
            case Answered():
                held.answered(event, now)
            case Spent():
                held.spent(event)
        self._go_on()

    def released(self) -> Decided | None:
        """Take the decision of the statement, once people have decided; None while it waits."""
        if self._held is None or not self._held.is_over:
            return None
        return self._end(self._held)

    def void(self, why: Unsupported) -> Decided:
        """Refuse the statement: it cannot be carried out any more."""
        if self._held is None:
            raise AssertionError("no statement waits for people")
        self._held.void(why)
        return self._end(self._held)

    def check(self) -> None:
        """Let a statement that was granted use its permit, once the target has said what its names mean now."""
        if self._held is not None and self._held.is_checking and not self._session.is_learning:
            self._held.check(self._session.known.meaning)
            self._go_on()

    def check_time(self) -> None:
        """Tell the client again what it waits for, or stop to wait."""
        if self._held is not None:
            self._held.check_time(self._session.now)
            self._go_on()

    def cancel(self) -> None:
        """Stop to wait, as the client asked."""
        if self._held is not None:
            self._held.cancel()
            self._go_on()

    def undo(self, names: frozenset[str], why: Unsupported) -> None:
        """Learn which records could not be made durable."""
        if self._held is not None:
            self._held.undo(names, why)
            self._go_on()

    def note_full(self, is_full: bool) -> None:
        """Note whether the client is read meanwhile."""
        self._is_full = is_full
        self._go_on()

    def abandon(self, cause: Cause) -> None:
        """Let nobody approve what nobody waits for: a later answer carries nothing out."""
        if self._held is None:
            return
        if not self._held.is_over:
            self._held.abandon(cause)
        decided = self._end(self._held)
        if decided.is_recorded:
            running = Running(decided, forwarded=False)
            running.end("cancelled")
            self._session.finish(running, "")

    def _end(self, held: Held) -> Decided:
        self._held, self._next_notice = None, None
        self._session.effects += held.take_effects()
        return held.decided

    def _go_on(self) -> None:
        held, session = self._held, self._session
        if held is None:
            return
        if held.is_checking and not session.is_learning:
            session.learn()
        session.effects += held.take_effects()
        told = self._notices(held, session.now)
        if told:
            session.tell_client(told)
            session.effects.append(Wake(session.deadline()))

    def _notices(self, held: Held, now: Instant) -> bytes:
        """Give what the client is to be told now."""
        if not held.is_waiting:
            self._next_notice = None
            return b""
        told = b""
        if self._next_notice is None or now >= self._next_notice:
            self._next_notice = Instant(now + NOTICE_EVERY)
            text = wording.held(held.approval, held.url)
            told = encode(NoticeResponse((("S", "NOTICE"), ("V", "NOTICE"), ("C", "00000"), ("M", text))))
        if self._is_full and now >= self._next_probe:
            self._next_probe = Instant(now + PROBE_EVERY)
            told += _KNOWN
        return told
