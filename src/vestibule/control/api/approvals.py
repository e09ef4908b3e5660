"""Approvals: list, look at, approve, deny, withdraw, and follow live.

1. Who may see and answer is decided by `control.approvals`; what somebody may not see does not exist for them.
2. An answer carries `shown` of what was looked at; for anything else it is refused (409).
3. The same answer sent again with the same `Idempotency-Key` counts once and gives the same result.
4. Live streams are bounded in number and in time; a log-in that ends ends its streams.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from vestibule.control.api.asking import Me
from vestibule.control.api.guarded import GuardedRoute, Problem, problems
from vestibule.control.approval_view import shown_hash, view
from vestibule.control.approvals import (
    COMMENT_CHARACTERS,
    AnsweredOtherwise,
    ApprovalRefused,
    Approvals,
    MayNotAnswer,
    NoSuchApproval,
    Watch,
)
from vestibule.model.approval import ApprovalId, State
from vestibule.model.identity import Identity
from vestibule.model.login import StateUnavailable
from vestibule.model.names import Instant, stamp
from vestibule.stores.approvals import Cursor, Kept
from vestibule.wire.approval import approval_id

PAGE: Final = 200
#: Seconds between signs of life in a stream, and until it ends; the reader opens another, and is proven again.
KEEP_ALIVE: Final = 15.0
STREAM_LIFE: Final = 600.0

_CURSOR: Final = re.compile(r"(\d{1,16})/(AR-[0-9A-Z]{10})", re.ASCII)

router = APIRouter(prefix="/api/v1/approvals", route_class=GuardedRoute, tags=["approvals"])


class Requester(BaseModel):
    """Who asks."""

    iss: str
    sub: str
    name: str
    type: Literal["human", "agent", "workload"]


class GivenAnswer(BaseModel):
    """What one person answered."""

    by: str
    answer: Literal["granted", "refused"]
    comment: str
    channel: str
    at: str


class Approval(BaseModel):
    """One request; its text, parameters and names have passed the storage mask."""

    approval: str
    state: State
    requester: Requester
    groups: list[str]
    ip: str
    port: int
    banner: str = Field(description="What the requester's client calls itself.")
    session: str
    number: int = Field(description="Which statement of the session it is.")
    protocol: str
    target: str
    account: str = Field(description="The shared account at the target that it would run under.")
    database: str
    search_path: str
    text: str
    text_bytes: int
    parameters: list[dict[str, Any]]
    operations: list[dict[str, Any]]
    rule: str
    policy: str
    reason: str
    approvers: list[str] = Field(description="The groups whose members may answer.")
    quorum: int
    requested_at: str
    expires_at: str
    live: bool = Field(description="The statement waits; otherwise it is run again after approval.")
    scope: Literal["statement", "unmask"] = Field(description="With `unmask` it would also see through masks.")
    granted: int = Field(description="How many have approved so far.")
    answers: list[GivenAnswer]
    ended_at: str | None
    may_answer: bool = Field(description="Whether whoever asks may answer now.")
    shown: str = Field(description="The hash of what is shown; an answer carries it.")


class ApprovalPage(BaseModel):
    """Requests, the newest first."""

    approvals: list[Approval]
    next: str | None = Field(description="Pass it as `before` for the following page.")


class Answer(BaseModel):
    """An answer to what was shown."""

    model_config = ConfigDict(extra="forbid")

    shown: str = Field(pattern=r"^[0-9a-f]{64}$", description="`shown` of the request as it was looked at.")
    comment: str = Field("", max_length=COMMENT_CHARACTERS)
    channel: Literal["cli", "api"] = "api"


class Withdrawal(BaseModel):
    """Why somebody takes a request back."""

    model_config = ConfigDict(extra="forbid")

    comment: str = Field("", max_length=COMMENT_CHARACTERS)


Repeat = Annotated[str, Header(alias="Idempotency-Key", max_length=128, description="Your own mark of this answer.")]
_PROBLEMS = problems(401, 403, 404, 409, 422, 429, 503)
#: With a body, which may be too long or no JSON at all.
_BODY_PROBLEMS = problems(400, 413) | _PROBLEMS


@router.get("", responses=_PROBLEMS)
async def search(
    request: Request,
    identity: Me,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    before: Annotated[str | None, Query(max_length=40, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE, description="How many at most.")] = 50,
) -> ApprovalPage:
    """List the requests that you may see: your own, and those that your groups answer."""
    approvals = _approvals(request)
    found = await approvals.list(identity, state, _cursor(before), limit)
    last = found[-1].request if len(found) == limit else None
    return ApprovalPage(
        approvals=[_shown(approvals, identity, kept) for kept in found],
        next=None if last is None else f"{last.requested_at}/{last.approval}",
    )


@router.get("/events", responses={200: {"content": {"text/event-stream": {}}}, **_PROBLEMS})
async def events(request: Request, identity: Me) -> StreamingResponse:
    """Follow changes live: server-sent events named `approval`, each with one request as `show` gives it."""
    approvals = _approvals(request)
    try:
        watch = approvals.watch(identity)
    except ApprovalRefused as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "10"}) from error
    return StreamingResponse(_events(approvals, watch), media_type="text/event-stream")


@router.get("/{approval}", responses=_PROBLEMS)
async def show(request: Request, identity: Me, approval: str) -> Approval:
    """Show one request: what will run, who asks, from where, since when and until when."""
    approvals = _approvals(request)
    try:
        return _shown(approvals, identity, await approvals.show(identity, _id(approval)))
    except ApprovalRefused as error:
        raise _problem(error) from error


@router.post("/{approval}/approve", responses=_BODY_PROBLEMS)
async def approve(request: Request, identity: Me, approval: str, answer: Answer, repeat: Repeat = "") -> Approval:
    """Approve what was shown."""
    return await _answer(request, identity, approval, True, answer, repeat)


@router.post("/{approval}/deny", responses=_BODY_PROBLEMS)
async def deny(request: Request, identity: Me, approval: str, answer: Answer, repeat: Repeat = "") -> Approval:
    """Refuse what was shown."""
    return await _answer(request, identity, approval, False, answer, repeat)


@router.post("/{approval}/withdraw", responses=_BODY_PROBLEMS)
async def withdraw(request: Request, identity: Me, approval: str, why: Withdrawal) -> Approval:
    """Take your own request back."""
    approvals = _approvals(request)
    try:
        return _shown(approvals, identity, await approvals.withdraw(identity, _id(approval), why.comment))
    except ApprovalRefused as error:
        raise _problem(error) from error


async def _answer(
    request: Request, identity: Identity, approval: str, granted: bool, answer: Answer, repeat: str
) -> Approval:
    approvals = _approvals(request)
    try:
        kept = await approvals.answer(
            identity, _id(approval), granted, answer.comment, answer.channel, answer.shown, repeat
        )
    except ApprovalRefused as error:
        raise _problem(error) from error
    return _shown(approvals, identity, kept)


def _problem(error: ApprovalRefused) -> Problem:
    match error:
        case NoSuchApproval():
            return Problem(HTTPStatus.NOT_FOUND, str(error))
        case MayNotAnswer():
            return Problem(HTTPStatus.FORBIDDEN, str(error))
        case AnsweredOtherwise():
            return Problem(HTTPStatus.CONFLICT, str(error))
        case _:
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))


def _shown(approvals: Approvals, identity: Identity, kept: Kept) -> Approval:
    answers = [
        GivenAnswer(
            by=given.approver.name,
            answer="granted" if given.granted else "refused",
            comment=given.comment,
            channel=given.channel,
            at=stamp(given.at),
        )
        for given in kept.answers
    ]
    more: dict[str, Any] = {
        "state": kept.state,
        "granted": kept.granted,
        "answers": answers,
        "ended_at": None if kept.ended_at is None else stamp(kept.ended_at),
        "may_answer": approvals.may_answer(identity, kept),
        "shown": shown_hash(kept.request),
    }
    return Approval.model_validate({**view(kept.request), **more})


async def _events(approvals: Approvals, watch: Watch) -> AsyncIterator[bytes]:
    deadline = asyncio.get_running_loop().time() + STREAM_LIFE
    with watch:
        yield b": vestibule\n\n"
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            changed = await watch.next(min(left, KEEP_ALIVE))
            if changed is None:
                return
            if not changed:
                yield b": \n\n"
            for approval in sorted(changed):
                if (event := await _event(approvals, watch.viewer, approval)) is not None:
                    yield event


async def _event(approvals: Approvals, viewer: Identity, approval: ApprovalId) -> bytes | None:
    try:
        shown = _shown(approvals, viewer, await approvals.show(viewer, approval))
    except (NoSuchApproval, StateUnavailable):
        # What cannot be shown now is in the list, which whoever reads a stream starts from.
        return None
    # ASCII JSON on one line: no text in it can begin a line of its own.
    return f"event: approval\ndata: {json.dumps(shown.model_dump())}\n\n".encode()


def _approvals(request: Request) -> Approvals:
    found: Approvals = request.app.state.approvals
    return found


def _id(written: str) -> ApprovalId:
    try:
        return approval_id(written.upper())
    except ValueError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error


def _cursor(before: str | None) -> Cursor | None:
    if before is None:
        return None
    match = _CURSOR.fullmatch(before)
    if match is None:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "before is not the `next` of a page")
    return Instant(int(match[1])), ApprovalId(match[2])
