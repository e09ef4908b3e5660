"""What is sensitive at each target: snapshots of catalogs and their closures, shared by the sessions of a process.

1. A snapshot is good for `MAX_AGE_US`; then the next session that needs it loads it again. One that the target gives
   again in the same words is the same snapshot. What a session was told inside a transaction may be as old as that, so
   it is for that session alone.
2. A closure is made once for each snapshot and set of labels.
3. Of thousands of relations both take long: `chart` is pure, and may be done beside everything else.
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


#: What a closure depends on: the snapshot's version, the labels, and the functions that are clean.
ClosureKey = tuple[str, tuple[Label, ...], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Charted:
    """A snapshot, and what is sensitive in it unless that was known before."""

    snapshot: Snapshot
    key: ClosureKey
    sensitive: Sensitive | None


def chart(
    rows: Iterable[Sequence[str]], labels: tuple[Label, ...], clean: frozenset[str], known: frozenset[ClosureKey]
) -> Charted:
    """Make a snapshot of what a target has said, and its closure; a `ValueError` if there can be none."""
    made = snapshot(rows)
    key = (made.version, labels, clean)
    return Charted(made, key, None if key in known else close(made, labels, parser.parse, clean))


def clean_functions(target: Target) -> frozenset[str]:
    """Name the functions that the policy vouches for."""
    return frozenset(qualified(function.name) for function in target.functions)


class Masks:
    """Keeps snapshots and closures."""

    def __init__(self) -> None:
        """Start with none."""
        self._loaded: OrderedDict[Key, Loaded] = OrderedDict()
        self._closed: OrderedDict[ClosureKey, Sensitive] = OrderedDict()

    def loaded(self, key: Key, now: Instant) -> Loaded | None:
        """Give the snapshot of a target if it is not too old."""
        found = self._loaded.get(key)
        return found if found is not None and found.is_good(now) else None

    @property
    def known(self) -> frozenset[ClosureKey]:
        """What closures there are."""
        return frozenset(self._closed)

    def keep(self, key: Key, charted: Charted, now: Instant, *, is_shared: bool) -> Loaded:
        """Keep what was made of what the target has just said."""
        made = charted.snapshot
        if charted.sensitive is not None:
            self._remember(charted.key, charted.sensitive)
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
        clean = clean_functions(target)
        key = (known.version, labels, clean)
        found = self._closed.pop(key, None) or close(known, labels, parser.parse, clean)
        self._remember(key, found)
        return found

    def _remember(self, key: ClosureKey, found: Sensitive) -> None:
        self._closed[key] = found
        if len(self._closed) > KEPT:
            self._closed.popitem(last=False)
