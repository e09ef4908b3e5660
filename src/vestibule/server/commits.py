"""The journal as the drivers see it: what became of each batch, in order and in time.

1. A batch that is not durable within the commit time has failed for whoever waits, even if it becomes durable later.
2. A batch that is refused at once and one that fails later look alike.
3. While no batch has become durable for the fault time since the first failure, evidence cannot be kept at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.record import WEIGHT, Record, Written
from vestibule.server.counting import Counting

#: The journal keeps its own time of 10 s and answers by itself; this is for one that does not answer at all.
COMMIT_SECONDS: Final = 12.0
FAULT_SECONDS: Final = 60.0


class Ticket(Protocol):
    """What became of one batch: nothing yet, durable, or failed."""

    @property
    def done(self) -> bool:
        """Tell whether it is decided."""
        ...

    @property
    def records(self) -> Sequence[Record]:
        """List its records."""
        ...

    @property
    def written(self) -> Sequence[Written]:
        """Say what they are called in the log, in their order, once they are durable."""
        ...

    @property
    def error(self) -> Exception | None:
        """Say why it failed."""
        ...


class Journal(Protocol):
    """The writer of this process: appends batches in order, and says on the event loop what became of each."""

    def append(self, records: Sequence[Record], done: Callable[[Ticket], None]) -> Ticket:
        """Queue one batch and return at once; `done` is called once it is decided."""
        ...


class Commit:
    """One batch: `durable` is None until it is decided; `names` are the local names of its records."""

    __slots__ = ("began", "deadline", "decides", "durable", "names", "settled", "written")

    def __init__(self, records: Sequence[Record], deadline: float, settled: Callable[[Commit], None]) -> None:
        self.names = tuple([record.name for record in records if record.name])
        #: Whether somebody waits for it.
        self.decides = any(WEIGHT[record.kind] == "D" for record in records)
        self.began = time.perf_counter()
        self.deadline = deadline
        self.settled = settled
        self.durable: bool | None = None
        #: What those records are called in the log, by their local names, once they are durable.
        self.written: Mapping[str, Written] = {}


class Commits:
    """Appends for all conversations of a process and watches over the journal's answers."""

    def __init__(
        self,
        journal: Journal,
        on_fault: Callable[[], None],
        commit_seconds: float = COMMIT_SECONDS,
        fault_seconds: float = FAULT_SECONDS,
        counting: Counting | None = None,
    ) -> None:
        """Call `on_fault` each time that the fault time has passed."""
        self._counting = counting or Counting("")
        self._journal = journal
        self._on_fault = on_fault
        self._commit_seconds, self._fault_seconds = commit_seconds, fault_seconds
        self._loop = asyncio.get_running_loop()
        self._open: deque[Commit] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._fault_timer: asyncio.TimerHandle | None = None
        #: How many batches failed since the last that became durable.
        self.failures = 0

    def append(self, records: Sequence[Record], settled: Callable[[Commit], None]) -> Commit:
        """Queue one batch; `settled` is called once if it is not decided on return."""
        self._counting.note(records)
        commit = Commit(records, self._loop.time() + self._commit_seconds, _ignore)
        try:
            ticket = self._journal.append(records, lambda ticket: self._done(commit, ticket))
        except EvidenceUnavailable:
            self._decide(commit, False)
            return commit
        if ticket.done:
            self._settle(commit, ticket)
        elif commit.durable is None:
            commit.settled = settled
            self._open.append(commit)
            self._watch()
        return commit

    @property
    def depth(self) -> int:
        """How many batches wait."""
        return len(self._open)

    def _done(self, commit: Commit, ticket: Ticket) -> None:
        is_late = commit.durable is not None
        if is_late and ticket.error is None:
            self._recovered()
        if is_late:
            return
        self._settle(commit, ticket)
        commit.settled(commit)

    def _settle(self, commit: Commit, ticket: Ticket) -> None:
        if ticket.error is None and commit.names:
            pairs = zip(ticket.records, ticket.written, strict=False)
            commit.written = {record.name: written for record, written in pairs if record.name}
        self._decide(commit, ticket.error is None)

    def _decide(self, commit: Commit, durable: bool) -> None:
        commit.durable = durable
        while self._open and self._open[0].durable is not None:
            self._open.popleft()
        if durable:
            if commit.decides:
                self._counting.commit.observe(time.perf_counter() - commit.began)
            self._recovered()
        else:
            self._counting.failed()
            self._failed()

    def _failed(self) -> None:
        self.failures += 1
        if self._fault_timer is None:
            self._fault_timer = self._loop.call_later(self._fault_seconds, self._fault)

    def _recovered(self) -> None:
        self.failures = 0
        if self._fault_timer is not None:
            self._fault_timer.cancel()
            self._fault_timer = None

    def _fault(self) -> None:
        self._fault_timer = self._loop.call_later(self._fault_seconds, self._fault)
        self._on_fault()

    def _watch(self) -> None:
        if self._timer is None and self._open:
            self._timer = self._loop.call_at(self._open[0].deadline, self._overdue)

    def _overdue(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._open and self._open[0].deadline <= now:
            commit = self._open.popleft()
            if commit.durable is None:
                self._decide(commit, False)
                commit.settled(commit)
        self._watch()

    def close(self) -> None:
        """Stop to watch."""
        for timer in (self._timer, self._fault_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._fault_timer = None


def _ignore(_: Commit) -> None:
    """Stand for the caller until `append` has returned: what is decided by then it reads from the commit."""
