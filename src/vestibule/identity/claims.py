"""What an ID token must say: pure checks on claims whose signature was verified.

1. Issuer by exact equality, audience by membership; several audiences, or an `azp`, need `azp` to be this client.
2. `exp` and `iat` are required; all times with the configured leeway; a token older than the maximum age is refused.
3. The nonce is the one of this very log-in; `at_hash`, when given, fits the access token beside it.
4. A wrong type is a refusal, not a default. Groups that the provider could not fit in are a refusal, not "no groups".
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vestibule.identity.failure import Failure, LoginRefused
from vestibule.model import wording
from vestibule.model.names import SECOND, GroupName, Instant, LoginName

Claims = Mapping[str, Any]

MAX_SUBJECT = 255
MAX_NAME = 256
MAX_GROUPS = 2000

_HASHES: Final[Mapping[str, str]] = {"256": "sha256", "384": "sha384", "512": "sha512"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What this log-in's ID token must agree with; times in seconds."""

    issuer: str
    client_id: str
    nonce: str
    leeway: int
    max_age: int
    now: float


@dataclass(frozen=True, slots=True)
class Subject:
    """A person as an issuer vouches for them at one moment."""

    issuer: str
    subject: str
    name: LoginName
    groups: frozenset[GroupName]
    amr: tuple[str, ...] = ()
    acr: str = ""
    auth_time: Instant | None = None


def check(claims: Claims, expected: Expected) -> None:
    """Check who made the token, for whom, when, and for which log-in."""
    if claims.get("iss") != expected.issuer:
        raise LoginRefused(Failure.ISSUER, "the token names another issuer than the configured one")
    if "events" in claims:
        raise LoginRefused(Failure.TYPE, "the token is a logout token, not an ID token")
    _check_audience(claims, expected.client_id)
    _check_times(claims, expected)
    _check_nonce(claims, expected.nonce)


def check_access_token(claims: Claims, algorithm: str, access_token: str | None) -> None:
    """Check `at_hash`, when given, against the access token (OpenID Connect Core, 3.1.3.6)."""
    if "at_hash" not in claims:
        return
    digest = hashlib.new(_HASHES.get(algorithm[-3:], "sha512"), (access_token or "").encode()).digest()
    half = urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if access_token is None or not _equal(claims["at_hash"], half):
        raise LoginRefused(Failure.ACCESS_TOKEN_HASH, "the ID token belongs to another access token")


def subject_of(claims: Claims, name_claim: str, groups_claim: str) -> Subject:
    """Read the person out of claims that `check` has accepted."""
    return Subject(
        claims["iss"],
        subject(claims),
        _name(claims, name_claim),
        _groups(claims, groups_claim),
        _texts(claims, "amr"),
        _text(claims, "acr"),
        _auth_time(claims),
    )


def subject(claims: Claims) -> str:
    """Read `sub`: 1 to 255 printable characters."""
    value = claims.get("sub")
    if not _is_printable(value, MAX_SUBJECT):
        raise LoginRefused(Failure.SHAPE, "the token's subject is not a text of 1 to 255 printable characters")
    return str(value)


def lacks(claims: Claims, name_claim: str, groups_claim: str) -> bool:
    """Tell whether name or groups are missing, so that the provider's user info may know more."""
    return name_claim not in claims or groups_claim not in claims


def _check_audience(claims: Claims, client_id: str) -> None:
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        raise LoginRefused(Failure.AUDIENCE, "the token's audience is neither a text nor a list of texts")
    if client_id not in audiences:
        raise LoginRefused(Failure.AUDIENCE, "the token is meant for another client of the provider")
    if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != client_id:
        raise LoginRefused(Failure.AUTHORIZED_PARTY, "the token was issued to another client of the provider")


def _check_times(claims: Claims, expected: Expected) -> None:
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    not_before = _time(claims, "nbf") if "nbf" in claims else issued
    if expires <= expected.now - expected.leeway:
        raise LoginRefused(Failure.EXPIRED, "the token has expired; check the clocks if it was just issued")
    if max(issued, not_before) > expected.now + expected.leeway:
        raise LoginRefused(Failure.NOT_YET_VALID, "the token is from the future; check the clocks")
    if issued < expected.now - expected.leeway - expected.max_age:
        raise LoginRefused(Failure.TOO_OLD, f"the token is older than {expected.max_age} seconds")


def _check_nonce(claims: Claims, nonce: str) -> None:
    if not _equal(claims.get("nonce"), nonce):
        raise LoginRefused(Failure.NONCE, "the token belongs to another log-in")


def _name(claims: Claims, name_claim: str) -> LoginName:
    name = claims.get(name_claim)
    if not _is_printable(name, MAX_NAME):
        raise LoginRefused(
            Failure.NAME, f"the provider sent no usable {name_claim!r} claim; check name_claim and scopes"
        )
    if name_claim == "email" and claims.get("email_verified") is not True:
        raise LoginRefused(Failure.NAME, "the provider has not verified the email address")
    return LoginName(str(name))


def _groups(claims: Claims, groups_claim: str) -> frozenset[GroupName]:
    _check_overage(claims, groups_claim)
    groups = claims.get(groups_claim, [])
    if not isinstance(groups, list) or not all(_is_printable(group, MAX_NAME) for group in groups):
        raise LoginRefused(Failure.GROUPS, f"the claim {groups_claim!r} is not a list of texts")
    if len(groups) > MAX_GROUPS:
        raise LoginRefused(Failure.TOO_MANY_GROUPS, wording.TOO_MANY_GROUPS)
    return frozenset(GroupName(group) for group in groups)


def _check_overage(claims: Claims, groups_claim: str) -> None:
    # Distributed claims point to an address that a stranger's token names: never fetched, never "no groups".
    elsewhere = claims.get("_claim_names", {})
    if not isinstance(elsewhere, dict) or groups_claim in elsewhere or "groups" in elsewhere or claims.get("hasgroups"):
        raise LoginRefused(Failure.TOO_MANY_GROUPS, wording.TOO_MANY_GROUPS)


def _auth_time(claims: Claims) -> Instant | None:
    return Instant(int(_time(claims, "auth_time") * SECOND)) if "auth_time" in claims else None


def _time(claims: Claims, claim: str) -> float:
    value = claims.get(claim)
    # True is an int to Python; a year beyond 9999 is nonsense that later arithmetic should not meet.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2.5e11:
        raise LoginRefused(Failure.SHAPE, f"the token's {claim} is missing or not a time")
    return float(value)


def _text(claims: Claims, claim: str) -> str:
    value = claims.get(claim, "")
    if value != "" and not _is_printable(value, MAX_NAME):
        raise LoginRefused(Failure.SHAPE, f"the token's {claim} is not a text")
    return str(value)


def _texts(claims: Claims, claim: str) -> tuple[str, ...]:
    values = claims.get(claim, [])
    if not isinstance(values, list) or len(values) > 32 or not all(_is_printable(value, MAX_NAME) for value in values):
        raise LoginRefused(Failure.SHAPE, f"the token's {claim} is not a list of texts")
    return tuple(values)


def _is_printable(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _equal(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())
