"""What is sensitive at each target: snapshots of catalogs and their closures, shared by the sessions of a process.

1. A snapshot is good for `MAX_AGE_US`; then the next session that needs it loads it again. One that the target gives
   again in the same words is the same snapshot. What a session was told inside a transaction may be as old as that, so
   it is for that session alone.
2. A closure is made once for each snapshot and set of labels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vestibule.analysis.sql import parser
from vestibule.analysis.sql.catalog import qualified
from vestibule.masking.catalog import Snapshot, snapshot
from vestibule.masking.sensitive import Sensitive, close
from vestibule.model.names import SECOND, Instant
from vestibule.model.plan import Label
from vestibule.model.target import Target

MAX_AGE_US: Final = 30 * SECOND
#: Snapshots and closures that a process keeps.
KEPT: Final = 64

#: A target's database as an account sees it.
Key = tuple[str, tuple[str, ...], str, str]


def key_of(target: Target, database: str) -> Key:
    """Name what a snapshot is of."""
    return (target.name, tuple(map(str, target.hosts)), database, target.credential.username)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A snapshot, and when the target gave it."""

    snapshot: Snapshot
    at: Instant

    def is_good(self, now: Instant) -> bool:
        """Whether it is not too old."""
        return now - self.at < MAX_AGE_US


class Masks:
    """Keeps snapshots and closures."""

    def __init__(self) -> None:
        """Start with none."""
        self._loaded: OrderedDict[Key, Loaded] = OrderedDict()
        self._closed: OrderedDict[tuple[str, tuple[Label, ...], frozenset[str]], Sensitive] = OrderedDict()

    def loaded(self, key: Key, now: Instant) -> Loaded | None:
        """Give the snapshot of a target if it is not too old."""
        found = self._loaded.get(key)
        return found if found is not None and found.is_good(now) else None

    def keep(self, key: Key, rows: Iterable[Sequence[str]], now: Instant, *, is_shared: bool) -> Loaded:
        """Make a snapshot of what the target has just said, and keep it; a `ValueError` if it cannot be."""
        made = snapshot(rows)
        before = self._loaded.get(key)
        loaded = Loaded(before.snapshot if before and before.snapshot.version == made.version else made, now)
        if not is_shared:
            return loaded
        self._loaded.pop(key, None)
        self._loaded[key] = loaded
        if len(self._loaded) > KEPT:
            self._loaded.popitem(last=False)
        return loaded

    def close(self, known: Snapshot, labels: tuple[Label, ...], target: Target) -> Sensitive:
        """Find the sensitive columns under some labels."""
        clean = frozenset(qualified(function.name) for function in target.functions)
        key = (known.version, labels, clean)
        found = self._closed.pop(key, None) or close(known, labels, parser.parse, clean)
        self._closed[key] = found
        if len(self._closed) > KEPT:
            self._closed.popitem(last=False)
        return found
