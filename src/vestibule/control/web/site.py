"""The whole of the pages: where `/` leads, signing out, and what is shown where nothing is.

A browser signs in at `/login`, which the command line shares.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from vestibule.control.api.asking import SESSION_COOKIE, peer_of, set_cookie, sign_in_of
from vestibule.control.api.guarded import Problem
from vestibule.control.web import approvals, assets
from vestibule.control.web.approvals import Pages
from vestibule.control.web.rendering import page
from vestibule.control.web.visitor import PageRoute, form_of, problem_page, visitor

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/")
async def home() -> Response:
    """Lead to what people come for."""
    return RedirectResponse("/approvals", HTTPStatus.SEE_OTHER)


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """End the visitor's log-in, with everything that it opened."""
    who = await visitor(request)
    await form_of(request, who)
    await sign_in_of(request).service.logout(who.identity, peer_of(request))
    response = RedirectResponse("/signed-out", HTTPStatus.SEE_OTHER)
    set_cookie(response, SESSION_COOKIE, "", 0)
    return response


@router.get("/signed-out")
async def signed_out() -> Response:
    """Tell somebody that they are out."""
    return page("signed_out.html", {"title": "Signed out", "visitor": None})


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Let an application serve the pages."""
    app.state.pages = pages
    for part in (router, assets.router, approvals.router):
        app.include_router(part)
    app.add_exception_handler(HTTPException, _elsewhere)


async def _elsewhere(request: Request, error: Exception) -> Response:
    """Answer what no route takes: with a page where a browser asks, as the API does where it is asked."""
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return Problem(error.status_code, error.detail, error.headers).response()
    return problem_page(error)
