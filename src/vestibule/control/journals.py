"""The journals of all writers as one stream of records that may become leaves.

1. Each writer is read in its own order; between writers there is none.
2. A chain that is not what its writer writes stops, with everything behind it; the others go on.
3. What was read and could not be kept is given again first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from vestibule.evidence.canonical import decode_header
from vestibule.evidence.errors import RolledBack
from vestibule.evidence.log import Leaf
from vestibule.stores.log import Place
from vestibule.stores.segment_file import JournalDamaged
from vestibule.stores.tail import Found, Tail

log = structlog.get_logger(__name__)

#: How many records of one writer are taken before the next one has its turn.
TURN: Final = 1_024


class Journals:
    """Reads `folder`, which holds one folder a writer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Why chains have stopped, by writer.
        self.stopped: dict[str, str] = {}
        self._tails: dict[str, Tail] = {}
        self._again: list[Found] = []
        self._unreadable: dict[str, str] = {}

    def close(self) -> None:
        """Let go of all files."""
        for tail in self._tails.values():
            tail.close()

    def resume(self, ends: Mapping[str, Leaf], places: Mapping[str, Place]) -> None:
        """Go on behind the last leaf of each writer."""
        for node, leaf in ends.items():
            try:
                self.tail(node).seek(places[node], leaf)
            except JournalDamaged as error:
                self.stop(node, str(error))

    def tail(self, node: str) -> Tail:
        """Give the reader of one writer."""
        if node not in self._tails:
            self._tails[node] = Tail(self.folder / node)
        return self._tails[node]

    def stop(self, node: str, reason: str) -> None:
        """Take nothing more of a writer."""
        self.stopped.setdefault(node, reason)
        self._again = [found for found in self._again if found.place.node != node]

    def read(self, limit: int) -> list[Found]:
        """Give at most `limit` records."""
        found, self._again = self._again[:limit], self._again[limit:]
        for node in self._nodes():
            if len(found) >= limit:
                break
            if node not in self.stopped:
                found += self._read(node, min(TURN, limit - len(found)))
        return found

    def take(self, entry: bytes) -> Found:
        """Give the next record of the writer of `entry`, which it must be."""
        node = decode_header(entry).node
        try:
            found = next(iter(self.tail(node).read(1)), None)
        except FileNotFoundError:
            found = None
        if found is None or found.header != entry:
            raise RolledBack(f"the journal of {node} does not hold what was published of it; nothing is signed")
        return found

    def give_back(self, found: Sequence[Found]) -> None:
        """Return what could not be kept."""
        self._again = [*found, *self._again]

    def _read(self, node: str, limit: int) -> list[Found]:
        try:
            return self.tail(node).read(limit)
        except JournalDamaged as error:
            self.stop(node, str(error))
        except OSError as error:
            if self._unreadable.get(node) != str(error):
                self._unreadable[node] = str(error)
                log.error("journal_unreadable", writer=node, reason=str(error))
        return []

    def _nodes(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())
