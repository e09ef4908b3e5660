"""Carries an opening out over bytes in memory, as a listener does over a socket."""

from __future__ import annotations

from dataclasses import dataclass, field

from vestibule.protocols.base import Exactly, Opening, Outcome, Peek, Refused, Reply, StartTls

HANDSHAKE_FAILED = Refused("the handshake failed")


@dataclass
class Carried:
    """What came of an opening: its outcome, what was written, whether TLS began, what was left unread."""

    outcome: Outcome
    written: bytes = b""
    is_secure: bool = False
    unread: bytes = b""
    largest: int = 0
    offered: list[str] = field(default_factory=list)


def carry(opening: Opening, plain: bytes, inside: bytes = b"", alpn: bytes = b"postgresql", step: int = 0) -> Carried:
    """Feed `plain` up to a handshake and `inside` behind it; plain bytes left over make the handshake fail.

    A TLS client's own first record is stood for by one 0x16 in `plain`.
    """
    carried = Carried(HANDSHAKE_FAILED)
    waiting, answer = bytearray(plain), None
    while True:
        try:
            asked = opening.send(answer)  # type: ignore[arg-type]  # a generator is started with None
        except StopIteration as stop:
            carried.outcome, carried.unread = stop.value, bytes(waiting)
            return carried
        match asked:
            case Peek():
                answer = bytes(waiting[:1])
            case Exactly(count=count):
                carried.largest = max(carried.largest, count)
                answer = bytes(waiting[:count])
                del waiting[:count]
            case Reply(data=data):
                carried.written += data
                answer = b""
            case StartTls(alpn=offer):
                carried.offered.append(offer)
                if bytes(waiting) not in (b"", b"\x16"):
                    carried.unread = bytes(waiting)
                    return carried
                carried.is_secure, waiting, answer = True, bytearray(inside), alpn
