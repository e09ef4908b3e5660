"""Who one is, one's own tokens and certificates, and the end of one's log-in."""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from vestibule.control.api.asking import SESSION_COOKIE, Me, SignIn, peer_of, set_cookie, sign_in_of
from vestibule.control.api.guarded import GuardedRoute, Problem, problems
from vestibule.model import wording
from vestibule.model.identity import Identity
from vestibule.model.names import SECOND, TargetName, stamp

router = APIRouter(route_class=GuardedRoute, prefix="/api/v1", tags=["sign-in"])


class Person(BaseModel):
    """Who asks."""

    issuer: str
    subject: str
    name: str
    groups: list[str]
    login: UUID
    expires_at: str = Field(description="When the login ends, and every session with it.")


class TokenRequest(BaseModel):
    """A token that is wanted."""

    model_config = ConfigDict(extra="forbid")

    targets: list[str] | None = Field(
        default=None, min_length=1, max_length=100, description="The targets it is good for; left out: all of them."
    )
    life: int | None = Field(
        default=None, ge=1, le=7 * 24 * 3600, description="Seconds; never beyond the end of the login."
    )


class NewToken(BaseModel):
    """A token, shown this once."""

    id: UUID
    token: str
    targets: list[str] | None
    expires_at: str


@router.get("/me", responses=problems(401, 403, 429, 503))
async def me(identity: Me) -> Person:
    """Say who asks."""
    who = identity.who
    return Person(
        issuer=who.issuer,
        subject=who.subject,
        name=who.name,
        groups=sorted(identity.groups),
        login=who.login,
        expires_at=stamp(identity.expires_at),
    )


@router.post("/tokens", status_code=201, responses=problems(400, 401, 403, 413, 422, 429, 503))
async def make_token(request: Request, wanted: TokenRequest, identity: Me) -> NewToken:
    """Make one more token for whoever asks: a database password, shown this once."""
    sign_in = sign_in_of(request)
    targets = granted(sign_in, identity, wanted)
    life = None if wanted.life is None else wanted.life * SECOND
    issued = await sign_in.service.issue(identity, targets, life, peer_of(request))
    token = issued.token
    return NewToken(
        id=token.id,
        token=issued.secret,
        targets=None if token.targets is None else [str(target) for target in sorted(token.targets)],
        expires_at=stamp(token.expires_at),
    )


@router.delete("/tokens/{token}", status_code=204, responses=problems(401, 403, 404, 422, 429, 503))
async def revoke_token(request: Request, token: UUID, identity: Me) -> None:
    """End one of one's own tokens or certificates, and the sessions that it opened."""
    if not await sign_in_of(request).service.revoke_token(token, identity, peer_of(request)):
        raise Problem(HTTPStatus.NOT_FOUND, "you have no token of this id")


@router.post("/logout", status_code=204, responses=problems(401, 403, 429, 503))
async def logout(request: Request, response: Response, identity: Me) -> None:
    """End one's own login with all its tokens and sessions."""
    await sign_in_of(request).service.logout(identity, peer_of(request))
    set_cookie(response, SESSION_COOKIE, "", 0)


def granted(sign_in: SignIn, identity: Identity, wanted: TokenRequest) -> frozenset[TargetName] | None:
    """Read the targets that are wanted; raise a `Problem` for one that whoever asks may not use."""
    if wanted.targets is None:
        return None
    usable = sign_in.may_use(identity)
    if not set(wanted.targets) <= set(usable):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, wording.choose_target(usable))
    return frozenset(TargetName(target) for target in wanted.targets)
