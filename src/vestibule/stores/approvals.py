"""Approvals in the state database: what was asked for, who answered what, and whether the permit was spent.

1. Only a pending request takes an answer or an end, each person answers once, and a permit is spent once: the
   conditions stand in the statements that change the row, so that of two who race one finds nothing to change.
2. What happened to a request is never undone; rows go only when they are old (`purge`).
3. No key is in these tables: `key_id` names one in `data_key`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, cast
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Row,
    Select,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from vestibule.model.approval import ApprovalId, Request, State, Written
from vestibule.model.identity import Who, WhoType
from vestibule.model.login import StateUnavailable
from vestibule.model.names import GroupName, Instant, LoginName, TargetName
from vestibule.stores.database import METADATA
from vestibule.wire.approval import request_from_json, request_to_json

Channel = Literal["cli", "api", "web"]

APPROVAL = Table(
    "approval",
    METADATA,
    Column("approval", Text, primary_key=True),
    Column("iss", Text, nullable=False),
    Column("sub", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("session", LargeBinary(16), nullable=False),
    Column("request", Text, nullable=False),
    Column("record_id", LargeBinary(16), nullable=False),
    Column("record_leaf", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("granted", Integer, nullable=False),
    Column("permit", LargeBinary(16)),
    Column("requested_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Index("approval_by_requester", "iss", "sub", "target"),
    Index("approval_by_time", "requested_at", "approval"),
    Index("approval_by_state", "state", "expires_at"),
)

APPROVER_GROUP = Table(
    "approval_group",
    METADATA,
    Column("approval", Text, ForeignKey("approval.approval", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
)

ANSWER = Table(
    "approval_answer",
    METADATA,
    Column("approval", Text, ForeignKey("approval.approval", ondelete="CASCADE"), primary_key=True),
    Column("iss", Text, primary_key=True),
    Column("sub", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("login_id", LargeBinary(16), nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("comment", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("record_id", LargeBinary(16), nullable=False),
    Column("record_leaf", Text, nullable=False),
    Column("repeat_key", Text, nullable=False),
)

_OPEN: Final = ("pending", "granted")


@dataclass(frozen=True, slots=True)
class Given:
    """One person's answer; `comment` has passed the storage mask, `repeat_key` is the caller's own, maybe empty."""

    approver: Who
    granted: bool
    comment: str
    channel: Channel
    at: Instant
    record: Written
    repeat_key: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A request and all that became of it."""

    request: Request
    record: Written
    state: State
    granted: int
    permit: UUID | None
    ended_at: Instant | None
    answers: tuple[Given, ...]


@dataclass(frozen=True, slots=True)
class Sight:
    """Whose requests somebody sees: their own and those that wait for their groups, or all."""

    issuer: str
    subject: str
    groups: frozenset[GroupName]
    sees_all: bool = False


Cursor = tuple[Instant, ApprovalId]


class ApprovalStore:
    """Approvals by SQLAlchemy; every method raises `StateUnavailable` when the database cannot."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Use the tables of `engine`, which `open_database` made."""
        self._engine = engine
        self._writing = asyncio.Lock()

    async def add(self, request: Request, record: Written) -> bool:
        """Keep a request as pending; False if its id is known."""
        groups = [{"approval": request.approval, "name": group} for group in sorted(request.approvers)]
        try:
            async with self._write() as connection:
                await connection.execute(insert(APPROVAL).values(_row(request, record)))
                if groups:
                    await connection.execute(insert(APPROVER_GROUP), groups)
        except StateUnavailable as error:
            if isinstance(error.__cause__, IntegrityError):
                return False
            raise
        return True

    async def find(self, approval: ApprovalId) -> Kept | None:
        """Read one request."""
        found = await self._read_all(select(APPROVAL).where(APPROVAL.c.approval == approval))
        return found[0] if found else None

    async def search(self, sight: Sight, state: State | None, before: Cursor | None, limit: int) -> Sequence[Kept]:
        """List the requests that somebody may see, the newest first."""
        place = tuple_(APPROVAL.c.requested_at, APPROVAL.c.approval)
        newest = APPROVAL.c.requested_at.desc(), APPROVAL.c.approval.desc()
        query = select(APPROVAL).where(_seen_by(sight)).order_by(*newest).limit(limit)
        if state is not None:
            query = query.where(APPROVAL.c.state == state)
        return await self._read_all(query if before is None else query.where(place < tuple_(*before)))

    async def open_of(self, issuer: str, subject: str, target: TargetName, now: Instant) -> Sequence[Kept]:
        """List what somebody has asked for at a target that is pending or granted, not spent and not expired."""
        whose = and_(APPROVAL.c.iss == issuer, APPROVAL.c.sub == subject, APPROVAL.c.target == target)
        return await self._read_all(select(APPROVAL).where(whose, _is_open(now)).order_by(APPROVAL.c.requested_at))

    async def count_open(self, issuer: str, subject: str, now: Instant) -> tuple[int, int]:
        """Count the open requests of one person, and of all."""
        whose = and_(APPROVAL.c.iss == issuer, APPROVAL.c.sub == subject)
        query = select(func.count().filter(whose), func.count()).select_from(APPROVAL).where(_is_open(now))
        async with self._read() as connection:
            own, everybody = (await connection.execute(query)).one()
            return own, everybody

    async def answer(self, approval: ApprovalId, given: Given, state: State, permit: UUID | None) -> bool:
        """Add an answer to a pending request, which is in `state` then; False if it takes none of this person."""
        changes: dict[str, Any] = {"state": state, "granted": APPROVAL.c.granted + int(given.granted)}
        if state != "pending":
            changes |= {"ended_at": given.at, "permit": None if permit is None else permit.bytes}
        pending = and_(APPROVAL.c.approval == approval, APPROVAL.c.state == "pending")
        try:
            async with self._write() as connection:
                done = await connection.execute(update(APPROVAL).where(pending).values(changes))
                if done.rowcount == 1:
                    await connection.execute(insert(ANSWER).values(_answer_row(approval, given)))
                return bool(done.rowcount == 1)
        except StateUnavailable as error:
            if isinstance(error.__cause__, IntegrityError):
                return False
            raise

    async def end(self, approval: ApprovalId, state: Literal["expired", "withdrawn"], at: Instant) -> bool:
        """End a pending request that nobody answered; False if it is not pending."""
        pending = and_(APPROVAL.c.approval == approval, APPROVAL.c.state == "pending")
        return await self._changed(update(APPROVAL).where(pending).values(state=state, ended_at=at)) == 1

    async def spend(self, approval: ApprovalId, at: Instant) -> bool:
        """Spend the permit for good; False if there is none, it was spent, or it has expired."""
        usable = and_(APPROVAL.c.approval == approval, APPROVAL.c.state == "granted", APPROVAL.c.expires_at > at)
        return await self._changed(update(APPROVAL).where(usable).values(state="spent", ended_at=at)) == 1

    async def lapse(self, now: Instant) -> Sequence[ApprovalId]:
        """Let the permits go that nobody used in time; give which."""
        unused = and_(APPROVAL.c.state == "granted", APPROVAL.c.expires_at <= now)
        async with self._write() as connection:
            found = (await connection.execute(select(APPROVAL.c.approval).where(unused))).scalars().all()
            await connection.execute(update(APPROVAL).where(unused).values(state="expired", ended_at=now))
            return [ApprovalId(approval) for approval in found]

    async def due(self, now: Instant) -> Sequence[Kept]:
        """List the pending requests whose time is up."""
        return await self._read_all(
            select(APPROVAL).where(APPROVAL.c.state == "pending", APPROVAL.c.expires_at <= now).limit(256)
        )

    async def next_due(self) -> Instant | None:
        """Say when the next open request expires."""
        async with self._read() as connection:
            found: int | None = await connection.scalar(
                select(func.min(APPROVAL.c.expires_at)).where(APPROVAL.c.state.in_(_OPEN))
            )
            return None if found is None else Instant(found)

    async def waiting(self) -> tuple[int, Instant | None]:
        """Count the requests that wait for an answer, and say when the oldest of them was made."""
        found = select(func.count(), func.min(APPROVAL.c.requested_at)).where(APPROVAL.c.state == "pending")
        async with self._read() as connection:
            count, oldest = (await connection.execute(found)).one()
            return count, None if oldest is None else Instant(oldest)

    async def pending_live(self, session: UUID | None = None) -> Sequence[Kept]:
        """List the pending requests whose statement waits, in one session or in any."""
        query = select(APPROVAL).where(APPROVAL.c.state == "pending", APPROVAL.c.live)
        return await self._read_all(query if session is None else query.where(APPROVAL.c.session == session.bytes))

    async def purge(self, before: Instant) -> None:
        """Forget what ended and expired before `before`."""
        old = and_(APPROVAL.c.expires_at < before, APPROVAL.c.state.not_in(_OPEN))
        await self._changed(delete(APPROVAL).where(old))

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _read_all(self, query: Select[Any]) -> Sequence[Kept]:
        async with self._read() as connection:
            rows = (await connection.execute(query)).all()
            answers = await _answers(connection, [row.approval for row in rows])
        return [_kept(row, answers.get(row.approval, ())) for row in rows]

    async def _changed(self, statement: Any) -> int:  # noqa: ANN401 - any of the library's statements
        async with self._write() as connection:
            return cast(CursorResult[Any], await connection.execute(statement)).rowcount

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._writing, self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _unavailable(error) from error


def _unavailable(error: SQLAlchemyError) -> StateUnavailable:
    # The library's text repeats the statement's parameters: only the kind of error is told.
    return StateUnavailable(f"the state database cannot answer: {type(error).__name__}")


def _is_open(now: Instant) -> ColumnElement[bool]:
    return and_(APPROVAL.c.state.in_(_OPEN), APPROVAL.c.expires_at > now)


def _seen_by(sight: Sight) -> ColumnElement[bool]:
    if sight.sees_all:
        return APPROVAL.c.approval.is_not(None)
    own = and_(APPROVAL.c.iss == sight.issuer, APPROVAL.c.sub == sight.subject)
    asked = select(APPROVER_GROUP.c.approval).where(APPROVER_GROUP.c.name.in_(sorted(sight.groups)))
    return or_(own, APPROVAL.c.approval.in_(asked))


async def _answers(connection: AsyncConnection, approvals: Iterable[str]) -> dict[str, tuple[Given, ...]]:
    found: dict[str, tuple[Given, ...]] = {}
    query = select(ANSWER).where(ANSWER.c.approval.in_(list(approvals))).order_by(ANSWER.c.at, ANSWER.c.sub)
    for row in await connection.execute(query):
        found[row.approval] = (*found.get(row.approval, ()), _given(row))
    return found


def _row(request: Request, record: Written) -> dict[str, Any]:
    return {
        "approval": request.approval,
        "iss": request.requester.issuer,
        "sub": request.requester.subject,
        "target": request.target,
        "session": request.session.bytes,
        "request": json.dumps(request_to_json(request)),
        "record_id": record.id.bytes,
        "record_leaf": record.leaf,
        "live": request.live,
        "state": "pending",
        "granted": 0,
        "requested_at": request.requested_at,
        "expires_at": request.expires_at,
    }


def _answer_row(approval: ApprovalId, given: Given) -> dict[str, Any]:
    return {
        "approval": approval,
        "iss": given.approver.issuer,
        "sub": given.approver.subject,
        "name": given.approver.name,
        "type": given.approver.type,
        "login_id": given.approver.login.bytes,
        "granted": given.granted,
        "comment": given.comment,
        "channel": given.channel,
        "at": given.at,
        "record_id": given.record.id.bytes,
        "record_leaf": given.record.leaf,
        "repeat_key": given.repeat_key,
    }


def _kept(row: Row[Any], answers: tuple[Given, ...]) -> Kept:
    return Kept(
        request=request_from_json(json.loads(row.request)),
        record=Written(UUID(bytes=row.record_id), row.record_leaf),
        state=cast(State, row.state),
        granted=row.granted,
        permit=None if row.permit is None else UUID(bytes=row.permit),
        ended_at=row.ended_at,
        answers=answers,
    )


def _given(row: Row[Any]) -> Given:
    who = Who(row.iss, row.sub, LoginName(row.name), cast(WhoType, row.type), UUID(bytes=row.login_id))
    return Given(
        approver=who,
        granted=row.granted,
        comment=row.comment,
        channel=cast(Channel, row.channel),
        at=row.at,
        record=Written(UUID(bytes=row.record_id), row.record_leaf),
        repeat_key=row.repeat_key,
    )
