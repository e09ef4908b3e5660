"""What a driver knows of its conversation's recording: it begins with what is shown first, and ends before the session.

1. The record of the session's end waits until every chunk has its record, or the time for that is over; it says how
   many chunks there are, and what was shown and could not be recorded.
2. What is to be recorded and cannot be (no recorder, no data key) is an error of the session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from vestibule.model.effect import Keep
from vestibule.model.event import Admission
from vestibule.model.names import TargetName
from vestibule.model.record import Json, Kind, Record
from vestibule.server.ledger import Ledger
from vestibule.server.recording import Ending, Owner, Recording
from vestibule.server.sealing import Subject
from vestibule.server.services import Services


class Recorded:
    """The recording of one conversation, if it has one."""

    def __init__(
        self, session: UUID, services: Services, ledger: Ledger, owner: Owner, done: Callable[[], None]
    ) -> None:
        """Start with nothing recorded; `done` is called once the end of a recorded session is recorded."""
        self._session, self._services, self._ledger, self._owner, self._done = session, services, ledger, owner, done
        self._recording: Recording | None = None
        self._last: Record | None = None
        #: Whose data key it is.
        self.admission: Admission | None = None

    @property
    def holds_up(self) -> bool:
        """Whether nothing more should be taken from the target."""
        return self._recording is not None and self._recording.is_full

    @property
    def is_open(self) -> bool:
        """Whether the end of the session still waits for its recording."""
        return self._last is not None

    def keep(self, effect: Keep, target: TargetName | None) -> None:
        """Record what the client is about to be shown."""
        if self._recording is None:
            self._recording = self._begin(target)
        self._recording.keep(effect, self._services.clock.now())

    def takes(self, record: Record) -> bool:
        """Tell whether a record has to wait for the recording."""
        return self._recording is not None and record.kind is Kind.SESSION_CLOSED

    def end(self, record: Record) -> None:
        """Record the end of the session, as soon as it is known what became of its recording."""
        self._ledger.ending()
        if self._recording is None:
            self._ledger.persist([record], self._services.clock.now())
            return
        self._last = record
        self._recording.finish(self._ended)

    def _begin(self, target: TargetName | None) -> Recording:
        recorder, admission = self._services.recorder, self.admission
        if recorder is None or admission is None:
            raise AssertionError("a session that is recorded has a recorder and a data key")
        key = UUID(admission.data_key_id), admission.data_key
        return recorder.begin(Subject(self._session, target), key, self._owner, self._ledger.opened_at)

    def _ended(self, ending: Ending) -> None:
        record, self._last = self._last, None
        if record is not None:
            members: dict[str, Json] = {**record.members, **ending.members()}
            self._ledger.persist([replace(record, members=members)], self._services.clock.now())
        self._done()
