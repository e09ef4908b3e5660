"""Logging in to a target: messages in, bytes to send out.

1. Only methods that the target's configuration allows are used; the strongest of those offered.
2. Where SCRAM was demanded, AuthenticationOk counts only behind a verified server signature.
3. A target that lets us in without asking for anything has proven nothing and is refused.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from vestibule.model.errors import TargetProtocolError, TargetUnavailable
from vestibule.model.target import AuthMethod, Target
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.scram import MECHANISM, MECHANISM_PLUS, Exchange, SaltedPasswords

PLUS: Final[AuthMethod] = "scram-sha-256-plus"
SCRAM: Final[AuthMethod] = "scram-sha-256"
MD5: Final[AuthMethod] = "md5"
CLEARTEXT: Final[AuthMethod] = "cleartext"


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The target has accepted us, and has proven itself where the method can."""

    method: AuthMethod


class _State(Enum):
    ASKED = auto()
    CHALLENGED = auto()
    SIGNED = auto()
    DONE = auto()
    OVER = auto()


class Login:
    """One log-in; forgets the password once it is used.

    `end_point` is the channel binding of the connection: None without TLS, empty where the certificate
    defines none. `nonce` is random, at least 16 bytes.
    """

    def __init__(
        self, target: Target, password: bytes, end_point: bytes | None, nonce: bytes, salted: SaltedPasswords
    ) -> None:
        self._target = target
        self._password = password
        self._end_point = end_point
        self._nonce = b64encode(nonce)
        self._salted = salted
        self._state = _State.ASKED
        self._method: AuthMethod = SCRAM
        self._exchange: Exchange | None = None

    def receive(self, message: pg.BackendMessage) -> bytes | LoggedIn:
        """Take the target's next message; give what to send (maybe nothing), or that we are in."""
        match message:
            case pg.ErrorResponse():
                raise TargetUnavailable(f"the target refused the log-in: {message.text('C')} {message.text('M')}")
            case pg.NoticeResponse():
                return b""
            case pg.AuthenticationSASL(mechanisms=mechanisms) if self._state is _State.ASKED:
                return self._begin(mechanisms)
            case pg.AuthenticationSASLContinue(data=data) if self._exchange and self._state is _State.CHALLENGED:
                return self._answer(self._exchange, data)
            case pg.AuthenticationSASLFinal(data=data) if self._exchange and self._state is _State.SIGNED:
                return self._verify(self._exchange, data)
            case pg.AuthenticationMD5Password(salt=salt) if self._state is _State.ASKED:
                return self._md5(salt)
            case pg.AuthenticationCleartextPassword() if self._state is _State.ASKED:
                return self._cleartext()
            case pg.AuthenticationOk() if self._state is _State.DONE:
                self._state = _State.OVER
                return LoggedIn(self._method)
            case pg.AuthenticationOk():
                raise TargetProtocolError("the target let us in without proving that it knows the password")
            case pg.AuthenticationOther(code=code) if self._state is _State.ASKED:
                raise TargetUnavailable(f"the target demands authentication method {code}, which is not supported")
            case _:
                raise TargetProtocolError(f"unexpected target message {type(message).__name__} in log-in")

    # --- SCRAM -------------------------------------------------------------------------------------------------------

    def _begin(self, offered: tuple[str, ...]) -> bytes:
        if MECHANISM_PLUS in offered and self._end_point is None:
            raise TargetProtocolError("the target offers channel binding on a connection without TLS")
        allowed = self._target.authentication
        if MECHANISM_PLUS in offered and PLUS in allowed and self._end_point:
            return self._propose(PLUS, MECHANISM_PLUS, self._end_point)
        self._require_no_binding()
        if MECHANISM in offered and SCRAM in allowed:
            return self._propose(SCRAM, MECHANISM, None, MECHANISM_PLUS not in offered)
        raise TargetUnavailable(f"the target offers no allowed method: {', '.join(offered)}")

    def _propose(self, method: AuthMethod, mechanism: str, channel: bytes | None, is_alone: bool = False) -> bytes:
        # "y" tells a server that we could have bound: it notices if its -PLUS was taken out of the offer.
        could_bind = is_alone and bool(self._end_point) and PLUS in self._target.authentication
        exchange = Exchange(channel, could_bind, self._nonce)
        self._exchange, self._method, self._state = exchange, method, _State.CHALLENGED
        return encode(pg.SASLInitialResponse(mechanism, exchange.first))

    def _answer(self, exchange: Exchange, challenge: bytes) -> bytes:
        answer = exchange.answer(challenge, self._take_password(), self._salted)
        self._state = _State.SIGNED
        return encode(pg.SASLResponse(answer))

    def _verify(self, exchange: Exchange, final: bytes) -> bytes:
        exchange.verify(final)
        self._state = _State.DONE
        return b""

    # --- what proves nothing of the server ---------------------------------------------------------------------------

    def _md5(self, salt: bytes) -> bytes:
        self._require(MD5)
        inner = _md5_hex(self._take_password() + self._target.credential.username.encode())
        return self._password_message(MD5, b"md5" + _md5_hex(inner + salt))

    def _cleartext(self) -> bytes:
        self._require(CLEARTEXT)
        if self._end_point is None:
            raise TargetUnavailable("the target demands the password in cleartext on a connection without TLS")
        return self._password_message(CLEARTEXT, self._take_password())

    def _require(self, method: AuthMethod) -> None:
        self._require_no_binding()
        if method not in self._target.authentication:
            raise TargetUnavailable(f"the target demands {method}, which its configuration here does not allow")

    def _require_no_binding(self) -> None:
        if self._target.tls.channel_binding == "require":
            raise TargetUnavailable("channel binding is required, and the target does not offer it")

    def _password_message(self, method: AuthMethod, secret: bytes) -> bytes:
        self._method, self._state = method, _State.DONE
        return encode(pg.PasswordMessage(secret + b"\0"))

    def _take_password(self) -> bytes:
        password, self._password = self._password, b""
        if not password or 0 in password:
            raise TargetUnavailable("the vault's password is empty or holds a NUL")
        return password


def _md5_hex(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
