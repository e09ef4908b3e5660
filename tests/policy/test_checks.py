from __future__ import annotations

import pytest

from tests.support.policies import HEAD, RULES
from vestibule.policy.document import load


def warned(text: str) -> list[str]:
    return [warning.render("p") for warning in load(text.encode(), "p").warnings]


def guardrails(*matches: str, access: str = "") -> str:
    entry = "  - {{name: '{}', match: {}, action: deny, reason: x}}\n"
    return HEAD + access + "guardrails:\n" + "".join(entry.format(n, match) for n, match in enumerate(matches))


ACCESS = """\
access:
  - {name: all, groups: [engineering], targets: [core-banking, sandbox, vault-room], allow: [read]}
"""


def test_a_policy_that_says_nothing_in_vain_has_no_warnings() -> None:
    assert warned(guardrails("{verbs: [drop]}", access=ACCESS)) == []


def test_a_target_that_nobody_reaches_is_told() -> None:
    assert warned(HEAD + RULES)[0] == (
        "p:25:5: targets.vault-room: no access entry covers this target; nobody can reach it"
    )


def test_unknown_that_nothing_holds_is_told_to_be_denied_all_the_same() -> None:
    (told,) = [line for line in warned(HEAD + RULES) if "unknown" in line]
    assert told == (
        "p:42:12: access[2].allow: unknown leads to a hold at most, and no guardrail holds it: "
        "such statements are denied all the same"
    )


@pytest.mark.parametrize(
    ("match", "is_told"),
    [
        ("{impact: unknown}", False),
        ("{verbs: [do]}", False),
        ("{at_least: admin, groups: [migrators, dba]}", False),
        ("{impact: unknown, groups: [dba]}", True),
        ("{impact: unknown, targets: [sandbox]}", True),
        ("{impact: admin}", True),
    ],
)
def test_unknown_is_told_unless_a_guardrail_may_hold_it_for_these_groups_on_these_targets(
    match: str, is_told: bool
) -> None:
    hold = f"  - {{name: held, match: {match}, action: hold, approvers: {{groups: [x]}}}}\n"
    assert any("no guardrail holds it" in line for line in warned(HEAD + RULES + hold)) is is_told


def test_a_mask_on_no_target_is_told() -> None:
    entry = "masks:\n  - {name: ssn, columns: [t.c], targets: {labels: {env: prod}}}\n"
    (told,) = warned(HEAD + ACCESS + entry)
    assert told == 'p:32:42: masks[0].targets: "ssn" masks nothing: no target carries these labels'


def test_a_mask_that_is_clear_for_nobody_who_has_access_is_told() -> None:
    entry = "masks:\n  - {{name: ssn, columns: [t.c], clear_for: {{groups: [{}]}}}}\n"
    (told,) = warned(HEAD + ACCESS + entry.format("enginering"))
    assert told.endswith('masks[0].clear_for: no access entry names these groups; did you mean "engineering"?')
    assert warned(HEAD + ACCESS + entry.format("fraud, engineering")) == []


def test_labels_that_no_target_carries_are_told() -> None:
    told = warned(HEAD + "access:\n  - {name: a, groups: [g], targets: {labels: {env: prod}}, allow: [read]}\n")
    assert any("no target carries these labels; this entry grants nothing" in line for line in told)


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("{impact: read, at_least: schema}", "impact and at_least have no impact in common"),
        ("{targets: {labels: {env: prod}}}", "no target carries these labels"),
        ("{groups: [enginering]}", 'did you mean "engineering"?'),
    ],
)
def test_a_guardrail_that_can_never_match_is_told(match: str, why: str) -> None:
    (told,) = warned(guardrails(match, access=ACCESS))
    assert '"0" can never match' in told
    assert why in told


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("{verbs: [drop, delete]}", "{verbs: [DROP]}"),
        ("{at_least: write}", "{impact: schema}"),
        ("{objects: [a, b]}", "{objects: [b], verbs: [drop]}"),
        ("{targets: [core-banking, sandbox]}", "{targets: {labels: {env: production}}}"),
        ("{groups: [engineering]}", "{groups: [engineering], impact: read}"),
        ("{impact: read}", "{impact: read, targets: [sandbox]}"),
    ],
)
def test_a_guardrail_behind_a_wider_one_is_told_and_not_the_other_way_round(wide: str, narrow: str) -> None:
    (told,) = warned(guardrails(wide, narrow, access=ACCESS))
    assert '"1" can never match: "0" before it matches all that it matches' in told
    assert warned(guardrails(narrow, wide, access=ACCESS)) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{verbs: [drop]}", "{objects: [a]}"),
        ("{targets: [sandbox]}", "{verbs: [drop]}"),
        ("{groups: [engineering]}", "{verbs: [drop]}"),
    ],
)
def test_guardrails_that_only_overlap_are_not_told(first: str, second: str) -> None:
    assert warned(guardrails(first, second, access=ACCESS)) == []


def test_a_target_that_is_not_proven_is_told() -> None:
    tls = "databases: [sandbox]\n    tls: {mode: disable}\n    authentication: [cleartext]"
    told = [line for line in warned(HEAD.replace("databases: [sandbox]", tls) + ACCESS) if "sandbox" in line]
    assert [line.split(": ", 1)[1] for line in told] == [
        "targets.sandbox.tls.mode: mode disable does not prove who the target is; write verify-full where you can",
        "targets.sandbox.authentication: cleartext without TLS sends the password readable by all",
    ]


def test_several_providers_share_their_group_names_and_it_is_told() -> None:
    second = "  - name: other\n    oidc: {issuer: https://other.example, client_id: x}\nroles:"
    (told,) = warned(HEAD.replace("roles:", second) + ACCESS)
    assert told.startswith("p:3:3: identity: several providers share one space of group names")
