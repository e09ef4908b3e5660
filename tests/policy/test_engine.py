from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import HEAD, identity, operation, sample
from vestibule.model.decision import Allow, Deny
from vestibule.model.names import GroupName, RuleName, TargetName
from vestibule.model.statement import Impact, Operation
from vestibule.policy.access import AccessEntry, Selector, SessionLimits
from vestibule.policy.document import Policy, load
from vestibule.policy.engine import Engine, phrase, worst
from vestibule.policy.guardrails import Guardrail, Match

REFERENCE = (Path(__file__).parents[2] / "docs/reference/policy.md").read_text()
EXAMPLE = load(re.search(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)[1].encode(), "policy.md")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in REFERENCE.split("## Truth table")[1].split("##")[0].splitlines()
    if line.startswith("|") and not line.startswith(("| groups", "|---"))
]


@pytest.mark.parametrize("row", ROWS, ids=[f"{groups}@{target}: {text}" for groups, target, text, *_ in ROWS])
def test_the_engine_decides_every_row_of_the_truth_table(row: list[str]) -> None:
    groups, target, _, operations, decision, rule = row
    person = identity(*(group.strip() for group in groups.split(",") if group != "(none)"))
    asked = [operation(words.strip()) for words in operations.split(";") if words.strip()]
    decided = Engine(EXAMPLE).decide(person, EXAMPLE.targets[TargetName(target)], asked)
    assert (type(decided).__name__.lower(), decided.rule.name) == (decision, rule)
    assert decided.rule.policy == EXAMPLE.digest


def test_the_truth_table_knows_every_decision_of_every_section() -> None:
    assert len(ROWS) >= 30
    assert {row[4] for row in ROWS} == {"allow", "deny"}
    rules = {entry.name for entry in (*EXAMPLE.access, *EXAMPLE.guardrails)} | {"default"}
    assert {row[5] for row in ROWS} == rules


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
    assert granted.reason == "do is not understood, and this version cannot hold a statement for approval"
    assert "register the function" in silent.hint == granted.hint


def test_a_guardrail_names_itself_before_unknown_is_refused() -> None:
    text = HEAD + (
        "access:\n  - {name: a, groups: [g], targets: [sandbox], allow: [unknown]}\n"
        "guardrails:\n  - {name: b, match: {at_least: admin}, action: deny, reason: x}\n"
    )
    decided = Engine(load(text.encode(), "p")).decide(identity("g"), SANDBOX, [operation("unknown call f")])
    assert decided.rule.name == "b"


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
_guardrails = st.lists(
    st.builds(Guardrail, st.text("xyz", max_size=2).map(RuleName), _matches, st.just("no")), max_size=3
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


_new = st.builds(Guardrail, st.just(RuleName("new")), _matches, st.just("no"))


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
def test_unknown_is_never_allowed(entries, guardrails, groups, target, operations) -> None:
    doubtful = [*operations, Operation("call", "f", Impact.UNKNOWN)]
    assert not allows(engine(entries, guardrails), groups, target, doubtful)


@given(_entries, _guardrails, _groups, _targets, _operations)
def test_the_same_question_gets_the_same_answer(entries, guardrails, groups, target, operations) -> None:
    judge = engine(entries, guardrails)
    assert judge.judge(groups, target, operations) == engine(entries, guardrails).judge(groups, target, operations)
    assert judge.judge(groups, target, operations) == judge.judge(groups, target, operations)


def test_the_worst_of_several_decisions_is_the_first_refusal() -> None:
    allow = ENGINE.decide(identity("engineering"), CORE, [])
    first, second = denied("schema drop b"), denied("write delete customers")
    assert worst([allow, first, second]) is first
    assert worst([allow]) is allow
