"""Signing in, for a browser itself and for a command line behind it.

1. A browser is sent to the provider, to a loopback address that the command line named, and to pages of this host
   (`next`); nowhere else.
2. An answer of the provider counts only in the browser that asked; a parameter that comes twice does not count at all.

Set `app.state.sign_in` and include `router`, which brings the routes of `tokens` and `certificates` along.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel

from vestibule.control import pages
from vestibule.control.api import certificates, tokens
from vestibule.control.api.asking import (
    SESSION_COOKIE,
    Me,
    SignIn,
    current_identity,
    peer_of,
    set_cookie,
    sign_in_of,
)
from vestibule.control.api.guarded import GuardedRoute, Problem, problem_of, unique
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.handover import CLIENT_ID
from vestibule.identity.login import BROWSER_LIFE, LOGIN_WAITS, Answer, Issued, Loopback, Return
from vestibule.model.errors import EvidenceUnavailable, VestibuleError
from vestibule.model.login import StateUnavailable
from vestibule.model.names import SECOND, stamp

__all__ = ["Me", "SignIn", "current_identity", "router"]

#: Binds a log-in that is under way to its browser; proves nothing.
LOGIN_COOKIE: Final = "__Host-vestibule-login"

MAX_QUERY: Final = 16 * 1024

# RFC 8252, 7.3: the address, not the name, which somebody else may resolve.
_LOOPBACK: Final = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})/[A-Za-z0-9/_-]{0,64}")
_STATE: Final = re.compile(r"[A-Za-z0-9._~-]{16,256}")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_BINDING: Final = _CHALLENGE
#: A page of this host: `//` would name another one, and browsers take `\\` for `/`.
_PAGE: Final = re.compile(r"/(?:[A-Za-z0-9_-][A-Za-z0-9._/-]{0,200})?")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")

router = APIRouter(route_class=GuardedRoute)
router.include_router(tokens.router)
router.include_router(certificates.router)


@router.get("/login", include_in_schema=False)
async def login(request: Request) -> Response:
    """Send the browser to its provider, for itself or for a command line that waits on this machine."""
    sign_in = sign_in_of(request)
    try:
        query = _query(request)
        loopback, after = _loopback(query), _after(query)
        provider = _provider(sign_in.service.providers, query)
    except Problem as problem:
        return _refusal_page(problem)
    if provider is None:
        return _page(pages.choose(_choices(sign_in.service.providers, query)))
    held = request.cookies.get(LOGIN_COOKIE, "")
    try:
        begun = await sign_in.service.begin(
            provider, loopback, peer_of(request), held if _BINDING.fullmatch(held) else "", after
        )
    except LoginRefused as refused:
        return _refusal_page(refused) if loopback is None else _tell(loopback, refused)
    response = RedirectResponse(begun.url, HTTPStatus.FOUND)
    set_cookie(response, LOGIN_COOKIE, begun.binding, LOGIN_WAITS // SECOND)
    return response


@router.get("/login/callback/{provider}", include_in_schema=False)
async def callback(request: Request, provider: str) -> Response:
    """Take the provider's answer, and send the browser on or sign it in."""
    try:
        query = _query(request)
        answer = Answer(query.get("state", ""), query.get("code", ""), query.get("iss"), query.get("error", ""))
        binding = request.cookies.get(LOGIN_COOKIE, "")
        done = await sign_in_of(request).service.finish(provider, answer, binding, peer_of(request))
    except (VestibuleError, Problem) as error:
        return _refusal_page(error)
    if isinstance(done, Return):
        return RedirectResponse(done.url, HTTPStatus.SEE_OTHER)
    response = RedirectResponse(done.after, HTTPStatus.SEE_OTHER)
    set_cookie(response, SESSION_COOKIE, done.secret, BROWSER_LIFE // SECOND)
    return response


@router.post("/login/token", include_in_schema=False)
async def swap(request: Request) -> Response:
    """Swap the code that a command line got for a token (RFC 6749, 4.1.3)."""
    try:
        form = unique(parse_qsl((await request.body()).decode("ascii"), keep_blank_values=True, max_num_fields=20))
        code, verifier, redirect_uri = _swap_request(form)
        issued = await sign_in_of(request).service.swap(code, verifier, redirect_uri, peer_of(request))
    except (Problem, ValueError) as error:
        return _oauth_error("invalid_request", error.detail if isinstance(error, Problem) else "not a form")
    except LoginRefused as refused:
        return _oauth_error("invalid_grant", str(refused))
    except (EvidenceUnavailable, StateUnavailable) as error:
        return _oauth_error("temporarily_unavailable", str(problem_of(error).detail), HTTPStatus.SERVICE_UNAVAILABLE)
    return JSONResponse(TokenAnswer.of(issued, sign_in_of(request).ports).model_dump())


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


def _query(request: Request) -> Mapping[str, str]:
    if len(request.url.query) > MAX_QUERY:
        raise Problem(HTTPStatus.BAD_REQUEST, "the address is too long")
    return unique(request.query_params.multi_items())


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


def _after(query: Mapping[str, str]) -> str:
    page = query.get("next", "/")
    if not _PAGE.fullmatch(page):
        raise Problem(HTTPStatus.BAD_REQUEST, "after a log-in a browser is sent to a page of this host only")
    return page


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
