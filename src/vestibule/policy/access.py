"""Who may reach what, from the `access` section. Silence denies.

1. An entry covers somebody who is in one of its groups, on a target that it names or whose labels it asks for.
2. An impact is granted by an entry only if its `allow` has that very word: `write` does not include `read`.
3. Limits of several entries that cover somebody add up to the strictest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vestibule.model.names import GroupName, RuleName, TargetName
from vestibule.model.statement import Impact
from vestibule.model.target import Target


@dataclass(frozen=True, slots=True)
class Selector:
    """Targets by name, or all that carry each of the labels."""

    names: frozenset[TargetName] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)

    def selects(self, target: Target) -> bool:
        """Tell whether `target` is meant."""
        if self.labels:
            return all(target.labels.get(key) == value for key, value in self.labels.items())
        return target.name in self.names


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session may last and be silent, in microseconds; None is no limit."""

    max_us: int | None = None
    idle_us: int | None = None


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """One entry of the section."""

    name: RuleName
    groups: frozenset[GroupName]
    targets: Selector
    allow: frozenset[Impact]
    limits: SessionLimits = SessionLimits()

    def covers(self, groups: frozenset[GroupName], target: Target) -> bool:
        """Tell whether somebody in `groups` gets this entry's grants on `target`."""
        return not self.groups.isdisjoint(groups) and self.targets.selects(target)


def granting(entries: Iterable[AccessEntry], impact: Impact) -> AccessEntry | None:
    """Find the first of `entries` that grants exactly `impact`."""
    for entry in entries:
        if impact in entry.allow:
            return entry
    return None


def granted(entries: Iterable[AccessEntry]) -> tuple[Impact, ...]:
    """List what `entries` grant together, from least to worst."""
    return tuple(sorted({impact for entry in entries for impact in entry.allow}))


def strictest(entries: Iterable[AccessEntry]) -> SessionLimits:
    """Combine the limits of `entries`."""
    limits = [entry.limits for entry in entries]
    return SessionLimits(
        max_us=min((limit.max_us for limit in limits if limit.max_us is not None), default=None),
        idle_us=min((limit.idle_us for limit in limits if limit.idle_us is not None), default=None),
    )
