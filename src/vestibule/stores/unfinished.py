"""What has begun and not ended: open sessions, and statements that may have reached a target, without an outcome.

1. It follows the leaves, in the transaction that makes them, so it says what the log says.
2. It holds what is needed to end them in the place of a writer that died: references, sums, where the chain stands.
3. What begins and ends within one batch never touches the database.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Column,
    Executable,
    Integer,
    LargeBinary,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from vestibule.model.names import Instant
from vestibule.model.record import Kind
from vestibule.stores.database import METADATA
from vestibule.stores.index import Leaf

OPEN_SESSION: Final = Table(
    "open_session",
    METADATA,
    Column("session", LargeBinary(16), primary_key=True),
    Column("node", Text, nullable=False, index=True),
    Column("target", Text),
    Column("opened_id", LargeBinary(16), nullable=False),
    Column("opened_leaf", LargeBinary(32), nullable=False),
    Column("opened_at", Integer, nullable=False),
    Column("last_at", Integer, nullable=False),
    Column("last_sn", Integer, nullable=False),
    Column("statements", Integer, nullable=False),
    Column("allowed", Integer, nullable=False),
    Column("denied", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("bytes_to_client", Integer, nullable=False),
)

OPEN_STATEMENT: Final = Table(
    "open_statement",
    METADATA,
    Column("leaf", LargeBinary(32), primary_key=True),
    Column("session", LargeBinary(16), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("id", LargeBinary(16), nullable=False),
)


@dataclass(frozen=True, slots=True)
class OpenStatement:
    """A statement that was allowed, or released by people, and whose outcome is not recorded."""

    number: int
    id: UUID
    leaf: bytes


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that is not closed, with what its records sum up to."""

    session: UUID
    node: str
    target: str | None
    opened_id: UUID
    opened_leaf: bytes
    opened_at: Instant
    last_at: Instant
    last_sn: int
    statements: int
    allowed: int
    denied: int
    held: int
    rows: int
    bytes_to_client: int
    running: tuple[OpenStatement, ...]


class UnfinishedStore:
    """Reads what has not ended."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def writers(self) -> list[str]:
        """List the writers that have open sessions."""
        async with self._engine.connect() as connection:
            return list(await connection.scalars(select(OPEN_SESSION.c.node).distinct().order_by(OPEN_SESSION.c.node)))

    async def sessions(self, writers: Collection[str]) -> list[OpenSession]:
        """List the open sessions of these writers, the oldest first."""
        sessions = select(OPEN_SESSION).where(OPEN_SESSION.c.node.in_(writers)).order_by(OPEN_SESSION.c.opened_at)
        statements = (
            select(OPEN_STATEMENT)
            .join(OPEN_SESSION, OPEN_SESSION.c.session == OPEN_STATEMENT.c.session)
            .where(OPEN_SESSION.c.node.in_(writers))
            .order_by(OPEN_STATEMENT.c.number)
        )
        async with self._engine.connect() as connection:
            running: dict[bytes, list[OpenStatement]] = {}
            for row in (await connection.execute(statements)).mappings():
                statement = OpenStatement(row["number"], UUID(bytes=row["id"]), row["leaf"])
                running.setdefault(row["session"], []).append(statement)
            rows = [row._asdict() for row in await connection.execute(sessions)]
            return [_open_session(row, running.get(row["session"], [])) for row in rows]


def _open_session(row: Mapping[str, Any], running: list[OpenStatement]) -> OpenSession:
    ids = {name: UUID(bytes=row[name]) for name in ("session", "opened_id")}
    return OpenSession(**{**row, **ids}, running=tuple(running))


# --- following -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entered:
    """A record with its leaf hash, as it becomes a leaf."""

    hash: bytes
    leaf: Leaf


_SUMS: Final = ("statements", "allowed", "denied", "held", "rows", "bytes_to_client")


_SUM_OF: Final = {"allow": "allowed", "deny": "denied", "hold": "held"}


@dataclass(slots=True)
class _Change:
    """What one batch says of one session."""

    opened: dict[str, Any] | None = None
    is_closed: bool = False
    last_at: int = 0
    last_sn: int = 0
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0))
    begun: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    ended: list[bytes] = field(default_factory=list)

    def take(self, entered: Entered) -> None:
        """Add one record."""
        header = entered.leaf.header
        if header.sn is not None:
            self.last_at, self.last_sn = header.t, header.sn
        match header.kind:
            case Kind.SESSION_OPENED:
                self.opened = _opened(entered)
            case Kind.SESSION_CLOSED:
                self.is_closed = True
            case Kind.STATEMENT_DECIDED:
                self._decided(entered, json.loads(entered.leaf.body))
            case Kind.PERMIT_USED:
                self._released(entered, json.loads(entered.leaf.body))
            case Kind.STATEMENT_FINISHED:
                self._finished(json.loads(entered.leaf.body))
            case _:
                pass

    def _decided(self, entered: Entered, body: Mapping[str, Any]) -> None:
        decision = body["decision"]
        self.sums["statements"] += 1
        self.sums[_SUM_OF[decision]] += 1
        if decision == "allow":
            self.begun[entered.hash] = {"number": body["no"], "id": entered.leaf.header.id.bytes}

    def _released(self, entered: Entered, body: Mapping[str, Any]) -> None:
        """A held statement begins when its permit is spent; it is the only one then, so its place is good enough."""
        decided = body["decided"]
        if body["result"] == "spent":
            number = entered.leaf.header.sn or 0
            self.begun[bytes.fromhex(decided["leaf"])] = {"number": number, "id": UUID(decided["id"]).bytes}

    def _finished(self, body: Mapping[str, Any]) -> None:
        self.sums["rows"] += body.get("rows", 0)
        self.sums["bytes_to_client"] += body.get("bytes_to_client", 0)
        decided = bytes.fromhex(body["decided"]["leaf"])
        if self.begun.pop(decided, None) is None:
            self.ended.append(decided)


def _opened(entered: Entered) -> dict[str, Any]:
    header = entered.leaf.header
    return {
        "node": header.node,
        "target": header.target,
        "opened_id": header.id.bytes,
        "opened_leaf": entered.hash,
        "opened_at": header.t,
    }


async def follow(connection: AsyncConnection, records: Iterable[Entered]) -> None:
    """Take up what new leaves begin, and drop what they end, in the transaction of `connection`."""
    changes: dict[bytes, _Change] = {}
    for entered in records:
        session = entered.leaf.header.session
        if session is not None:
            changes.setdefault(session.bytes, _Change()).take(entered)
    for statement, rows in _writes(changes):
        if rows:
            await connection.execute(statement, rows)


def _writes(changes: Mapping[bytes, _Change]) -> Iterator[tuple[Executable, list[dict[str, Any]]]]:
    going = {session: change for session, change in changes.items() if not change.is_closed}
    gone = [{"of_session": session} for session, change in changes.items() if change.is_closed and not change.opened]
    yield _DROP_STATEMENTS, gone
    yield _DROP_SESSION, gone
    yield (
        insert(OPEN_SESSION),
        [
            {**change.opened, "session": session, **_standing(change), **change.sums}
            for session, change in going.items()
            if change.opened
        ],
    )
    yield (
        _GO_ON,
        [
            {
                "of_session": session,
                **{f"new_{name}": value for name, value in (_standing(change) | change.sums).items()},
            }
            for session, change in going.items()
            if not change.opened
        ],
    )
    yield (
        insert(OPEN_STATEMENT),
        [
            {"leaf": leaf, "session": session, **row}
            for session, change in going.items()
            for leaf, row in change.begun.items()
        ],
    )
    yield _DROP_STATEMENT, [{"of_leaf": leaf} for change in going.values() for leaf in change.ended]


def _standing(change: _Change) -> dict[str, int]:
    return {"last_at": change.last_at, "last_sn": change.last_sn}


def _new(values: Mapping[str, int]) -> dict[str, int]:
    return {f"new_{name}": value for name, value in values.items()}


_DROP_SESSION: Final = delete(OPEN_SESSION).where(OPEN_SESSION.c.session == bindparam("of_session"))
_DROP_STATEMENTS: Final = delete(OPEN_STATEMENT).where(OPEN_STATEMENT.c.session == bindparam("of_session"))
_DROP_STATEMENT: Final = delete(OPEN_STATEMENT).where(OPEN_STATEMENT.c.leaf == bindparam("of_leaf"))
#: What other writers say of a session does not move its own chain, hence the maximum.
_GO_ON: Final = (
    update(OPEN_SESSION)
    .where(OPEN_SESSION.c.session == bindparam("of_session"))
    .values(
        {
            **{name: func.max(OPEN_SESSION.c[name], bindparam(f"new_{name}")) for name in ("last_at", "last_sn")},
            **{name: OPEN_SESSION.c[name] + bindparam(f"new_{name}") for name in _SUMS},
        }
    )
)
