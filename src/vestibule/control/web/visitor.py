"""Who looks at a page, and whether a form is theirs.

1. Pages take a browser's cookie and nothing else. Whoever has none is sent to sign in and comes back to the page.
2. A form counts if it comes from this site (`Origin`, and `Sec-Fetch-Site` where it is told) and carries its own token,
   which is good for one session and one address.
3. A page that refreshes itself does not keep its visitor from idling out.
4. Errors are pages, in the words of the API.

Use `PageRoute` as the `route_class` of a router.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from vestibule.control.api.asking import SESSION_COOKIE, check_origin, peer_of, sign_in_of
from vestibule.control.api.guarded import Problem, bounded, problem_of, unique
from vestibule.control.web.rendering import HEADERS, page
from vestibule.model.errors import VestibuleError
from vestibule.model.identity import Identity, Refusal

#: The name of a form's member that carries its token.
FORM_TOKEN: Final = "form_token"
_FIELDS: Final = 16


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody signed in with a browser."""

    identity: Identity
    cookie: str = field(repr=False)

    @property
    def name(self) -> str:
        """What people call them."""
        return self.identity.who.name

    def form_token(self, address: str) -> str:
        """Give what a form that goes to `address` carries; it ends with the session and tells nothing of the cookie."""
        mac = hmac.digest(self.cookie.encode(), b"vestibule form 1\x00" + address.encode(), sha256)
        return urlsafe_b64encode(mac).rstrip(b"=").decode()


class SignInNeeded(Exception):
    """Nobody is signed in here."""


async def visitor(request: Request, is_use: bool = True) -> Visitor:
    """Say who looks; `is_use` is False for what a page asks for by itself."""
    cookie = request.cookies.get(SESSION_COOKIE, "")
    if not cookie.isascii() or not cookie:
        raise SignInNeeded
    sign_in, client = sign_in_of(request), peer_of(request)
    answer = await sign_in.prover.prove_browser(cookie.encode(), client, is_use)
    match answer:
        case Identity():
            who = Visitor(answer, cookie)
            request.state.visitor = who
            return who
        case Refusal.UNAVAILABLE:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "log-ins cannot be looked up now; try again")
        case Refusal.TOO_MANY:
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong sessions; wait a minute", {"Retry-After": "60"})
        case _:
            raise SignInNeeded


async def form_of(request: Request, who: Visitor) -> Mapping[str, str]:
    """Read a form of this site, made for this session and this address; refuse any other."""
    check_origin(request, sign_in_of(request).public_url)
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise Problem(HTTPStatus.FORBIDDEN, "the form comes from another site")
    form = await _read(request)
    given = form.get(FORM_TOKEN, "").encode(errors="replace")
    if not hmac.compare_digest(given, who.form_token(request.url.path).encode()):
        raise Problem(HTTPStatus.FORBIDDEN, "the form is not of this session; open the page again")
    return form


async def _read(request: Request) -> Mapping[str, str]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this is no form of a page")
    try:
        text = (await request.body()).decode("ascii")
        return unique(
            parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=_FIELDS, errors="strict")
        )
    except ValueError:
        raise Problem(HTTPStatus.BAD_REQUEST, "this is no form of a page") from None


class PageRoute(APIRoute):
    """A route with a bounded body, whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own handler."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                response = await handle(Request(request.scope, bounded(request.receive)))
            except SignInNeeded:
                response = _sign_in(request)
            except HTTPException as error:
                response = problem_page(error, known(request))
            except RequestValidationError:
                response = problem_page(HTTPException(HTTPStatus.NOT_FOUND), known(request))
            except VestibuleError as error:
                response = problem_page(problem_of(error), known(request))
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return guarded


def known(request: Request) -> Visitor | None:
    """Say who was found to look, if anybody was."""
    found: Visitor | None = getattr(request.state, "visitor", None)
    return found


def is_by_script(request: Request) -> bool:
    """Tell whether a page that is open asks, not somebody who goes to an address."""
    return "hx-request" in request.headers


def _sign_in(request: Request) -> Response:
    if is_by_script(request):
        return Response("", HTTPStatus.UNAUTHORIZED)
    return RedirectResponse(f"/login?{urlencode({'next': request.url.path})}", HTTPStatus.SEE_OTHER)


_TITLES: Final[Mapping[int, str]] = {
    HTTPStatus.NOT_FOUND: "Nothing here",
    HTTPStatus.FORBIDDEN: "Not allowed",
    HTTPStatus.CONFLICT: "It has changed",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not possible now",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An error",
}
_DETAILS: Final[Mapping[int, str]] = {HTTPStatus.NOT_FOUND: "there is no page at this address"}


def problem_page(error: HTTPException, who: Visitor | None = None) -> Response:
    """Show what went wrong."""
    status = error.status_code
    phrase = HTTPStatus(status).phrase
    detail = str(error.detail)
    if detail == phrase:
        detail = _DETAILS.get(status, phrase)
    title = _TITLES.get(status, phrase)
    facts = {"title": title, "detail": f"{detail[:1].upper()}{detail[1:]}.", "visitor": who}
    response = page("problem.html", facts, status)
    response.headers.update(error.headers or {})
    return response
