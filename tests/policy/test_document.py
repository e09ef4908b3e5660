from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import HEAD, RULES, sample
from vestibule.model.errors import ConfigurationError
from vestibule.model.plan import Transform
from vestibule.model.statement import Impact
from vestibule.model.target import Address, Credential, RegisteredFunction, TargetTls
from vestibule.policy.access import Selector, SessionLimits
from vestibule.policy.document import TEXT_LIMIT, Policy, PolicyError, diff, load
from vestibule.policy.guardrails import EVERY_IMPACT, Approval
from vestibule.policy.masks import MaskEntry

HOUR = 3_600_000_000


def refused(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        load(text.encode(), "policy.yaml")
    return str(caught.value)


def test_a_policy_is_its_exact_bytes() -> None:
    text = (HEAD + RULES).encode()
    policy = load(text, "policy.yaml")
    assert policy.text == text
    assert policy.digest == hashlib.sha256(text).hexdigest()
    assert policy == load(text, "another name.yaml")
    assert policy != load(text + b"\n", "policy.yaml")
    assert len({policy, sample()}) == 1


def test_targets_are_what_the_file_says() -> None:
    core = sample().targets["core-banking"]
    assert core.hosts == (Address("db1.internal", 5432), Address("db2.internal", 5432))
    assert core.databases == ("core", "reports")
    assert core.tls == TargetTls("verify-full", "/etc/vestibule/db-ca.pem")
    assert core.credential == Credential("vestibule_rw", "file:/etc/vestibule/core.password")
    assert core.functions == (RegisteredFunction("public.state_count(text)", "clean"),)
    assert dict(core.labels) == {"env": "production", "data": "npi"}


def test_what_a_target_leaves_out_is_the_safe_choice() -> None:
    sandbox = sample().targets["sandbox"]
    assert sandbox.tls == TargetTls("verify-full", None, False, "prefer")
    assert sandbox.authentication == {"scram-sha-256-plus", "scram-sha-256"}
    assert sandbox.search_path == ("public",)


def test_providers_and_roles_are_what_the_file_says() -> None:
    policy = sample()
    (corp,) = policy.providers
    assert (corp.name, corp.issuer, corp.client_id) == ("corp", "https://idp.bank.example/realms/staff", "vestibule")
    assert (corp.groups_claim, corp.name_claim) == ("groups", "preferred_username")
    assert corp.algorithms == ("RS256", "ES256")
    assert (corp.leeway_us, corp.max_token_age_us, corp.login_max_us) == (60_000_000, 600_000_000, 8 * HOUR)
    assert dict(policy.roles) == {"administrator": {"platform"}, "auditor": {"internal-audit"}}


def test_access_entries_are_what_the_file_says() -> None:
    first, second, *_ = sample().access
    assert first.groups == {"engineering"}
    assert first.targets == Selector(labels={"env": "production"})
    assert first.allow == {Impact.READ, Impact.WRITE}
    assert first.limits == SessionLimits(8 * HOUR, HOUR // 2)
    assert second.targets == Selector(names=frozenset({"sandbox"}))


def test_guardrails_are_what_the_file_says() -> None:
    dropping, deleting, interns = sample().guardrails
    assert dropping.match.impacts == {Impact.SCHEMA}
    assert dropping.match.verbs == {"drop", "truncate"}
    assert deleting.match.impacts == EVERY_IMPACT
    assert deleting.match.objects == ("public.customers",)
    assert interns.match.impacts == {Impact.WRITE, Impact.SCHEMA, Impact.ADMIN, Impact.UNKNOWN}
    assert interns.match.groups == {"interns"}


def test_several_impacts_of_a_match_are_ored_and_verbs_are_read_in_any_case() -> None:
    text = HEAD + "guardrails:\n  - {name: a, match: {impact: [read, admin], verbs: [DROP]}, action: deny, reason: x}\n"
    (guardrail,) = load(text.encode(), "p").guardrails
    assert guardrail.match.impacts == {Impact.READ, Impact.ADMIN}
    assert guardrail.match.verbs == {"drop"}


def test_a_guardrail_that_holds_says_who_approves_and_how_long_it_waits() -> None:
    rules = (
        "guardrails:\n"
        "  - {name: a, match: {verbs: [drop]}, action: hold, approvers: {groups: [x, y]}}\n"
        "  - {name: b, match: {verbs: [do]}, action: hold, approvers: {groups: [x], quorum: 5}, expires: 24h,\n"
        "     reason: c}\n"
        "  - {name: c, match: {verbs: [call]}, action: hold, approvers: {groups: [x], quorum: 1}, expires: 1m}\n"
        "  - {name: d, match: {verbs: [grant]}, action: deny, reason: e}\n"
    )
    first, second, third, last = load((HEAD + rules).encode(), "p").guardrails
    assert (first.approval, first.reason) == (Approval(frozenset({"x", "y"}), 1, HOUR // 4), "")
    assert (second.approval, second.reason) == (Approval(frozenset({"x"}), 5, 24 * HOUR), "c")
    assert third.approval == Approval(frozenset({"x"}), 1, HOUR // 60)
    assert (last.approval, last.holds, first.holds) == (None, False, True)


def test_masks_are_what_the_file_says() -> None:
    rules = """\
masks:
  - {name: a, columns: ["*.Customers.ssn", 't."C"'], transform: {keep_first: 1, keep_last: 4}}
  - {name: b, columns: [t.c], clear_for: {groups: [x, y]}, targets: [sandbox]}
  - {name: c, columns: [t.c], transform: null, targets: {labels: {env: test}}}
  - {name: d, columns: [t.c], transform: "null"}
  - {name: e, columns: [t.c], transform: {keep_first: 6}}
  - name: f
    columns: [t.c]
    transform: hide
"""
    hide, null = Transform("hide"), Transform("null")
    sandbox, test = Selector(names=frozenset({"sandbox"})), Selector(labels={"env": "test"})
    assert load((HEAD + rules).encode(), "p").masks == (
        MaskEntry("a", ("*.customers.ssn", "*.t.C"), Transform("keep", 1, 4)),
        MaskEntry("b", ("*.t.c",), hide, frozenset({"x", "y"}), sandbox),
        MaskEntry("c", ("*.t.c",), null, targets=test),
        MaskEntry("d", ("*.t.c",), null),
        MaskEntry("e", ("*.t.c",), Transform("keep", 6, 0)),
        MaskEntry("f", ("*.t.c",), hide),
    )


@pytest.mark.parametrize("nothing", ["", "~", "NULL"])
def test_a_transform_without_a_word_is_no_transform(nothing: str) -> None:
    assert "masks[0].transform: has no value" in refused(
        HEAD + f"masks:\n  - name: a\n    columns: [t.c]\n    transform: {nothing}\n"
    )


def test_everything_wrong_with_an_action_is_told_at_once() -> None:
    rule = "  - {name: a, match: {verbs: [drop]}, action: deny, approvers: {groups: [x]}, expires: 1h}\n"
    hold = "  - {name: b, match: {verbs: [drop]}, action: hold}\n"
    told = refused(HEAD + "guardrails:\n" + rule + hold)
    assert [line.split(": ", 1)[1] for line in told.splitlines()] == [
        'guardrails[0]: "reason" is missing; write for example reason: "Migrations drop."',
        "guardrails[0].approvers: nobody can approve what is denied; remove approvers, or write action: hold",
        "guardrails[0].expires: nobody can approve what is denied; remove expires, or write action: hold",
        'guardrails[1]: "approvers" is missing; action hold needs them; '
        "write for example approvers: {groups: [managers]}",
    ]


def test_nothing_of_a_loaded_policy_can_be_changed() -> None:
    policy = sample()
    for mapping in (policy.targets, policy.roles, policy.targets["sandbox"].labels):
        with pytest.raises(TypeError):
            mapping["x"] = "y"  # type: ignore[index]


def test_a_policy_shows_neither_text_nor_references_when_printed() -> None:
    assert repr(sample()) == f"Policy(digest='{sample().digest}')"


def test_an_error_is_a_configuration_error_with_all_problems_in_order() -> None:
    broken = (
        HEAD.replace("hosts: [db1", "hots: [db1")
        .replace("verify-full", "verfy-full")
        .replace("db3.internal:5432", "db3")
    )
    with pytest.raises(ConfigurationError) as caught:
        load(broken.encode(), "policy.yaml")
    assert str(caught.value).splitlines() == [
        'policy.yaml:9:3: targets.core-banking: "hosts" is missing; write for example hosts: [db1.internal:5432]',
        'policy.yaml:11:5: targets.core-banking: unknown key "hots"; did you mean "hosts"?',
        'policy.yaml:14:17: targets.core-banking.tls.mode: "verfy-full" is not known; '
        "write one of verify-full, verify-ca, require, disable",
        'policy.yaml:20:13: targets.sandbox.hosts[0]: "db3" has no port; '
        "write host:port, for example db1.internal:5432",
    ]


def test_providers_have_different_names_and_issuers() -> None:
    second = "  - name: corp\n    oidc: {issuer: https://idp.bank.example/realms/staff, client_id: other}\nroles:"
    told = refused(HEAD.replace("roles:", second))
    assert 'the name "corp" is used in line 3 already' in told
    assert "the issuer" in told


def test_a_smaller_policy_is_enough_and_denies() -> None:
    policy = load(HEAD.encode(), "policy.yaml")
    assert policy.access == policy.guardrails == policy.masks == ()


def test_a_policy_may_be_a_mapping_only() -> None:
    assert refused("[a]") == "policy.yaml:1:1: must be a mapping of keys to values"
    assert refused("") == "policy.yaml:1:1: the file is empty"


def test_a_policy_fits_into_one_record() -> None:
    room = TEXT_LIMIT - len(HEAD)
    assert load((HEAD + "#" * room).encode(), "policy.yaml")
    assert refused(HEAD + "#" * (room + 1)) == (
        "policy.yaml:1:1: the policy has 40961 bytes; its text is recorded as evidence, which takes 40960 at most"
    )


def test_a_diff_names_both_versions_and_shows_what_changed() -> None:
    old, new = sample(), load((HEAD + RULES).replace("max: 8h", "max: 4h").encode(), "policy.yaml")
    told = diff(old, new).splitlines()
    assert told[:2] == [f"--- policy {old.digest}", f"+++ policy {new.digest}"]
    assert "-    session: {max: 8h, idle: 30m}" in told
    assert "+    session: {max: 4h, idle: 30m}" in told


def test_the_first_policy_differs_from_nothing() -> None:
    told = diff(None, sample()).splitlines()
    assert told[0] == "--- /dev/null"
    assert all(line.startswith("+") for line in told[3:])


_MORE = """\
  - name: held
    match: {verbs: [update]}
    action: hold
    approvers: {groups: [dba], quorum: 2}
    expires: 15m
masks:
  - name: ssn
    columns: ["*.customers.ssn", 'public."Card*".pan']
    transform: {keep_last: 4}
    clear_for: {groups: [dba]}
    targets: [core-banking]
"""
_lines = (HEAD + RULES + _MORE).splitlines()


@given(
    st.integers(0, len(_lines) - 1),
    st.sampled_from(["", "x", "- x", "  ", "    x: [", "    name: 7", "{}", "? x", "max: {a: [b]}", "\x00"]),
    st.booleans(),
)
def test_a_damaged_policy_loads_or_tells_a_line(index: int, damage: str, instead: bool) -> None:
    lines = [*_lines]
    lines[index : index + instead] = [damage]
    try:
        assert isinstance(load("\n".join(lines).encode(), "policy.yaml"), Policy)
    except PolicyError as error:
        told = str(error).splitlines()
        assert told
        assert all(re.match(r"policy\.yaml:\d+:\d+: .", line) for line in told)
