"""The tree of RFC 9162, section 2.1, with SHA-256: growth, roots, proofs.

1. Everything is a function of hashes by tile level (`Hashes`): level 0 holds the leaves, level L + 1 the roots of the
   full tiles (256 hashes each) of level L. Where they are kept is somebody else's business.
2. `Frontier` grows the tree with O(log n) memory; proofs and old roots are made from `Hashes`.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from vestibule.evidence.errors import EvidenceFormatError

#: The root of the tree without leaves.
EMPTY_ROOT: Final = sha256().digest()
#: A full tile has 2^8 hashes.
TILE_HEIGHT: Final = 8


class Hashes(Protocol):
    """The stored hashes of a tree."""

    def __call__(self, level: int, start: int, end: int) -> Sequence[bytes]:
        """Give the hashes `start` to before `end` of tile level `level`."""
        ...


@dataclass(frozen=True, slots=True)
class TileRoot:
    """Tile `n` of `level` is full; `root` is hash `n` of the next level."""

    level: int
    n: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree of `size` leaves as the roots of its perfect subtrees, largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a number of roots that is not the number of ones in the size."""
        if self.size < 0 or len(self.hashes) != self.size.bit_count() or any(len(root) != 32 for root in self.hashes):
            raise EvidenceFormatError("a frontier has one hash of 32 bytes for each one in the binary form of its size")

    def root(self) -> bytes:
        """Give the root of the whole tree."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = hash_node(left, root)
        return root

    def extend(self, leaves: Iterable[bytes]) -> tuple[Frontier, tuple[TileRoot, ...]]:
        """Append leaf hashes; give the larger tree and the tiles that became full."""
        size = self.size
        stack = list(self.hashes)
        tiles: list[TileRoot] = []
        for leaf in leaves:
            root, index, level = leaf, size, 0
            while index & 1:
                root = sha256(b"\x01" + stack.pop() + root).digest()
                index >>= 1
                level += 1
                if level & 7 == 0:
                    tiles.append(TileRoot((level >> 3) - 1, index, root))
            stack.append(root)
            size += 1
        return Frontier(size, tuple(stack)), tuple(tiles)

    def to_bytes(self) -> bytes:
        """Write the roots one after the other; the size is kept beside them."""
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> Frontier:
        """Read what `to_bytes` wrote."""
        return cls(size, tuple(data[start : start + 32] for start in range(0, len(data), 32)))


def hash_node(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into one."""
    return sha256(b"\x01" + left + right).digest()


def root_at(size: int, hashes: Hashes) -> bytes:
    """Give the root that the tree had with `size` leaves."""
    return _range_root(0, size, hashes) if size else EMPTY_ROOT


def prove_inclusion(index: int, size: int, hashes: Hashes) -> tuple[bytes, ...]:
    """Show that leaf `index` is in the tree of the first `size` leaves (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < size:
        raise EvidenceFormatError("a proof of inclusion is about a leaf of the tree")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_root(middle, end, hashes))
            end = middle
        else:
            proof.append(_range_root(start, middle, hashes))
            start = middle
    return tuple(reversed(proof))


def prove_consistency(old: int, new: int, hashes: Hashes) -> tuple[bytes, ...]:
    """Show that the tree of `old` leaves is the beginning of the tree of `new` leaves (RFC 9162, 2.1.4.1)."""
    if not 0 <= old <= new:
        raise EvidenceFormatError("a proof of consistency leads from a tree to a larger one")
    if old in (0, new):
        return ()
    proof: list[bytes] = []
    start, end = 0, new
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_range_root(middle, end, hashes))
            end = middle
        else:
            proof.append(_range_root(start, middle, hashes))
            start = middle
    if start > 0:
        proof.append(_range_root(start, end, hashes))
    return tuple(reversed(proof))


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Check a proof of inclusion (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last = index, size - 1
    computed = leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            computed = hash_node(sibling, computed)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            computed = hash_node(computed, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and hmac.compare_digest(computed, root)


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Check a proof of consistency (RFC 9162, 2.1.4.2); every tree begins with the empty one."""
    if not 0 <= old <= new:
        return False
    if old in (0, new):
        return not proof and hmac.compare_digest(old_root, new_root if old == new else EMPTY_ROOT)
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    return _climb(old - 1, new - 1, path, old_root, new_root)


def _climb(position: int, last: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    while position & 1:
        position >>= 1
        last >>= 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            first, second = hash_node(sibling, first), hash_node(sibling, second)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            second = hash_node(second, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and hmac.compare_digest(first, old_root) and hmac.compare_digest(second, new_root)


def _split(count: int) -> int:
    """Give the largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_root(start: int, end: int, hashes: Hashes) -> bytes:
    """Give the root over leaves `start` to before `end`, where `start` is what a split of the tree leads to."""
    perfect: list[bytes] = []
    while end - start > 1 and (end - start) & (end - start - 1):
        middle = start + _split(end - start)
        perfect.append(_perfect_root(start, middle, hashes))
        start = middle
    root = _perfect_root(start, end, hashes)
    for left in reversed(perfect):
        root = hash_node(left, root)
    return root


def _perfect_root(start: int, end: int, hashes: Hashes) -> bytes:
    level, rest = divmod((end - start).bit_length() - 1, TILE_HEIGHT)
    first = start >> level * TILE_HEIGHT
    row = list(hashes(level, first, first + (1 << rest)))
    if len(row) != 1 << rest:
        raise EvidenceFormatError(f"hashes of level {level} from {first} are missing")
    while len(row) > 1:
        row = [hash_node(row[place], row[place + 1]) for place in range(0, len(row), 2)]
    return row[0]
