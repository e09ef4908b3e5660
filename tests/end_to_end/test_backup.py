"""A backup that is taken under load becomes a gateway that verifies, serves, and says what it is."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.clients import Outcome
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for

#: A busy machine takes long to make, verify and restore; a hang is found all the same.
pytestmark = pytest.mark.timeout(600)
WRITERS = 2
HOLD = {
    "name": "deleting takes two",
    "match": {"verbs": ["delete"]},
    "action": "hold",
    "approvers": {"groups": ["dba-managers"]},
    "expires": "4h",
}
MASK = {"name": "ssn", "columns": ["customers.ssn"], "transform": {"keep_last": 4}}


def policy(file: dict[str, Any]) -> None:
    file["guardrails"].append(HOLD)
    file["masks"] = [MASK]


def settings(file: dict[str, Any]) -> None:
    # Small segments and two writers, so that a backup meets sealed ones, new ones and both at once.
    file["workers"] = 2
    file["journal"] |= {"segment_bytes": "1MiB", "min_free": 0, "stop_free": 0}


class Load:
    """Clients that open and close sessions, read masked rows and write, until they are stopped."""

    def __init__(self, gateway: Gateway, who: SignedIn) -> None:
        self.gateway, self.who = gateway, who
        self.stopped = threading.Event()
        self.done = 0
        self.errors: list[str] = []
        self.threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)

    def _work(self, number: int) -> None:
        source = random.Random(number)
        info = self.gateway.conninfo("dev1", self.who.token, TARGET, application_name=f"load {number}")
        try:
            while not self.stopped.is_set():
                with psycopg.connect(info, autocommit=True) as connection:
                    for _ in range(source.randint(1, 30)):
                        connection.execute("SELECT name, ssn FROM customers ORDER BY id LIMIT 20").fetchall()
                        connection.execute("UPDATE loans SET principal = principal WHERE id = %s", (number,))
                        self.done += 1
                        # The log that is verified below grows no larger than it must.
                        self.stopped.wait(0.02)
        except psycopg.Error as error:
            self.errors.append(str(error))


@pytest.fixture
def house(gateways: GatewayFactory, postgres15: PostgresServer) -> Gateway:
    made = gateways.make({TARGET: postgres15}, policy=policy, settings=settings)
    made.login("dora")
    made.login("ana")
    return made


@pytest.fixture
def load(house: Gateway) -> Iterator[Load]:
    made = Load(house, sign_in(house, "dev1"))
    yield made
    made.stop()


def command(house: Gateway, *words: str | Path) -> Outcome:
    return house.cli("operator", words[0], *words[1:], "--config", house.settings_file, timeout=300)


def lose(house: Gateway) -> None:
    """The machine is gone; what is left is what was copied."""
    house.kill()
    shutil.rmtree(house.data)


def test_backups_under_load_verify_and_the_last_one_serves_in_an_empty_folder(house: Gateway, load: Load) -> None:
    wait_for(lambda: load.done > 50, "some load", 120)
    folders = [house.folder.parent / f"{house.folder.name}-backup-{number}" for number in range(3)]
    for folder in folders:
        house.sandbox.own(folder.parent, 0o777)
        done_before = load.done
        made = command(house, "backup", folder)
        assert made.status == 0, made.errors
        wait_for(lambda before=done_before: load.done > before or load.errors, "sessions to go on", 120)
        verified = house.cli("ana", "evidence", "verify", folder, timeout=300)
        assert verified.status == 0, verified.output
    assert load.errors == []
    load.stop()
    last = json.loads((folders[-1] / "manifest.json").read_text())
    assert last["leaves"] > json.loads((folders[0] / "manifest.json").read_text())["leaves"] > 0
    saved = house.sandbox.write(house.folder / "saved.txt", (folders[-1] / "log" / "checkpoint").read_bytes())
    lose(house)

    restored = command(house, "restore", folders[-1], "--checkpoint", saved)
    assert restored.status == 0, restored.output + restored.errors
    house.start()

    # It is the same log, which says that it was restored; nobody's log-in or token lives again.
    [fault] = Journal(house.data).records("AuditFault")
    assert (fault["fault"], fault["phase"], fault["since"]) == ("rolled_back", "ended", last["taken_at"])
    assert f"with {last['leaves']} signed leaves" in fault["detail"]
    assert not (house.data / "restore.json").exists()
    assert "token not accepted" in house.cli("ana", "sessions", "list").errors
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(house.conninfo("dev1", load.who.token, TARGET))
    # It serves: new sessions, and replays of old ones.
    again = sign_in(house, "dev1")
    with psycopg.connect(house.conninfo("dev1", again.token, TARGET, application_name="after")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    house.login("ana")
    listed = house.sessions("ana")
    assert {row["cause"] for row in listed if row["banner"].startswith("load")} <= {"client_closed", "crash"}
    newest = next(row for row in listed if row["banner"].startswith("load") and row["cause"] == "client_closed")
    replayed = house.cli("ana", "sessions", "replay", newest["session"], "--speed", "0")
    assert "***1120" in replayed.output, replayed.output + replayed.errors
    assert house.stop() == 0
    verified = house.cli("ana", "evidence", "verify", house.data, "--checkpoint", saved, timeout=300)
    assert verified.status == 0, verified.output


def test_a_permit_that_was_spent_after_the_backup_is_not_spent_again(house: Gateway) -> None:
    dev1 = sign_in(house, "dev1")
    with psycopg.connect(house.conninfo("dev1", dev1.token, TARGET)) as connection:
        with pytest.raises(psycopg.Error, match="AR-") as refused:
            connection.execute("DELETE FROM loans WHERE id = 99901")
        approval = str(refused.value).partition("AR-")[2][:10]
        assert house.cli("dora", "approvals", "approve", f"AR-{approval}").status == 0
        connection.rollback()
        folder = house.folder / "backup"
        house.sandbox.own(house.folder, 0o700)
        assert command(house, "backup", folder).status == 0
        connection.execute("DELETE FROM loans WHERE id = 99901")
        connection.commit()
    lose(house)

    assert command(house, "restore", folder, "--no-checkpoint").status == 0
    house.start()

    dev1 = sign_in(house, "dev1")
    with psycopg.connect(house.conninfo("dev1", dev1.token, TARGET)) as connection:
        with pytest.raises(psycopg.Error, match="AR-") as refused:
            connection.execute("DELETE FROM loans WHERE id = 99901")
        assert approval not in str(refused.value), "it is asked for anew"
    house.login("ana")
    listed = json.loads(house.cli("ana", "approvals", "list", "--state", "all", "--json").output)
    assert {row["approval"]: row["state"] for row in listed}[f"AR-{approval}"] == "expired"


def test_a_log_that_went_on_after_the_backup_is_not_gone_on_with(house: Gateway) -> None:
    folder = house.folder / "backup"
    assert command(house, "backup", folder).status == 0
    leaves = json.loads((folder / "manifest.json").read_text())["leaves"]
    checkpoint = house.data / "log" / "checkpoint"
    sign_in(house, "dev1")
    wait_for(lambda: int(checkpoint.read_text().splitlines()[1]) > leaves, "the log to go on", 120)
    saved = house.sandbox.write(house.folder / "saved.txt", checkpoint.read_bytes())
    lose(house)

    refused = command(house, "restore", folder, "--checkpoint", saved)

    assert refused.status == 1
    assert "records that were published are missing" in refused.errors
    assert "another log.origin" in refused.errors
    assert not house.data.exists()


def test_a_gateway_that_stands_is_backed_up_too_and_the_folder_can_be_used_as_it_is(house: Gateway) -> None:
    assert house.stop() == 0
    folder = house.folder / "backup"
    made = command(house, "backup", folder)
    assert made.status == 0, made.errors
    restored = command(house, "restore", folder, "--no-checkpoint")
    assert restored.status == 2
    assert "not empty" in restored.errors
    house.start()
    assert house.stop() == 0
    verified = house.cli("ana", "evidence", "verify", folder)
    assert verified.status == 0, verified.output


def test_a_restore_that_was_cut_off_is_not_started_on(house: Gateway) -> None:
    folder = house.folder / "backup"
    assert command(house, "backup", folder).status == 0
    lose(house)
    assert command(house, "restore", folder, "--no-checkpoint").status == 0
    house.sandbox.write(house.data / "restore.json", '{"whole": false}')
    with pytest.raises(RuntimeError, match="not restored to the end"):
        house.start()
