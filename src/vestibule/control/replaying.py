"""What clients were shown, read back page by page, from the object store or, while it is not there yet, the spool.

1. A page is bounded in rows and bytes, and while it is made one chunk is in memory at a time.
2. A cursor names a chunk, an event in it, and how many items of that event were given already. Reading goes on there
   whether the chunk has been sealed meanwhile or not.
3. Each chunk is checked against its record before anything of it is given.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from vestibule.evidence.cells import Cell
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.recording import Event, Part, Place, decode_events, unseal
from vestibule.evidence.results import Column, Described, Ended, Item, Results, Row
from vestibule.evidence.spool import decode_frames, decode_head
from vestibule.model.errors import VestibuleError
from vestibule.stores.objects import ObjectMissing, ObjectStore
from vestibule.stores.replays import Chunk, ReplayIndex

PAGE_BYTES: Final = 1024 * 1024
_CURSOR: Final = re.compile(r"(\d{1,15})\.(\d{1,10})\.(\d{1,10})", re.ASCII)


class RecordingUnreadable(VestibuleError):
    """A chunk is not there, does not open, or is not the one that its record names."""


class Keys(Protocol):
    """Opens data keys."""

    def data_key(self, key_id: UUID) -> Awaitable[bytes | None]:
        """Give a key, None if it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where reading goes on."""

    seq: int = 0
    at: int = 0
    skip: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.at}.{self.skip}"


def cursor(text: str) -> Cursor | None:
    """Read a cursor, None if it is none."""
    match = _CURSOR.fullmatch(text)
    return None if match is None else Cursor(int(match[1]), int(match[2]), int(match[3]))


@dataclass(slots=True)
class Table:
    """Rows of one result, as far as they are on this page; `ended` is how it ended, if it has."""

    statement: int
    at_us: int
    columns: tuple[Column, ...]
    continued: bool
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    ended: Ended | None = None


@dataclass(slots=True)
class Page:
    """Tables in the order in which they were shown; `over` says that nothing more can come."""

    next: Cursor
    limit: int
    tables: list[Table] = field(default_factory=list)
    over: bool = False
    rows: int = 0
    size: int = 0
    missing: list[int] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether nothing more fits."""
        return self.rows >= self.limit or self.size >= PAGE_BYTES

    def add(self, item: Item, columns: tuple[Column, ...]) -> None:
        """Put one item where it belongs."""
        match item:
            case Described():
                self.tables.append(Table(item.statement, item.at_us, item.columns, continued=False))
            case Row():
                self._table(item, columns).rows.append(item.cells)
                self.rows += 1
                self.size += 16 + sum(len(cell) if isinstance(cell, str) else 8 for cell in item.cells)
            case Ended():
                self._table(item, columns).ended = item

    def _table(self, item: Row | Ended, columns: tuple[Column, ...]) -> Table:
        for table in reversed(self.tables):
            if table.statement == item.statement:
                if table.ended is None:
                    return table
                break
        self.tables.append(Table(item.statement, item.at_us, columns, continued=bool(columns)))
        return self.tables[-1]


@dataclass(frozen=True, slots=True)
class _Content:
    """The events of a chunk; of one that is not sealed yet more may come."""

    plain: bytes
    is_sealed: bool


class Replayer:
    """Reads recordings."""

    def __init__(self, replays: ReplayIndex, store: ObjectStore, keys: Keys, spool: Path) -> None:
        """Look for what is not sealed yet below `spool`, which holds one folder a writer."""
        self._replays, self._store, self._keys, self._spool = replays, store, keys, spool

    async def page(self, session: UUID, start: Cursor, limit: int, *, is_closed: bool) -> Page:
        """Give what was shown from `start` on, at most about `limit` rows; `is_closed` as the session was before.

        Raises `RecordingUnreadable`, and `StateUnavailable` where the database cannot answer.
        """
        page = Page(start, limit)
        while not page.is_full:
            content = await self._content(session, page.next.seq)
            if content is None and not await self._skips(session, page, is_closed):
                break
            if content is not None and not _read(content, page):
                break
        return page

    async def at(self, session: UUID, moment_us: int) -> Cursor:
        """Find what was shown at a moment of the session, or next after it."""
        chunk = await self._replays.at(session, moment_us)
        return await self._found(session, chunk, lambda event: event.offset_us >= moment_us)

    async def of_statement(self, session: UUID, number: int) -> Cursor:
        """Find what was shown first of a statement, or of a later one."""
        chunk = await self._replays.of_statement(session, number)
        return await self._found(session, chunk, lambda event: event.statement >= number)

    async def masked(self, session: UUID, page: Page) -> dict[int, dict[str, str]]:
        """Say of the statements on a page which columns were masked, and by which rule."""
        found = await self._replays.masked(session, {table.statement for table in page.tables})
        return {number: dict(columns) for number, columns in found.items()}

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _skips(self, session: UUID, page: Page, is_closed: bool) -> bool:
        """Go past a chunk that is not there, if a later one is; else say whether more can come."""
        count = await self._replays.count(session)
        if page.next.seq < count:
            # Its record may have come between the two looks.
            if await self._replays.chunk(session, page.next.seq) is None:
                page.missing.append(page.next.seq)
                page.next = Cursor(page.next.seq + 1)
            return True
        page.over = is_closed
        return False

    # --- chunks ------------------------------------------------------------------------------------------------------

    async def _found(self, session: UUID, chunk: Chunk | None, wanted: _Wanted) -> Cursor:
        seq = await self._replays.count(session) if chunk is None else chunk.seq
        content = await self._content(session, seq)
        before = 0
        for behind, event in decode_events(b"" if content is None else content.plain):
            if wanted(event) and event.part is not Part.PIECE:
                return Cursor(seq, before)
            before = behind
        return Cursor(seq, before)

    async def _content(self, session: UUID, seq: int) -> _Content | None:
        chunk = await self._replays.chunk(session, seq)
        if chunk is not None:
            return _Content(await self._sealed(session, chunk), is_sealed=True)
        path = await asyncio.to_thread(self._part, session, seq)
        return None if path is None else await self._unsealed(path)

    async def _sealed(self, session: UUID, chunk: Chunk) -> bytes:
        key = await self._keys.data_key(chunk.object.key)
        if key is None:
            raise RecordingUnreadable(f"the key of chunk {chunk.seq} of session {session} is gone")
        place = Place(session, chunk.object.key, chunk.seq)
        try:
            data = await asyncio.to_thread(self._store.get, chunk.object.sha256)
            return await asyncio.to_thread(unseal, data, place, key, chunk.object)
        except (OSError, ObjectMissing, EvidenceFormatError) as error:
            detail = getattr(error, "strerror", None) or str(error)
            raise RecordingUnreadable(f"chunk {chunk.seq} of session {session} cannot be shown: {detail}") from error

    def _part(self, session: UUID, seq: int) -> Path | None:
        return next(self._spool.glob(f"*/{session}.{seq}"), None)

    async def _unsealed(self, path: Path) -> _Content | None:
        try:
            data = await asyncio.to_thread(path.read_bytes)
            key = await self._keys.data_key(decode_head(data).place.key)
            return None if key is None else _Content(decode_frames(data, key)[0], is_sealed=False)
        except (FileNotFoundError, EvidenceFormatError):
            # It has been sealed meanwhile, or is just being made: the next look finds it.
            return None


class _Wanted(Protocol):
    def __call__(self, event: Event, /) -> bool: ...


def _read(content: _Content, page: Page) -> bool:
    """Read from one chunk; tell whether to go on with the next."""
    try:
        return _taken(content, page)
    except EvidenceFormatError as error:
        raise RecordingUnreadable(str(error)) from error


def _taken(content: _Content, page: Page) -> bool:
    results = Results()
    start, skip = page.next.at, page.next.skip
    before = 0
    for behind, event in decode_events(content.plain):
        if before < start:
            if event.part is Part.HEAD:
                deque(results.feed(event), maxlen=0)
        else:
            skip = _event(event, results, page, skip)
            if skip:
                page.next = Cursor(page.next.seq, before, skip)
                return False
            page.next = Cursor(page.next.seq, behind)
            if page.is_full and not _is_inside(content.plain, behind):
                return False
        before = behind
    if content.is_sealed:
        page.next = Cursor(page.next.seq + 1)
    return content.is_sealed


def _event(event: Event, results: Results, page: Page, skip: int) -> int:
    """Take the items of an event behind the first `skip`; give how many were taken if the page is full before."""
    for number, item in enumerate(results.feed(event)):
        if number < skip:
            continue
        if page.is_full and event.part is Part.FRAMES:
            return number
        page.add(item, results.columns(item.statement))
    return 0


def _is_inside(plain: bytes, at: int) -> bool:
    """Tell whether the next event goes on inside a frame."""
    following = next(decode_events(plain, at), None)
    return following is not None and following[1].part is Part.PIECE
