"""What holds for every route: bodies are bounded, errors are problem details (RFC 9457), answers are not for caches.

Use `GuardedRoute` as the `route_class` of a router; raise `Problem`, or let a `VestibuleError` through.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from vestibule.control.replaying import RecordingUnreadable
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.model import wording
from vestibule.model.errors import EvidenceUnavailable, VestibuleError
from vestibule.model.login import StateUnavailable, TooManyTokens

MAX_BODY: Final = 64 * 1024

HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class Problem(HTTPException):
    """An answer that is an error; `detail` says what to do."""

    def response(self) -> Response:
        """Write the answer."""
        details = ProblemDetails(
            title=HTTPStatus(self.status_code).phrase, status=self.status_code, detail=str(self.detail)
        )
        return JSONResponse(details.model_dump(), self.status_code, self.headers, media_type="application/problem+json")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of a route for its OpenAPI `responses`."""
    schema = {"schema": ProblemDetails.model_json_schema()}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {"application/problem+json": schema}}
        for status in statuses
    }


class GuardedRoute(APIRoute):
    """A route with a bounded body, errors in one form, and the usual headers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own handler."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                response = await handle(Request(request.scope, bounded(request.receive)))
            except HTTPException as error:
                response = Problem(error.status_code, error.detail, error.headers).response()
            except RequestValidationError as error:
                response = Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _first_fault(error)).response()
            except VestibuleError as error:
                response = problem_of(error).response()
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return guarded


def problem_of(error: VestibuleError) -> Problem:
    """Say in HTTP's words what `error` means."""
    match error:
        case LoginRefused(failure=Failure.TOO_MANY) | TooManyTokens():
            return Problem(HTTPStatus.TOO_MANY_REQUESTS, str(error), {"Retry-After": "60"})
        case LoginRefused():
            return Problem(HTTPStatus.FORBIDDEN, str(error))
        case EvidenceUnavailable():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, wording.EVIDENCE_UNWRITABLE)
        case StateUnavailable():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        case RecordingUnreadable():
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        case _:
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the request could not be carried out")


def unique(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Read parameters or a form's members; one that comes twice is an error, as two readers would take two values."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Problem(HTTPStatus.BAD_REQUEST, "a parameter comes twice")
    return members


def bounded(receive: Receive) -> Receive:
    """Receive a body up to its limit."""
    taken = 0

    async def receive_bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MAX_BODY} bytes")
        return message

    return receive_bounded


def _first_fault(error: RequestValidationError) -> str:
    # Never the value: it may be a secret in the wrong place.
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}"
