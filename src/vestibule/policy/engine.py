"""What a policy decides; pure, so that a decision can be made again from what was recorded.

1. Access: the impact of an operation must be granted by an entry that covers identity and target. Silence denies.
2. Guardrails, in the order of the file: the first that matches the operation denies it, or holds it for approval.
3. What is granted and met by no guardrail is allowed; but `unknown` is then denied: it is held, or it does not travel.
4. A statement takes the worst decision of its operations: denied, held, allowed; of several refusals the first.
5. Several holds become one that satisfies each of them; where no group may approve all parts, the statement is denied.
6. Masks have no part in the decision. They are all there for what is stored, and for a person's screen without those
   that are clear for one of their groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from vestibule.model.decision import Allow, Decision, Deny, Hold, Rule, Section
from vestibule.model.identity import Identity
from vestibule.model.names import Digest, GroupName, RuleName, TargetName
from vestibule.model.plan import Label
from vestibule.model.statement import Impact, Operation
from vestibule.model.target import Target
from vestibule.policy.access import AccessEntry, SessionLimits, granted, granting, strictest
from vestibule.policy.checks import DEFAULT
from vestibule.policy.document import Policy
from vestibule.policy.guardrails import Approval, Guardrail, first_match
from vestibule.policy.masks import MaskEntry

__all__ = ["Engine", "Reach", "SessionLimits", "needs", "phrase", "worst"]

#: More of an object's name than this is not repeated to people.
_SHOWN: Final = 80
#: More groups than these are not named in a reason: it goes into records and messages.
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Reach:
    """What concerns somebody on one target: the access entries that cover them, the guardrails they can meet."""

    entries: tuple[AccessEntry, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()


class Engine:
    """Decides by one version of the policy."""

    def __init__(self, policy: Policy) -> None:
        """Decide by `policy` from now on."""
        self.policy = policy
        # Sessions ask for every statement, and a bank's policy has hundreds of entries.
        self._reach = lru_cache(maxsize=1024)(self._find_reach)
        self._labels = lru_cache(maxsize=1024)(self._find_labels)
        self._masks = lru_cache(maxsize=1024)(self._find_masks)
        self._lifted = lru_cache(maxsize=1024)(self._find_lifted)
        self._allowed = {entry.name: Allow(Rule(entry.name, "access", policy.digest)) for entry in policy.access}

    @property
    def digest(self) -> Digest:
        """The digest of the policy that decides."""
        return self.policy.digest

    def decide(self, identity: Identity, target: Target, operations: Sequence[Operation]) -> Decision:
        """Decide a statement; without operations, whether `identity` may reach `target` at all."""
        if not _in_scope(identity, target):
            return self._deny(DEFAULT, "default", f"this token is not good for {target.name}", _WIDER)
        return self.judge(identity.groups, target, operations)

    def judge(self, groups: frozenset[GroupName], target: Target, operations: Sequence[Operation]) -> Decision:
        """Decide for anybody who is in `groups`."""
        reach = self.reach(groups, target)
        if not reach.entries:
            return self._deny(DEFAULT, "default", f"no access entry covers you on {target.name}", _ASK)
        decisions = [self._decide_one(target, reach, operation) for operation in operations]
        return worst(decisions) if decisions else self._allow(reach.entries[0])

    def reach(self, groups: frozenset[GroupName], target: Target) -> Reach:
        """Find what concerns somebody in `groups` on `target`; nothing where the policy has no such target."""
        return self._reach(groups, target.name)

    def _find_reach(self, groups: frozenset[GroupName], name: TargetName) -> Reach:
        target = self.policy.targets.get(name)
        if target is None:
            return Reach()
        return Reach(
            tuple(entry for entry in self.policy.access if entry.covers(groups, target)),
            tuple(guardrail for guardrail in self.policy.guardrails if guardrail.match.concerns(groups, target)),
        )

    def labels(self, identity: Identity, target: Target) -> tuple[tuple[Label, ...], tuple[Label, ...]]:
        """List what masks the screen of `identity` on `target`, and what masks all that is stored about it."""
        return self._labels(identity.groups, target.name)

    def _find_labels(
        self, groups: frozenset[GroupName], name: TargetName
    ) -> tuple[tuple[Label, ...], tuple[Label, ...]]:
        entries = self.masks(name)
        screen = tuple(entry.label for entry in entries if not entry.is_clear_for(groups))
        return screen, tuple(entry.label for entry in entries)

    def lifted(
        self, identity: Identity, target: Target, names: frozenset[str] = frozenset()
    ) -> tuple[Decision, tuple[Label, ...]]:
        """Say who must approve that one statement of `identity` sees through masks, and what is masked all the same.

        `names` are those of mask entries; without any, all are meant that may be lifted.
        """
        return self._lifted(identity.groups, target.name, names)

    def _find_lifted(
        self, groups: frozenset[GroupName], name: TargetName, names: frozenset[str]
    ) -> tuple[Decision, tuple[Label, ...]]:
        entries = [entry for entry in self.masks(name) if not entry.is_clear_for(groups)]
        lifted = [entry for entry in entries if (entry.name in names if names else entry.unmask is not None)]
        unknown = sorted(names - {entry.name for entry in lifted})
        if unknown or not lifted:
            reason = f'there is no mask "{unknown[0]}" for you here' if unknown else _NEVER_LIFTED
            return self._deny(DEFAULT, "default", reason, _LIFT), tuple(entry.label for entry in entries)
        decision = worst([self._lift(entry) for entry in lifted])
        left = entries if isinstance(decision, Deny) else [entry for entry in entries if entry not in lifted]
        return decision, tuple(entry.label for entry in left)

    def _lift(self, entry: MaskEntry) -> Decision:
        approval = entry.unmask
        if approval is None:
            return self._deny(entry.name, "masks", f'the mask "{entry.name}" may not be lifted by approval', _LIFT)
        rule = Rule(entry.name, "masks", self.policy.digest)
        return Hold(
            rule, needs(approval.groups, approval.quorum), approval.groups, approval.quorum, approval.expires_us
        )

    def masks(self, name: TargetName) -> tuple[MaskEntry, ...]:
        """List the mask entries about a target; all there are about one that has left the policy."""
        return self._masks(name)

    def _find_masks(self, name: TargetName) -> tuple[MaskEntry, ...]:
        target = self.policy.targets.get(name)
        return tuple(entry for entry in self.policy.masks if target is None or entry.concerns(target))

    def targets_of(self, identity: Identity) -> tuple[Target, ...]:
        """List the targets that `identity` may reach, in the order of the file."""
        return tuple(target for target in self.policy.targets.values() if self._reaches(identity, target))

    def target(self, identity: Identity, name: str) -> Target | None:
        """Find a target by name; the same answer for one that does not exist and one that is not granted."""
        target = self.policy.targets.get(TargetName(name))
        return target if target is not None and self._reaches(identity, target) else None

    def session_limits(self, identity: Identity, target: Target) -> SessionLimits:
        """Combine the limits of all entries that cover `identity` on `target`."""
        return strictest(self.reach(identity.groups, target).entries)

    def roles_of(self, identity: Identity) -> frozenset[str]:
        """List the roles that `identity` holds in the control plane."""
        return frozenset(role for role, members in self.policy.roles.items() if not members.isdisjoint(identity.groups))

    def _reaches(self, identity: Identity, target: Target) -> bool:
        return _in_scope(identity, target) and bool(self.reach(identity.groups, target).entries)

    def _decide_one(self, target: Target, reach: Reach, operation: Operation) -> Decision:
        entry = granting(reach.entries, operation.impact)
        if entry is None:
            return self._not_granted(target, reach, operation)
        guardrail = first_match(reach.guardrails, operation)
        if guardrail is not None and guardrail.approval is not None:
            return self._hold(guardrail, guardrail.approval)
        if guardrail is not None:
            hint = f"Refused: {phrase(operation)}. On {target.name} {_may(reach)}, except what a guardrail refuses."
            return self._deny(guardrail.name, "guardrails", guardrail.reason, hint)
        if operation.impact is Impact.UNKNOWN:
            return self._deny(entry.name, "access", f"{phrase(operation)} is not understood{_NO_HOLD}", _HELD)
        return self._allow(entry)

    def _not_granted(self, target: Target, reach: Reach, operation: Operation) -> Deny:
        if operation.impact is Impact.UNKNOWN:
            return self._deny(DEFAULT, "default", f"{phrase(operation)} is not understood{_NO_GRANT}", _REGISTER)
        reason = f'{phrase(operation)} needs "{operation.impact.word}" on {target.name}; {_may(reach)}'
        return self._deny(DEFAULT, "default", reason, _ASK)

    def _allow(self, entry: AccessEntry) -> Allow:
        return self._allowed[entry.name]

    def _hold(self, guardrail: Guardrail, approval: Approval) -> Hold:
        rule = Rule(guardrail.name, "guardrails", self.policy.digest)
        reason = guardrail.reason or needs(approval.groups, approval.quorum)
        return Hold(rule, reason, approval.groups, approval.quorum, approval.expires_us)

    def _deny(self, name: str, section: Section, reason: str, hint: str) -> Deny:
        return Deny(Rule(RuleName(name), section, self.policy.digest), reason, hint)


_ASK: Final = "Ask the owner of the policy for an access entry that covers one of your groups."
_NO_HOLD: Final = ", and what is not understood needs a guardrail that holds it for approval"
_NO_GRANT: Final = ", and what is not understood is refused"
_WIDER: Final = "Use a token that was not made for other targets only."
_REGISTER: Final = (
    "Use functions and statements that Vestibule knows, "
    "or have the owner of the policy register the function under the target's functions."
)
_HELD: Final = f"{_REGISTER} Or have them write a guardrail that holds it."
_NEVER_LIFTED: Final = "no mask here may be lifted by approval"
_LIFT: Final = "Ask the owner of the policy to write who may approve it (unmask) into the mask's entry."
_APART: Final = "its parts need approval by different groups: send them one at a time"
_ONE_GROUP: Final = "Or have the owner of the policy name a group that may approve all of it."


def _in_scope(identity: Identity, target: Target) -> bool:
    return identity.targets is None or target.name in identity.targets


def worst(decisions: Iterable[Decision]) -> Decision:
    """Take the first refusal, or else what all holds come to, or else the first decision."""
    listed = tuple(decisions)
    holds = [decision for decision in listed if isinstance(decision, Hold)]
    together = _together(holds) if holds else listed[0]
    return next((decision for decision in listed if isinstance(decision, Deny)), together)


def _together(holds: Sequence[Hold]) -> Hold | Deny:
    """Make the one hold that satisfies each of `holds`, by the rule of the first."""
    first = holds[0]
    approvers = first.approvers.intersection(*(hold.approvers for hold in holds))
    if not approvers:
        return Deny(first.rule, _APART, _ONE_GROUP)
    quorum = max(hold.quorum for hold in holds)
    is_plain = first.reason == needs(first.approvers, first.quorum)
    reason = needs(approvers, quorum) if is_plain else first.reason
    return Hold(first.rule, reason, approvers, quorum, min(hold.expires_us for hold in holds))


def needs(approvers: frozenset[GroupName], quorum: int) -> str:
    """Say whose approval something waits for; of many groups some."""
    named, more = sorted(approvers)[:_NAMED], len(approvers) - _NAMED
    groups = " or ".join([*named, f"{more} more" if more > 1 else "another"] if more > 0 else named)
    return f"needs approval by {groups}" if quorum == 1 else f"needs approval by {quorum} people of {groups}"


def phrase(operation: Operation) -> str:
    """Name an operation to a person: its verb and object, cut and printable."""
    words = f"{operation.verb} {operation.object}".strip()
    shown = "".join(character if character.isprintable() else "?" for character in words)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def _may(reach: Reach) -> str:
    words = ", ".join(impact.word for impact in granted(reach.entries) if impact is not Impact.UNKNOWN)
    return f"you may: {words}" if words else "you may connect, but run nothing"
