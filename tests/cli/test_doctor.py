"""`vestibule doctor` at real servers, in good and in broken set-ups."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.docs.test_doctor import ROWS, row_of
from tests.support.clients import Outcome
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.ports import free_port
from tests.support.postgres import GATEWAY, PostgresServer
from vestibule.app.doctor.findings import Finding, fail, ok, unreachable, warn
from vestibule.cli.doctor import line, status
from vestibule.cli.exits import exit_of
from vestibule.cli.root import build
from vestibule.model.errors import ConfigurationError

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("findings", "strict", "expected"),
    [
        ([ok("a", "b")], True, 0),
        ([ok("a", "b"), warn("a", "b", "c")], False, 0),
        ([ok("a", "b"), warn("a", "b", "c")], True, 1),
        ([unreachable("a", "b", "c"), warn("a", "b", "c")], False, 3),
        ([unreachable("a", "b", "c"), fail("a", "b", "c")], False, 1),
    ],
)
def test_the_exit_status_is_the_worst_that_was_found(findings: list[Finding], strict: bool, expected: int) -> None:
    assert status(findings, strict=strict) == expected


def test_a_finding_is_a_line_and_what_to_do_another_and_nothing_reaches_the_terminal_raw() -> None:
    shown = line(fail("target core", "it said\n\x1b[31mno", "mend it")).splitlines()
    assert shown == ["fail         target core: it said ?[31mno", "             -> mend it"]


def test_a_wrong_operator_s_file_ends_as_everywhere(tmp_path: Path) -> None:
    words = ["doctor", "--config", str(tmp_path / "vestibule.yaml")]
    result = CliRunner().invoke(build(words), words)
    assert isinstance(result.exception, ConfigurationError)
    assert exit_of(result.exception) == 2


@pytest.fixture
def prepared(gateways: GatewayFactory, postgres15: PostgresServer) -> Gateway:
    def masking(policy: dict[str, Any]) -> None:
        policy["masks"] = [{"name": "ssn", "columns": ["*.customers.ssn"], "transform": {"keep_last": 4}}]

    return gateways.make({TARGET: postgres15}, policy=masking, start=False)


def examine(gateway: Gateway, *arguments: str) -> Outcome:
    gateway.write_files()
    done = gateway.cli("ana", "doctor", *arguments, "--config", gateway.settings_file, timeout=120)
    for secret in ("-----BEGIN PRIVATE", *(server.passwords[GATEWAY] for server in gateway.targets.values())):
        assert secret not in done.output + done.errors
    return done


def findings(gateway: Gateway, *arguments: str) -> tuple[int, dict[str, tuple[str, str]], list[str]]:
    """The status, each finding's level and text by what it is about, and what the evidence can promise."""
    done = examine(gateway, *arguments, "--json")
    assert done.output, done.errors
    document = json.loads(done.output)
    found = {each["about"]: (each["level"], each["text"]) for each in document["findings"] if each["level"] != "ok"}
    assert all(each["advice"] for each in document["findings"] if each["level"] != "ok")
    return done.status, found, document["evidence"]


#: What the machine that tests may lack, and no test of ours can change.
MACHINE = {"file system", "core dumps", "descriptors", "sync", "room"}


def about(found: dict[str, tuple[str, str]]) -> set[str]:
    return set(found) - MACHINE


def test_a_good_gateway_with_a_good_target_has_nothing_wrong(prepared: Gateway) -> None:
    done = examine(prepared, TARGET)
    assert done.status == 0, done.output + done.errors
    for good in (
        "ok           certificate of postgres: names localhost",
        "ok           provider corp: keys: ",
        "ok           provider corp: clock: as ours",
        f"ok           target {TARGET}: core: reached, verified as configured, logged in",
        f"ok           target {TARGET}: version: PostgreSQL 15",
        f"ok           target {TARGET}: account: {GATEWAY} has no right beyond",
        f"ok           target {TARGET}: application_name: carries the session's id",
        f"ok           target {TARGET}: core: functions: all 1 that the policy names",
        f"ok           target {TARGET}: core: masks: ",
        "A statement's decision is durable on this machine before the statement leaves",
    ):
        assert good in done.output


def test_the_reference_has_a_row_for_every_check_and_a_check_for_every_row(prepared: Gateway) -> None:
    document = json.loads(examine(prepared, TARGET, "--json").output)
    checked = {row_of(finding["about"]) for finding in document["findings"]}
    assert checked - {"core"} == ROWS, "and core is the database"


def test_it_disturbs_no_gateway_that_runs(prepared: Gateway) -> None:
    prepared.start()
    assert examine(prepared, TARGET).status == 0
    assert prepared.get("/readyz")[0] == 200


def test_what_is_wrong_with_a_target_s_account_and_settings_is_said(
    prepared: Gateway, postgres15: PostgresServer
) -> None:
    prepared.policy["masks"][0]["columns"] = ["*.customers.snn"]
    prepared.policy["targets"][TARGET]["functions"] = [{"name": "public.state_count(date)", "result": "clean"}]
    changes = [
        f"ALTER ROLE {GATEWAY} BYPASSRLS",
        f"ALTER ROLE {GATEWAY} SET log_statement = 'all'",
        f"ALTER ROLE {GATEWAY} SET log_parameter_max_length_on_error = -1",
    ]
    try:
        for change in changes:
            postgres15.execute(change)
        ended, found, promised = findings(prepared, TARGET)
    finally:
        postgres15.execute(f"ALTER ROLE {GATEWAY} NOBYPASSRLS")
        postgres15.execute(f"ALTER ROLE {GATEWAY} RESET ALL")
    assert ended == 0, "warnings alone do not fail"
    target = f"target {TARGET}"
    assert "bypassrls" in found[f"{target}: account"][1]
    assert "public.state_count(date)" in found[f"{target}: core: functions"][1]
    assert "*.customers.snn matches no column" in found[f"{target}: core: masks"][1]
    assert f"{target}: its own log" in found
    assert any("more at core-banking than its grants say" in line for line in promised)
    assert examine(prepared, TARGET, "--strict").status == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hosts": [f"127.0.0.1:{free_port()}"]}, "Connection refused"),
        ({"credential": {"username": "nobody", "password": "SAME"}}, "refused the log-in: 28P01"),
        ({"databases": ["nowhere"]}, "3D000"),
        ({"tls": {"mode": "verify-full"}}, "certificate not accepted"),
    ],
)
def test_a_target_that_is_not_reached_is_told_apart_from_one_that_is_wrong(
    prepared: Gateway, change: dict[str, Any], said: str
) -> None:
    entry = prepared.policy["targets"][TARGET]
    if "credential" in change:
        change = {"credential": {**change["credential"], "password": entry["credential"]["password"]}}
    entry.update(change)
    ended, found, promised = findings(prepared, TARGET)
    assert about(found) == {f"target {TARGET}"}
    level, text = found[f"target {TARGET}"]
    assert level == "unreachable"
    assert said in text
    assert ended == 3
    assert promised == [f"Nothing is promised before this is mended: target {TARGET}."]


def broken(gateway: Gateway) -> Iterator[tuple[str, str]]:
    """Break one thing after the other; each with the finding that is to tell of it."""
    listeners = gateway.settings["listeners"]
    mine = dict(listeners["control"])

    gateway.settings["public_url"] = f"https://vestibule.example:{gateway.control_port}"
    yield "certificate of control", "does not name vestibule.example"
    gateway.settings["public_url"] = gateway.public_url

    other = gateway.authority.issue("other")
    listeners["control"]["key"] = str(other.key)
    yield "certificate of control", "key"
    listeners["control"] = mine

    gateway.settings["journal"] = {"min_free": "500000GiB", "stop_free": "1MiB"}
    yield "room", "below journal.min_free"
    gateway.settings["journal"] = {}

    password = Path(gateway.policy["targets"][TARGET]["credential"]["password"].removeprefix("file:"))
    password.chmod(0o644)
    yield f"secret of targets.{TARGET}", "chmod 600"
    password.chmod(0o600)

    issuer = gateway.policy["identity"][0]["oidc"]["issuer"]
    gateway.policy["identity"][0]["oidc"]["issuer"] = issuer + "/elsewhere"
    yield "provider corp", "404"
    gateway.policy["identity"][0]["oidc"]["issuer"] = issuer

    gateway.policy["acess"] = []
    yield "policy", "acess"
    del gateway.policy["acess"]


def test_each_thing_that_is_broken_is_named(prepared: Gateway) -> None:
    for name, said in broken(prepared):
        ended, found, promised = findings(prepared)
        assert name in found, (name, found)
        assert said in found[name][1]
        assert ended in (1, 3)
        assert promised[0].startswith("Nothing is promised")
    ended, found, _ = findings(prepared)
    assert (ended, about(found)) == (0, set())


def test_a_target_that_the_policy_has_not_is_a_mistake(prepared: Gateway) -> None:
    ended, found, _ = findings(prepared, "core-bankin")
    assert ended == 1
    assert found["target core-bankin"][0] == "fail"
