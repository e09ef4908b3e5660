from __future__ import annotations

from tests.support.policies import HEAD, operation, sample
from vestibule.model.decision import Allow, Deny, Hold
from vestibule.model.names import GroupName, TargetName
from vestibule.model.plan import Transform
from vestibule.model.statement import Impact
from vestibule.policy.access import SessionLimits
from vestibule.policy.document import load
from vestibule.policy.engine import Engine
from vestibule.policy.explain import Explanation, explain, shown, who_can

ENGINE = Engine(sample())
CORE = ENGINE.policy.targets[TargetName("core-banking")]
SANDBOX = ENGINE.policy.targets[TargetName("sandbox")]


def explained(*words: str, groups: tuple[str, ...] = ("engineering",)) -> Explanation:
    return explain(ENGINE, frozenset(map(GroupName, groups)), CORE, [operation(one) for one in words])


def lines(told: Explanation) -> list[str]:
    return [f"{step.section}/{step.rule}: {step.text}" for step in told.steps]


def test_each_operation_is_followed_through_the_sections() -> None:
    told = explained("read select accounts", "write delete customers", "schema drop t")
    assert isinstance(told.decision, Deny)
    assert lines(told) == [
        "access/engineers work in production: covers core-banking and grants: read, write",
        "access/engineers work in production: select accounts (read): granted",
        "access/engineers work in production: delete customers (write): granted",
        "guardrails/customers are not deleted: delete customers (write): matches: denied",
        "default/default: drop t (schema): not granted by any entry above: denied",
    ]


def test_what_is_allowed_is_said_to_be_granted_and_no_more() -> None:
    told = explained("read select accounts")
    assert isinstance(told.decision, Allow)
    assert len(told.steps) == 2


def test_nobody_covered_is_said_at_once() -> None:
    told = explained("read select accounts", groups=("strangers",))
    assert lines(told) == ["default/default: no access entry covers these groups on core-banking: denied"]
    assert isinstance(told.decision, Deny)


def test_granted_unknown_that_nothing_holds_is_said_to_be_denied_for_that() -> None:
    told = explained("unknown do", groups=("migrators",))
    assert lines(told)[-1] == "access/migrations: do (unknown): no guardrail holds it for approval: denied"


HOLDING = Engine(
    load(
        (
            HEAD
            + """\
access:
  - {name: a, groups: [g], targets: [sandbox], allow: [write, unknown]}
  - {name: b, groups: [h], targets: [sandbox], allow: [write, unknown]}
guardrails:
  - {name: early, match: {verbs: [delete], groups: [h]}, action: deny, reason: no}
  - {name: held, match: {verbs: [delete, do]}, action: hold, approvers: {groups: [y, x], quorum: 2}}
  - {name: late, match: {verbs: [delete]}, action: deny, reason: never reached}
masks:
  - {name: ssn, columns: [customers.ssn], clear_for: {groups: [g]}}
  - {name: mail, columns: [customers.mail], targets: [sandbox]}
  - {name: pan, columns: [cards.pan], targets: [core-banking]}
"""
        ).encode(),
        "p",
    )
)


def test_a_held_operation_is_said_to_be_held_and_whose_approval_it_needs() -> None:
    told = explain(HOLDING, frozenset({GroupName("g")}), SANDBOX, [operation("write delete t")])
    assert isinstance(told.decision, Hold)
    assert lines(told)[-1] == ("guardrails/held: delete t (write): matches: held, needs approval by 2 people of x or y")


def test_the_masks_of_the_target_are_told_with_those_that_are_clear() -> None:
    told = explain(HOLDING, frozenset({GroupName("g")}), SANDBOX, [])
    assert [label.rule for label in told.masked] == ["mail"]
    assert [label.rule for label in told.clear] == ["ssn"]
    assert [label.rule for label in explain(HOLDING, frozenset(), SANDBOX, []).masked] == ["ssn", "mail"]


def test_what_a_mask_shows_is_said_in_words() -> None:
    assert shown(Transform()) == "hidden"
    assert shown(Transform("null")) == "shown as NULL"
    assert shown(Transform("keep", last=4)) == "only the last 4 characters are shown"
    assert shown(Transform("keep", 6, 4)) == "only the first 6 and last 4 characters are shown"


def test_what_is_held_for_somebody_is_listed_as_possible_with_approval() -> None:
    first, second = who_can(HOLDING, SANDBOX, Impact.WRITE)
    assert (first.entry, first.guardrails, first.holds, first.is_always_held) == ("a", ("late",), ("held",), False)
    assert (second.entry, second.guardrails, second.holds) == ("b", ("early", "late"), ("held",))


def test_a_guardrail_behind_one_that_surely_decides_is_not_listed() -> None:
    (only,) = who_can(HOLDING, SANDBOX, Impact.WRITE, "delete")
    assert (only.entry, only.guardrails, only.holds, only.is_always_held) == ("a", (), ("held",), True)


def test_unknown_is_possible_with_approval_only_and_only_where_it_is_held() -> None:
    told = who_can(HOLDING, SANDBOX, Impact.UNKNOWN, "do")
    assert [(holder.entry, holder.holds, holder.is_always_held) for holder in told] == [
        ("a", ("held",), True),
        ("b", ("held",), True),
    ]
    assert who_can(HOLDING, SANDBOX, Impact.UNKNOWN, "call") == ()


def test_who_can_lists_entries_with_groups_limits_and_what_still_bounds_them() -> None:
    (engineers,) = who_can(ENGINE, CORE, Impact.WRITE)
    assert (engineers.entry, engineers.groups) == ("engineers work in production", ("engineering",))
    assert engineers.limits == SessionLimits(8 * 3_600_000_000, 1_800_000_000)
    assert engineers.guardrails == ("customers are not deleted",)


def test_who_can_looks_at_the_verb_where_one_is_asked_for() -> None:
    assert who_can(ENGINE, CORE, Impact.WRITE, "insert")[0].guardrails == ()
    assert [holder.entry for holder in who_can(ENGINE, CORE, Impact.SCHEMA, "create")] == ["migrations"]


def test_who_a_guardrail_surely_denies_is_not_listed() -> None:
    assert who_can(ENGINE, CORE, Impact.SCHEMA, "drop") == ()
    (bounded,) = who_can(ENGINE, SANDBOX, Impact.WRITE)
    assert bounded.guardrails == ("interns only look",)


def test_a_guardrail_on_all_groups_of_an_entry_takes_it_out() -> None:
    rules = (
        "access:\n  - {name: a, groups: [g], targets: [sandbox], allow: [write]}\n"
        "  - {name: b, groups: [g, h], targets: [sandbox], allow: [write]}\n"
        "guardrails:\n  - {name: c, match: {groups: [g]}, action: deny, reason: x}\n"
    )
    engine = Engine(load((HEAD + rules).encode(), "p"))
    assert [holder.entry for holder in who_can(engine, SANDBOX, Impact.WRITE)] == ["b"]


def test_nobody_can_do_what_is_unknown_and_not_held() -> None:
    assert who_can(ENGINE, CORE, Impact.UNKNOWN) == ()
