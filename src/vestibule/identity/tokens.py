"""Opaque tokens: what the gateway gives out, and how it knows one when it sees one.

1. `vst_` and 32 random bytes in base64url: 47 characters that need no escape in a URI, a shell or a `.pgpass`.
2. Only the SHA-256 is kept. The token has 256 random bits, so a plain hash cannot be reversed by guessing.
3. A cut token is told apart from a wrong one, because the person can do something about it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final, Literal

from vestibule.model.identity import Refusal

LENGTH: Final = 47
#: A terminal in line mode keeps this many bytes of what is typed and says nothing.
TTY_LINE: Final = 4095
#: Longer than any credential that a protocol carries; not even hashed.
LONGEST: Final = 64 * 1024

#: The credentials that are secrets; a certificate is none.
SecretKind = Literal["gateway", "browser"]

_PREFIX: Final[dict[SecretKind, str]] = {"gateway": "vst_", "browser": "vsb_"}
_FORM: Final = re.compile(rb"vs[tb]_[A-Za-z0-9_-]{43}")


def new_token(kind: SecretKind) -> str:
    """Make a token; it is shown once and then only its digest is known."""
    return _PREFIX[kind] + secrets.token_urlsafe(32)


def digest(token: bytes) -> bytes:
    """Hash a token for keeping and for looking up."""
    return hashlib.sha256(token[:LONGEST]).digest()


def malformed(token: bytes) -> Refusal | None:
    """Say what is wrong with the form of a token given as a gateway token, or nothing."""
    if token.startswith(b"vst_") and len(token) != LENGTH:
        return Refusal.TRUNCATED
    if token.startswith(b"eyJ") and len(token) == TTY_LINE:
        return Refusal.TRUNCATED
    return None if _FORM.fullmatch(token) else Refusal.UNKNOWN
