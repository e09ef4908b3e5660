"""What is kept of a log-in: the login itself, and the credentials that point to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from vestibule.model.errors import VestibuleError
from vestibule.model.identity import Identity, Proof, Who
from vestibule.model.names import GroupName, Instant, TargetName

#: A gateway token opens every protocol and the API; a browser's cookie opens the API alone, a certificate databases.
TokenKind = Literal["gateway", "browser", "certificate"]


@dataclass(frozen=True, slots=True)
class Login:
    """A person's proven log-in with its groups as they were then; `who.login` is its id."""

    who: Who
    provider: str
    groups: frozenset[GroupName]
    amr: tuple[str, ...]
    acr: str
    auth_time: Instant | None
    ip: str
    created_at: Instant
    expires_at: Instant
    revoked_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A credential that points to a login, without its secret; `targets` None means every target.

    A certificate is kept like a token: what is hashed is the certificate itself.
    """

    id: UUID
    login: UUID
    kind: TokenKind
    created_at: Instant
    expires_at: Instant
    targets: frozenset[TargetName] | None = None
    revoked_at: Instant | None = None
    used_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A token and the login it points to, as the store has them now."""

    token: Token
    login: Login
    digest: bytes


class NameTaken(VestibuleError):
    """Somebody else of the same issuer is signed in under this name."""


class TooManyTokens(VestibuleError):
    """The login holds as many live tokens as it may."""


class StateUnavailable(VestibuleError):
    """The state database cannot answer now; whatever needed it is refused."""


def identity_of(found: Found) -> Identity:
    """Read the identity that a live token or certificate proves."""
    login, token = found.login, found.token
    proof = Proof(method_of(token), str(token.id), login.amr, login.acr, login.auth_time)
    return Identity(login.who, login.groups, proof, login.expires_at, token.targets)


def method_of(token: Token) -> str:
    """Say, for a record, what is shown to prove by this credential."""
    return "certificate" if token.kind == "certificate" else "token"
