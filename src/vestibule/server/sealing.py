"""The second half of a recording: finished parts of the spool become chunks, one after the other.

1. First the object is durable, then its record, then the part is dropped. What fails is tried again, for ever.
2. A part stays in the spool until then. If this process dies first, the next start seals it.
3. Once the session is closed its own chain has ended: what is sealed later is said of it from outside.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar
from uuid import UUID

import structlog

from vestibule.model.names import TargetName
from vestibule.model.record import Kind, Record
from vestibule.server.commits import Commit, Commits
from vestibule.stores.objects import ObjectStore
from vestibule.stores.sealing import Sealed, seal_part
from vestibule.stores.spool import Spool, SpoolPart

log = structlog.get_logger(__name__)

AGAIN_SECONDS: Final = 1.0

T = TypeVar("T")

FaultName = Literal["spool_full", "object_store_down"]


class Alarm(Protocol):
    """Who is told that something of recordings does not work, and that it works again."""

    def failed(self, who: object, fault: FaultName, detail: str) -> None:
        """Note a failure of `who`."""
        ...

    def works(self, who: object, fault: FaultName) -> None:
        """Note that it works for `who`, or does not matter any more."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What recordings of a process share."""

    spool: Spool
    store: ObjectStore
    commits: Commits
    executor: Executor
    alarm: Alarm
    #: Called with a recording that has nothing left to do.
    over: Callable[[Any], None]

    def run(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Do what blocks in a thread; `done` is called on the event loop with what came of it."""
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(self.executor, work)
        except RuntimeError as error:
            # The executor is closed: the process ends, and what is in the spool is left to the next start.
            loop.call_soon(done, error)
            return

        def answer(ended: asyncio.Future[T]) -> None:
            if not ended.cancelled():
                error = ended.exception()
                done(ended.result() if error is None else error)

        future.add_done_callback(answer)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose recording it is."""

    session: UUID
    target: TargetName | None


class Sealing:
    """Seals the parts of one session, in order."""

    def __init__(self, subject: Subject, data_key: bytes, means: Means, done: Callable[[], None]) -> None:
        """Call `done` each time that nothing is left to do."""
        self._subject, self._key, self._means, self._done = subject, data_key, means, done
        self._parts: deque[SpoolPart] = deque()
        self._is_busy = False
        self._sealed: Sealed | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_closed = False
        self._has_stopped = False

    @property
    def is_idle(self) -> bool:
        """Whether every part has become a chunk."""
        return not self._parts and not self._is_busy

    def add(self, part: SpoolPart) -> None:
        """Take a part that is written and closed."""
        if not self._has_stopped:
            self._parts.append(part)
            self._advance()

    def session_closed(self) -> None:
        """Say what is sealed from now on from outside the session."""
        self._has_closed = True

    def stop(self) -> None:
        """Leave the rest to the next start."""
        self._has_stopped = True
        self._parts.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._means.alarm.works(self, "object_store_down")

    def _advance(self) -> None:
        if self._is_busy or self._timer is not None or not self._parts:
            return
        self._is_busy = True
        part = self._parts[0]
        if self._sealed is None:
            self._means.run(lambda: seal_part(part.path, self._key, self._means.store), self._stored)
        else:
            self._record(self._sealed)

    def _stored(self, answer: Sealed | BaseException) -> None:
        if isinstance(answer, BaseException):
            detail = getattr(answer, "strerror", None) or type(answer).__name__
            self._means.alarm.failed(self, "object_store_down", detail)
            self._later()
            return
        self._means.alarm.works(self, "object_store_down")
        self._sealed = answer
        self._record(answer)

    def _record(self, sealed: Sealed) -> None:
        subject = self._subject
        record = Record(
            Kind.CHUNK_SEALED,
            sealed.members(recovered=False),
            session=subject.session,
            target=subject.target,
            sequenced=not self._has_closed,
        )
        commit = self._means.commits.append([record], self._recorded)
        if commit.durable is not None:
            self._recorded(commit)

    def _recorded(self, commit: Commit) -> None:
        if not commit.durable:
            self._later()
        elif self._parts:
            self._means.run(self._parts.popleft().drop, self._dropped)

    def _dropped(self, answer: BaseException | None) -> None:
        if answer is not None:
            # It is in the log: the next start finds that, and drops it.
            log.warning("spool_part_not_dropped", session=str(self._subject.session), error=type(answer).__name__)
        self._sealed = None
        self._is_busy = False
        self._advance()
        if self.is_idle:
            self._done()

    def _later(self) -> None:
        self._is_busy = False
        if self._parts:
            self._timer = asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._again)

    def _again(self) -> None:
        self._timer = None
        self._advance()
