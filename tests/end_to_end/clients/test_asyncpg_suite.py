"""asyncpg's own tests, from the sources of the locked version: what passes directly passes through the gateway.

What does not is in `asyncpg_suite.yaml`, each with its reason. The list may only shrink: a test that fails and is not
in it fails this one, and so does an entry whose test passes. What does not pass through the gateway then runs directly
against the same server: what fails there too says nothing of the gateway.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresFactory, PostgresServer
from tests.support.sandbox import TOOLS, Sandbox
from tests.support.signing_in import sign_in

KNOWN = Path(__file__).with_name("asyncpg_suite.yaml")
#: Not run at all, neither way.
LEFT_OUT: Mapping[str, str] = {
    "test_connect.py": "about addresses, TLS files and pg_hba.conf of a cluster that the suite starts itself",
    "test_scram.py": "about passwords and pg_hba.conf of such a cluster",
    "test_adversity.py": "skips itself at a server that it has not started",
    "test__environment.py": "about the machines of asyncpg's own builds",
    "test__sourcecode.py": "about the style of asyncpg's sources",
}
#: The databases that the suite makes and connects to.
DATABASES = ("postgres", "testdb", "asyncpg_intro_test")
#: What is not as the list says counts if it comes this often: some tests have times of their own.
TRIES = 3

Settings = dict[str, str]
Outcomes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Suite:
    """The unpacked tests, run as the plain user against whatever the environment names."""

    sandbox: Sandbox
    folder: Path

    def run(self, settings: Settings, *chosen: str) -> Outcomes:
        """Run all or the chosen tests; give each one's outcome: passed, skipped, or what went wrong."""
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "--tb=native", "--timeout=120"]
        ours = ["-c", "/dev/null", f"--rootdir={self.folder}", f"--junitxml={report}"]
        left_out = [f"--ignore=tests/{module}" for module in LEFT_OUT]
        command: list[str | Path] = [sys.executable, "-m", "pytest", *options, *ours, *left_out, *(chosen or ["tests"])]
        done = self.sandbox.run(command, folder=self.folder, environment=settings, timeout=800)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"asyncpg's tests ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return outcomes(report)


def outcomes(report: Path) -> Outcomes:
    """Read pytest's report; a test with several entries passed if each of them did."""
    found: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        module, _, name = case.attrib["classname"].removeprefix("tests.").partition(".")
        test = f"tests/{module}.py::{name}::{case.attrib['name']}"
        wrong = [each for each in case if each.tag in ("failure", "error")]
        skipped = "skipped" if case.find("skipped") is not None else "passed"
        outcome = wrong[0].attrib.get("message", "failed") if wrong else skipped
        if found.get(test, "passed") in ("passed", "skipped"):
            found[test] = outcome
    return found


@pytest.fixture
def suite(sandbox: Sandbox) -> Suite:
    """The suite, unpacked by the user that runs it."""
    [archive] = (TOOLS / "asyncpg").glob("asyncpg-*.tar.gz")
    folder = sandbox.folder("asyncpg")
    # The tests alone: beside them the package would hide the installed one, which has its compiled parts.
    words = ["tar", "-xzf", archive, "--strip-components=1", "--wildcards", "*/tests/*"]
    done = sandbox.run(words, folder=folder)
    assert done.returncode == 0, done.stderr
    return Suite(sandbox, folder)


@pytest.fixture
def own_server(postgres_factory: PostgresFactory) -> PostgresServer:
    """A server of its own, where the gateway's role may make databases and roles."""
    server = postgres_factory.make(18)
    server.execute(f"ALTER ROLE {GATEWAY} CREATEDB CREATEROLE", database="postgres")
    server.execute(f"ALTER DATABASE postgres OWNER TO {GATEWAY}", database="postgres")
    return server


@pytest.fixture
def own_gateway(gateways: GatewayFactory, own_server: PostgresServer) -> Gateway:
    """A gateway to it; dev1 may read, write and change schemas."""

    def policy(document: dict[str, Any]) -> None:
        engineers, _ = document["access"]
        document["access"] = [{**engineers, "allow": ["read", "write", "schema"]}]
        document["guardrails"] = []
        document["targets"][TARGET].update(databases=list(DATABASES), functions=[])

    return gateways.make({TARGET: own_server}, policy=policy)


@pytest.mark.timeout(2_500)
def test_what_asyncpgs_tests_show_directly_they_show_through_the_gateway(
    suite: Suite, own_server: PostgresServer, own_gateway: Gateway
) -> None:
    common = {"PGHOST": "localhost", "PGDATABASE": "postgres", "PGSSLMODE": "verify-full"}
    common["PGSSLROOTCERT"] = str(own_gateway.ca)
    direct = {**common, "PGPORT": str(own_server.port), "PGUSER": GATEWAY, "PGPASSWORD": own_server.passwords[GATEWAY]}
    dev1 = sign_in(own_gateway, "dev1")
    gateway = {**common, "PGPORT": str(own_gateway.port), "PGUSER": f"dev1+{TARGET}", "PGPASSWORD": dev1.token}
    known = known_failures()

    through = suite.run(gateway)
    assert len(through) > 250, "the suite did not run"
    assert set(known) <= set(through), "there are no such tests; take them out of the list"
    for _ in range(TRIES - 1):
        unexpected = [test for test, outcome in through.items() if (outcome == "passed") is (test in known)]
        if unexpected and len(unexpected) < 50:
            through.update(suite.run(gateway, *unexpected))
    failing = {test: outcome for test, outcome in sorted(through.items()) if outcome != "passed"}
    assert sorted(set(known) - set(failing)) == [], "these pass now; take them out of the list"

    directly = {test for test, outcome in suite.run(direct, *failing).items() if outcome == "passed"}
    assert set(known) <= directly, "these do not pass directly either; take them out of the list"
    assert {test: outcome for test, outcome in failing.items() if test in directly - set(known)} == {}
    assert own_gateway.program is not None
    assert "data_process_ended" not in own_gateway.program.output()
    assert own_gateway.stop() == 0
    done = own_gateway.cli("ana", "evidence", "verify", own_gateway.data, timeout=120)
    assert done.status == 0, done.output + done.errors


def known_failures() -> dict[str, str]:
    """Read the list: each test with its reason."""
    entries = yaml.safe_load(KNOWN.read_text())
    return {f"tests/{test}": entry["reason"] for entry in entries for test in entry["tests"]}


def test_each_known_failure_has_a_reason_and_stands_in_the_list_once() -> None:
    entries = yaml.safe_load(KNOWN.read_text())
    tests = [test for entry in entries for test in entry["tests"]]

    assert len(tests) == len(set(tests))
    assert all(len(entry["reason"]) > 20 for entry in entries)
