"""The recording of one session: what is shown goes into a queue, from there into the spool, from there into chunks.

1. Keeping never blocks: it appends to a bounded queue. While the queue is full, or the spool cannot be written, the
   session takes nothing more from its target; after `FAULT_SECONDS` it ends with `evidence_fault`.
2. What is shown is written within `WRITE_SECONDS` or `WRITE_BYTES`, and survives a power cut after `SYNC_SECONDS` or
   `SYNC_BYTES`.
3. A chunk is cut at `CHUNK_BYTES` (`BULK_BYTES` while one statement alone fills it), after `QUIET_SECONDS` without
   growth, and at the end; never inside a message.
4. The session's last record waits for its chunks, at most `FINISH_SECONDS`, and counts them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from vestibule.evidence.recording import RESULTS, Event, Part, Place, encode_event
from vestibule.model.effect import Keep
from vestibule.model.names import Instant, stamp
from vestibule.model.record import Json
from vestibule.server.sealing import Means, Sealing, Subject
from vestibule.stores.spool import SpoolPart

WRITE_SECONDS: Final = 0.05
WRITE_BYTES: Final = 64 * 1024
SYNC_SECONDS: Final = 1.0
SYNC_BYTES: Final = 1024 * 1024
QUEUE_BYTES: Final = 64 * 1024
CHUNK_BYTES: Final = 256 * 1024
BULK_BYTES: Final = 1024 * 1024
QUIET_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 0.25
FAULT_SECONDS: Final = 10.0
FINISH_SECONDS: Final = 5.0
#: No statement's number.
_NONE: Final = -1


class Owner(Protocol):
    """The session that is recorded."""

    def on_pressure(self) -> None:
        """Look again at whether there is room."""
        ...

    def on_unrecordable(self) -> None:
        """End the session: what is shown cannot be recorded."""
        ...


@dataclass(frozen=True, slots=True)
class Ending:
    """What `SessionClosed` says of a recording."""

    chunks: int
    is_complete: bool
    gap: dict[str, Json] | None = None

    def members(self) -> dict[str, Json]:
        """Write it; a recording without chunks has nothing to say."""
        members: dict[str, Json] = {} if not self.chunks else {"chunks": {RESULTS: self.chunks}}
        if not self.is_complete:
            members["recording_complete"] = False
        if self.gap is not None:
            members["gaps"] = [self.gap]
        return members


@dataclass(slots=True)
class _Batch:
    """Events that are written together; the last one of a part ends it."""

    seq: int
    first_us: int = 0
    last_us: int = 0
    events: list[bytes] = field(default_factory=list)
    size: int = 0
    is_last: bool = False


@dataclass(slots=True)
class _Filling:
    """The chunk that events go into now."""

    seq: int = 0
    size: int = 0
    statement: int = _NONE
    is_one: bool = True
    head: tuple[int, bytes] = (_NONE, b"")


class Recording:
    """Records one session."""

    def __init__(self, subject: Subject, key: tuple[UUID, bytes], means: Means, owner: Owner, opened: Instant) -> None:
        """Record under the data key of the session, which opened at `opened`."""
        self._subject, self._means, self._owner, self._opened = subject, means, owner, opened
        self._key_id, self._key = key
        self._loop = asyncio.get_running_loop()
        self._sealing = Sealing(subject, self._key, means, self._look_at_end)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._filling = _Filling()
        self._grown_at = 0.0
        self._batches: deque[_Batch] = deque()
        self._queued = 0
        self._was_full = False
        #: What is being written, and was not written yet if that failed. One thread at a time works on it.
        self._writing: _Batch | None = None
        self._part: SpoolPart | None = None
        self._is_busy = False
        self._is_stuck = False
        self._is_due = False
        self._unsynced = 0
        self._unsynced_since = 0.0
        self._handed_over = 0
        self._is_finishing = False
        self._ended: Callable[[Ending], None] | None = None
        self._has_ended = False

    # --- what is shown -----------------------------------------------------------------------------------------------

    def keep(self, keep: Keep, now: Instant) -> None:
        """Take what the client is about to be shown."""
        filling = self._filling
        limit = BULK_BYTES if filling.is_one and filling.statement == keep.number else CHUNK_BYTES
        if filling.size >= limit and not keep.goes_on:
            self._cut()
            filling = self._filling
        if keep.head and filling.head != (keep.number, keep.head):
            filling.head = (keep.number, keep.head)
            self._queue(Part.HEAD, keep.number, keep.head, now)
        self._queue(Part.PIECE if keep.goes_on else Part.FRAMES, keep.number, keep.data, now)
        filling.is_one = filling.is_one and filling.statement in (_NONE, keep.number)
        filling.statement = keep.number
        self._grown_at = self._loop.time()
        self._set("quiet", QUIET_SECONDS, self._quiet)
        if self._queued >= WRITE_BYTES:
            self._due()
        else:
            self._set("write", WRITE_SECONDS, self._due)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be taken from the target."""
        self._was_full = self._is_stuck or self._queued >= QUEUE_BYTES
        return self._was_full

    def finish(self, ended: Callable[[Ending], None]) -> None:
        """Seal the rest; `ended` hears of it once, in bounded time."""
        if self._has_ended:
            ended(Ending(self._handed_over, is_complete=False))
            return
        self._ended, self._is_finishing = ended, True
        self._cut()
        self._set("finish", 0 if self._is_stuck else FINISH_SECONDS, self._end)
        self._due()
        self._look_at_end()

    def stop(self) -> None:
        """End now; what is in the spool is left to the next start."""
        self._sealing.stop()
        self._end()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do: every chunk is in the log."""
        return self._has_ended and not self._is_busy and self._part is None and self._sealing.is_idle

    # --- batches -----------------------------------------------------------------------------------------------------

    def _queue(self, part: Part, statement: int, data: bytes, now: Instant) -> None:
        offset = max(0, now - self._opened)
        batch = self._batches[-1] if self._batches else None
        if batch is None or batch.is_last or batch.size >= WRITE_BYTES:
            batch = _Batch(self._filling.seq, offset)
            self._batches.append(batch)
        event = encode_event(Event(offset, statement, part, data))
        batch.events.append(event)
        batch.last_us = offset
        batch.size += len(event)
        self._queued += len(event)
        self._filling.size += len(event)

    def _cut(self) -> None:
        """End the chunk that is being filled, if there is anything in it."""
        filling = self._filling
        if not filling.size:
            return
        if not self._batches or self._batches[-1].is_last:
            self._batches.append(_Batch(filling.seq))
        self._batches[-1].is_last = True
        self._filling = _Filling(filling.seq + 1)

    def _due(self) -> None:
        self._unset("write")
        self._is_due = True
        self._advance()

    def _quiet(self) -> None:
        self._unset("quiet")
        left = self._grown_at + QUIET_SECONDS - self._loop.time()
        if left > 0:
            self._set("quiet", left, self._quiet)
        else:
            self._cut()
            self._due()

    # --- writing -----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._is_busy or self._is_stuck or self._has_ended:
            return
        if self._batches and (self._is_due or len(self._batches) > 1):
            # It grows no more: what is tried again is the same.
            self._writing = self._batches.popleft()
            self._is_due = bool(self._batches)
            self._attempt(self._writing)
        elif self._unsynced and self._loop.time() >= self._unsynced_since + SYNC_SECONDS:
            self._writing = _Batch(self._filling.seq)
            self._attempt(self._writing)

    def _attempt(self, batch: _Batch) -> None:
        self._is_busy = True
        is_old = self._unsynced and self._loop.time() >= self._unsynced_since + SYNC_SECONDS
        is_synced = bool(is_old or batch.is_last or self._unsynced + batch.size >= SYNC_BYTES)
        place = Place(self._subject.session, self._key_id, batch.seq)

        def work() -> None:
            if self._part is None:
                self._part = self._means.spool.begin(place, self._key)
            _write(self._part, batch, is_synced)

        self._set("fault", FAULT_SECONDS, self._owner.on_unrecordable)
        self._means.run(work, lambda error: self._wrote(batch, is_synced, error))

    def _wrote(self, batch: _Batch, is_synced: bool, error: BaseException | None) -> None:
        self._is_busy = False
        if error is not None:
            self._failed(batch, error)
            return
        self._writing = None
        self._queued -= batch.size
        self._note_synced(batch, is_synced)
        if self._is_stuck:
            self._is_stuck = False
            self._means.alarm.works(self, "spool_full")
        self._unset("fault")
        if batch.is_last or self._has_ended:
            self._hand_over(is_closed=batch.is_last)
        if self._was_full and not self.is_full:
            self._owner.on_pressure()
        self._advance()
        self._look_at_end()

    def _note_synced(self, batch: _Batch, is_synced: bool) -> None:
        if is_synced:
            self._unsynced = 0
            self._unset("sync")
        elif batch.size:
            if not self._unsynced:
                self._unsynced_since = self._loop.time()
            self._unsynced += batch.size
            self._set("sync", SYNC_SECONDS, self._sync)

    def _sync(self) -> None:
        self._unset("sync")
        self._advance()

    def _failed(self, batch: _Batch, error: BaseException) -> None:
        if self._has_ended:
            self._hand_over(is_closed=False)
            return
        if not self._is_stuck:
            self._is_stuck = True
            self._means.alarm.failed(self, "spool_full", getattr(error, "strerror", None) or type(error).__name__)
            self._owner.on_pressure()
        self._set("again", AGAIN_SECONDS, lambda: self._again(batch))

    def _again(self, batch: _Batch) -> None:
        self._unset("again")
        if not self._has_ended:
            self._attempt(batch)

    def _hand_over(self, *, is_closed: bool) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        if not is_closed:
            part.close()
        self._handed_over += 1
        self._sealing.add(part)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _look_at_end(self) -> None:
        is_written = not self._batches and not self._is_busy and not self._is_stuck and self._part is None
        if self._is_finishing and is_written and self._sealing.is_idle:
            self._end()
        if self.is_over:
            self._means.over(self)

    def _end(self) -> None:
        """Say how the recording ended, whatever is still open; what reached the spool is sealed in any case."""
        if self._has_ended:
            return
        self._has_ended = True
        for timer in self._timers.values():
            timer.cancel()
        self._means.alarm.works(self, "spool_full")
        lost = [batch for batch in (self._writing, *self._batches) if batch is not None and batch.size]
        is_complete = not lost and not self._is_busy and self._part is None and self._sealing.is_idle
        chunks = self._handed_over + (self._part is not None)
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(Ending(chunks, is_complete, self._gap(lost) if lost else None))
        self._sealing.session_closed()
        if not self._is_busy:
            self._hand_over(is_closed=False)

    def _gap(self, lost: Sequence[_Batch]) -> dict[str, Json]:
        """Say what was shown and is not recorded."""
        return {
            "from": stamp(Instant(self._opened + lost[0].first_us)),
            "to": stamp(Instant(self._opened + lost[-1].last_us)),
            "bytes": sum(batch.size for batch in lost),
            "cause": "evidence_fault",
        }

    # --- timers ------------------------------------------------------------------------------------------------------

    def _set(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        if name not in self._timers and not self._has_ended:
            self._timers[name] = self._loop.call_later(seconds, action)

    def _unset(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _write(part: SpoolPart, batch: _Batch, is_synced: bool) -> None:
    part.write_again()
    if batch.events:
        events, batch.events = b"".join(batch.events), []
        part.write(batch.first_us, events)
    if is_synced:
        part.sync()
    if batch.is_last:
        part.close()
