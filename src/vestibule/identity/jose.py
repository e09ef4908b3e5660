"""A signed token (compact JWS) taken apart and verified, with the suspicion of somebody who was sent it by a stranger.

1. The algorithm comes from the configuration; the header only names which of the allowed ones was used.
2. `none`, HMAC, encryption, unknown critical headers and other kinds of token are refused before any key is looked up.
3. Keys and addresses inside the token (`jwk`, `jku`, `x5u`, `x5c`) are never read.
4. `kid` is a stranger's text: bounded here, compared elsewhere, never a path, a query or a log line.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry, deserialize_compact

from vestibule.identity.failure import Failure, LoginRefused

#: What an issuer with public keys may be configured to sign with, and the key (type, curve) that goes with it.
KEY_FORMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}

MAX_TOKEN = 64 * 1024
MAX_HEADER = 8 * 1024
MAX_KID = 256

#: Members of a JWS header that change how the rest is to be read; nothing here understands them.
_REFUSED_MEMBERS: Final = frozenset({"crit", "b64", "zip", "enc"})

_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Unverified:
    """The header of a token that nobody has verified yet, and the token itself."""

    algorithm: str
    kid: str | None
    token: bytes

    def __repr__(self) -> str:
        """Say what it is, without the token."""
        return f"Unverified({self.algorithm})"


class _Registry(JWSRegistry):
    """The one algorithm that is allowed, without the library's opinion of `EdDSA` as a name."""

    max_header_length = MAX_HEADER

    def get_alg(self, name: str) -> Any:  # noqa: ANN401 - the library does not export the type
        """Find the algorithm, if it is the allowed one."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


def take_apart(token: bytes, algorithms: frozenset[str]) -> Unverified:
    """Read the header of an ID token; refuse whatever is not a plain signature by one of `algorithms`."""
    if len(token) > MAX_TOKEN:
        raise LoginRefused(Failure.SHAPE, f"the token is longer than {MAX_TOKEN} bytes")
    segments = token.split(b".")
    if len(segments) == 5:
        raise LoginRefused(Failure.ENCRYPTED, "the token is encrypted; configure the provider to sign only")
    if len(segments) != 3 or len(segments[0]) > MAX_HEADER:
        raise LoginRefused(Failure.SHAPE, "the token is not a compact signed token")
    header = read_object(_decode(segments[0]))
    _check_members(header)
    _check_type(header)
    return Unverified(_algorithm(header, algorithms), _kid(header), token)


def verify(unverified: Unverified, key: Key) -> Mapping[str, Any]:
    """Verify the signature with `key`, which must fit the algorithm, and read the claims."""
    registry = _Registry(algorithms=[unverified.algorithm], strict_check_header=False)
    try:
        payload = deserialize_compact(unverified.token, key, registry=registry).payload
    except (JoseError, ValueError) as error:
        raise LoginRefused(Failure.SIGNATURE, "the token's signature is not one of the issuer's") from error
    return read_object(payload)


def read_object(text: bytes) -> dict[str, Any]:
    """Read a JSON object strictly: UTF-8, no member twice, no NaN, no lone surrogate."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise LoginRefused(Failure.SHAPE, "not a well-formed JSON object, or one with a member twice") from error
    if not isinstance(value, dict):
        raise LoginRefused(Failure.SHAPE, "not a JSON object")
    return value


def _decode(segment: bytes) -> bytes:
    # Python's decoder skips characters that it does not know.
    if not _BASE64URL.fullmatch(segment) or len(segment) % 4 == 1:
        raise LoginRefused(Failure.SHAPE, "the token is not base64url without padding")
    return urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))


def _check_members(header: Mapping[str, Any]) -> None:
    if found := sorted(_REFUSED_MEMBERS & header.keys()):
        raise LoginRefused(Failure.CRITICAL, f"the token's header demands {', '.join(found)}, which is not supported")


def _check_type(header: Mapping[str, Any]) -> None:
    # Access tokens (`at+jwt`), logout tokens and nested tokens are no ID tokens, whoever signed them.
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT" or "cty" in header:
        raise LoginRefused(Failure.TYPE, "the token is not an ID token")


def _algorithm(header: Mapping[str, Any], algorithms: frozenset[str]) -> str:
    name = header.get("alg")
    if not isinstance(name, str) or name not in algorithms or name not in KEY_FORMS:
        raise LoginRefused(
            Failure.ALGORITHM,
            f"the token is not signed with one of the configured algorithms ({', '.join(sorted(algorithms))})",
        )
    return name


def _kid(header: Mapping[str, Any]) -> str | None:
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise LoginRefused(Failure.KEY, f"the token's key id is not a text of 1 to {MAX_KID} characters")
    return kid


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
