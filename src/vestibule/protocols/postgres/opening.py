"""The first bytes of a connection, before there is a relay: TLS or nothing, and the cancel requests.

1. Exactly the bytes of one message are read; what follows stays in the socket, where only the handshake meets it.
2. One GSSENCRequest and one SSLRequest at most, in that order; inside TLS neither.
3. A StartupMessage outside TLS is read and refused, and no password is ever asked for.
4. A length that cannot be is answered by closing, without a byte.
5. A target that cannot serve now (57P03) says so behind the startup packet: it is not reached, and another host may be.
"""

from __future__ import annotations

from collections.abc import Generator
from struct import Struct
from typing import Final

from vestibule.model.errors import ClientProtocolError, TargetProtocolError
from vestibule.protocols.base import (
    CancelRequested,
    Exactly,
    Opening,
    Outcome,
    Peek,
    Refused,
    Reply,
    Speak,
    StartTls,
    Step,
)
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import (
    CANCEL_REQUEST,
    GSSENC_REQUEST,
    PROTOCOL_3_0,
    SSL_REQUEST,
    decode_backend,
    decode_first,
    encode,
)
from vestibule.protocols.postgres.errors import ended, tls_required

ALPN: Final = "postgresql"

_TLS_RECORD: Final = b"\x16"
_HEAD: Final = 8
_CANCEL_SIZE: Final = 16
_STARTUP_LIMIT: Final = 10_000
_ANSWER_HEAD: Final = 5
#: Of an error that a server has behind the startup packet; it is read before anything else.
_ERROR_LIMIT: Final = 32 << 10
#: Starting up, shutting down, or a standby that serves nobody.
CANNOT_CONNECT_NOW: Final = "57P03"

_head = Struct("!II").unpack

_SHORT: Final = Refused("the client closed before its first message was whole")
_CLOSED: Final = Refused("the target closed the connection in log-in")
_NO_ERROR: Final = Refused("the target answered the startup packet with an error that cannot be read")
_NO_ALPN: Final = Refused("direct TLS without ALPN postgresql")

#: What may come next, by what came before: nothing, a GSSENCRequest, TLS.
_BEGIN: Final = frozenset({GSSENC_REQUEST, SSL_REQUEST})
_AFTER_GSSENC: Final = frozenset({SSL_REQUEST})
_IN_TLS: Final[frozenset[int]] = frozenset()


def accept() -> Opening:
    """Bring a client from its first byte to a StartupMessage inside TLS."""
    if (yield Peek()) == _TLS_RECORD:
        if (yield StartTls(ALPN)) != ALPN.encode():
            return _NO_ALPN
        return (yield from _first_message(_IN_TLS))
    return (yield from _first_message(_BEGIN))


def reach(direct: bool, plaintext: bool = False, hello: bytes = b"") -> Opening:
    """Bring a connection to a target to TLS, unless its configuration says plaintext, and through its first answer."""
    outcome = Speak() if plaintext else (yield from _target_tls(direct))
    return (yield from _greet(hello)) if hello and isinstance(outcome, Speak) else outcome


def _target_tls(direct: bool) -> Generator[Step, bytes, Outcome]:
    if direct:
        if (yield StartTls(ALPN)) != ALPN.encode():
            return _NO_ALPN
        return Speak()
    yield Reply(encode(pg.SSLRequest()))
    # One byte, not what a buffer holds: bytes behind the `S` must meet the handshake, not us (CVE-2021-23222).
    answer = yield Exactly(1)
    if answer != b"S":
        return Refused(_NO_TLS.get(answer, "the target answered SSLRequest with something else than S or N"))
    yield StartTls(ALPN)
    return Speak()


def _greet(hello: bytes) -> Generator[Step, bytes, Outcome]:
    """Send the startup packet; whether a server is up is what it says first, before it asks for a password."""
    yield Reply(hello)
    answer = yield Peek()
    if not answer:
        return _CLOSED
    if answer != b"E":
        return Speak()
    head = yield Exactly(_ANSWER_HEAD)
    size = int.from_bytes(head[1:]) - 4
    if not 0 < size <= _ERROR_LIMIT:
        return _NO_ERROR
    body = yield Exactly(size)
    try:
        error = decode_backend(head[0], body)
    except TargetProtocolError:
        return _CLOSED if len(body) < size else _NO_ERROR
    if isinstance(error, pg.ErrorResponse) and error.text("C") == CANNOT_CONNECT_NOW:
        return Refused(f"the target refused the log-in: {CANNOT_CONNECT_NOW} {error.text('M')}")
    return Speak(head + body)


_NO_TLS: Final = {
    b"": "the target closed after SSLRequest",
    b"N": "the target does not speak TLS",
    # Its text is from before any proof of who speaks: it is not read.
    b"E": "the target answered SSLRequest with an error",
}


def _first_message(allowed: frozenset[int]) -> Generator[Step, bytes, Outcome]:
    head = yield Exactly(_HEAD)
    if len(head) < _HEAD:
        return _SHORT
    size, code = _head(head)
    if code in (SSL_REQUEST, GSSENC_REQUEST):
        if size != _HEAD or code not in allowed:
            return Refused("an encryption request repeated, out of order or of a wrong length")
        return (yield from (_tls() if code == SSL_REQUEST else _no_gssenc()))
    if code == CANCEL_REQUEST:
        return (yield from _cancel(size))
    return (yield from _startup(head, size, code, is_secure=allowed is _IN_TLS))


def _tls() -> Generator[Step, bytes, Outcome]:
    yield Reply(b"S")
    # Clients before libpq 17 send no ALPN here.
    yield StartTls(ALPN)
    return (yield from _first_message(_IN_TLS))


def _no_gssenc() -> Generator[Step, bytes, Outcome]:
    yield Reply(b"N")
    return (yield from _first_message(_AFTER_GSSENC))


def _cancel(size: int) -> Generator[Step, bytes, Outcome]:
    if size != _CANCEL_SIZE:
        return Refused("a CancelRequest of a wrong length")
    key = yield Exactly(_CANCEL_SIZE - _HEAD)
    return CancelRequested(key) if len(key) == _CANCEL_SIZE - _HEAD else _SHORT


def _startup(head: bytes, size: int, code: int, is_secure: bool) -> Generator[Step, bytes, Outcome]:
    if not _HEAD <= size <= _STARTUP_LIMIT:
        return Refused(f"a startup packet of {size} bytes")
    rest = (yield Exactly(size - _HEAD)) if size > _HEAD else b""
    if len(rest) < size - _HEAD:
        return _SHORT
    if code >> 16 != PROTOCOL_3_0 >> 16:
        return Refused("an unsupported protocol version", data=encode(unsupported_version(code)))
    if not is_secure:
        return Refused("no TLS", _attempted(head[4:] + rest), encode(tls_required()))
    return Speak(head + rest)


def unsupported_version(version: int) -> pg.ErrorResponse:
    """Tell which protocol versions there are."""
    return ended("0A000", f"vestibule: unsupported protocol {version >> 16}.{version & 0xFFFF}; use 3.0")


def _attempted(body: bytes) -> str:
    try:
        message = decode_first(body)
    except ClientProtocolError:
        return ""
    return dict(message.parameters).get("user", "") if isinstance(message, pg.StartupMessage) else ""
