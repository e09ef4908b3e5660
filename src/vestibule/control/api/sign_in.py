"""Signing in and out, and tokens: for browsers, for the command line, and for every other route of the API.

1. A browser is sent to the provider and to a loopback address that the command line named, and nowhere else.
2. An answer of the provider counts only in the browser that asked; a parameter that comes twice does not count at all.
3. A cookie may change something only for a request whose `Origin` is this service (no cross-site requests).
4. The API takes a whole login's token or a cookie; a token that was made for targets is good for those alone.

Set `app.state.sign_in` and include `router`; other routes ask for `Depends(current_identity)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from vestibule.control import pages
from vestibule.control.api.guarded import GuardedRoute, Problem, problem_of, problems
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.handover import CLIENT_ID
from vestibule.identity.login import BROWSER_LIFE, LOGIN_WAITS, Answer, Issued, LoginService, Loopback, Return
from vestibule.identity.proving import Prover
from vestibule.model import wording
from vestibule.model.errors import EvidenceUnavailable, VestibuleError
from vestibule.model.identity import Identity, Peer, Refusal
from vestibule.model.login import StateUnavailable
from vestibule.model.names import SECOND, Instant, TargetName, stamp

SESSION_COOKIE: Final = "__Host-vestibule"
#: Binds a log-in that is under way to its browser; proves nothing.
LOGIN_COOKIE: Final = "__Host-vestibule-login"

MAX_QUERY: Final = 16 * 1024

# RFC 8252, 7.3: the address, not the name, which somebody else may resolve.
_LOOPBACK: Final = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})/[A-Za-z0-9/_-]{0,64}")
_STATE: Final = re.compile(r"[A-Za-z0-9._~-]{16,256}")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_BINDING: Final = _CHALLENGE
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class SignIn:
    """What the routes stand on.

    `may_use` names the targets that an identity may use; `ports` are those of the data plane, by protocol.
    """

    service: LoginService
    prover: Prover
    public_url: str
    may_use: Callable[[Identity], Collection[str]]
    ports: Mapping[str, int] = field(default_factory=dict)


router = APIRouter(route_class=GuardedRoute)


# Who asks


_BEARER: Final = HTTPBearer(auto_error=False, description="A token of `vestibule login`.")


async def current_identity(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)] = None
) -> Identity:
    """Say who asks, by token or by cookie; raise a `Problem` if nobody is proven."""
    sign_in, client = _sign_in(request), _peer(request)
    if bearer is not None:
        shown = bearer.credentials
        answer = await sign_in.prover.prove(shown.encode(errors="replace"), "", client)
    elif (shown := request.cookies.get(SESSION_COOKIE, "")) != "":
        _check_origin(request, sign_in.public_url)
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
            return Problem(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens; wait a minute", {"Retry-After": "60"})
        case _:
            sign_in.service.refused(client)
            return _unauthorized(wording.proof_refused(refusal, length), ' error="invalid_token"')


def _unauthorized(detail: str, more: str = "") -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": f"Bearer{more}"})


def _check_origin(request: Request, public_url: str) -> None:
    if request.method not in _SAFE_METHODS and request.headers.get("origin") != _origin(public_url):
        raise Problem(HTTPStatus.FORBIDDEN, "the request comes from another site; a cookie counts from this one only")


def _origin(url: str) -> str:
    # As browsers write it (RFC 6454, 6.2).
    parts = urlsplit(url.lower())
    return f"{parts.scheme}://{parts.netloc.removesuffix(':443')}"


# Signing in


@router.get("/login", include_in_schema=False)
async def login(request: Request) -> Response:
    """Send the browser to its provider, for itself or for a command line that waits on this machine."""
    sign_in = _sign_in(request)
    try:
        query = _query(request)
        loopback = _loopback(query)
        provider = _provider(sign_in.service.providers, query)
    except Problem as problem:
        return _refusal_page(problem)
    if provider is None:
        return _page(pages.choose(_choices(sign_in.service.providers, query)))
    held = request.cookies.get(LOGIN_COOKIE, "")
    try:
        begun = await sign_in.service.begin(
            provider, loopback, _peer(request), held if _BINDING.fullmatch(held) else ""
        )
    except LoginRefused as refused:
        return _refusal_page(refused) if loopback is None else _tell(loopback, refused)
    response = RedirectResponse(begun.url, HTTPStatus.FOUND)
    _set_cookie(response, LOGIN_COOKIE, begun.binding, LOGIN_WAITS // SECOND)
    return response


@router.get("/login/callback/{provider}", include_in_schema=False)
async def callback(request: Request, provider: str) -> Response:
    """Take the provider's answer, and send the browser on or sign it in."""
    try:
        query = _query(request)
        answer = Answer(query.get("state", ""), query.get("code", ""), query.get("iss"), query.get("error", ""))
        binding = request.cookies.get(LOGIN_COOKIE, "")
        done = await _sign_in(request).service.finish(provider, answer, binding, _peer(request))
    except (VestibuleError, Problem) as error:
        return _refusal_page(error)
    if isinstance(done, Return):
        return RedirectResponse(done.url, HTTPStatus.SEE_OTHER)
    response = _page(pages.signed_in(done.login.who.name))
    _set_cookie(response, SESSION_COOKIE, done.secret, BROWSER_LIFE // SECOND)
    return response


@router.post("/login/token", include_in_schema=False)
async def swap(request: Request) -> Response:
    """Swap the code that a command line got for a token (RFC 6749, 4.1.3)."""
    try:
        form = _unique(parse_qsl((await request.body()).decode("ascii"), keep_blank_values=True, max_num_fields=20))
        code, verifier, redirect_uri = _swap_request(form)
        issued = await _sign_in(request).service.swap(code, verifier, redirect_uri, _peer(request))
    except (Problem, ValueError) as error:
        return _oauth_error("invalid_request", error.detail if isinstance(error, Problem) else "not a form")
    except LoginRefused as refused:
        return _oauth_error("invalid_grant", str(refused))
    except (EvidenceUnavailable, StateUnavailable) as error:
        return _oauth_error("temporarily_unavailable", str(problem_of(error).detail), HTTPStatus.SERVICE_UNAVAILABLE)
    return JSONResponse(TokenAnswer.of(issued, _sign_in(request).ports).model_dump())


class TokenAnswer(BaseModel):
    """What a command line gets for its code: OAuth's members, who it is for, and where it is good."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int
    expires_at: str
    token_id: str
    login: str
    name: str
    groups: list[str]
    ports: dict[str, int]

    @staticmethod
    def of(issued: Issued, ports: Mapping[str, int]) -> TokenAnswer:
        """Write what was issued."""
        who, token = issued.login.who, issued.token
        return TokenAnswer(
            access_token=issued.secret,
            expires_in=(token.expires_at - token.created_at) // SECOND,
            expires_at=stamp(token.expires_at),
            token_id=str(token.id),
            login=str(who.login),
            name=who.name,
            groups=sorted(issued.login.groups),
            ports=dict(ports),
        )


# The API


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


@router.get("/api/v1/me", responses=problems(401, 403, 429, 503), tags=["sign-in"])
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


@router.post("/api/v1/tokens", status_code=201, responses=problems(401, 403, 413, 422, 429, 503), tags=["sign-in"])
async def make_token(request: Request, wanted: TokenRequest, identity: Me) -> NewToken:
    """Make one more token for whoever asks: a database password, shown this once."""
    sign_in = _sign_in(request)
    targets = _targets(sign_in, identity, wanted)
    life = None if wanted.life is None else Instant(wanted.life * SECOND)
    issued = await sign_in.service.issue(identity, targets, life, _peer(request))
    named = None if issued.token.targets is None else sorted(issued.token.targets)
    return NewToken(
        id=issued.token.id,
        token=issued.secret,
        targets=list(named) if named is not None else None,
        expires_at=stamp(issued.token.expires_at),
    )


@router.delete(
    "/api/v1/tokens/{token}", status_code=204, responses=problems(401, 403, 404, 422, 429, 503), tags=["sign-in"]
)
async def revoke_token(request: Request, token: UUID, identity: Me) -> None:
    """End one of one's own tokens, and the sessions that it opened."""
    if not await _sign_in(request).service.revoke_token(token, identity, _peer(request)):
        raise Problem(HTTPStatus.NOT_FOUND, "you have no token of this id")


@router.post("/api/v1/logout", status_code=204, responses=problems(401, 403, 429, 503), tags=["sign-in"])
async def logout(request: Request, response: Response, identity: Me) -> None:
    """End one's own login with all its tokens and sessions."""
    await _sign_in(request).service.logout(identity, _peer(request))
    _set_cookie(response, SESSION_COOKIE, "", 0)


# What the above is made of


def _sign_in(request: Request) -> SignIn:
    found: SignIn = request.app.state.sign_in
    return found


def _peer(request: Request) -> Peer:
    return Peer(request.client.host, request.client.port) if request.client else Peer("", 0)


def _query(request: Request) -> Mapping[str, str]:
    if len(request.url.query) > MAX_QUERY:
        raise Problem(HTTPStatus.BAD_REQUEST, "the address is too long")
    return _unique(request.query_params.multi_items())


def _unique(pairs: list[tuple[str, str]]) -> Mapping[str, str]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Problem(HTTPStatus.BAD_REQUEST, "a parameter comes twice")
    return members


def _loopback(query: Mapping[str, str]) -> Loopback | None:
    if "redirect_uri" not in query:
        return None
    address = _LOOPBACK.fullmatch(query["redirect_uri"])
    if address is None or int(address[1]) > 65_535:
        raise Problem(HTTPStatus.BAD_REQUEST, "a log-in is handed over to http://127.0.0.1:<port>/ or [::1] only")
    expected = {"response_type": "code", "client_id": CLIENT_ID, "code_challenge_method": "S256"}
    if any(query.get(name) != value for name, value in expected.items()):
        raise Problem(HTTPStatus.BAD_REQUEST, "the command line asks in another way than this version; update it")
    state, challenge = query.get("state", ""), query.get("code_challenge", "")
    if not _STATE.fullmatch(state) or not _CHALLENGE.fullmatch(challenge):
        raise Problem(HTTPStatus.BAD_REQUEST, "the command line sent no usable state or challenge; update it")
    return Loopback(query["redirect_uri"], state, challenge)


def _provider(providers: tuple[str, ...], query: Mapping[str, str]) -> str | None:
    named = query.get("provider")
    if named is not None and named not in providers:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no identity provider of this name")
    return named or (providers[0] if len(providers) == 1 else None)


def _choices(providers: tuple[str, ...], query: Mapping[str, str]) -> dict[str, str]:
    return {name: f"/login?{urlencode({**query, 'provider': name})}" for name in providers}


def _swap_request(form: Mapping[str, str]) -> tuple[str, str, str]:
    code, verifier = form.get("code", ""), form.get("code_verifier", "")
    if form.get("grant_type") != "authorization_code" or form.get("client_id") != CLIENT_ID:
        raise Problem(HTTPStatus.BAD_REQUEST, "only the command line's authorization code is taken here")
    if not _VERIFIER.fullmatch(verifier) or not code:
        raise Problem(HTTPStatus.BAD_REQUEST, "code or code_verifier is missing or malformed")
    return code, verifier, form.get("redirect_uri", "")


def _targets(sign_in: SignIn, identity: Identity, wanted: TokenRequest) -> frozenset[TargetName] | None:
    if wanted.targets is None:
        return None
    usable = sign_in.may_use(identity)
    if not set(wanted.targets) <= set(usable):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, wording.choose_target(usable))
    return frozenset(TargetName(target) for target in wanted.targets)


def _page(text: str, status: int = HTTPStatus.OK) -> Response:
    return HTMLResponse(text, status, dict(pages.HEADERS))


def _tell(loopback: Loopback, refused: LoginRefused) -> Response:
    # Who waits at a command line sees no page (RFC 6749, 4.1.2.1).
    answer = loopback.answered(error="access_denied", error_description=str(refused))
    return RedirectResponse(answer, HTTPStatus.SEE_OTHER)


def _refusal_page(error: VestibuleError | Problem) -> Response:
    problem = error if isinstance(error, Problem) else problem_of(error)
    status = HTTPStatus.BAD_GATEWAY if _is_the_providers(error) else problem.status_code
    return _page(pages.refused(str(problem.detail)), status)


def _is_the_providers(error: Exception) -> bool:
    return isinstance(error, LoginRefused) and error.failure in (Failure.PROVIDER, Failure.DISCOVERY)


def _oauth_error(error: str, description: str, status: int = HTTPStatus.BAD_REQUEST) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)


def _set_cookie(response: Response, name: str, value: str, seconds: int) -> None:
    settings: dict[str, Any] = {"path": "/", "secure": True, "httponly": True, "samesite": "lax"}
    response.set_cookie(name, value, max_age=seconds, **settings)
