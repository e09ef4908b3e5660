"""The records of one conversation: what became of them, and whether its end is recorded.

1. All records of one `handle` are one batch. A name stands for its batch until a record refers to it for the last time,
   the session closes or the batch fails.
2. An opened session gets one `SessionClosed`. If its relay cannot say it any more, the ledger does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from vestibule.model.names import Instant
from vestibule.model.record import Json, Kind, Record, Reference
from vestibule.server.commits import Commit, Commits


class Ledger:
    """What the driver knows of its conversation's records."""

    def __init__(self, commits: Commits, settled: Callable[[Commit], None]) -> None:
        """Start with no record; `settled` hears of each batch that was not decided at once."""
        self._commits = commits
        self._settled = settled
        self._batches: dict[str, Commit] = {}
        self._spent: list[str] = []
        self._opened: Record | None = None
        self._opened_at = Instant(0)
        self._tally = dict.fromkeys(_TALLIED, 0)

    def persist(self, records: Sequence[Record], now: Instant) -> Commit:
        """Append one batch."""
        commit = self._commits.append(records, self._settled)
        for record in records:
            self._note(record, commit, now)
        return commit

    def batch(self, name: str) -> Commit:
        """Find the batch of a record; a name that was never recorded is a `LookupError`."""
        commit = self._batches.get(name)
        if commit is None:
            raise LookupError(f"no record named {name!r} in this conversation")
        return commit

    def forget_spent(self) -> None:
        """Free the names that were referred to for the last time; to be called after the whole `handle`."""
        for name in self._spent:
            self._batches.pop(name, None)
        self._spent.clear()

    def forget_failed(self, names: Sequence[str]) -> None:
        """Free the names of a batch that failed: the relay knows."""
        for name in names:
            self._batches.pop(name, None)

    def end(self, cause: str, now: Instant, to_client: int, to_target: int) -> Record | None:
        """Make the record of the session's end, unless it never opened or its relay has made it."""
        opened = self._opened
        if opened is None:
            return None
        members: dict[str, Json] = {
            "opened": Reference(opened.name, last=True),
            "cause": cause,
            "duration_us": max(0, now - self._opened_at),
            **self._tally,
            "bytes_to_client": to_client,
            "bytes_to_target": to_target,
            "recording_complete": False,
        }
        return Record(Kind.SESSION_CLOSED, members, session=opened.session, target=opened.target)

    def ending(self) -> None:
        """Note that the relay has made the record of the end, which still waits for what comes before it."""
        self._opened = None

    @property
    def opened_at(self) -> Instant:
        """When the session opened."""
        return self._opened_at

    def _note(self, record: Record, commit: Commit, now: Instant) -> None:
        if record.name:
            self._batches[record.name] = commit
        self._spent.extend(_last_references(record))
        match record.kind:
            case Kind.SESSION_OPENED:
                # Without what it says: ten thousand sessions may be open.
                self._opened, self._opened_at = replace(record, members={}), now
            case Kind.SESSION_CLOSED:
                self._opened = None
                self._spent.extend(self._batches)
            case Kind.STATEMENT_DECIDED:
                self._tally["statements"] += 1
                self._tally[_TALLY.get(record.members.get("decision"), "denied")] += 1
            case _:
                pass


_TALLIED: Final = ("statements", "allowed", "denied", "held")
_TALLY: Final[dict[object, str]] = {"allow": "allowed", "hold": "held"}


def _last_references(record: Record) -> Iterator[str]:
    for value in record.members.values():
        if type(value) is Reference:
            if value.last:
                yield value.name
        elif isinstance(value, list | tuple):
            yield from (entry.name for entry in value if type(entry) is Reference and entry.last)
