"""The index of what the journal holds: sessions and their statements, for search and replay.

1. It is derived: made from record bodies when they become leaves of the log, and made again from the journal if lost.
2. A batch is entered in the transaction that makes its leaves (`enter`), so index and log never differ.
3. It holds what the bodies hold, which has passed the storage mask; it is never evidence itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from vestibule.evidence.canonical import Header
from vestibule.model.login import StateUnavailable
from vestibule.model.names import stamp
from vestibule.model.record import Kind
from vestibule.stores import replays
from vestibule.stores.database import METADATA

SESSION: Final = Table(
    "session",
    METADATA,
    Column("session", LargeBinary(16), primary_key=True),
    Column("opened_at", Text, nullable=False),
    Column("closed_at", Text),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("folded_name", Text, nullable=False),
    Column("ip", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("banner", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("ends_at", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("cause", Text),
    Column("statements", Integer),
    Column("allowed", Integer),
    Column("denied", Integer),
    Column("rows", Integer),
    Column("complete", Boolean),
    Column("leaf", Integer, nullable=False),
    Index("session_by_time", "opened_at", "session"),
    Index("session_by_name", "folded_name", "opened_at"),
    Index("session_by_target", "target", "opened_at"),
)

STATEMENT: Final = Table(
    "statement",
    METADATA,
    Column("session", LargeBinary(16), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("record", LargeBinary(16), nullable=False, unique=True),
    Column("decided_at", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("text_bytes", Integer, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("operations", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("leaf", Integer, nullable=False),
    Column("finished_at", Text),
    Column("outcome", Text),
    Column("error_code", Text),
    Column("error_text", Text),
    Column("rows", Integer),
    Column("bytes", Integer),
    Column("duration_us", Integer),
    Column("transaction", Text),
)

POLICY: Final = Table(
    "policy_applied",
    METADATA,
    Column("leaf", Integer, primary_key=True),
    Column("policy", Text, nullable=False),
    Column("applied_at", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One record as it becomes a leaf: its index in the log, its header, the exact bytes of its body."""

    index: int
    header: Header
    body: bytes


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session; what is None has not happened yet. Times are written as in records."""

    session: UUID
    opened_at: str
    closed_at: str | None
    issuer: str
    subject: str
    name: str
    ip: str
    port: int
    banner: str
    protocol: str
    target: str
    account: str
    database: str
    ends_at: str
    policy: str
    cause: str | None
    statements: int | None
    allowed: int | None
    denied: int | None
    rows: int | None
    complete: bool | None
    leaf: int


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One statement with its decision and, once it has finished, its outcome."""

    number: int
    decided_at: str
    text: str
    text_bytes: int
    parameters: tuple[Mapping[str, Any], ...]
    operations: tuple[Mapping[str, Any], ...]
    decision: str
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


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; None means any. `since` is inclusive, `until` exclusive; times as in records."""

    name: str | None = None
    target: str | None = None
    since: str | None = None
    until: str | None = None
    is_open: bool | None = None


class SessionIndex:
    """Search over sessions and statements; every query raises `StateUnavailable` when the database cannot answer."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Use the tables of `engine`, which `open_database` made."""
        self._engine = engine

    async def search(self, wanted: Search, before: tuple[str, UUID] | None, limit: int) -> list[SessionRow]:
        """List sessions, the newest first; `before` is the last one of the page before (opened_at, session)."""
        query = (
            select(SESSION).where(*_conditions(wanted)).order_by(SESSION.c.opened_at.desc(), SESSION.c.session.desc())
        )
        if before is not None:
            at, session = before
            older = and_(SESSION.c.opened_at == at, SESSION.c.session < session.bytes)
            query = query.where(or_(SESSION.c.opened_at < at, older))
        return [_session(row) for row in await self._rows(query.limit(limit))]

    async def find(self, prefix: str) -> list[SessionRow]:
        """Find sessions whose id begins with `prefix`: at most two, as one is wanted."""
        low, high = _range(prefix)
        query = select(SESSION).where(SESSION.c.session >= low, SESSION.c.session <= high).limit(2)
        return [_session(row) for row in await self._rows(query)]

    async def statements(self, session: UUID, after: int, limit: int) -> list[StatementRow]:
        """List a session's statements in order, behind number `after`."""
        query = (
            select(STATEMENT)
            .where(STATEMENT.c.session == session.bytes, STATEMENT.c.number > after)
            .order_by(STATEMENT.c.number)
            .limit(limit)
        )
        return [_statement(row) for row in await self._rows(query)]

    async def last_policy(self) -> str | None:
        """Give the digest of the policy that took effect last."""
        rows = await self._rows(select(POLICY).order_by(POLICY.c.leaf.desc()).limit(1))
        return str(rows[0]["policy"]) if rows else None

    async def _rows(self, query: Select[Any]) -> Sequence[Mapping[str, Any]]:
        try:
            async with self._engine.connect() as connection:
                return [row._mapping for row in await connection.execute(query)]
        except SQLAlchemyError as error:
            raise StateUnavailable(f"the state database cannot answer: {type(error).__name__}") from error


# --- entering --------------------------------------------------------------------------------------------------------


async def enter(connection: AsyncConnection, leaves: Iterable[Leaf]) -> None:
    """Enter new leaves, in their order, in the transaction of `connection`; entering one again changes nothing."""
    rows: dict[Kind, list[dict[str, Any]]] = {kind: [] for kind in _ENTERED}
    leaves = list(leaves)
    await replays.enter(connection, ((leaf.header, leaf.body) for leaf in leaves))
    for leaf in leaves:
        kind = leaf.header.kind
        if kind in rows:
            rows[kind].append(_ENTERED[kind](leaf, json.loads(leaf.body)))
    for kind, statement in _STATEMENTS.items():
        if rows[kind]:
            await connection.execute(statement, rows[kind])


def _session_of(leaf: Leaf) -> bytes:
    if leaf.header.session is None:
        raise ValueError(f"leaf {leaf.index} names no session")
    return leaf.header.session.bytes


def _opened(leaf: Leaf, body: Mapping[str, Any]) -> dict[str, Any]:
    who, client = body["who"], body["client"]
    return {
        "session": _session_of(leaf),
        "opened_at": stamp(leaf.header.t),
        "issuer": who["iss"],
        "subject": who["sub"],
        "name": who["name"],
        "folded_name": who["name"].casefold(),
        "ip": client["ip"],
        "port": client["port"],
        "banner": body.get("client_banner", ""),
        "protocol": body["protocol"],
        "target": body["target"],
        "account": body["target_account"],
        "database": body.get("database", ""),
        "ends_at": body["ends_at"],
        "policy": body["policy"],
        "leaf": leaf.index,
    }


def _closed(leaf: Leaf, body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "of_session": _session_of(leaf),
        "closed_at": stamp(leaf.header.t),
        "cause": body["cause"],
        "statements": body.get("statements"),
        "allowed": body.get("allowed"),
        "denied": body.get("denied"),
        "rows": body.get("rows"),
        "complete": body.get("recording_complete"),
    }


def _decided(leaf: Leaf, body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "session": _session_of(leaf),
        "number": body["no"],
        "record": leaf.header.id.bytes,
        "decided_at": stamp(leaf.header.t),
        "text": body["text"],
        "text_bytes": body["text_bytes"],
        "parameters": json.dumps(body.get("parameters", [])),
        "operations": json.dumps(body.get("ops", [])),
        "decision": body["decision"],
        "rule": body["rule"]["name"],
        "cause": body.get("cause", ""),
        "leaf": leaf.index,
    }


def _finished(leaf: Leaf, body: Mapping[str, Any]) -> dict[str, Any]:
    error = body.get("error", {})
    return {
        "of_record": UUID(body["decided"]["id"]).bytes,
        "finished_at": stamp(leaf.header.t),
        "outcome": body["outcome"],
        "error_code": error.get("code"),
        "error_text": error.get("text"),
        "rows": body.get("rows"),
        "bytes": body.get("bytes_to_client"),
        "duration_us": body.get("duration_us"),
        "transaction": body.get("transaction"),
    }


def _applied(leaf: Leaf, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"leaf": leaf.index, "policy": body["policy"], "applied_at": leaf.header.t}


_ENTERED: Final = {
    Kind.SESSION_OPENED: _opened,
    Kind.SESSION_CLOSED: _closed,
    Kind.STATEMENT_DECIDED: _decided,
    Kind.STATEMENT_FINISHED: _finished,
    Kind.POLICY_APPLIED: _applied,
}
_CLOSED_MEMBERS: Final = ("closed_at", "cause", "statements", "allowed", "denied", "rows", "complete")
_FINISHED_MEMBERS: Final = (
    "finished_at",
    "outcome",
    "error_code",
    "error_text",
    "rows",
    "bytes",
    "duration_us",
    "transaction",
)
#: In this order: what an outcome belongs to is there before the outcome.
_STATEMENTS: Final = {
    Kind.SESSION_OPENED: insert(SESSION).on_conflict_do_nothing(),
    Kind.STATEMENT_DECIDED: insert(STATEMENT).on_conflict_do_nothing(),
    Kind.STATEMENT_FINISHED: update(STATEMENT)
    .where(STATEMENT.c.record == bindparam("of_record"))
    .values({name: bindparam(name) for name in _FINISHED_MEMBERS}),
    Kind.SESSION_CLOSED: update(SESSION)
    .where(SESSION.c.session == bindparam("of_session"))
    .values({name: bindparam(name) for name in _CLOSED_MEMBERS}),
    Kind.POLICY_APPLIED: insert(POLICY).on_conflict_do_nothing(),
}


# --- reading ---------------------------------------------------------------------------------------------------------


def _conditions(wanted: Search) -> list[Any]:
    conditions: list[Any] = []
    if wanted.name is not None:
        conditions.append(SESSION.c.folded_name == wanted.name.casefold())
    if wanted.target is not None:
        conditions.append(SESSION.c.target == wanted.target)
    if wanted.since is not None:
        conditions.append(SESSION.c.opened_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(SESSION.c.opened_at < wanted.until)
    if wanted.is_open is not None:
        conditions.append(SESSION.c.closed_at.is_(None) if wanted.is_open else SESSION.c.closed_at.is_not(None))
    return conditions


def _range(prefix: str) -> tuple[bytes, bytes]:
    digits = prefix.replace("-", "").lower()
    return bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))


def _session(row: Mapping[str, Any]) -> SessionRow:
    members = {name: value for name, value in row.items() if name != "folded_name"}
    return SessionRow(**members | {"session": UUID(bytes=row["session"])})


def _statement(row: Mapping[str, Any]) -> StatementRow:
    members = {name: value for name, value in row.items() if name not in ("session", "record")}
    return StatementRow(
        **members
        | {"parameters": tuple(json.loads(row["parameters"])), "operations": tuple(json.loads(row["operations"]))}
    )
