"""The client's side of SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677), as PostgreSQL speaks it.

1. The server proves that it knows the password too: without its signature there is no log-in.
2. What the server may demand is bounded: iterations, the size of its salt and nonce.
3. The password is prepared by SASLprep (RFC 4013) where that is defined for it, else taken as it is.
"""

from __future__ import annotations

import hashlib
import hmac
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from vestibule.model.errors import TargetProtocolError, TargetUnavailable

MECHANISM: Final = "SCRAM-SHA-256"
MECHANISM_PLUS: Final = "SCRAM-SHA-256-PLUS"

ITERATION_LIMIT: Final = 100_000
SALT_LIMIT: Final = 1024
NONCE_LIMIT: Final = 1024


class SaltedPasswords:
    """Remembers the costly part of a log-in; bounded, the least recently used goes first."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[bytes, bytes, int], bytes] = OrderedDict()

    def derive(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        """Give SaltedPassword, computed once per password, salt and count."""
        key = (hashlib.sha256(password).digest(), salt, iterations)
        salted = self._known.pop(key, None)
        if salted is None:
            salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
        self._known[key] = salted
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return salted


class Exchange:
    """One exchange: `first`, then `answer` to the challenge, then `verify`."""

    def __init__(self, channel: bytes | None, is_downgrade_noticed: bool, nonce: bytes, username: str = "") -> None:
        """Bind to `channel` if there is one; else say whether that would have been possible (`y`) or not (`n`)."""
        self._header = (
            b"p=tls-server-end-point,," if channel is not None else b"y,," if is_downgrade_noticed else b"n,,"
        )
        self._channel = channel or b""
        self._nonce = nonce
        # PostgreSQL takes the user from the StartupMessage, and libpq sends no name here.
        self._bare = b"n=" + username.encode() + b",r=" + nonce
        self._signature = b""

    @property
    def first(self) -> bytes:
        """The client-first-message."""
        return self._header + self._bare

    def answer(self, challenge: bytes, password: bytes, salted: SaltedPasswords) -> bytes:
        """Make the client-final-message for the server-first-message."""
        nonce, salt, iterations = _read_challenge(challenge, self._nonce)
        final = b"c=" + b64encode(self._header + self._channel) + b",r=" + nonce
        exchanged = b",".join((self._bare, challenge, final))
        secret = salted.derive(prepare(password), salt, iterations)
        client_key = _hmac(secret, b"Client Key")
        proof = _xor(client_key, _hmac(hashlib.sha256(client_key).digest(), exchanged))
        self._signature = _hmac(_hmac(secret, b"Server Key"), exchanged)
        return final + b",p=" + b64encode(proof)

    def verify(self, final: bytes) -> None:
        """Refuse a server that does not know the password (server-final-message)."""
        if final.startswith(b"e="):
            raise TargetUnavailable(f"the target ended SCRAM: {_printable(final[2:66])}")
        given = _base64(_attribute(final.split(b",")[0], b"v"))
        if not self._signature or not hmac.compare_digest(given, self._signature):
            raise TargetProtocolError("wrong server signature: the target does not know its own password")


def prepare(password: bytes) -> bytes:
    """Prepare a password by SASLprep; where that forbids it, or it is no UTF-8, PostgreSQL takes it as it is."""
    if password.isascii():
        return password
    try:
        text = password.decode()
    except UnicodeDecodeError:
        return password
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", mapped)
    return normal.encode() if normal and _is_allowed(normal) else password


_FORBIDDEN: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _is_allowed(text: str) -> bool:
    if any(is_in(character) for character in text for is_in in _FORBIDDEN):
        return False
    # RFC 3454, 6: right-to-left text has no left-to-right letter, and begins and ends right-to-left.
    right = [stringprep.in_table_d1(character) for character in text]
    if not any(right):
        return True
    return right[0] and right[-1] and not any(map(stringprep.in_table_d2, text))


def _read_challenge(challenge: bytes, ours: bytes) -> tuple[bytes, bytes, int]:
    attributes = challenge.split(b",")
    if len(attributes) < 3:
        raise TargetProtocolError("malformed SCRAM challenge")
    # An extension before the nonce (`m=`) is mandatory; not knowing any, _attribute refuses it.
    nonce, salt, count = (_attribute(text, name) for text, name in zip(attributes, (b"r", b"s", b"i"), strict=False))
    if not nonce.startswith(ours) or not len(ours) < len(nonce) <= NONCE_LIMIT or not _is_printable(nonce):
        raise TargetProtocolError("the target's SCRAM nonce does not extend ours")
    return nonce, _read_salt(salt), _read_iterations(count)


def _read_salt(text: bytes) -> bytes:
    salt = _base64(text)
    if not 0 < len(salt) <= SALT_LIMIT:
        raise TargetProtocolError(f"a SCRAM salt of {len(salt)} bytes")
    return salt


def _read_iterations(text: bytes) -> int:
    if not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= ITERATION_LIMIT:
        raise TargetProtocolError(f"a SCRAM iteration count that is not 1 to {ITERATION_LIMIT}")
    return int(text)


def _attribute(text: bytes, name: bytes) -> bytes:
    key, equals, value = text.partition(b"=")
    if key != name or not equals:
        raise TargetProtocolError(f"SCRAM attribute {name.decode()} expected")
    return value


def _base64(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except Base64Error:
        raise TargetProtocolError("malformed base64 in SCRAM") from None


def _is_printable(text: bytes) -> bool:
    return all(0x21 <= byte <= 0x7E for byte in text)


def _printable(text: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E else "?" for byte in text)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
