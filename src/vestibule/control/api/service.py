"""The application: every resource under one roof, and the two addresses that tell how the process is doing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from vestibule import __version__
from vestibule.control.api import approvals, sessions, sign_in, targets
from vestibule.control.approvals import Approvals
from vestibule.control.web.approvals import Pages
from vestibule.control.web.site import add_pages
from vestibule.model.names import Instant


@dataclass(frozen=True, slots=True)
class Service:
    """What the application stands on; `problems` says why no new session is let in, `now` is the wall clock."""

    sign_in: sign_in.SignIn
    sessions: sessions.Sessions
    targets: targets.Targets
    approvals: Approvals
    problems: Callable[[], Awaitable[Sequence[str]]]
    now: Callable[[], Instant]


def application(service: Service) -> FastAPI:
    """Make the application."""
    app = FastAPI(
        title="Vestibule", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )
    app.state.sign_in, app.state.sessions, app.state.targets = service.sign_in, service.sessions, service.targets
    app.state.approvals = service.approvals
    for resource in (sign_in, sessions, targets, approvals):
        app.include_router(resource.router)

    add_pages(app, Pages(service.approvals, service.now))

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        problems = await service.problems()
        body = {"ready": not problems, "problems": list(problems)}
        return JSONResponse(body, 503 if problems else 200, {"Cache-Control": "no-store"})

    return app
