from __future__ import annotations

from tests.support.policies import HEAD, operation, sample
from vestibule.model.decision import Allow, Deny
from vestibule.model.names import GroupName, TargetName
from vestibule.model.statement import Impact
from vestibule.policy.access import SessionLimits
from vestibule.policy.document import load
from vestibule.policy.engine import Engine
from vestibule.policy.explain import Explanation, explain, is_allowed, who_can

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
    assert not is_allowed(told)
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
    assert is_allowed(told)
    assert len(told.steps) == 2


def test_nobody_covered_is_said_at_once() -> None:
    told = explained("read select accounts", groups=("strangers",))
    assert lines(told) == ["default/default: no access entry covers these groups on core-banking: denied"]
    assert not is_allowed(told)


def test_granted_unknown_is_said_to_want_an_approval() -> None:
    told = explained("unknown do", groups=("migrators",))
    assert (
        lines(told)[-1] == "access/migrations: do (unknown): would wait for approval, which this version cannot: denied"
    )


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


def test_nobody_can_do_what_is_unknown() -> None:
    assert who_can(ENGINE, CORE, Impact.UNKNOWN) == ()
