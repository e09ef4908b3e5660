"""What a protocol is to the rest: how its first bytes are read, and a relay for each conversation.

1. A relay is pure: bytes, answers and the time in; effects out. It reads no clock, no network, no randomness.
2. `Opening` is the sans-IO part before a relay exists: a generator of `Step`s that a listener carries out on
   the bare socket, so that nothing which arrived before a TLS handshake can be read after it.
3. To add a protocol, add a folder beside `postgres/` and a line to `PROTOCOLS`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol as Contract
from uuid import UUID

from vestibule.model.effect import Effect
from vestibule.model.event import Event, Tls
from vestibule.model.identity import Peer
from vestibule.model.names import Instant


@dataclass(frozen=True, slots=True)
class Exactly:
    """Read exactly `count` bytes; the answer is those bytes, or fewer if the peer closed."""

    count: int


@dataclass(frozen=True, slots=True)
class Peek:
    """Look at the first byte without taking it; the answer is one byte, or none if the peer closed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Write bytes; the answer is empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """Hand the socket, with whatever is unread, to TLS; the answer is the agreed ALPN name, maybe empty."""

    alpn: str


Step = Exactly | Peek | Reply | StartTls


@dataclass(frozen=True, slots=True)
class Speak:
    """The peer is ready for a relay, which first receives `data`."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The peer asks to stop the statement of the session with this key; it is never answered."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The connection is closed after `data`; `attempted` is the user name given, `cause` goes to the record."""

    cause: str
    attempted: str = ""
    data: bytes = b""


Outcome = Speak | CancelRequested | Refused
Opening = Generator[Step, bytes, Outcome]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Facts and randomness of one client connection, fixed when its relay is made."""

    session: UUID
    client: Peer
    tls: Tls | None
    started_at: Instant
    #: 16 random bytes: the relay's only source of randomness (poison name, SCRAM nonce).
    seed: bytes
    #: 8 bytes whose first byte or two may route a cancel to this worker.
    cancel_key: bytes


class Relay(Contract):
    """One conversation as a pure state machine."""

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """Take one event and say what is to be done, in order."""
        ...
