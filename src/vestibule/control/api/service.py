"""The application: every resource under one roof, and the two addresses that tell how the process is doing."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse

from vestibule import __version__
from vestibule.control.api import sign_in


def application(signing: sign_in.SignIn, is_ready: Callable[[], bool]) -> FastAPI:
    """Make the application; `is_ready` says whether the data plane serves."""
    app = FastAPI(
        title="Vestibule", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )
    app.state.sign_in = signing
    app.include_router(sign_in.router)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        return PlainTextResponse("ready\n") if is_ready() else PlainTextResponse("not ready\n", 503)

    return app
