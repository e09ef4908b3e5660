"""From chains to one log: which records become leaves, which files a publication writes, when nothing may be signed.

1. A leaf is a record that follows the last leaf of its writer's chain. A record that does not stops that chain, and
   only that one; nothing is skipped.
2. A file of the log is a function of the tree alone, so writing it twice is harmless. Files first, then
   `checkpoints/<size>`, at last `checkpoint`.
3. Each published checkpoint has a file that no other one has, its partial bundle of entries, so that a checkpoint is
   missed when it is removed. What a publication that was cut off left is removed before the next one; until then its
   tiles can be checked, for a tile has its entries first.
4. A tree that is smaller than one whose checkpoint was released, or has another root at that size, is not signed.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from vestibule.evidence.canonical import ZERO_LEAF, Link, leaf_hash, read_link
from vestibule.evidence.errors import EvidenceFormatError, RolledBack
from vestibule.evidence.merkle import TILE_HEIGHT, Frontier, Hashes, TileRoot, root_at
from vestibule.evidence.tiles import TILE_WIDTH, encode_entries, entries_path, new_tiles

#: How many records one integration takes.
BATCH: Final = 4_096


@dataclass(frozen=True, slots=True)
class Row:
    """A record of the journal of `node`, in the order in which that writer wrote it."""

    node: str
    header: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Leaf:
    """Record `n` of `epoch` of `node` is leaf `index`."""

    index: int
    node: str
    epoch: int
    n: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChainFault:
    """The record behind `last` of a writer is not one that may follow; its chain stops there."""

    node: str
    last: Leaf | None
    reason: str


@dataclass(frozen=True, slots=True)
class LogState:
    """The tree, and the last leaf of each writer."""

    tree: Frontier = field(default_factory=Frontier)
    chains: Mapping[str, Leaf] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Integrated:
    """What one integration added, and the chains that stopped."""

    state: LogState
    leaves: tuple[Leaf, ...]
    tiles: tuple[TileRoot, ...]
    faults: tuple[ChainFault, ...]


def integrate(state: LogState, rows: Iterable[Row], limit: int = BATCH) -> Integrated:
    """Make leaves of at most `limit` rows, in the order given."""
    chains = dict(state.chains)
    leaves: list[Leaf] = []
    faults: dict[str, ChainFault] = {}
    for row in rows:
        if len(leaves) == limit:
            break
        if row.node in faults:
            continue
        try:
            leaf = _follow(chains.get(row.node), row, state.tree.size + len(leaves))
        except EvidenceFormatError as error:
            faults[row.node] = ChainFault(row.node, chains.get(row.node), str(error))
        else:
            leaves.append(leaf)
            chains[row.node] = leaf
    tree, tiles = state.tree.extend(leaf.hash for leaf in leaves)
    return Integrated(LogState(tree, chains), tuple(leaves), tiles, tuple(faults.values()))


def _follow(last: Leaf | None, row: Row, index: int) -> Leaf:
    link = read_link(row.header)
    _check_place(last, row.node, link)
    if link.length != len(row.body) or sha256(row.body).digest() != link.body:
        raise EvidenceFormatError(f"the body of record {link.n} of epoch {link.epoch} is not the one its header names")
    return Leaf(index, row.node, link.epoch, link.n, leaf_hash(row.header))


def _check_place(last: Leaf | None, node: str, link: Link) -> None:
    """Check that a record stands behind `last`: the next of its epoch, or the first of a later one."""
    place = f"record {link.n} of epoch {link.epoch}"
    if link.node != node:
        raise EvidenceFormatError(f"{place} was written by another writer")
    begins = link.n == 0 and (last is None or link.epoch > last.epoch)
    follows = last is not None and (link.epoch, link.n) == (last.epoch, last.n + 1)
    if not begins and not follows:
        raise EvidenceFormatError(f"{place} does not follow")
    if link.prev != (ZERO_LEAF if last is None else last.hash):
        raise EvidenceFormatError(f"{place} does not link to the record before it")


@dataclass(frozen=True, slots=True)
class Grown:
    """The hashes of a published tree of `old` leaves and of what was added since."""

    published: Hashes
    old: int
    leaves: Sequence[bytes]
    tiles: Sequence[TileRoot]

    def __call__(self, level: int, start: int, end: int) -> Sequence[bytes]:
        """Give the hashes `start` to before `end` of `level`."""
        border = self.old >> level * TILE_HEIGHT
        added = self.leaves if level == 0 else [tile.root for tile in self.tiles if tile.level == level - 1]
        before = self.published(level, start, min(end, border)) if start < border else ()
        return [*before, *added[max(start - border, 0) : max(end - border, 0)]]


def publication(
    old: int, new: int, hashes: Hashes, entries: Callable[[int, int], Sequence[bytes]]
) -> Iterator[tuple[str, bytes]]:
    """Give the files that the tree of `new` leaves has and the tree of `old` leaves has not.

    `entries` gives the headers of the leaves from the first to before the second number.
    """
    for tile in new_tiles(old, new):
        start = tile.n * TILE_WIDTH
        if tile.level == 0:
            yield entries_path(tile.n, tile.width), encode_entries(entries(start, start + tile.width))
        yield tile.path, b"".join(hashes(tile.level, start, start + tile.width))


def publishable(size: int) -> int:
    """Give the size to publish: at the border of a tile, where no partial bundle would be left, one leaf less."""
    return size - 1 if size and size % TILE_WIDTH == 0 else size


@dataclass(frozen=True, slots=True)
class Known:
    """A tree whose checkpoint was released, as `source` remembers it."""

    source: str
    size: int
    root: bytes


def check_rollback(size: int, hashes: Hashes, known: Iterable[Known]) -> None:
    """Raise `RolledBack` unless the tree of `size` leaves begins with every known one."""
    for each in known:
        if each.size > size:
            raise RolledBack(
                f"{each.source} knows a log of {each.size} leaves, this one has {size}: it was restored or cut off; "
                f"nothing is signed until its records are back"
            )
        if not hmac.compare_digest(root_at(each.size, hashes), each.root):
            raise RolledBack(
                f"{each.source} knows another log: the roots of the first {each.size} leaves differ; nothing is signed"
            )
