"""What is denied or held for approval although access is granted, from the `guardrails` section.

1. The first guardrail in the order of the file that matches an operation decides it, whether it denies or holds.
2. The members of a match are ANDed; the lists within a member are ORed.
3. An object may be written with or without its schema. Where it is doubtful which object is meant, the guardrail
   matches: `customers` matches the pattern `public.customers`, and `public.customers` the pattern `customers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from vestibule.model.names import GroupName, RuleName
from vestibule.model.statement import Impact, Operation
from vestibule.model.target import Target
from vestibule.policy.access import Selector

EVERY_IMPACT: Final = frozenset(Impact)


@dataclass(frozen=True, slots=True)
class Match:
    """Which operations are meant; an empty `verbs`, `objects` or `groups` and no `targets` mean any."""

    impacts: frozenset[Impact] = EVERY_IMPACT
    verbs: frozenset[str] = frozenset()
    objects: tuple[str, ...] = ()
    targets: Selector | None = None
    groups: frozenset[GroupName] = frozenset()

    def concerns(self, groups: frozenset[GroupName], target: Target) -> bool:
        """Tell whether somebody in `groups` on `target` can meet this match at all."""
        return (not self.groups or not self.groups.isdisjoint(groups)) and (
            self.targets is None or self.targets.selects(target)
        )

    def matches(self, operation: Operation) -> bool:
        """Tell whether `operation` is meant, of somebody whom this match concerns."""
        return (
            operation.impact in self.impacts
            and (not self.verbs or operation.verb in self.verbs)
            and (not self.objects or any(names(pattern, operation.object) for pattern in self.objects))
        )


@dataclass(frozen=True, slots=True)
class Approval:
    """What a held operation waits for: `quorum` people of `groups`, for `expires_us` microseconds at most."""

    groups: frozenset[GroupName]
    quorum: int
    expires_us: int


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One entry of the section; it holds for `approval`, or denies where there is none."""

    name: RuleName
    match: Match
    reason: str
    approval: Approval | None = None

    @property
    def holds(self) -> bool:
        """Whether people can let pass what this guardrail matches."""
        return self.approval is not None


def first_match(guardrails: Iterable[Guardrail], operation: Operation) -> Guardrail | None:
    """Find the first of `guardrails` that matches `operation`."""
    return next((guardrail for guardrail in guardrails if guardrail.match.matches(operation)), None)


def names(pattern: str, written: str) -> bool:
    """Tell whether `written` may be an object that `pattern` names; both are compared from the right."""
    wanted, found = parts(pattern), parts(written)
    return bool(found) and all(
        fnmatchcase(piece, glob) for glob, piece in zip(reversed(wanted), reversed(found), strict=False)
    )


_PART: Final = re.compile(r'"(?:[^"]|"")*"|[^."]+')


def parts(name: str) -> tuple[str, ...]:
    """Split a dotted name, without quotes and in lower case: doubt about case matches."""
    return tuple(_unquoted(piece) for piece in _PART.findall(name))


def _unquoted(piece: str) -> str:
    bare = piece[1:-1].replace('""', '"') if piece.startswith('"') else piece.strip()
    return bare.lower()
