from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.policies import HEAD, RULES, sample
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.policy import app


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(HEAD + RULES)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_of_a_right_policy_tells_its_warnings_and_its_digest(folder: Path) -> None:
    done = run("check")
    assert done.exit_code == 0
    warning, unknown, summary = done.output.splitlines()
    assert warning.startswith("policy.yaml:25:5: warning: targets.vault-room: no access entry covers this target")
    assert unknown.startswith("policy.yaml:42:12: warning: access[2].allow: unknown")
    assert summary == (
        f"policy.yaml: right, 2 warnings; 3 targets, 4 access entries, 3 guardrails, 0 masks; SHA-256 {sample().digest}"
    )


def test_check_of_a_wrong_policy_tells_all_problems_and_fails(folder: Path) -> None:
    (folder / "other.yaml").write_text(HEAD.replace("hosts: [db1", "hots: [db1"))
    done = run("check", "other.yaml")
    assert done.exit_code == Exit.FAILED
    assert done.output.splitlines()[1:] == [
        'other.yaml:11:5: targets.core-banking: unknown key "hots"; did you mean "hosts"?',
        "other.yaml: 2 to correct; this policy cannot take effect",
    ]


def test_check_as_json_has_the_same_for_programs(folder: Path) -> None:
    good = json.loads(run("check", "--json").output)
    assert (good["valid"], good["policy"], good["problems"]) == (True, sample().digest, [])
    assert [warning["line"] for warning in good["warnings"]] == [25, 42]
    (folder / "policy.yaml").write_text("version: 2\n")
    bad = run("check", "--json")
    assert bad.exit_code == Exit.FAILED
    told = json.loads(bad.output)
    assert (told["valid"], told["policy"]) == (False, None)
    assert told["problems"][-1] == {
        "line": 1,
        "column": 10,
        "message": "version: this version of Vestibule reads version 1 of the policy; write version: 1",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "nowhere.yaml"],
        ["explain", "--policy", "nowhere.yaml", "--group", "g", "--target", "sandbox", "SELECT 1"],
        ["who-can", "--policy", "nowhere.yaml", "--target", "sandbox", "--allow", "read"],
        ["explain", "--group", "g", "--target", "sandbx", "SELECT 1"],
        ["who-can", "--target", "sandbx", "--allow", "read"],
        ["who-can", "--target", "sandbox", "--allow", "reed"],
    ],
)
def test_what_does_not_exist_is_a_wrong_use(folder: Path, arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=r"nowhere\.yaml: No such file|did you mean") as caught:
        run(*arguments)
    assert caught.value.code is Exit.USAGE


# --- explain ---------------------------------------------------------------------------------------------------------


def explained(sql: str, *groups: str, target: str = "core-banking") -> Result:
    return run("explain", *(f"--group={group}" for group in groups), "--target", target, sql)


def test_explain_follows_a_refusal_to_its_rule(folder: Path) -> None:
    done = explained("SELECT 1; DELETE FROM customers", "engineering")
    assert done.exit_code == Exit.FAILED
    assert 'access "engineers work in production": covers core-banking and grants: read, write' in done.output
    assert 'denied by rule "customers are not deleted" (guardrails): Close the account instead.' in done.output


def test_explain_tells_what_is_allowed(folder: Path) -> None:
    done = explained("SELECT name FROM customers", "strangers", "engineering")
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == 'allowed by "engineers work in production"'


def test_explain_tells_what_is_refused_whatever_the_policy_says(folder: Path) -> None:
    done = explained("SELEC 1", "engineering")
    assert done.exit_code == Exit.FAILED
    assert "refused whatever the policy says: " in done.output
    assert "(42601)" in done.output


def test_explain_takes_registered_functions_for_known_and_others_not(folder: Path) -> None:
    assert explained("SELECT public.state_count('NY')", "engineering").exit_code == 0
    assert explained("SELECT public.other('NY')", "engineering").exit_code == Exit.FAILED


def test_explain_as_json_has_operations_steps_and_rule(folder: Path) -> None:
    arguments = ["explain", "--json", "--group", "engineering", "--target", "core-banking"]
    told = json.loads(run(*arguments, "DELETE FROM public.customers").output)
    assert told["allowed"] is False
    assert {"verb": "delete", "object": "public.customers", "impact": "write"} in told["operations"]
    assert told["rule"] == {"name": "customers are not deleted", "section": "guardrails", "policy": sample().digest}
    assert told["reason"] == "Close the account instead."
    assert {"section", "rule", "text"} == set(told["steps"][0])
    refused = json.loads(run(*arguments, "SELEC 1").output)
    assert (refused["allowed"], refused["refused"]["code"]) == (False, "42601")


HOLDS = """\
  - name: loans need two
    match: {verbs: [update], objects: [public.loans]}
    action: hold
    approvers: {groups: [dba-managers, duty], quorum: 2}
    expires: 1h
  - {name: blocks are read, match: {impact: unknown}, action: hold, approvers: {groups: [dba-managers]}}
masks:
  - {name: ssn, columns: ["*.customers.ssn"], transform: {keep_last: 4}, clear_for: {groups: [dba]}}
  - {name: notes, columns: [loans.note, loans.memo], transform: null}
  - {name: pan, columns: [cards.pan], targets: [sandbox]}
"""


@pytest.fixture
def holding(folder: Path) -> Path:
    (folder / "policy.yaml").write_text(HEAD + RULES + HOLDS)
    return folder


def test_explain_tells_by_whom_a_held_text_is_to_be_approved(holding: Path) -> None:
    done = explained("UPDATE loans SET a = 1", "engineering")
    assert done.exit_code == Exit.HELD
    assert done.output.splitlines()[-2:] == [
        'held by rule "loans need two" (guardrails): needs approval by 2 people of dba-managers or duty',
        "to be approved by 2 people of: dba-managers, duty; within 1h",
    ]
    assert "to be approved by 1 person of: dba-managers; within 15m" in explained("DO ''", "migrators").output


def test_explain_tells_which_masks_apply_to_the_groups_on_the_target(holding: Path) -> None:
    done = explained("SELECT 1", "engineering", "dba")
    assert [line for line in done.output.splitlines() if line.startswith("masks")] == [
        'masks "notes": *.loans.note, *.loans.memo: shown as NULL',
        'masks "ssn": *.customers.ssn: clear for these groups',
    ]
    assert (
        'masks "ssn": *.customers.ssn: only the last 4 characters are shown'
        in explained("SELECT 1", "engineering").output
    )
    assert 'masks "pan": *.cards.pan: hidden' in explained("SELECT 1", "engineering", target="sandbox").output


def test_explain_as_json_has_the_approval_and_the_masks(holding: Path) -> None:
    arguments = ["explain", "--json", "--group", "engineering", "--group", "dba", "--target", "core-banking"]
    done = run(*arguments, "UPDATE loans SET a = 1")
    told = json.loads(done.output)
    assert (done.exit_code, told["allowed"], told["decision"]) == (Exit.HELD, False, "hold")
    assert told["rule"]["name"] == "loans need two"
    assert (told["approvers"], told["quorum"], told["expires"]) == (["dba-managers", "duty"], 2, "1h")
    assert told["masks"] == [
        {
            "rule": "notes",
            "columns": ["*.loans.note", "*.loans.memo"],
            "transform": {"kind": "null", "first": 0, "last": 0},
            "is_clear": False,
        },
        {
            "rule": "ssn",
            "columns": ["*.customers.ssn"],
            "transform": {"kind": "keep", "first": 0, "last": 4},
            "is_clear": True,
        },
    ]
    assert json.loads(run(*arguments, "SELECT 1").output)["decision"] == "allow"


def test_what_never_travels_is_refused_even_where_the_policy_would_hold_it(holding: Path) -> None:
    done = explained("UPDATE loans SET a = 1; SELEC 1", "engineering")
    assert done.exit_code == Exit.FAILED
    assert "held by" not in done.output


def test_check_counts_the_masks(holding: Path) -> None:
    assert "5 guardrails, 3 masks; SHA-256" in run("check").output


def test_who_can_tells_what_is_possible_with_approval_only(holding: Path) -> None:
    assert run("who-can", "--target", "core-banking", "--allow", "unknown", "--verb", "do").output.splitlines() == [
        '"migrations": groups migrators, only with approval',
        '  with approval for what the guardrail "blocks are read" holds',
    ]
    assert run("who-can", "--target", "core-banking", "--allow", "write", "--verb", "update").output.splitlines() == [
        '"engineers work in production": groups engineering',
        '  with approval for what the guardrail "loans need two" holds',
    ]
    arguments = ["--json", "--target", "core-banking", "--allow", "unknown", "--verb", "do"]
    (told,) = json.loads(run("who-can", *arguments).output)
    assert (told["holds"], told["is_always_held"], told["guardrails"]) == (["blocks are read"], True, [])


DOCS = Path(__file__).parents[2] / "docs/reference/policy.md"


def test_the_truth_table_of_the_reference_holds_for_its_statements(folder: Path) -> None:
    page = DOCS.read_text()
    (folder / "policy.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    rows = re.findall(
        r"^\| ([^|]+) \| ([a-z-]+) \| `([^`]+)` \|[^|]+\| (allow|deny|hold) \| ([^|]+) \|$", page, re.MULTILINE
    )
    assert len(rows) >= 35
    status = {"allow": Exit.OK, "deny": Exit.FAILED, "hold": Exit.HELD}
    for groups, target, sql, decision, rule in rows:
        done = explained(sql, *(group.strip() for group in groups.split(",")), target=target)
        last = [line for line in done.output.splitlines() if line.startswith(("allowed by", "denied by", "held by"))]
        assert (done.exit_code, f'"{rule}"' in last[0]) == (status[decision], True), (sql, done.output)


# --- who-can ---------------------------------------------------------------------------------------------------------


def test_who_can_lists_groups_and_what_still_bounds_them(folder: Path) -> None:
    done = run("who-can", "--target", "core-banking", "--allow", "write")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        '"engineers work in production": groups engineering',
        '  except what the guardrail "customers are not deleted" denies',
    ]


def test_who_can_looks_at_a_verb(folder: Path) -> None:
    done = run("who-can", "--target", "core-banking", "--allow", "schema", "--verb", "DROP")
    assert (done.exit_code, done.output) == (
        0,
        'nobody is granted "schema" on core-banking, or a guardrail denies it to all\n',
    )


def test_who_can_as_json(folder: Path) -> None:
    (told,) = json.loads(
        run("who-can", "--json", "--target", "core-banking", "--allow", "admin", "--verb", "grant").output
    )
    assert (told["entry"], told["groups"], told["guardrails"]) == ("database administrators", ["dba"], [])
