"""What the names of a session stand for: prepared statements, and portals.

1. A name changes when the target says so. Until then the change is pending, and only messages behind it in the same
   segment may use it: if the change fails, the target skips them too.
2. From another segment a pending name is `Unsettled`: who needs it waits for the target's answer.
3. What the target refused, or never reached, goes back to what the name meant before. Only an unnamed statement that
   was refused has no before: the server drops the old one first.
4. Whatever a name may still go back to takes room, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


class Unsettled(Exception):
    """The name has a pending change of an earlier segment; ask again after the target's answer."""


@dataclass(slots=True, eq=False)
class Change(Generic[V]):
    """One pending or settled meaning of a name; `value` None means that the name goes."""

    names: Names[V]
    name: str
    value: V | None
    segment: int
    before: Change[V] | None
    weight: int
    is_settled: bool = False

    def settle(self) -> None:
        """The target has done it."""
        self.is_settled = True
        self.part()
        if self.value is None and self.names.current(self.name) is self:
            self.names.forget(self.name)

    def revert(self) -> None:
        """The target has not done it."""
        self.names.put_back(self)

    def part(self) -> None:
        """Give up what the name meant before."""
        before, self.before = self.before, None
        self.names.give_back(before)

    def cut(self) -> Change[V] | None:
        """Find the settled one of this change and those before it, and part from it."""
        if self.is_settled:
            return self
        change = self
        while change.before is not None and not change.before.is_settled:
            change = change.before
        settled = change.before
        change.part()
        return settled

    def fail(self) -> None:
        """Note that the target has tried and refused."""
        if not self.name:
            self.part()
        self.revert()


class Names(Generic[V]):
    """One namespace of a session, bounded to `limit` names and `room` bytes by `weigh`."""

    def __init__(self, limit: int, room: int, weigh: Callable[[V], int]) -> None:
        """Start with no names."""
        self._limit, self._room, self._weigh = limit, room, weigh
        self._changes: dict[str, Change[V]] = {}
        self._bytes = 0

    def has_room(self, name: str) -> bool:
        """Whether a name may be given a meaning; the last one that may has any weight."""
        return (name in self._changes or len(self._changes) < self._limit) and self._bytes < self._room

    def current(self, name: str) -> Change[V] | None:
        """The newest change of a name."""
        return self._changes.get(name)

    def offer(self, name: str, value: V | None, segment: int) -> Change[V]:
        """Let a name stand for `value` from here on, if the target agrees."""
        weight = 0 if value is None else self._weigh(value)
        change = self._changes[name] = Change(self, name, value, segment, self._changes.get(name), weight)
        self._bytes += weight
        return change

    def find(self, name: str, segment: int) -> V | None:
        """Say what a name means to a message of `segment`, or raise `Unsettled`."""
        change = self._changes.get(name)
        if change is None:
            return None
        if not change.is_settled and change.segment != segment:
            raise Unsettled
        return change.value

    def forget(self, name: str) -> None:
        """Drop a name at once, because the target has dropped it."""
        self.give_back(self._changes.pop(name, None))

    def put_back(self, change: Change[V]) -> None:
        """Undo a change, wherever it stands among the changes of its name."""
        newest = self._changes.get(change.name)
        if newest is change:
            self._restore(change)
            return
        while newest is not None and newest.before is not change:
            newest = newest.before
        if newest is not None:
            newest.before = change.before
            self._bytes -= change.weight

    def _restore(self, change: Change[V]) -> None:
        self._bytes -= change.weight
        if change.before is None:
            del self._changes[change.name]
        else:
            self._changes[change.name] = change.before

    def give_back(self, change: Change[V] | None) -> None:
        """Take the room of a change, and of all before it, that no name goes back to any more."""
        while change is not None:
            self._bytes -= change.weight
            change.before, change = None, change.before

    def drop_settled(self, name: str | None = None) -> list[V]:
        """Drop what the target had made, only `name` if one is given; say what that was.

        What is still pending was asked for later: answers come in the order of the questions.
        """
        chosen = [change for change in self._changes.values() if name is None or change.name == name]
        gone = [settled for change in chosen if (settled := change.cut()) is not None]
        for change in gone:
            if self._changes.get(change.name) is change:
                self.forget(change.name)
        return [change.value for change in gone if change.value is not None]

    def values(self) -> list[V]:
        """All present meanings, pending ones too."""
        return [change.value for change in self._changes.values() if change.value is not None]
