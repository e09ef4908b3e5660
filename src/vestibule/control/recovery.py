"""Ends what a writer that died has left open, in the control process's own chain.

1. What it left in the spool becomes chunks. What ran is `unknown`: the target may have done it. Then the session is
   closed, with a gap from its last record on.
2. It is found in the log, and what is written here is in the log before it is looked for again: nothing is ended twice,
   however often this runs and wherever it is cut off.
3. A writer that lives is left alone. So is one whose chain has stopped, and all of them when the log has: what it says
   is open may have ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from vestibule.control.leftovers import Leftovers
from vestibule.evidence.recording import RESULTS
from vestibule.model.names import Instant, TargetName, stamp
from vestibule.model.record import Json, Kind, Record, Written
from vestibule.stores.folder import is_written
from vestibule.stores.unfinished import OpenSession, OpenStatement, UnfinishedStore

log = structlog.get_logger(__name__)

#: Records in one append.
BATCH: Final = 256


class Log(Protocol):
    """The integrated log."""

    @property
    def rolled_back(self) -> str | None:
        """Say why the log has stopped, if it has."""
        ...

    @property
    def faults(self) -> Mapping[str, str]:
        """Say which chains have stopped."""
        ...

    def integrated(self) -> Awaitable[int]:
        """Return once everything that is durable now is in the log."""
        ...


class OwnJournal(Protocol):
    """The control process's own journal."""

    @property
    def node(self) -> str:
        """Name its writer."""
        ...

    def commit(self, *records: Record) -> Awaitable[tuple[Written, ...]]:
        """Return once records are durable."""
        ...


@dataclass(frozen=True, slots=True)
class Recovered:
    """How much was ended, as `NodeStarted` says it."""

    sessions: int = 0
    statements_unknown: int = 0
    spool_bytes: int = 0

    def members(self) -> dict[str, Json]:
        """Write the numbers as `recovered`."""
        return {
            "sessions": self.sessions,
            "statements_unknown": self.statements_unknown,
            "spool_bytes": self.spool_bytes,
        }


class Recovery:
    """Recovers what writers left under `journal`, which holds one folder a writer."""

    def __init__(
        self,
        journal: Path,
        integrator: Log,
        unfinished: UnfinishedStore,
        leftovers: Leftovers,
        own: OwnJournal,
        clock: Callable[[], Instant],
    ) -> None:
        self._folder = journal
        self._integrator = integrator
        self._unfinished = unfinished
        self._leftovers = leftovers
        self._own = own
        self._clock = clock

    async def recover(self, writers: Collection[str] | None = None) -> Recovered:
        """End what these writers left open; all that do not live by default.

        Raises `EvidenceUnavailable` if it cannot be recorded, and whatever keeps the log from being read.
        """
        await self._integrator.integrated()
        dead = await self._dead(writers)
        left = await self._leftovers.seal(dead)
        sessions = await self._unfinished.sessions(dead)
        records: list[Record] = []
        for session in sessions:
            records += ends(session, self._clock(), await self._leftovers.count(session.session, left))
        for start in range(0, len(records), BATCH):
            await self._own.commit(*records[start : start + BATCH])
        await self._integrator.integrated()
        unknown = sum(len(session.running) for session in sessions)
        recovered = Recovered(len(sessions), unknown, left.spool_bytes)
        if sessions:
            log.warning("sessions_recovered", sessions=recovered.sessions, statements=recovered.statements_unknown)
        return recovered

    async def _dead(self, writers: Collection[str] | None) -> list[str]:
        """Choose the writers whose records are all in the log and that write no more."""
        stopped = self._integrator.faults
        if self._integrator.rolled_back is not None or self._own.node in stopped:
            return []
        everybody = {*await self._unfinished.writers(), *self._leftovers.writers()}
        chosen = sorted(everybody) if writers is None else writers
        return [each for each in chosen if each not in stopped and not is_written(self._folder / each)]


def ends(session: OpenSession, now: Instant, chunks: int = 0) -> Iterator[Record]:
    """Say what there is to say of a session whose writer died."""
    target = None if session.target is None else TargetName(session.target)
    for statement in session.running:
        yield Record(Kind.STATEMENT_FINISHED, _unknown(statement), session.session, target, sequenced=False)
    yield Record(Kind.SESSION_CLOSED, _crashed(session, now, chunks), session.session, target, sequenced=False)


def _unknown(statement: OpenStatement) -> dict[str, Json]:
    return {
        "decided": {"id": str(statement.id), "leaf": statement.leaf.hex()},
        "outcome": "unknown",
        "forwarded": True,
    }


def _crashed(session: OpenSession, now: Instant, chunks: int) -> dict[str, Json]:
    return {
        "opened": {"id": str(session.opened_id), "leaf": session.opened_leaf.hex()},
        "cause": "crash",
        "duration_us": max(0, session.last_at - session.opened_at),
        "statements": session.statements,
        "allowed": session.allowed,
        "denied": session.denied,
        "held": session.held,
        "rows": session.rows,
        "bytes_to_client": session.bytes_to_client,
        "chunks": {RESULTS: chunks} if chunks else {},
        "last_sn": session.last_sn,
        "recording_complete": False,
        "gaps": [{"from": stamp(session.last_at), "to": stamp(max(now, session.last_at)), "cause": "crash"}],
    }
