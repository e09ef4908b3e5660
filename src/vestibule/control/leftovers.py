"""What data processes that died have left in the spool becomes chunks, in the control process's own chain.

1. A part whose chunk is in the log already is dropped. Another one is sealed up to its torn end and recorded first.
2. Wherever this is cut off, the next run goes on: at worst an object is left that no record names.
3. A part that cannot be read now (no key, a store that is down) is left where it is, and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

import structlog

from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.recording import Place
from vestibule.evidence.spool import HEAD_BYTES, decode_head
from vestibule.model.names import TargetName
from vestibule.model.record import Kind, Record, Written
from vestibule.stores.index import SessionIndex
from vestibule.stores.objects import ObjectStore
from vestibule.stores.replays import ReplayIndex
from vestibule.stores.sealing import Sealed, seal_part
from vestibule.stores.spool import files

log = structlog.get_logger(__name__)


class Keys(Protocol):
    """Opens data keys."""

    def data_key(self, key_id: UUID) -> Awaitable[bytes | None]:
        """Give a key, None if it is gone."""
        ...


class OwnJournal(Protocol):
    """The control process's own journal."""

    def commit(self, *records: Record) -> Awaitable[tuple[Written, ...]]:
        """Return once records are durable."""
        ...


@dataclass(slots=True)
class Left:
    """What was found: how many chunks each session has now, and how many bytes of the spool were recovered."""

    chunks: dict[UUID, int] = field(default_factory=dict)
    spool_bytes: int = 0

    def count(self, session: UUID, seq: int) -> None:
        """Note a chunk."""
        self.chunks[session] = max(self.chunks.get(session, 0), seq + 1)


class Leftovers:
    """Seals what is below `spool`, which holds one folder a writer."""

    def __init__(
        self, spool: Path, store: ObjectStore, keys: Keys, replays: ReplayIndex, sessions: SessionIndex, own: OwnJournal
    ) -> None:
        """Record what is sealed in the journal `own`."""
        self._spool, self._store, self._keys = spool, store, keys
        self._replays, self._sessions, self._own = replays, sessions, own

    def writers(self) -> list[str]:
        """List the writers that have left something."""
        return sorted(path.name for path in self._spool.glob("*") if next(files(path), None) is not None)

    async def seal(self, writers: Collection[str]) -> Left:
        """Seal what these writers left, all of which write no more.

        Raises `EvidenceUnavailable` if it cannot be recorded.
        """
        left = Left()
        for writer in writers:
            for path, session, seq in files(self._spool / writer):
                await self._part(path, session, seq, left)
        return left

    async def count(self, session: UUID, left: Left) -> int:
        """Say how many chunks a session has: those in the log, and those that were recovered now."""
        return max(left.chunks.get(session, 0), await self._replays.count(session))

    async def _part(self, path: Path, session: UUID, seq: int, left: Left) -> None:
        if await self._replays.chunk(session, seq) is not None:
            left.count(session, seq)
            _drop(path)
            return
        size = _size(path)
        if size <= HEAD_BYTES:
            # It was begun, and nothing was written yet.
            _drop(path)
            return
        left.count(session, seq)
        sealed = await self._sealed(path, session, seq)
        if sealed is not None:
            found = await self._sessions.find(str(session))
            target = TargetName(found[0].target) if found else None
            members = sealed.members(recovered=True)
            await self._own.commit(Record(Kind.CHUNK_SEALED, members, session, target, sequenced=False))
            _drop(path)
            left.spool_bytes += size
            log.info("spool_part_recovered", session=str(session), seq=seq, torn=sealed.torn)

    async def _sealed(self, path: Path, session: UUID, seq: int) -> Sealed | None:
        try:
            place = await asyncio.to_thread(_place, path)
            key = await self._keys.data_key(place.key)
            if key is None or (place.session, place.seq) != (session, seq):
                raise EvidenceFormatError("no key, or a part of another name")
            return await asyncio.to_thread(seal_part, path, key, self._store)
        except (OSError, EvidenceFormatError) as error:
            detail = getattr(error, "strerror", None) or str(error)
            log.error("spool_part_left", session=str(session), seq=seq, detail=detail)
            return None


def _place(path: Path) -> Place:
    with path.open("rb") as file:
        return decode_head(file.read(HEAD_BYTES)).place


def _size(path: Path) -> int:
    return path.stat().st_size


def _drop(path: Path) -> None:
    path.unlink()
