"""A decision step by step for people, and the question turned round: who can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vestibule.model.decision import Allow, Decision, Section
from vestibule.model.names import GroupName, RuleName
from vestibule.model.statement import Impact, Operation
from vestibule.model.target import Target
from vestibule.policy.access import AccessEntry, SessionLimits, granting
from vestibule.policy.checks import DEFAULT
from vestibule.policy.engine import Engine, Reach, phrase
from vestibule.policy.guardrails import Match, first_match


@dataclass(frozen=True, slots=True)
class Step:
    """One look at the policy: which section, which rule, what came of it."""

    section: Section
    rule: RuleName
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision that the gate would make, and the steps to it."""

    decision: Decision
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """An access entry that lets its groups do something, with what still bounds it."""

    entry: RuleName
    groups: tuple[GroupName, ...]
    limits: SessionLimits
    guardrails: tuple[RuleName, ...]


def explain(
    engine: Engine, groups: frozenset[GroupName], target: Target, operations: Sequence[Operation]
) -> Explanation:
    """Say how the policy decides `operations` of somebody in `groups` on `target`."""
    reach = engine.reach(groups, target)
    steps = [*_coverage(reach, target)]
    for operation in operations if reach.entries else ():
        steps += _steps(reach, operation)
    return Explanation(engine.judge(groups, target, operations), tuple(steps))


def _coverage(reach: Reach, target: Target) -> Iterator[Step]:
    for entry in reach.entries:
        words = ", ".join(impact.word for impact in sorted(entry.allow))
        yield Step("access", entry.name, f"covers {target.name} and grants: {words}")
    if not reach.entries:
        yield Step("default", RuleName(DEFAULT), f"no access entry covers these groups on {target.name}: denied")


def _steps(reach: Reach, operation: Operation) -> Iterator[Step]:
    what = f"{phrase(operation)} ({operation.impact.word})"
    entry = granting(reach.entries, operation.impact)
    if entry is None:
        yield Step("default", RuleName(DEFAULT), f"{what}: not granted by any entry above: denied")
        return
    yield Step("access", entry.name, f"{what}: granted")
    guardrail = first_match(reach.guardrails, operation)
    if guardrail is not None:
        yield Step("guardrails", guardrail.name, f"{what}: matches: denied")
    elif operation.impact is Impact.UNKNOWN:
        yield Step("access", entry.name, f"{what}: would wait for approval, which this version cannot: denied")


def who_can(engine: Engine, target: Target, impact: Impact, verb: str = "") -> tuple[Holder, ...]:
    """List the entries that allow `impact` (and `verb`) on `target`, each with the guardrails that may still deny it.

    An entry is left out where a guardrail surely denies all of it; nothing allows `unknown` in this version.
    """
    holders = []
    for entry in engine.policy.access if impact is not Impact.UNKNOWN else ():
        if impact not in entry.allow or not entry.targets.selects(target):
            continue
        met = [guardrail for guardrail in engine.policy.guardrails if guardrail.match.concerns(entry.groups, target)]
        met = [guardrail for guardrail in met if _may_match(guardrail.match, impact, verb)]
        if not any(_surely_matches(guardrail.match, entry, verb) for guardrail in met):
            names = tuple(guardrail.name for guardrail in met)
            holders.append(Holder(entry.name, tuple(sorted(entry.groups)), entry.limits, names))
    return tuple(holders)


def _may_match(match: Match, impact: Impact, verb: str) -> bool:
    return impact in match.impacts and (not verb or not match.verbs or verb in match.verbs)


def _surely_matches(match: Match, entry: AccessEntry, verb: str) -> bool:
    """Tell whether a match that may match surely does: nothing is left that it could depend on."""
    return (
        (not match.verbs or verb in match.verbs)
        and not match.objects
        and (not match.groups or entry.groups <= match.groups)
    )


def is_allowed(explanation: Explanation) -> bool:
    """Tell whether the statement would travel."""
    return isinstance(explanation.decision, Allow)
