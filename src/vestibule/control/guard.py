"""The rollback guard: a log that is smaller than, or differs from, one that was released is neither grown nor signed.

1. Three memories that are not in the state database: the signer's, `guard.json`, the published checkpoint.
2. All of them must be the beginning of the tree, at the start and before the tree grows.
3. `guard.json` is durable before a checkpoint is released.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vestibule.control.remembered import Tree, read_tree, write_tree
from vestibule.control.signer import Signer
from vestibule.evidence.checkpoint import open_checkpoint
from vestibule.evidence.errors import EvidenceFormatError, RolledBack
from vestibule.evidence.log import Known, check_rollback
from vestibule.evidence.merkle import Hashes
from vestibule.stores.tiles import CHECKPOINT, LogFolder

GUARD_FILE: Final = "guard.json"


class Guard:
    """What is known of the log outside the state database."""

    def __init__(self, data: Path, folder: LogFolder, signer: Signer) -> None:
        self._path = data / GUARD_FILE
        self._folder = folder
        self._signer = signer
        self._proven: set[tuple[int, bytes]] = set()

    def check(self, size: int, hashes: Hashes, *more: Known) -> None:
        """Raise `RolledBack` unless the tree of `size` leaves begins with every tree that is known, and with `more`."""
        # A tree that only grows keeps what was proven of it once.
        fresh = [each for each in (*self._known(), *more) if (each.size, each.root) not in self._proven]
        check_rollback(size, hashes, fresh)
        self._proven.update((each.size, each.root) for each in fresh)

    def remember(self, tree: Tree) -> None:
        """Remember a tree whose checkpoint is about to be released."""
        write_tree(self._path, self._signer.key.name, tree)

    def published(self) -> Tree:
        """Read the published checkpoint; the empty tree if there is none."""
        note = self._folder.checkpoint()
        if note is None:
            return Tree()
        try:
            checkpoint = open_checkpoint(note, self._signer.key)
        except EvidenceFormatError as error:
            raise RolledBack(f"log/{CHECKPOINT} is not what this log published: {error}; nothing is signed") from None
        return Tree(checkpoint.size, checkpoint.root)

    def _known(self) -> Iterator[Known]:
        yield Known("the signer", self._signer.last.size, self._signer.last.root)
        remembered = read_tree(self._path, self._signer.key.name) or Tree()
        yield Known(GUARD_FILE, remembered.size, remembered.root)
        published = self.published()
        yield Known(f"log/{CHECKPOINT}", published.size, published.root)
