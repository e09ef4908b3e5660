"""Every command that a page shows in a shell block is run as it stands there, but for names, paths and addresses.

What is not run is listed here with its reason, and nothing else is left out.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.support.clients import Outcome
from tests.support.gateway import TARGET, VESTIBULE, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.sandbox import CHECKOUT
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for

PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
GUIDE = (CHECKOUT / "docs/guide/getting-started.md").read_text()
[POLICY] = re.findall(r"^```yaml\n(version:.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)

HOST = "it would change the machine that tests run on"
CONTAINED = "carried out below another root by tests/deploy/test_container.py"
ENGINE = "there is no container engine; the Containerfile's steps are carried out by tests/deploy/test_container.py"
SYSTEMD = "no systemd runs here; the unit is tested by tests/deploy/test_systemd.py"
#: The beginnings of commands that are not run, each with the reason.
NOT_RUN: Mapping[str, str] = {
    "make ": "it would run the tests within the tests; tests/demo runs the walk",
    "useradd ": HOST,
    "ln -s /opt/vestibule": HOST,
    "install ": HOST,
    "python3.11 -m venv /opt/vestibule": CONTAINED,
    "/opt/vestibule/bin/pip install ": CONTAINED,
    "deploy/container/prepare": "run by tests/deploy/test_container.py, into a folder of its own",
    "systemctl ": SYSTEMD,
    "journalctl ": SYSTEMD,
    "podman ": ENGINE,
}
#: Who runs what: auditors look, approvers answer, administrators end; the others are an engineer's.
PEOPLE = {"sessions kill": "pat", "sessions": "ana", "approvals": "dora", "logout": "dev2", "login": "dev2"}
#: Commands that say no, and how they end.
STATUS = {"TRUNCATE loans": 1, "DROP TABLE accounts": 1, "DELETE FROM loans": 4}


def shown() -> dict[str, str]:
    """Every command of a shell block, and a page that shows it."""
    found: dict[str, str] = {}
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                command = re.sub(r"(^|\s)#\s.*$", "", line).strip()
                if command:
                    found.setdefault(command, page.relative_to(CHECKOUT).as_posix())
    return found


def reason(command: str) -> str:
    return next((why for start, why in NOT_RUN.items() if f"{command} ".startswith(start)), "")


SHOWN = shown()
RUN = [pytest.param(command, id=f"{page}: {command}"[:90]) for command, page in SHOWN.items() if not reason(command)]


def holding(policy: dict) -> None:
    policy["guardrails"].append(
        {"name": "deleting takes two", "match": {"verbs": ["delete"]}, "action": "hold",
         "approvers": {"groups": ["dba-managers"]}, "expires": "1h"}
    )  # fmt: skip


def named(settings: dict) -> None:
    # A log that is restored keeps its name.
    settings["log"] = {"origin": "vestibule.example/log", "publish_every": "500ms"}


@dataclass
class Stage:
    """A gateway with its people, one that was never started, and what the pages take for granted."""

    gateway: Gateway
    spare: Gateway
    dev1: SignedIn
    rows: int = 99_000
    backups: int = 0
    open: list[psycopg.Connection] = field(default_factory=list)

    def run(self, command: str) -> Outcome:
        """Run one command as it is meant."""
        words = command.removeprefix("vestibule ")
        person = next((who for start, who in PEOPLE.items() if words.startswith(start)), "dev1")
        if words.startswith("login"):
            output, _ = self.gateway.walk_login(person, *self._fitted(words, person).split()[1:])
            return Outcome(0 if "vst_" in output else 1, output, "")
        if " serve " in f" {command}":
            return self._serve(command)
        if words.startswith("logout"):
            self.gateway.login(person)
        line = self._fitted(command, person)
        if words.startswith("restore"):
            shutil.rmtree(self.spare.data, ignore_errors=True)
        environment = {
            **self.gateway.client_environment(),
            "PATH": f"{VESTIBULE.parent}:/usr/bin:/bin",
            "PGPASSWORD": self.dev1.token,
            "VESTIBULE_CONFIG": str((self.spare if words.startswith("restore") else self.gateway).settings_file),
        }
        home = self.gateway.home(person)
        done = self.gateway.sandbox.run(["sh", "-c", line], folder=home, environment=environment, timeout=120)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def _serve(self, command: str) -> Outcome:
        line = self._fitted(command, "dev1", self.spare).replace("vestibule serve", f"exec {VESTIBULE} serve")
        self.spare.write_files()
        self.spare.program = self.spare.sandbox.start(["sh", "-c", line], name="spare", folder=self.spare.folder)
        wait_for(self.spare._is_ready, "the spare gateway")
        return Outcome(self.spare.stop(), "", "")

    def _fitted(self, command: str, person: str, config: Gateway | None = None) -> str:
        """Put this stage's names in the place of the examples'."""
        gateway, home = self.gateway, self.gateway.home(person)
        policy = gateway.sandbox.write(
            home / "policy.yaml", GUIDE.partition("```yaml\nversion:")[2].partition("```")[0]
        )
        policy.write_text(f"version:{policy.read_text()}")
        gateway.sandbox.write(home / "saved.txt", (gateway.data / "log" / "checkpoint").read_bytes())
        config = config or (self.spare if command.startswith("vestibule restore") else gateway)
        fitted = {
            # Who runs this is the plain user already.
            "setpriv --reuid=vestibule --regid=vestibule --init-groups ": "",
            "/etc/vestibule/policy.yaml": str(policy),
            "/etc/vestibule/vestibule.yaml": str(config.settings_file),
            "/var/lib/vestibule/data": str(gateway.data),
            "/var/lib/vestibule": str(gateway.data),
            "https://vestibule.example:8443": gateway.public_url,
        }
        if "/backup/" in command:
            fitted["/backup/vestibule-monday"] = str(self._backup(command, home))
        if "AR-7Q2M4V0XKD" in command:
            fitted["AR-7Q2M4V0XKD"] = self._ask()
        if "3c77dd78" in command:
            fitted["3c77dd78"] = self._session(is_open="kill" in command)
        for old, new in fitted.items():
            command = command.replace(old, new)
        if command.startswith("export "):
            # Of itself it succeeds whatever the command in it did.
            return f'{command} && test -n "$PGPASSWORD"'
        if command.startswith("psql "):
            info = gateway.conninfo("dev1", self.dev1.token, TARGET, password=self.dev1.token)
            return re.sub(r"'host=vestibule\.example [^']*'", f"'{info}'", command) + " -c 'SELECT 1'"
        return command

    def _backup(self, command: str, home: Path) -> Path:
        """Name a new folder for a backup, or one with a backup in it for who reads one."""
        self.backups += 1
        folder = self.gateway.folder / f"backup-{self.backups}"
        if not command.startswith("vestibule backup"):
            done = self.gateway.cli("operator", "backup", folder, "--config", self.gateway.settings_file)
            assert done.status == 0, done.errors
            self.gateway.sandbox.write(home / "saved.txt", (folder / "log" / "checkpoint").read_bytes())
        return folder

    def _ask(self) -> str:
        """Ask for an approval."""
        self.rows += 1
        with psycopg.connect(self.gateway.conninfo("dev1", self.dev1.token, TARGET)) as connection:
            with pytest.raises(psycopg.Error, match="AR-") as refused:
                connection.execute(f"DELETE FROM loans WHERE id = {self.rows}")
            connection.rollback()
        return re.search(r"AR-[0-9A-Z]{10}", str(refused.value)).group()  # type: ignore[union-attr]

    def _session(self, *, is_open: bool) -> str:
        """Open a session with a statement in it, and end it if it should have ended; give its first digits."""
        name = f"shown {len(self.open)}"
        info = self.gateway.conninfo("dev1", self.dev1.token, TARGET, application_name=name)
        self.open.append(psycopg.connect(info, autocommit=True))
        self.open[-1].execute("SELECT 1")
        if not is_open:
            self.open[-1].close()

        def found() -> list[str]:
            return [
                row["session"]
                for row in self.gateway.sessions("ana")
                if row["banner"] == name and bool(row["closed_at"]) != is_open
            ]

        return wait_for(found, "the session in the list")[0][:8]


@pytest.fixture(scope="module")
def stage(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Iterator[Stage]:
    gateway = module_gateways.make({TARGET: postgres15}, policy=holding, settings=named)
    spare = module_gateways.make({TARGET: postgres15}, settings=named, start=False)
    spare.write_files()
    wait_for((gateway.data / "log" / "checkpoint").exists, "the first checkpoint")
    for person in ("ana", "dora", "pat", "dev1"):
        gateway.login(person)
    made = Stage(gateway, spare, sign_in(gateway, "dev1"))
    yield made
    for connection in made.open:
        connection.close()


@pytest.mark.parametrize("command", RUN)
def test_a_command_that_a_page_shows_does_what_it_is_shown_for(stage: Stage, command: str) -> None:
    expected = next((status for words, status in STATUS.items() if words in command), 0)
    done = stage.run(command)
    assert done.status == expected, f"{done.output}\n{done.errors}"


def test_what_is_not_run_is_there_and_has_a_reason() -> None:
    assert [start for start in NOT_RUN if not any(f"{command} ".startswith(start) for command in SHOWN)] == []
    assert len(RUN) > 30
    assert not [command for command in SHOWN if reason(command) and command.startswith("vestibule ")]


def test_a_log_in_of_the_pages_is_one_that_can_be_used(stage: Stage) -> None:
    listed = json.loads(stage.gateway.cli("dev1", "targets", "--json").output)
    assert [target["name"] for target in listed["targets"]] == [TARGET]
