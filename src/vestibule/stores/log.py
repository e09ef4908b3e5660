"""The tables of the log: which record is which leaf, how far each chain is in, what was signed.

1. Leaves, the tree, the ends of the chains and the search index change in one transaction (`add`).
2. The tree's hashes are in the tiles and the records in the journal; a leaf's row says where its record stands.
3. A transaction that finds another tree than the one it builds on changes nothing (`StateChanged`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from vestibule.evidence.log import Integrated, LogState
from vestibule.evidence.log import Leaf as ChainLeaf
from vestibule.evidence.merkle import Frontier
from vestibule.model.errors import VestibuleError
from vestibule.stores.database import METADATA
from vestibule.stores.index import Leaf, enter
from vestibule.stores.unfinished import Entered, follow

CHAIN: Final = Table(
    "node_epoch",
    METADATA,
    Column("node", Text, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("integrated_n", Integer, nullable=False),
    Column("integrated_leaf", LargeBinary(32), nullable=False),
    Column("leaf_index", Integer, nullable=False),
)

LEAF: Final = Table(
    "leaf",
    METADATA,
    Column("leaf_index", Integer, primary_key=True),
    Column("node", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("segment", Integer, nullable=False),
    Column("offset", Integer, nullable=False),
    UniqueConstraint("node", "epoch", "n"),
)

LOG: Final = Table(
    "log_state",
    METADATA,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("origin", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("published_size", Integer, nullable=False),
    Column("published_frontier", LargeBinary, nullable=False),
    Column("rebuild_to", Integer, nullable=False),
    Column("has_genesis", Boolean, nullable=False),
)

CHECKPOINT: Final = Table(
    "checkpoint",
    METADATA,
    Column("size", Integer, primary_key=True),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("signed_at", Text, nullable=False),
)


class StateChanged(VestibuleError):
    """Somebody else changed the state database under the integrator."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: in the segment of `node` that begins with record `segment` of `epoch`, at `offset`."""

    node: str
    epoch: int
    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Kept:
    """The log as the database has it; `rebuild_to` is the size of a published log that is still being read back."""

    state: LogState
    published: Frontier
    rebuild_to: int
    has_genesis: bool


class LogStore:
    """The log's tables; `engine` was opened by `open_database`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def load(self) -> Kept | None:
        """Read the log; None in a new database."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(LOG))).mappings().one_or_none()
            if row is None:
                return None
            chains = await _chains(connection)
        tree = Frontier.from_bytes(row["size"], row["frontier"])
        published = Frontier.from_bytes(row["published_size"], row["published_frontier"])
        return Kept(LogState(tree, chains), published, row["rebuild_to"], row["has_genesis"])

    async def begin(self, origin: str, rebuild_to: int) -> None:
        """Start with an empty log, which is to be read back from a published one if `rebuild_to` is not 0."""
        empty = Frontier()
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(LOG).values(
                    id=1,
                    origin=origin,
                    size=0,
                    frontier=b"",
                    root=empty.root(),
                    published_size=0,
                    published_frontier=b"",
                    rebuild_to=rebuild_to,
                    has_genesis=False,
                )
            )

    async def add(
        self,
        before: Frontier,
        integrated: Integrated,
        places: Sequence[Place],
        records: Sequence[Leaf],
        *,
        genesis: bool,
    ) -> None:
        """Keep new leaves with their places, the larger tree and the index, all or nothing."""
        tree = integrated.state.tree
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                update(LOG)
                .where(LOG.c.size == before.size, LOG.c.root == before.root())
                .values(
                    size=tree.size,
                    frontier=tree.to_bytes(),
                    root=tree.root(),
                    has_genesis=True if genesis else LOG.c.has_genesis,
                )
            )
            if changed.rowcount != 1:
                raise StateChanged("the log in the state database is not the one that was read at the start")
            await connection.execute(insert(LEAF), _leaf_rows(integrated, places))
            await connection.execute(_keep_chain, _chain_rows(integrated))
            await enter(connection, records)
            hashes = [leaf.hash for leaf in integrated.leaves]
            await follow(connection, map(Entered, hashes, records))

    async def places(self, start: int, end: int) -> list[Place]:
        """Give the places of the leaves `start` to before `end`."""
        query = (
            select(LEAF.c.node, LEAF.c.epoch, LEAF.c.segment, LEAF.c.offset)
            .where(LEAF.c.leaf_index >= start, LEAF.c.leaf_index < end)
            .order_by(LEAF.c.leaf_index)
        )
        async with self._engine.connect() as connection:
            return [Place(*row) for row in await connection.execute(query)]

    async def publish(self, tree: Frontier, note: bytes, at: str) -> None:
        """Keep a signed checkpoint before anybody sees it; what was to be read back is, then."""
        row = {"size": tree.size, "root": tree.root(), "note": note, "signed_at": at}
        published = {"published_size": tree.size, "published_frontier": tree.to_bytes(), "rebuild_to": 0}
        async with self._engine.begin() as connection:
            await connection.execute(insert(CHECKPOINT).values(row).on_conflict_do_nothing())
            await connection.execute(update(LOG).values(published))

    async def newest_note(self) -> bytes | None:
        """Give the newest signed checkpoint."""
        query = select(CHECKPOINT.c.note).order_by(CHECKPOINT.c.size.desc()).limit(1)
        async with self._engine.connect() as connection:
            note: bytes | None = (await connection.execute(query)).scalar_one_or_none()
            return note


async def _chains(connection: AsyncConnection) -> Mapping[str, ChainLeaf]:
    """Read the last leaf of each writer."""
    newest = select(CHAIN.c.node, func.max(CHAIN.c.epoch).label("epoch")).group_by(CHAIN.c.node).subquery()
    query = select(CHAIN).join(newest, (CHAIN.c.node == newest.c.node) & (CHAIN.c.epoch == newest.c.epoch))
    return {
        row["node"]: ChainLeaf(
            row["leaf_index"], row["node"], row["epoch"], row["integrated_n"], row["integrated_leaf"]
        )
        for row in (await connection.execute(query)).mappings()
    }


def _leaf_rows(integrated: Integrated, places: Sequence[Place]) -> list[dict[str, Any]]:
    return [
        {
            "leaf_index": leaf.index,
            "node": leaf.node,
            "epoch": leaf.epoch,
            "n": leaf.n,
            "segment": place.segment,
            "offset": place.offset,
        }
        for leaf, place in zip(integrated.leaves, places, strict=True)
    ]


def _chain_rows(integrated: Integrated) -> list[dict[str, Any]]:
    last = {(leaf.node, leaf.epoch): leaf for leaf in integrated.leaves}
    return [
        {
            "node": leaf.node,
            "epoch": leaf.epoch,
            "integrated_n": leaf.n,
            "integrated_leaf": leaf.hash,
            "leaf_index": leaf.index,
        }
        for leaf in last.values()
    ]


_new_chain = insert(CHAIN)
_keep_chain: Final = _new_chain.on_conflict_do_update(
    index_elements=["node", "epoch"],
    set_={name: _new_chain.excluded[name] for name in ("integrated_n", "integrated_leaf", "leaf_index")},
)
