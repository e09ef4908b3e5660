"""Who asks: by a token in the header or by a browser's cookie.

1. A cookie may change something only for a request whose `Origin` is this service (no cross-site requests).
2. The API takes a whole login's token or a cookie; a token that was made for targets is good for those alone.

Set `app.state.sign_in`; a route that needs to know who asks takes an argument of the type `Me`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from vestibule.control.api.guarded import Problem
from vestibule.identity.certificates import Authority
from vestibule.identity.login import LoginService
from vestibule.identity.proving import Prover
from vestibule.model import wording
from vestibule.model.identity import Identity, Peer, Refusal

SESSION_COOKIE: Final = "__Host-vestibule"

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class SignIn:
    """What the routes stand on.

    `may_use` names the targets that an identity may use; `ports` are those of the data plane, by protocol;
    without an `authority` nobody gets a certificate.
    """

    service: LoginService
    prover: Prover
    public_url: str
    may_use: Callable[[Identity], Collection[str]]
    ports: Mapping[str, int] = field(default_factory=dict)
    authority: Authority | None = None


_BEARER: Final = HTTPBearer(auto_error=False, description="A token of `vestibule login`.")


async def current_identity(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)] = None
) -> Identity:
    """Say who asks, by token or by cookie; raise a `Problem` if nobody is proven."""
    sign_in, client = sign_in_of(request), peer_of(request)
    if bearer is not None:
        shown = bearer.credentials
        answer = await sign_in.prover.prove(shown.encode(errors="replace"), "", client)
    elif (shown := request.cookies.get(SESSION_COOKIE, "")) != "":
        check_origin(request, sign_in.public_url)
        answer = await sign_in.prover.prove_browser(shown.encode(errors="replace"), client)
    else:
        raise _unauthorized('sign in first; run "vestibule login"')
    if isinstance(answer, Refusal):
        raise _refused(sign_in, answer, len(shown), client)
    if answer.targets is not None:
        raise Problem(HTTPStatus.FORBIDDEN, "this token is good for its targets only; use one without --target")
    return answer


Me = Annotated[Identity, Depends(current_identity)]


def _refused(sign_in: SignIn, refusal: Refusal, length: int, client: Peer) -> Problem:
    match refusal:
        case Refusal.UNAVAILABLE:
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "log-ins cannot be looked up now; try again")
        case Refusal.TOO_MANY:
            sign_in.service.refused(client)
            return Problem(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens; wait a minute", {"Retry-After": "60"})
        case _:
            sign_in.service.refused(client)
            return _unauthorized(wording.proof_refused(refusal, length), ' error="invalid_token"')


def _unauthorized(detail: str, more: str = "") -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": f"Bearer{more}"})


def check_origin(request: Request, public_url: str) -> None:
    """Refuse a request that changes something and comes from another site."""
    if request.method not in _SAFE_METHODS and request.headers.get("origin") != _origin(public_url):
        raise Problem(HTTPStatus.FORBIDDEN, "the request comes from another site; a cookie counts from this one only")


def _origin(url: str) -> str:
    # As browsers write it (RFC 6454, 6.2).
    parts = urlsplit(url.lower())
    return f"{parts.scheme}://{parts.netloc.removesuffix(':443')}"


def sign_in_of(request: Request) -> SignIn:
    """Give what the application was made with."""
    found: SignIn = request.app.state.sign_in
    return found


def peer_of(request: Request) -> Peer:
    """Say from where a request comes."""
    return Peer(request.client.host, request.client.port) if request.client else Peer("", 0)


def set_cookie(response: Response, name: str, value: str, seconds: int) -> None:
    """Give the browser a cookie that only this host gets back; 0 seconds takes it away."""
    settings: dict[str, Any] = {"path": "/", "secure": True, "httponly": True, "samesite": "lax"}
    response.set_cookie(name, value, max_age=seconds, **settings)
