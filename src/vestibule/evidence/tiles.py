"""The log's files as C2SP tlog-tiles names and fills them.

1. Level L, tile N: `tile/<L>/<N>`, N in groups of three digits, all but the last with `x` before them.
2. A full tile has 256 hashes; a partial one has `.p/<width>` behind its name, and width 0 does not exist.
3. `tile/entries/<N>` holds the entries themselves, each behind its length in two bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.merkle import TILE_HEIGHT

TILE_WIDTH: Final = 1 << TILE_HEIGHT
_HASH: Final = 32
_ENTRY_LIMIT: Final = 65_535


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Hashes `n * 256` to before `n * 256 + width` of a level."""

    level: int
    n: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The tile's file."""
        return f"tile/{self.level}/{_numbered(self.n, self.width)}"


def entries_path(n: int, width: int = TILE_WIDTH) -> str:
    """Name the file of the entries whose hashes are in tile `n` of level 0."""
    return f"tile/entries/{_numbered(n, width)}"


def tiles_of(size: int) -> Iterator[Tile]:
    """Give all tiles of a tree of `size` leaves, level by level."""
    return new_tiles(0, size)


def new_tiles(old: int, new: int) -> Iterator[Tile]:
    """Give the tiles of the tree of `new` leaves that the tree of `old` leaves does not have."""
    level = 0
    while (count := new >> level * TILE_HEIGHT) > 0:
        before = old >> level * TILE_HEIGHT
        for n in range(before // TILE_WIDTH, count // TILE_WIDTH):
            yield Tile(level, n)
        if count % TILE_WIDTH and count != before:
            yield Tile(level, count // TILE_WIDTH, count % TILE_WIDTH)
        level += 1


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Put entries into a bundle."""
    pieces: list[bytes] = []
    for entry in entries:
        if len(entry) > _ENTRY_LIMIT:
            raise EvidenceFormatError(f"an entry has at most {_ENTRY_LIMIT:,} bytes")
        pieces.append(len(entry).to_bytes(2, "big") + entry)
    return b"".join(pieces)


def decode_entries(data: bytes, width: int) -> list[bytes]:
    """Take the `width` entries out of a bundle that holds exactly them."""
    entries: list[bytes] = []
    place = 0
    while place < len(data):
        end = place + 2 + int.from_bytes(data[place : place + 2], "big")
        if end > len(data) or place + 2 > len(data):
            raise EvidenceFormatError("an entry bundle ends within an entry")
        entries.append(data[place + 2 : end])
        place = end
    if len(entries) != width:
        raise EvidenceFormatError(f"an entry bundle holds {len(entries)} entries where {width} belong")
    return entries


@dataclass(frozen=True, slots=True)
class TileHashes:
    """The hashes of a published tree of `size` leaves, read from its tiles; `read` gives a file's bytes."""

    size: int
    read: Callable[[str], bytes]

    def __call__(self, level: int, start: int, end: int) -> Sequence[bytes]:
        """Give the hashes `start` to before `end` of `level`."""
        hashes: list[bytes] = []
        for n in range(start // TILE_WIDTH, (end + TILE_WIDTH - 1) // TILE_WIDTH):
            tile = self._tile(level, n)
            first, last = max(start - n * TILE_WIDTH, 0), min(end - n * TILE_WIDTH, TILE_WIDTH)
            hashes += tile[first:last]
        return hashes

    def _tile(self, level: int, n: int) -> list[bytes]:
        width = min(TILE_WIDTH, (self.size >> level * TILE_HEIGHT) - n * TILE_WIDTH)
        if width <= 0:
            return []
        data = self.read(Tile(level, n, width).path)
        if len(data) != width * _HASH:
            raise EvidenceFormatError(f"a tile of {width} hashes has {len(data)} bytes")
        return [data[place : place + _HASH] for place in range(0, len(data), _HASH)]


def _numbered(n: int, width: int) -> str:
    if n < 0 or not 0 < width <= TILE_WIDTH:
        raise EvidenceFormatError("a tile has a number from 0 and 1 to 256 hashes")
    digits = f"{n:03d}"
    digits = digits.rjust((len(digits) + 2) // 3 * 3, "0")
    groups = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return name if width == TILE_WIDTH else f"{name}.p/{width}"
