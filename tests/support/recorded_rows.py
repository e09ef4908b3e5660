"""Recorded results for tests: chunks in a store with their records in an index, and parts that are not sealed yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

from orjson import dumps
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.recordings import KEY, KEY_ID
from vestibule.control.replaying import Replayer
from vestibule.evidence.canonical import Header
from vestibule.evidence.recording import Event, Part, Place, encode_event
from vestibule.evidence.recording import seal as seal_chunk
from vestibule.model.names import Instant
from vestibule.model.record import Kind
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.stores.objects import Directory
from vestibule.stores.replays import ReplayIndex, enter
from vestibule.stores.sealing import seal_part
from vestibule.stores.spool import Spool, SpoolPart


def head(*names: str) -> bytes:
    """The description of columns of text."""
    return encode(pg.RowDescription(tuple(pg.Field(name, 0, 0, 25, -1, -1, 0) for name in names)))


def rows(*values: Sequence[str | None]) -> bytes:
    """Rows of text."""
    return b"".join(encode(pg.DataRow(tuple(None if v is None else v.encode() for v in row))) for row in values)


def done(tag: str) -> bytes:
    """The end of a result."""
    return encode(pg.CommandComplete(tag))


class Shelf:
    """A store, a spool and an index below one folder."""

    def __init__(self, folder: Path, engine: AsyncEngine) -> None:
        """Use the tables of `engine`."""
        self.folder, self.engine = folder, engine
        self.store = Directory(folder / "objects")
        self.replays = ReplayIndex(engine)
        self.keys = {KEY_ID: KEY}
        self.replayer = Replayer(self.replays, self.store, self, folder / "spool")

    async def data_key(self, key_id: UUID) -> bytes | None:
        """Open a key."""
        return self.keys.get(key_id)

    def part(self, session: UUID, seq: int, events: Iterable[Event]) -> SpoolPart:
        """Write a part that is not sealed."""
        part = Spool(self.folder / "spool" / "n.0", 1 << 40).begin(Place(session, KEY_ID, seq), KEY)
        self.go_on(part, events)
        return part

    def go_on(self, part: SpoolPart, events: Iterable[Event]) -> None:
        """Write more into a part."""
        for event in events:
            part.write(event.offset_us, encode_event(event))

    async def seal(self, part: SpoolPart) -> None:
        """Make a part the chunk of its place."""
        sealed = seal_part(part.path, KEY, self.store)
        await self._enter(part.place, sealed.members(recovered=False))
        part.drop()

    async def chunk(self, session: UUID, seq: int, events: Sequence[Event]) -> None:
        """Put a chunk into the store and the index."""
        place = Place(session, KEY_ID, seq)
        data, about = seal_chunk(place, KEY, bytes(24), bytes(16), b"".join(map(encode_event, events)))
        self.store.put(data)
        members = {
            "stream": "results",
            "seq": seq,
            "object": about.members(),
            "first_us": events[0].offset_us,
            "last_us": events[-1].offset_us,
            "statements": [min(e.statement for e in events), max(e.statement for e in events)],
        }
        await self._enter(place, members)

    async def _enter(self, place: Place, members: object) -> None:
        header = Header(
            kind=Kind.CHUNK_SEALED, id=UUID(int=1), t=Instant(0), node="n.0", epoch=1, n=0, prev=bytes(32),
            session=place.session, sn=None, sprev=None, target=None, body=bytes(32), length=1,
        )  # fmt: skip
        async with self.engine.begin() as connection:
            await enter(connection, [(header, dumps(members))])


def result(statement: int, at_us: int, names: Sequence[str], *values: Sequence[str | None]) -> list[Event]:
    """A whole result as events."""
    return [
        Event(at_us, statement, Part.HEAD, head(*names)),
        Event(at_us, statement, Part.FRAMES, rows(*values)),
        Event(at_us, statement, Part.FRAMES, done(f"SELECT {len(values)}")),
    ]
