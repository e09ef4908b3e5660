"""A held statement as this protocol shows it: what the client is told while people decide.

1. The client is told at once where people answer, and again every 25 seconds: that keeps the connection alive, and
   shows that it is.
2. Everything behind the held message waits in the reader. While the reader is full, the end of a client's connection
   stands behind what it has not sent yet: every 3 seconds it is told something that it knows, which a client that has
   gone answers with a reset.
"""

from __future__ import annotations

from typing import Final

from vestibule.gate.approvals import Held
from vestibule.model import wording
from vestibule.model.event import Answered, Approving, Asked, Sought, Spent
from vestibule.model.names import SECOND, Instant
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.messages import NoticeResponse, ParameterStatus

#: Half of what common balancers and drivers allow a silent connection.
NOTICE_EVERY: Final = 25 * SECOND
PROBE_EVERY: Final = 3 * SECOND
#: Always so, as the gateway pins it.
_KNOWN: Final = encode(ParameterStatus("client_encoding", "UTF8"))


class Holding:
    """The statement at the head of the line while people decide about it."""

    def __init__(self, held: Held) -> None:
        """Begin; nothing is told before people can see the request."""
        self.held = held
        #: The client is not read, as too much waits already.
        self.is_full = False
        self._next_notice: Instant | None = None
        self._next_probe = Instant(0)

    @property
    def due_at(self) -> Instant | None:
        """When it must be looked at again."""
        if self._next_notice is not None and self.is_full:
            return min(self._next_notice, self._next_probe)
        return self._next_notice

    def take(self, event: Approving, now: Instant) -> None:
        """Take what the approvals say."""
        match event:
            case Sought():
                self.held.sought(event, now)
            case Asked():
                self.held.asked(event)
            case Answered():
                self.held.answered(event, now)
            case Spent():
                self.held.spent(event)

    def notices(self, now: Instant) -> bytes:
        """Give what the client is to be told now."""
        if not self.held.is_waiting:
            self._next_notice = None
            return b""
        told = b""
        if self._next_notice is None or now >= self._next_notice:
            self._next_notice = Instant(now + NOTICE_EVERY)
            text = wording.held(self.held.approval, self.held.url)
            told = encode(NoticeResponse((("S", "NOTICE"), ("V", "NOTICE"), ("C", "00000"), ("M", text))))
        if self.is_full and now >= self._next_probe:
            self._next_probe = Instant(now + PROBE_EVERY)
            told += _KNOWN
        return told
