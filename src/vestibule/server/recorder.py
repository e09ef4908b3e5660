"""What the recordings of a process share: the spool, the object store, threads for what blocks, and the alarm.

1. While the spool is full, no new session is let in.
2. That the spool or the object store does not work is evidence itself: an `AuditFault` when it starts, and one when it
   works again for everybody.
3. At the end of the process what is not sealed stays in the spool, for the next start.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

import structlog

from vestibule.model.names import Instant
from vestibule.model.record import Record
from vestibule.server.clock import Clock
from vestibule.server.commits import Commits
from vestibule.server.recording import Owner, Recording
from vestibule.server.sealing import FaultName, Means, Subject
from vestibule.stores.fault import Fault
from vestibule.stores.objects import ObjectStore
from vestibule.stores.spool import Spool

log = structlog.get_logger(__name__)

THREADS: Final = 4


class Recorder:
    """Makes the recordings of a process, and keeps them until they are in the log."""

    def __init__(self, spool: Spool, store: ObjectStore, commits: Commits, clock: Clock) -> None:
        """Use a spool of this process alone."""
        self._spool, self._commits, self._clock = spool, commits, clock
        self._executor = ThreadPoolExecutor(THREADS, "recording")
        self._means = Means(spool, store, commits, self._executor, self, self._over)
        self._recordings: set[Recording] = set()
        self._troubled: dict[FaultName, tuple[Fault, set[int]]] = {}

    @property
    def admits_sessions(self) -> bool:
        """Whether there is room for what new sessions show."""
        return not self._spool.is_full

    @property
    def spool_bytes(self) -> int:
        """How much is not in the object store yet."""
        return self._spool.used

    def begin(self, subject: Subject, key: tuple[UUID, bytes], owner: Owner, opened: Instant) -> Recording:
        """Start to record a session that opened at `opened`, under its data key."""
        recording = Recording(subject, key, self._means, owner, opened)
        self._recordings.add(recording)
        return recording

    def close(self) -> None:
        """Leave what is not sealed to the next start."""
        for recording in tuple(self._recordings):
            recording.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _over(self, recording: Recording) -> None:
        self._recordings.discard(recording)

    # --- the alarm ---------------------------------------------------------------------------------------------------

    def failed(self, who: object, fault: FaultName, detail: str) -> None:
        """Note a failure of `who`."""
        if fault not in self._troubled:
            log.error("recording_fault", fault=fault, detail=detail)
            self._troubled[fault] = (Fault(fault, self._clock.now(), detail), set())
            self._note(self._troubled[fault][0].started())
        self._troubled[fault][1].add(id(who))

    def works(self, who: object, fault: FaultName) -> None:
        """Note that it works for `who`, or does not matter any more."""
        known = self._troubled.get(fault)
        if known is None:
            return
        known[1].discard(id(who))
        if not known[1]:
            log.info("recording_works", fault=fault)
            del self._troubled[fault]
            self._note(known[0].ended())

    def _note(self, record: Record) -> None:
        """Record what nobody waits for."""
        self._commits.append([record], lambda _: None)
