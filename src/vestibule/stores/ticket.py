"""Appends that wait for the writer: in order, bounded, and refused when they have waited too long.

1. A ticket is settled once. Whoever comes second, the writer or the deadline, learns that it was second.
2. Only an append that holds a decision has a deadline: somebody waits for that. The rest stays until there is room.
3. How a statement ended may linger for `LINGER` seconds, so that it shares a sync with the decision of the next one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.record import WEIGHT, Json, Kind, Record, Reference, Written

_DECISIONS: Final = frozenset(kind for kind, weight in WEIGHT.items() if weight == "D") - {Kind.NODE_STARTED}
#: How long the writer leaves in the line what nobody waits for; seconds.
LINGER: Final = 0.01


class Ticket:
    """What became of one append: `error`, or `written` in the order of its records; neither before `done`."""

    __slots__ = ("_call", "deadline", "decides", "done", "error", "hurries", "records", "written")

    def __init__(self, records: tuple[Record, ...], deadline: float, call: Callable[[Ticket], None] | None) -> None:
        self.records = records
        self.deadline = deadline
        self.decides = any(decides(record) for record in records)
        #: Whether the writer starts for it at once.
        self.hurries = any(record.kind is not Kind.STATEMENT_FINISHED for record in records)
        self.done = False
        self.error: EvidenceUnavailable | None = None
        self.written: tuple[Written, ...] = ()
        self._call = call

    def told(self) -> None:
        """Tell whoever asked for the append."""
        if self._call is not None:
            self._call(self)


def own(records: Iterable[Record]) -> Ticket:
    """Make an append of the writer's own; nobody waits for it."""
    return Ticket(tuple(records), float("inf"), None)


def decides(record: Record) -> bool:
    """Tell whether an act waits for `record`, so that it is refused when room is short.

    NodeStarted is awaited too, but it must be written on a full disk: a process that cannot say that it started could
    never report what it found there.
    """
    return record.kind in _DECISIONS


def salvage(records: Iterable[Record]) -> tuple[Record, ...]:
    """Choose what of a refused append is still to be written: all but its decisions and what refers to them."""
    kept: list[Record] = []
    lost: set[str] = set()
    for record in records:
        if decides(record) or any(_refers(value, lost) for value in record.members.values()):
            lost.add(record.name)
        else:
            kept.append(record)
    return tuple(kept)


class Waiting:
    """The line before the writer."""

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._changed = threading.Condition()
        self._line: deque[Ticket] = deque()
        self._taken: tuple[Ticket, ...] = ()
        self._closed = False
        #: Whether something in the line hurries, and whether the writer sleeps until it is woken.
        self._hurried = self._sleeps = False
        self.records = 0

    def put(self, ticket: Ticket) -> bool:
        """Join the line; False if it is full (for a decision: half full) or closed."""
        with self._changed:
            limit = self._limit // 2 if ticket.decides else self._limit
            if self._closed or self.records + len(ticket.records) > limit:
                return False
            self._line.append(ticket)
            self.records += len(ticket.records)
            if ticket.hurries or self._sleeps:
                self._hurried = self._hurried or ticket.hurries
                self._changed.notify()
            return True

    def take(self, count: int, patience: float | None) -> list[Ticket] | None:
        """Take tickets of at least one and about `count` records; none after `patience`; None when closed and empty."""
        with self._changed:
            self._taken = ()
            self._wait(patience)
            if not self._line and self._closed:
                return None
            taken: list[Ticket] = []
            while self._line and (not taken or count >= len(self._line[0].records)):
                ticket = self._line.popleft()
                count -= len(ticket.records)
                self.records -= len(ticket.records)
                taken.append(ticket)
            self._taken = tuple(taken)
            self._hurried = bool(self._line)
            return taken

    def _wait(self, patience: float | None) -> None:
        """Return at once for what hurries, or once the line is closed; for the rest after `LINGER` at the latest."""
        until = time.monotonic() + LINGER
        while not self._hurried and not self._closed:
            left = until - time.monotonic()
            if left > 0:
                self._changed.wait(left)
            elif self._line:
                return
            else:
                self._sleeps = True
                is_woken = self._changed.wait(patience)
                self._sleeps = False
                if not is_woken:
                    return
                until = time.monotonic() + LINGER

    def pause(self, patience: float) -> bool:
        """Wait for the next `put` or `close`, at most `patience`; False once closed."""
        with self._changed:
            if not self._closed:
                self._changed.wait(patience)
            return not self._closed

    def put_back(self, tickets: Iterable[Ticket]) -> None:
        """Return tickets to the head of the line, in order."""
        returned = list(tickets)
        with self._changed:
            self._line.extendleft(reversed(returned))
            self._hurried = self._hurried or bool(returned)
            self.records += sum(len(ticket.records) for ticket in returned)

    def drain(self) -> list[Ticket]:
        """Take everything out of the line."""
        with self._changed:
            drained = list(self._line)
            self._line.clear()
            self._hurried = False
            self.records = 0
            return drained

    def everybody(self) -> list[Ticket]:
        """List who waits in the line or in the writer's hands."""
        with self._changed:
            return [*self._taken, *self._line]

    def close(self) -> None:
        """Let nobody join any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def settle(self, ticket: Ticket, error: EvidenceUnavailable | None, written: tuple[Written, ...] = ()) -> bool:
        """Settle `ticket`; False if it was settled before."""
        with self._changed:
            if ticket.done:
                return False
            ticket.error, ticket.written = error, written
            ticket.done = True
            return True

    def overdue(self, now: float) -> list[Ticket]:
        """List the appends with a decision whose deadline has passed, in the line or in the writer's hands."""
        with self._changed:
            return [
                ticket
                for ticket in (*self._taken, *self._line)
                if ticket.decides and not ticket.done and ticket.deadline <= now
            ]

    def next_deadline(self) -> float | None:
        """Say when the oldest append with a decision must be durable."""
        with self._changed:
            waiting = (ticket for ticket in (*self._taken, *self._line) if ticket.decides and not ticket.done)
            return next((ticket.deadline for ticket in waiting), None)


def _refers(value: Json, names: set[str]) -> bool:
    match value:
        case Reference(name=name):
            return name in names
        case str() | int() | None:
            return False
        case dict():
            return any(_refers(inner, names) for inner in value.values())
        case list() | tuple():
            return any(_refers(inner, names) for inner in value)
        case _:
            return False
