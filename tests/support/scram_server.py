"""The server's side of SCRAM-SHA-256 (RFC 5802), written from the RFC for the tests alone."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode


class ScramServer:
    """Knows one password; `challenge` answers a client-first-message, `final` a client-final-message."""

    def __init__(self, password: bytes, salt: bytes = b"0123456789abcdef", iterations: int = 4096) -> None:
        self.salt, self.iterations = salt, iterations
        self._salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
        self.header = self._bare = self._challenge = b""

    def challenge(self, first: bytes) -> bytes:
        """Answer with nonce, salt and iterations."""
        binding, authzid, self._bare = first.split(b",", 2)
        self.header = binding + b"," + authzid + b","
        nonce = dict(part.split(b"=", 1) for part in self._bare.split(b","))[b"r"] + b"server"
        self._challenge = b"r=" + nonce + b",s=" + b64encode(self.salt) + b",i=" + str(self.iterations).encode()
        return self._challenge

    def final(self, final: bytes, channel: bytes = b"") -> bytes:
        """Check channel binding and proof; answer with the signature."""
        without, _, proof = final.rpartition(b",p=")
        bound = b64decode(without.split(b",")[0].removeprefix(b"c="))
        assert bound == self.header + channel, "channel binding differs"
        message = b",".join((self._bare, self._challenge, without))
        stored = hashlib.sha256(_hmac(self._salted, b"Client Key")).digest()
        key = bytes(a ^ b for a, b in zip(b64decode(proof), _hmac(stored, message), strict=True))
        assert hashlib.sha256(key).digest() == stored, "wrong password"
        return b"v=" + b64encode(_hmac(_hmac(self._salted, b"Server Key"), message))


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()
