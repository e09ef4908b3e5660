"""A decision step by step for people, what is masked for them, and the question turned round: who can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vestibule.model.decision import Decision, Section
from vestibule.model.names import GroupName, RuleName
from vestibule.model.plan import Label, Transform
from vestibule.model.statement import Impact, Operation
from vestibule.model.target import Target
from vestibule.policy.access import AccessEntry, SessionLimits, granting
from vestibule.policy.checks import DEFAULT
from vestibule.policy.engine import Engine, Reach, needs, phrase
from vestibule.policy.guardrails import Guardrail, Match, first_match


@dataclass(frozen=True, slots=True)
class Step:
    """One look at the policy: which section, which rule, what came of it."""

    section: Section
    rule: RuleName
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision that the gate would make, the steps to it, and what is masked for these groups or clear for them."""

    decision: Decision
    steps: tuple[Step, ...]
    masked: tuple[Label, ...] = ()
    clear: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """An access entry that lets its groups do something, with what still bounds it.

    `guardrails` may deny it, `holds` may hold it for approval; with `is_always_held` nothing passes without one.
    """

    entry: RuleName
    groups: tuple[GroupName, ...]
    limits: SessionLimits
    guardrails: tuple[RuleName, ...]
    holds: tuple[RuleName, ...] = ()
    is_always_held: bool = False


def explain(
    engine: Engine, groups: frozenset[GroupName], target: Target, operations: Sequence[Operation]
) -> Explanation:
    """Say how the policy decides `operations` of somebody in `groups` on `target`."""
    reach = engine.reach(groups, target)
    steps = [*_coverage(reach, target)]
    for operation in operations if reach.entries else ():
        steps += _steps(reach, operation)
    masks = engine.masks(target.name)
    return Explanation(
        engine.judge(groups, target, operations),
        tuple(steps),
        masked=tuple(entry.label for entry in masks if not entry.is_clear_for(groups)),
        clear=tuple(entry.label for entry in masks if entry.is_clear_for(groups)),
    )


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
        yield Step("guardrails", guardrail.name, f"{what}: matches: {_outcome(guardrail)}")
    elif operation.impact is Impact.UNKNOWN:
        yield Step("access", entry.name, f"{what}: no guardrail holds it for approval: denied")


def _outcome(guardrail: Guardrail) -> str:
    if guardrail.approval is None:
        return "denied"
    return f"held, {needs(guardrail.approval.groups, guardrail.approval.quorum)}"


def who_can(engine: Engine, target: Target, impact: Impact, verb: str = "") -> tuple[Holder, ...]:
    """List the entries that allow `impact` (and `verb`) on `target`, each with the guardrails that may deny or hold it.

    An entry is left out where a guardrail surely denies all of it, or where it is `unknown` and nothing holds it.
    """
    entries = (entry for entry in engine.policy.access if impact in entry.allow and entry.targets.selects(target))
    holders = (_holder(entry, _met(engine, entry, target, impact, verb), impact, verb) for entry in entries)
    return tuple(holder for holder in holders if holder is not None)


def _met(engine: Engine, entry: AccessEntry, target: Target, impact: Impact, verb: str) -> Iterator[Guardrail]:
    """Find the guardrails that `entry` may meet, in order; behind one that surely matches no other is reached."""
    for guardrail in engine.policy.guardrails:
        if guardrail.match.concerns(entry.groups, target) and _may_match(guardrail.match, impact, verb):
            yield guardrail
            if _surely_matches(guardrail.match, entry, verb):
                return


def _holder(entry: AccessEntry, reached: Iterator[Guardrail], impact: Impact, verb: str) -> Holder | None:
    met = tuple(reached)
    holds = tuple(guardrail.name for guardrail in met if guardrail.holds)
    is_stopped = impact is Impact.UNKNOWN or any(_surely_matches(guardrail.match, entry, verb) for guardrail in met)
    if is_stopped and not holds:
        return None
    denials = tuple(guardrail.name for guardrail in met if not guardrail.holds)
    return Holder(entry.name, tuple(sorted(entry.groups)), entry.limits, denials, holds, is_stopped)


def _may_match(match: Match, impact: Impact, verb: str) -> bool:
    return impact in match.impacts and (not verb or not match.verbs or verb in match.verbs)


def _surely_matches(match: Match, entry: AccessEntry, verb: str) -> bool:
    """Tell whether a match that may match surely does: nothing is left that it could depend on."""
    return (
        (not match.verbs or verb in match.verbs)
        and not match.objects
        and (not match.groups or entry.groups <= match.groups)
    )


def shown(transform: Transform) -> str:
    """Say what a mask shows of a value."""
    if transform.kind == "keep":
        ends = (("first", transform.first), ("last", transform.last))
        return f"only the {' and '.join(f'{end} {number}' for end, number in ends if number)} characters are shown"
    return "shown as NULL" if transform.kind == "null" else "hidden"
