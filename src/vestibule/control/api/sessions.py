"""Sessions: search, look at, replay, kill.

1. Auditors and administrators look; administrators alone end sessions.
2. Every look is recorded first (`EvidenceViewed`); if it cannot be, nothing is shown.
3. Lists are pages: `next` of one is `before` or `after` of the following.
4. What clients were shown comes in pages too. Whoever follows a running session waits for the next one, at most
   `LONGEST_WAIT` seconds; that wait is one look.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from vestibule.control.api.guarded import GuardedRoute, Problem, problems
from vestibule.control.api.sign_in import Me
from vestibule.control.replaying import Cursor, Replayer, Table, cursor
from vestibule.control.viewing import Action, Viewing
from vestibule.model.identity import Identity
from vestibule.stores.index import Search, SessionIndex, SessionRow

AUDITOR: Final = "auditor"
ADMINISTRATOR: Final = "administrator"
PAGE: Final = 500
ROWS: Final = 5_000
LONGEST_WAIT: Final = 20.0
LOOK_EVERY: Final = 0.25

#: Four digits are few enough to type, and few sessions share them; eight are what the target sees.
_PREFIX: Final = re.compile(r"[0-9a-fA-F]{4,8}(-?[0-9a-fA-F-]{0,28})")
_CURSOR: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)/([0-9a-f-]{36})")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z)?")


@dataclass(frozen=True, slots=True)
class Sessions:
    """What the routes stand on; `kill` gives whether the session was open."""

    index: SessionIndex
    viewing: Viewing
    roles_of: Callable[[Identity], frozenset[str]]
    kill: Callable[[UUID, str], Awaitable[bool]]
    replayer: Replayer


router = APIRouter(prefix="/api/v1/sessions", route_class=GuardedRoute, tags=["sessions"])


class _FromRow(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Session(_FromRow):
    """One session; what is null has not happened yet."""

    session: UUID
    opened_at: str
    closed_at: str | None
    issuer: str
    subject: str
    name: str
    ip: str
    port: int
    banner: str = Field(description="What the client calls itself.")
    protocol: str
    target: str
    account: str = Field(description="The shared account at the target that the session ran under.")
    database: str
    ends_at: str
    policy: str = Field(description="The policy in force when it opened, by its SHA-256.")
    cause: str | None = Field(description="Why it ended.")
    statements: int | None
    allowed: int | None
    denied: int | None
    rows: int | None
    complete: bool | None = Field(description="Whether everything was recorded.")
    leaf: int = Field(description="Where its opening stands in the evidence log.")


class SessionPage(BaseModel):
    """Sessions, the newest first."""

    sessions: list[Session]
    next: str | None = Field(description="Pass it as `before` for the following page.")


class Statement(_FromRow):
    """One statement; its text has passed the storage mask."""

    number: int
    decided_at: str
    text: str
    text_bytes: int
    parameters: list[dict[str, Any]]
    operations: list[dict[str, Any]]
    decision: Literal["allow", "deny", "hold"]
    rule: str
    cause: str
    leaf: int
    finished_at: str | None
    outcome: str | None
    error_code: str | None
    error_text: str | None
    rows: int | None
    bytes: int | None
    duration_us: int | None
    transaction: str | None


class StatementPage(BaseModel):
    """Statements in order."""

    session: Session
    statements: list[Statement]
    next: int | None = Field(description="Pass it as `after` for the following page.")


class ResultColumn(BaseModel):
    """One column of a result."""

    name: str
    type: int = Field(description="Its number in pg_type.")
    masked: str | None = Field(description="How it was masked, if it was.")


class Undecoded(BaseModel):
    """A value in a binary form that is not known."""

    bytes: int


class ResultTable(BaseModel):
    """Rows that the client was shown, as they were masked for storage."""

    statement: int
    at_us: int = Field(description="When it began, in microseconds since the session opened.")
    columns: list[ResultColumn]
    continued: bool = Field(description="Whether it goes on with a table of the page before.")
    rows: list[list[str | Undecoded | None]]
    ended: bool
    tag: str | None = Field(description="What the target said at the end.")
    error: str | None


class ResultPage(BaseModel):
    """What the client was shown, in that order."""

    session: Session
    statements: list[Statement] = Field(description="With `seen`: the statements behind that number.")
    tables: list[ResultTable]
    next: str = Field(description="Pass it as `after` for the following page.")
    over: bool = Field(description="Whether nothing more can come.")
    missing: list[int] = Field(description="Chunks that are not there; what they held is left out.")


class Killed(BaseModel):
    """What became of a session that was to be ended."""

    session: UUID
    killed: bool = Field(description="False if it was not open any more.")


Limit = Annotated[int, Query(ge=1, le=PAGE, description="How many at most.")]
_PROBLEMS = problems(401, 403, 404, 422, 429, 503)


@router.get("", responses=_PROBLEMS)
async def search(
    request: Request,
    identity: Me,
    user: Annotated[str | None, Query(max_length=256, description="The person's login name.")] = None,
    target: Annotated[str | None, Query(max_length=63)] = None,
    since: Annotated[str | None, Query(max_length=32, description="2026-01-31 or 2026-01-31T09:00Z.")] = None,
    until: Annotated[str | None, Query(max_length=32)] = None,
    state: Annotated[Literal["open", "closed"] | None, Query()] = None,
    before: Annotated[str | None, Query(max_length=80, description="`next` of the page before.")] = None,
    limit: Limit = 50,
) -> SessionPage:
    """List sessions, the newest first."""
    wanted = Search(user, target, _time(since), _time(until), None if state is None else state == "open")
    cursor = _cursor(before)
    _require(request, identity, AUDITOR, ADMINISTRATOR)
    await _sessions(request).viewing.record(
        identity,
        "search",
        words={"user": user, "target": target},
        facts={"since": since, "until": until, "state": state, "before": before},
    )
    rows = await _sessions(request).index.search(wanted, cursor, limit)
    last = rows[-1] if len(rows) == limit else None
    return SessionPage(
        sessions=[Session.model_validate(row) for row in rows],
        next=None if last is None else f"{last.opened_at}/{last.session}",
    )


@router.get("/{session}", responses=_PROBLEMS)
async def show(
    request: Request,
    identity: Me,
    session: str,
    after: Annotated[int, Query(ge=0, description="`next` of the page before.")] = 0,
    limit: Limit = 100,
) -> StatementPage:
    """Show a session and its statements; the beginning of its id will do."""
    return await _page(request, identity, "open", session, after, limit)


@router.get("/{session}/replay", responses=_PROBLEMS)
async def replay(
    request: Request,
    identity: Me,
    session: str,
    after: Annotated[int, Query(ge=0, description="`next` of the page before.")] = 0,
    limit: Limit = PAGE,
) -> StatementPage:
    """Give what a replay needs: each statement with its moment, decision, outcome and duration."""
    return await _page(request, identity, "replay", session, after, limit)


@router.get("/{session}/replay/results", responses=_PROBLEMS)
async def results(
    request: Request,
    identity: Me,
    session: str,
    after: Annotated[str | None, Query(max_length=48, description="`next` of the page before.")] = None,
    at_us: Annotated[int | None, Query(ge=0, lt=2**53, description="Begin at this moment of the session.")] = None,
    statement: Annotated[int | None, Query(ge=1, lt=2**31, description="Begin with this statement.")] = None,
    seen: Annotated[int | None, Query(ge=0, lt=2**31, description="Give the statements behind this one too.")] = None,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Wait so many seconds for something new.")] = 0,
    limit: Annotated[int, Query(ge=1, le=ROWS, description="How many rows at most, about.")] = PAGE,
) -> ResultPage:
    """Give what the client was shown, as tables: of a session that is recorded, running ones too."""
    start = Cursor() if after is None else cursor(after)
    if start is None:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "after is not the `next` of a page")
    _require(request, identity, AUDITOR, ADMINISTRATOR)
    found, service = await _find(request, session), _sessions(request)
    await service.viewing.record(identity, "replay", sessions=[found.session])
    if after is None and at_us is not None:
        start = await service.replayer.at(found.session, at_us)
    elif after is None and statement is not None:
        start = await service.replayer.of_statement(found.session, statement)
    return await _results(service, found, start, seen, limit, wait)


async def _results(
    service: Sessions, found: SessionRow, start: Cursor, seen: int | None, limit: int, wait: float
) -> ResultPage:
    """Make a page; one that would be empty is made again until there is something, or the wait is over."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    while True:
        now = (await service.index.find(str(found.session)))[0]
        rows = [] if seen is None else await service.index.statements(found.session, seen, PAGE)
        page = await service.replayer.page(found.session, start, limit, is_closed=now.closed_at is not None)
        if rows or page.tables or page.over or loop.time() >= until:
            break
        await asyncio.sleep(LOOK_EVERY)
    masked = await service.replayer.masked(found.session, page)
    return ResultPage(
        session=Session.model_validate(now),
        statements=[Statement.model_validate(row) for row in rows],
        tables=[_table(table, masked.get(table.statement, {})) for table in page.tables],
        next=str(page.next),
        over=page.over,
        missing=page.missing,
    )


def _table(table: Table, masked: Mapping[str, str]) -> ResultTable:
    return ResultTable(
        statement=table.statement,
        at_us=table.at_us,
        columns=[
            ResultColumn(name=column.name, type=column.type, masked=masked.get(column.name)) for column in table.columns
        ],
        continued=table.continued,
        rows=[[Undecoded(bytes=cell) if isinstance(cell, int) else cell for cell in row] for row in table.rows],
        ended=table.ended is not None,
        tag=table.ended.tag or None if table.ended else None,
        error=table.ended.error or None if table.ended else None,
    )


@router.post("/{session}/kill", responses=_PROBLEMS)
async def kill(request: Request, identity: Me, session: str) -> Killed:
    """End an open session: its statement is cancelled at the target, the client is told."""
    _require(request, identity, ADMINISTRATOR)
    found = await _find(request, session)
    killed = await _sessions(request).kill(found.session, identity.who.name)
    return Killed(session=found.session, killed=killed)


async def _page(
    request: Request, identity: Identity, action: Action, session: str, after: int, limit: int
) -> StatementPage:
    _require(request, identity, AUDITOR, ADMINISTRATOR)
    found = await _find(request, session)
    await _sessions(request).viewing.record(identity, action, sessions=[found.session])
    rows = await _sessions(request).index.statements(found.session, after, limit)
    return StatementPage(
        session=Session.model_validate(found),
        statements=[Statement.model_validate(row) for row in rows],
        next=rows[-1].number if len(rows) == limit else None,
    )


async def _find(request: Request, session: str) -> SessionRow:
    if not _PREFIX.fullmatch(session) or len(session.replace("-", "")) > 32:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "a session's id is written in hexadecimal, four digits or more")
    found = await _sessions(request).index.find(session)
    if not found:
        raise Problem(HTTPStatus.NOT_FOUND, "no session has this id; an open one appears within a second")
    if len(found) > 1:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "several sessions begin so; write more of the id")
    return found[0]


def _require(request: Request, identity: Identity, *roles: str) -> None:
    if _sessions(request).roles_of(identity).isdisjoint(roles):
        raise Problem(HTTPStatus.FORBIDDEN, f"this needs the role {' or '.join(roles)}; the policy gives it to groups")


def _sessions(request: Request) -> Sessions:
    found: Sessions = request.app.state.sessions
    return found


def _cursor(before: str | None) -> tuple[str, UUID] | None:
    if before is None:
        return None
    match = _CURSOR.fullmatch(before)
    try:
        return (match[1], UUID(match[2])) if match else _malformed()
    except ValueError:
        return _malformed()


def _malformed() -> tuple[str, UUID]:
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "before is not the `next` of a page")


def _time(text: str | None) -> str | None:
    """Check a time; a shorter one compares rightly with the full form of records, as text."""
    if text is not None and not _TIME.fullmatch(text):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "a time is written 2026-01-31 or 2026-01-31T09:00Z, in UTC")
    return None if text is None else text.removesuffix("Z")
