"""The tree of RFC 9162 as the text of the standard defines it: slow, recursive, obviously right."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256


class NaiveTree:
    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = tuple(leaves)
        self.root = lru_cache(maxsize=None)(self._root)

    def _root(self, start: int, end: int) -> bytes:
        if end == start:
            return sha256(b"").digest()
        if end - start == 1:
            return self.leaves[start]
        middle = start + split(end - start)
        return sha256(b"\x01" + self.root(start, middle) + self.root(middle, end)).digest()

    def path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + split(end - start)
        if index < middle:
            return [*self.path(index, start, middle), self.root(middle, end)]
        return [*self.path(index, middle, end), self.root(start, middle)]

    def proof(self, old: int, start: int, end: int, whole: bool = True) -> list[bytes]:
        if old == end:
            return [] if whole else [self.root(start, end)]
        middle = start + split(end - start)
        if old <= middle:
            return [*self.proof(old, start, middle, whole), self.root(middle, end)]
        return [*self.proof(old, middle, end, False), self.root(start, middle)]

    def hashes(self, level: int, start: int, end: int) -> list[bytes]:
        """The same hashes by tile level, for the code under test."""
        step = 256**level
        return [
            self.root(place * step, (place + 1) * step)
            for place in range(start, end)
            if (place + 1) * step <= len(self.leaves)
        ]


def split(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power
