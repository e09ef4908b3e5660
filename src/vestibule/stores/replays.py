"""The index of recordings: which chunks a session has, what each covers, and which columns of a result were masked.

It is derived from record bodies when they become leaves, like the index of sessions, and is never evidence itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Column, Index, Integer, LargeBinary, Select, Table, Text, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from vestibule.evidence.canonical import Header
from vestibule.evidence.recording import RESULTS, Stored, stored
from vestibule.model.login import StateUnavailable
from vestibule.model.record import Kind
from vestibule.stores.database import METADATA

CHUNK: Final = Table(
    "chunk",
    METADATA,
    Column("session", LargeBinary(16), primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("object", Text, nullable=False),
    Column("first_us", Integer, nullable=False),
    Column("last_us", Integer, nullable=False),
    Column("first_statement", Integer, nullable=False),
    Column("last_statement", Integer, nullable=False),
    Index("chunk_by_time", "session", "stream", "last_us"),
    Index("chunk_by_statement", "session", "stream", "last_statement"),
)

MASKED: Final = Table(
    "masked_columns",
    METADATA,
    Column("session", LargeBinary(16), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("columns", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of the results of a session."""

    seq: int
    object: Stored
    first_us: int
    last_us: int


class ReplayIndex:
    """Finds chunks; every query raises `StateUnavailable` when the database cannot answer."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Use the tables of `engine`, which `open_database` made."""
        self._engine = engine

    async def chunk(self, session: UUID, seq: int) -> Chunk | None:
        """Give one chunk, None if it is not in the log."""
        rows = await self._rows(_chunks(session).where(CHUNK.c.seq == seq))
        return _chunk(rows[0]) if rows else None

    async def count(self, session: UUID) -> int:
        """Say how many chunks there are: one more than the greatest seq."""
        rows = await self._rows(select(func.max(CHUNK.c.seq).label("seq")).where(*_of(session)))
        return 0 if rows[0]["seq"] is None else int(rows[0]["seq"]) + 1

    async def at(self, session: UUID, moment_us: int) -> Chunk | None:
        """Find the first chunk that is not over at a moment of the session."""
        query = _chunks(session).where(CHUNK.c.last_us >= moment_us).order_by(CHUNK.c.last_us, CHUNK.c.seq).limit(1)
        rows = await self._rows(query)
        return _chunk(rows[0]) if rows else None

    async def of_statement(self, session: UUID, number: int) -> Chunk | None:
        """Find the first chunk that may hold results of a statement."""
        covers = (CHUNK.c.first_statement <= number, CHUNK.c.last_statement >= number)
        rows = await self._rows(_chunks(session).where(*covers).order_by(CHUNK.c.seq).limit(1))
        return _chunk(rows[0]) if rows else None

    async def masked(self, session: UUID, numbers: Iterable[int]) -> Mapping[int, Mapping[str, str]]:
        """Say of statements which columns were masked, by name, and how."""
        query = select(MASKED).where(MASKED.c.session == session.bytes, MASKED.c.number.in_(list(numbers)))
        return {row["number"]: json.loads(row["columns"]) for row in await self._rows(query)}

    async def _rows(self, query: Select[Any]) -> Sequence[Mapping[str, Any]]:
        try:
            async with self._engine.connect() as connection:
                return [row._mapping for row in await connection.execute(query)]
        except SQLAlchemyError as error:
            raise StateUnavailable(f"the state database cannot answer: {type(error).__name__}") from error


def _of(session: UUID) -> tuple[Any, ...]:
    return CHUNK.c.session == session.bytes, CHUNK.c.stream == RESULTS


def _chunks(session: UUID) -> Select[Any]:
    return select(CHUNK).where(*_of(session))


def _chunk(row: Mapping[str, Any]) -> Chunk:
    return Chunk(row["seq"], stored(json.loads(row["object"])), row["first_us"], row["last_us"])


# --- entering --------------------------------------------------------------------------------------------------------


async def enter(connection: AsyncConnection, records: Iterable[tuple[Header, bytes]]) -> None:
    """Enter new records in the transaction of `connection`; entering one again changes nothing."""
    chunks, masked = list[dict[str, Any]](), list[dict[str, Any]]()
    for header, body in records:
        if header.session is None:
            continue
        if header.kind is Kind.CHUNK_SEALED:
            chunks.append(_sealed(header.session, json.loads(body)))
        elif header.kind is Kind.STATEMENT_DECIDED and b'"mask_plan":' in body:
            masked += _masked(header.session, json.loads(body))
    for table, rows in ((CHUNK, chunks), (MASKED, masked)):
        if rows:
            await connection.execute(insert(table).on_conflict_do_nothing(), rows)


def _sealed(session: UUID, body: Mapping[str, Any]) -> dict[str, Any]:
    first, last = body.get("statements", (0, 0))
    return {
        "session": session.bytes,
        "stream": body["stream"],
        "seq": body["seq"],
        "object": json.dumps(body["object"]),
        "first_us": body["first_us"],
        "last_us": body["last_us"],
        "first_statement": first,
        "last_statement": last,
    }


def _masked(session: UUID, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    masked = body.get("mask_plan", {}).get("columns", ())
    columns = {each["name"]: each.get("rule", each["transform"]) for each in masked}
    row = {"session": session.bytes, "number": body["no"], "columns": json.dumps(columns)}
    return [row] if columns else []
