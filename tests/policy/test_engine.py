from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import HEAD, identity, operation, sample
from vestibule.model.decision import Allow, Deny, Hold, Rule
from vestibule.model.identity import Identity
from vestibule.model.names import GroupName, RuleName, TargetName
from vestibule.model.plan import Label, Transform
from vestibule.model.statement import Impact, Operation
from vestibule.policy.access import AccessEntry, Selector, SessionLimits
from vestibule.policy.document import Policy, load
from vestibule.policy.engine import Engine, needs, phrase, worst
from vestibule.policy.guardrails import Approval, Guardrail, Match
from vestibule.policy.masks import MaskEntry

REFERENCE = (Path(__file__).parents[2] / "docs/reference/policy.md").read_text()
EXAMPLE = load(re.search(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)[1].encode(), "policy.md")


def rows(chapter: str) -> list[list[str]]:
    page = REFERENCE.split(chapter)[1].split("## ")[0]
    table = page.split("| groups")[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("|")]


def somebody(groups: str) -> Identity:
    return identity(*(group.strip() for group in groups.split(",") if group != "(none)"))


ROWS = rows("## Truth table")


@pytest.mark.parametrize("row", ROWS, ids=[f"{groups}@{target}: {text}" for groups, target, text, *_ in ROWS])
def test_the_engine_decides_every_row_of_the_truth_table(row: list[str]) -> None:
    groups, target, _, operations, decision, rule = row
    asked = [operation(words.strip()) for words in operations.split(";") if words.strip()]
    decided = Engine(EXAMPLE).decide(somebody(groups), EXAMPLE.targets[TargetName(target)], asked)
    assert (type(decided).__name__.lower(), decided.rule.name) == (decision, rule)
    assert decided.rule.policy == EXAMPLE.digest


def test_the_truth_table_knows_every_decision_of_every_section() -> None:
    assert len(ROWS) >= 30
    assert {row[4] for row in ROWS} == {"allow", "deny", "hold"}
    rules = {entry.name for entry in (*EXAMPLE.access, *EXAMPLE.guardrails)} | {"default"}
    assert {row[5] for row in ROWS} == rules


@pytest.mark.parametrize("row", rows("## Masks"), ids=str)
def test_the_engine_masks_as_every_row_of_the_table_of_masks_says(row: list[str]) -> None:
    groups, target, screen, stored = row
    labels = Engine(EXAMPLE).labels(somebody(groups), EXAMPLE.targets[TargetName(target)])
    assert [", ".join(label.rule for label in some) for some in labels] == [screen, stored]


SAMPLE = sample()
ENGINE = Engine(SAMPLE)
CORE = SAMPLE.targets[TargetName("core-banking")]
SANDBOX = SAMPLE.targets[TargetName("sandbox")]


def denied(*words: str, groups: tuple[str, ...] = ("engineering",)) -> Deny:
    decided = ENGINE.decide(identity(*groups), CORE, [operation(one) for one in words])
    assert isinstance(decided, Deny)
    return decided


def test_a_refusal_for_want_of_access_names_the_operation_and_what_is_allowed() -> None:
    told = denied("schema create t")
    assert told.rule.section == "default"
    assert told.reason == 'create t needs "schema" on core-banking; you may: read, write'
    assert "owner of the policy" in told.hint


def test_a_refusal_by_a_guardrail_gives_its_reason_and_in_the_hint_the_operation() -> None:
    told = denied("write delete customers")
    assert (told.rule.name, told.rule.section) == ("customers are not deleted", "guardrails")
    assert told.reason == "Close the account instead."
    assert (
        told.hint == "Refused: delete customers. On core-banking you may: read, write, except what a guardrail refuses."
    )


def test_unknown_is_refused_with_another_reason_where_it_is_granted() -> None:
    silent, granted = denied("unknown do"), denied("unknown do", groups=("migrators",))
    assert (silent.rule.name, silent.rule.section) == ("default", "default")
    assert (granted.rule.name, granted.rule.section) == ("migrations", "access")
    assert silent.reason == "do is not understood, and what is not understood is refused"
    assert granted.reason == (
        "do is not understood, and what is not understood needs a guardrail that holds it for approval"
    )
    assert "register the function" in silent.hint
    assert granted.hint == f"{silent.hint} Or have them write a guardrail that holds it."


def test_a_guardrail_names_itself_before_unknown_is_refused() -> None:
    text = HEAD + (
        "access:\n  - {name: a, groups: [g], targets: [sandbox], allow: [unknown]}\n"
        "guardrails:\n  - {name: b, match: {at_least: admin}, action: deny, reason: x}\n"
    )
    decided = Engine(load(text.encode(), "p")).decide(identity("g"), SANDBOX, [operation("unknown call f")])
    assert decided.rule.name == "b"


MINUTE = 60_000_000
BOUND = (
    HEAD
    + """\
access:
  - {name: a, groups: [g], targets: [sandbox], allow: [read, write, unknown]}
guardrails:
  - {name: never, match: {verbs: [truncate]}, action: deny, reason: no}
  - name: two
    match: {verbs: [delete]}
    action: hold
    approvers: {groups: [x, y], quorum: 2}
    expires: 1h
  - {name: one, match: {verbs: [update]}, action: hold, reason: Look., approvers: {groups: [y, z]}, expires: 5m}
  - {name: other, match: {verbs: [insert]}, action: hold, approvers: {groups: [w]}}
  - {name: late, match: {verbs: [delete, update]}, action: deny, reason: Never reached.}
  - {name: doubt, match: {impact: unknown, verbs: [do]}, action: hold, approvers: {groups: [x]}}
"""
)
BOUND_ENGINE = Engine(load(BOUND.encode(), "p"))


def bound(*words: str) -> Allow | Deny | Hold:
    return BOUND_ENGINE.decide(identity("g"), SANDBOX, [operation(one) for one in words])


def held(*words: str) -> tuple[str, str, set[str], int, int]:
    decided = bound(*words)
    assert isinstance(decided, Hold)
    assert (decided.rule.section, decided.rule.policy) == ("guardrails", BOUND_ENGINE.digest)
    return decided.rule.name, decided.reason, set(decided.approvers), decided.quorum, decided.expires_us


def test_a_hold_says_whose_approval_it_needs_and_how_long_it_waits() -> None:
    assert held("write delete t") == ("two", "needs approval by 2 people of x or y", {"x", "y"}, 2, 60 * MINUTE)
    assert held("write update t") == ("one", "Look.", {"y", "z"}, 1, 5 * MINUTE)
    assert held("write insert t") == ("other", "needs approval by w", {"w"}, 1, 15 * MINUTE)


def test_the_first_guardrail_that_matches_decides_whether_it_holds_or_denies() -> None:
    assert held("write delete t")[0] == "two"
    assert isinstance(bound("write truncate t"), Deny)


def test_what_is_held_and_what_is_allowed_is_held_together() -> None:
    assert held("read select t", "write update t", "read select t")[0] == "one"


def test_a_refusal_is_worse_than_a_hold_wherever_it_stands() -> None:
    for words in (("write update t", "write truncate t"), ("write truncate t", "write update t")):
        assert bound(*words).rule.name == "never"


def test_several_holds_become_one_that_satisfies_each_of_them() -> None:
    assert held("write delete t", "write update t") == ("two", "needs approval by 2 people of y", {"y"}, 2, 5 * MINUTE)
    assert held("write update t", "write delete t") == ("one", "Look.", {"y"}, 2, 5 * MINUTE)


def test_the_same_hold_twice_is_that_hold() -> None:
    assert bound("write delete t", "write delete u") == bound("write delete t")


def test_parts_that_no_group_may_approve_together_are_denied_with_what_to_do() -> None:
    told = bound("write delete t", "read select t", "write insert t")
    assert isinstance(told, Deny)
    assert told.rule == Rule(RuleName("two"), "guardrails", BOUND_ENGINE.digest)
    assert told.reason == "its parts need approval by different groups: send them one at a time"
    assert told.hint == "Or have the owner of the policy name a group that may approve all of it."


def test_groups_that_meet_in_pairs_but_not_all_together_are_no_approvers() -> None:
    rule = Rule(RuleName("r"), "guardrails", SAMPLE.digest)
    pairs = [frozenset(map(GroupName, pair)) for pair in ("ab", "bc", "ca")]
    assert isinstance(worst([Hold(rule, "", pair, 1, MINUTE) for pair in pairs]), Deny)


def test_unknown_is_held_where_it_is_granted_and_a_guardrail_holds_it() -> None:
    assert held("unknown do")[:2] == ("doubt", "needs approval by x")
    assert isinstance(bound("unknown call f"), Deny)
    silent = load(BOUND.replace("[read, write, unknown]", "[read, write]").encode(), "p")
    assert Engine(silent).decide(identity("g"), SANDBOX, [operation("unknown do")]).rule.name == "default"


def test_what_is_not_granted_is_not_held() -> None:
    assert bound("schema delete t").rule.name == "default"


MASKS = """\
masks:
  - {name: ssn, columns: ["*.customers.ssn"], transform: {keep_last: 4}, clear_for: {groups: [fraud-desk]}}
  - {name: mail, columns: [customers.mail], transform: null, targets: [sandbox]}
  - {name: notes, columns: ["*.*.note*"], targets: {labels: {env: production}}}
"""
MASKING = Engine(load((HEAD + MASKS).encode(), "p"))
SSN = Label(RuleName("ssn"), ("*.customers.ssn",), Transform("keep", last=4))
MAIL = Label(RuleName("mail"), ("*.customers.mail",), Transform("null"))
NOTES = Label(RuleName("notes"), ("*.*.note*",), Transform("hide"))


def test_labels_are_those_of_the_target_in_the_order_of_the_file() -> None:
    assert MASKING.labels(identity("engineering"), CORE) == ((SSN, NOTES), (SSN, NOTES))
    assert MASKING.labels(identity("engineering"), SANDBOX) == ((SSN, MAIL), (SSN, MAIL))


def test_what_is_clear_for_a_person_is_masked_where_it_is_stored() -> None:
    assert MASKING.labels(identity("fraud-desk", "engineering"), CORE) == ((NOTES,), (SSN, NOTES))


def test_everything_is_masked_on_a_target_that_has_left_the_policy() -> None:
    gone = Engine(load((HEAD.replace("core-banking", "core") + MASKS).encode(), "p"))
    assert gone.labels(identity(), CORE) == ((SSN, MAIL, NOTES), (SSN, MAIL, NOTES))


def test_the_first_refusal_of_several_operations_is_told() -> None:
    assert denied("read select a", "schema drop b", "write delete customers").reason.startswith("drop b needs")


def test_hostile_names_are_cut_and_made_printable() -> None:
    told = phrase(Operation("drop", "a\x1b[31m\n\u202e" + "x" * 200, Impact.SCHEMA))
    assert told.isprintable()
    assert len(told) == 83


def test_targets_are_found_only_where_something_is_granted() -> None:
    assert [target.name for target in ENGINE.targets_of(identity("engineering"))] == ["core-banking", "sandbox"]
    assert [target.name for target in ENGINE.targets_of(identity("interns"))] == ["sandbox"]
    assert ENGINE.targets_of(identity()) == ()
    assert ENGINE.target(identity("interns"), "sandbox") is SANDBOX
    assert ENGINE.target(identity("interns"), "core-banking") is None
    assert ENGINE.target(identity("interns"), "no-such-target") is None


def test_a_scoped_token_reaches_its_targets_only() -> None:
    person = identity("engineering", targets=["sandbox", "vault-room"])
    assert ENGINE.targets_of(person) == (SANDBOX,)
    assert ENGINE.target(person, "core-banking") is None
    decided = ENGINE.decide(person, CORE, [operation("read select")])
    assert isinstance(decided, Deny)
    assert decided.reason == "this token is not good for core-banking"
    assert isinstance(ENGINE.decide(person, SANDBOX, [operation("read select")]), Allow)


def test_a_target_that_has_left_the_policy_is_denied() -> None:
    other = load(HEAD.replace("core-banking", "core").encode(), "p")
    assert isinstance(Engine(other).decide(identity("engineering"), CORE, []), Deny)


def test_labels_are_those_of_the_policy_in_force_and_not_of_the_session() -> None:
    relabelled = load((HEAD + "access:\n  - {name: a, groups: [engineering], targets: {labels: {env: test}}, "
                       "allow: [read]}\n").replace("env: production", "env: test").encode(), "p")  # fmt: skip
    assert isinstance(Engine(relabelled).decide(identity("engineering"), CORE, []), Allow)
    assert isinstance(Engine(SAMPLE).decide(identity("interns"), relabelled.targets[CORE.name], []), Deny)


def test_the_strictest_limit_of_all_covering_entries_counts() -> None:
    hour = 3_600_000_000
    assert ENGINE.session_limits(identity("engineering"), CORE) == SessionLimits(8 * hour, hour // 2)
    assert ENGINE.session_limits(identity("engineering", "migrators"), CORE) == SessionLimits(hour, hour // 2)
    assert ENGINE.session_limits(identity("engineering"), SANDBOX) == SessionLimits(None, None)


def test_roles_follow_groups() -> None:
    assert ENGINE.roles_of(identity("platform", "engineering")) == {"administrator"}
    assert ENGINE.roles_of(identity("platform", "internal-audit")) == {"administrator", "auditor"}
    assert ENGINE.roles_of(identity("engineering")) == frozenset()


# --- properties ------------------------------------------------------------------------------------------------------

_GROUPS = [GroupName(name) for name in ("a", "b", "c")]
_groups = st.frozensets(st.sampled_from(_GROUPS), max_size=3)
_some_groups = st.frozensets(st.sampled_from(_GROUPS), min_size=1, max_size=3)
_impacts = st.frozensets(st.sampled_from(Impact), min_size=1)
_names = st.frozensets(st.sampled_from([CORE.name, SANDBOX.name]), min_size=1).map(Selector)
_labels = st.sampled_from([{"env": "production"}, {"env": "test"}, {"data": "npi"}]).map(
    lambda some: Selector(labels=some)
)
_selectors = st.one_of(_names, _labels)
_limits = st.builds(SessionLimits, st.none() | st.integers(1, 9), st.none() | st.integers(1, 9))
_entries = st.lists(
    st.builds(AccessEntry, st.text("pqr", max_size=2).map(RuleName), _some_groups, _selectors, _impacts, _limits),
    max_size=4,
)
_matches = st.builds(
    Match,
    _impacts,
    st.frozensets(st.sampled_from(["drop", "delete", "select"])),
    st.sampled_from([(), ("s.t",), ("*",)]),
    st.none() | _selectors,
    _groups,
)
_approvals = st.none() | st.builds(Approval, _some_groups, st.integers(1, 5), st.integers(1, 9))
_guardrails = st.lists(
    st.builds(Guardrail, st.text("xyz", max_size=2).map(RuleName), _matches, st.just("no"), _approvals), max_size=3
)
_operations = st.lists(
    st.builds(
        Operation,
        st.sampled_from(["drop", "delete", "select"]),
        st.sampled_from(["", "t", "s.t"]),
        st.sampled_from(Impact),
    ),
    max_size=4,
)
_targets = st.sampled_from([CORE, SANDBOX])


def engine(entries: list[AccessEntry], guardrails: list[Guardrail]) -> Engine:
    return Engine(Policy(SAMPLE.digest, b"", (), {}, SAMPLE.targets, tuple(entries), tuple(guardrails)))


def allows(judge: Engine, groups: frozenset[GroupName], target: object, operations: list[Operation]) -> bool:
    return isinstance(judge.judge(groups, target, operations), Allow)


def rank(judge: Engine, groups: frozenset[GroupName], target: object, operations: list[Operation]) -> int:
    return (Allow, Hold, Deny).index(type(judge.judge(groups, target, operations)))


_new = st.builds(Guardrail, st.just(RuleName("new")), _matches, st.just("no"), _approvals)


@given(_entries, _guardrails, _new, _groups, _targets, _operations, st.integers(0, 3))
def test_another_guardrail_never_allows_more(entries, guardrails, new, groups, target, operations, at) -> None:
    more = [*guardrails[:at], new, *guardrails[at:]]
    if allows(engine(entries, more), groups, target, operations):
        assert allows(engine(entries, guardrails), groups, target, operations)


@given(_entries, _guardrails, _groups, _targets, _operations, st.integers(0, 3))
def test_an_access_entry_less_never_allows_more(entries, guardrails, groups, target, operations, at) -> None:
    fewer = entries[:at] + entries[at + 1 :]
    if allows(engine(fewer, guardrails), groups, target, operations):
        assert allows(engine(entries, guardrails), groups, target, operations)


@given(st.data(), _entries, _guardrails, _groups, _targets, _operations)
def test_the_order_of_access_entries_decides_nothing(data, entries, guardrails, groups, target, operations) -> None:
    shuffled = data.draw(st.permutations(entries))
    one, other = engine(entries, guardrails), engine(shuffled, guardrails)
    assert allows(one, groups, target, operations) == allows(other, groups, target, operations)
    person = identity(*groups)
    assert one.session_limits(person, target) == other.session_limits(person, target)
    assert one.targets_of(person) == other.targets_of(person)


@given(_entries, _guardrails, _groups, _targets, _operations)
def test_a_statement_is_allowed_exactly_if_each_of_its_operations_is(
    entries, guardrails, groups, target, operations
) -> None:
    judge = engine(entries, guardrails)
    each = all(allows(judge, groups, target, [one]) for one in operations)
    reached = allows(judge, groups, target, [])
    assert allows(judge, groups, target, operations) == (each and reached)


@given(_entries, _guardrails, _groups, _targets, _operations)
def test_a_guardrail_that_holds_allows_exactly_what_one_that_denies_would_allow(
    entries, guardrails, groups, target, operations
) -> None:
    stricter = [replace(guardrail, approval=None) for guardrail in guardrails]
    one, other = engine(entries, guardrails), engine(entries, stricter)
    assert rank(one, groups, target, operations) <= rank(other, groups, target, operations)
    assert allows(one, groups, target, operations) == allows(other, groups, target, operations)


@given(_entries, _guardrails, _new, _groups, _targets, _operations)
def test_a_guardrail_at_the_end_that_denies_never_lets_more_be_approved(
    entries, guardrails, new, groups, target, operations
) -> None:
    more = [*guardrails, replace(new, approval=None)]
    before, after = engine(entries, guardrails), engine(entries, more)
    assert rank(after, groups, target, operations) >= rank(before, groups, target, operations)


@given(_entries, _guardrails, _groups, _targets, _operations, _operations)
def test_an_operation_more_never_makes_a_statement_less_bound(
    entries, guardrails, groups, target, operations, more
) -> None:
    judge = engine(entries, guardrails)
    assert rank(judge, groups, target, [*operations, *more]) >= rank(judge, groups, target, operations)


@given(_entries, _guardrails, _groups, _targets, _operations)
def test_a_hold_satisfies_the_hold_of_each_operation(entries, guardrails, groups, target, operations) -> None:
    judge = engine(entries, guardrails)
    together = judge.judge(groups, target, operations)
    for one in operations if isinstance(together, Hold) else ():
        alone = judge.judge(groups, target, [one])
        assert not isinstance(alone, Deny)
        if isinstance(alone, Hold):
            assert together.approvers
            assert together.approvers <= alone.approvers
            assert together.quorum >= alone.quorum
            assert together.expires_us <= alone.expires_us


@given(_entries, _guardrails, _groups, _targets, _operations)
def test_the_order_of_operations_decides_nothing_but_the_rule_that_is_told(
    entries, guardrails, groups, target, operations
) -> None:
    judge = engine(entries, guardrails)
    one, other = judge.judge(groups, target, operations), judge.judge(groups, target, operations[::-1])
    assert type(one) is type(other)
    if isinstance(one, Hold) and isinstance(other, Hold):
        assert (one.approvers, one.quorum, one.expires_us) == (other.approvers, other.quorum, other.expires_us)


@given(_entries, _guardrails, _groups, _targets, _operations)
def test_unknown_is_never_allowed(entries, guardrails, groups, target, operations) -> None:
    doubtful = [*operations, Operation("call", "f", Impact.UNKNOWN)]
    assert not allows(engine(entries, guardrails), groups, target, doubtful)


@given(_entries, _guardrails, _groups, _targets, _operations)
def test_the_same_question_gets_the_same_answer(entries, guardrails, groups, target, operations) -> None:
    judge = engine(entries, guardrails)
    assert judge.judge(groups, target, operations) == engine(entries, guardrails).judge(groups, target, operations)
    assert judge.judge(groups, target, operations) == judge.judge(groups, target, operations)


_masks = st.lists(
    st.builds(
        MaskEntry,
        st.text("mno", min_size=1, max_size=2).map(RuleName),
        st.just(("*.t.c",)),
        st.builds(Transform),
        _groups,
        st.none() | _selectors,
    ),
    max_size=4,
)


def masking(masks: list[MaskEntry], guardrails: list[Guardrail] | None = None) -> Engine:
    return Engine(
        Policy(SAMPLE.digest, b"", (), {}, SAMPLE.targets, SAMPLE.access, tuple(guardrails or ()), tuple(masks))
    )


@given(_masks, _masks, _groups, _targets, st.integers(0, 4))
def test_another_mask_entry_never_removes_a_label_or_changes_their_order(masks, new, groups, target, at) -> None:
    more = [*masks[:at], *new, *masks[at:]]
    for before, after in zip(
        masking(masks).labels(identity(*groups), target), masking(more).labels(identity(*groups), target), strict=True
    ):
        rest = iter(after)
        assert all(label in rest for label in before)


@given(_masks, _groups, _groups, _targets)
def test_another_group_never_masks_more_and_what_is_stored_depends_on_nobody(masks, groups, more, target) -> None:
    judge = masking(masks)
    screen, stored = judge.labels(identity(*groups), target)
    wider, same = judge.labels(identity(*groups, *more), target)
    assert set(wider) <= set(screen) <= set(stored)
    assert stored == same


@given(_masks, _guardrails, _groups, _targets, _operations)
def test_masks_decide_nothing(masks, guardrails, groups, target, operations) -> None:
    one, other = masking(masks, guardrails), masking([], guardrails)
    assert one.judge(groups, target, operations) == other.judge(groups, target, operations)


def test_who_may_approve_is_said_in_one_order() -> None:
    groups = frozenset(map(GroupName, ("b", "a")))
    assert needs(groups, 1) == "needs approval by a or b"
    assert needs(groups, 3) == "needs approval by 3 people of a or b"


def test_a_reason_names_a_few_of_many_groups() -> None:
    assert needs(frozenset(map(GroupName, "abcde")), 1) == "needs approval by a or b or c or d or e"
    assert needs(frozenset(map(GroupName, "abcdef")), 1) == "needs approval by a or b or c or d or e or another"
    assert needs(frozenset(map(GroupName, "abcdefgh")), 1) == "needs approval by a or b or c or d or e or 3 more"


def test_the_worst_of_several_decisions_is_the_first_refusal() -> None:
    allow = ENGINE.decide(identity("engineering"), CORE, [])
    first, second = denied("schema drop b"), denied("write delete customers")
    assert worst([allow, first, second]) is first
    assert worst([allow]) is allow
