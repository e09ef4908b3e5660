"""A data folder that an earlier gateway left behind: this one opens it, verifies, replays, and goes on in it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import golden
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, VESTIBULE, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.sandbox import Sandbox
from tests.support.signing_in import sign_in
from vestibule.stores.database import SCHEMA, STATE, schema_of

#: It starts and verifies a gateway in each test, on a machine that may be busy.
pytestmark = pytest.mark.timeout(300)


def on_golden(gateways: GatewayFactory, server: PostgresServer, schema: int) -> Gateway:
    """Make a gateway on a golden folder, not started."""

    def settings(file: dict[str, Any]) -> None:
        file |= {"node": golden.NODE, "log": {"origin": golden.ORIGIN, "publish_every": "500ms"}}

    gateway = gateways.make({TARGET: server}, settings=settings, start=False)
    golden.lay_out(schema, gateway.data)
    for path in (gateway.data, *gateway.data.rglob("*")):
        gateway.sandbox.own(path, path.stat().st_mode & 0o777)
    return gateway


def set_schema(data: Path, schema: int) -> None:
    with closing(sqlite3.connect(data / STATE)) as connection:
        connection.execute(f"PRAGMA user_version = {schema}")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("schema", [*golden.schemas(), 0])
def test_a_folder_of_an_earlier_version_is_opened_verified_replayed_and_written_on(
    gateways: GatewayFactory, postgres15: PostgresServer, schema: int
) -> None:
    # Given a folder as it was left; schema 0 is the first one before it had a number
    gateway = on_golden(gateways, postgres15, schema or golden.schemas()[0])
    if schema == 0:
        set_schema(gateway.data, 0)
    saved = gateway.sandbox.write(gateway.folder / "saved.txt", (gateway.data / "log" / "checkpoint").read_bytes())
    # When this version starts on it
    gateway.start()
    gateway.login("ana")
    # Then a recorded session is replayed, result and refusal alike
    listed = {row["banner"]: row for row in gateway.sessions("ana")}
    done = gateway.cli("ana", "sessions", "replay", listed["golden"]["session"], "--speed", "0")
    assert done.status == 0, done.errors
    assert "***1120" in done.output
    assert "DROP TABLE loans" in done.output
    assert "denied" in done.output
    # and what was cut off is closed, with what was in the spool
    assert listed["golden, open"]["cause"] == "crash"
    done = gateway.cli("ana", "sessions", "replay", listed["golden, open"]["session"], "--speed", "0")
    assert "***1120" in done.output, done.output + done.errors
    # and what was asked for is there
    approvals = json.loads(gateway.cli("ana", "approvals", "list", "--state", "all", "--json").output)
    assert len(approvals) == 3
    assert [row["state"] for row in approvals].count("spent") == 1
    # and the gateway goes on in it
    dev1 = sign_in(gateway, "dev1")
    with psycopg.connect(gateway.conninfo("dev1", dev1.token, TARGET, application_name="after"), autocommit=True) as on:
        assert on.execute("SELECT 1").fetchone() == (1,)
    Journal(gateway.data).closed_session("after")
    assert gateway.stop() == 0
    verified = gateway.cli("ana", "evidence", "verify", gateway.data, "--checkpoint", saved)
    assert verified.status == 0, verified.output + verified.errors
    assert "begins with the saved one" in verified.output
    assert schema_of(gateway.data / STATE) == SCHEMA
    assert (gateway.data / f"{STATE}.schema-{schema}").exists() == (schema < SCHEMA)


def test_a_folder_of_a_newer_version_is_refused_with_what_to_do_and_stays_as_it_is(
    gateways: GatewayFactory, postgres15: PostgresServer, sandbox: Sandbox
) -> None:
    gateway = on_golden(gateways, postgres15, golden.schemas()[-1])
    set_schema(gateway.data, SCHEMA + 1)
    gateway.write_files()
    before = contents(gateway.data)
    command: list[str | Path] = [VESTIBULE, "serve", "--config", gateway.settings_file]
    done = sandbox.run(command, folder=gateway.folder, environment=dict(os.environ), timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "start the newer program, or restore the backup that was made before the upgrade" in done.stderr
    after = {name: data for name, data in contents(gateway.data).items() if not name.startswith(f"{STATE}-")}
    assert after == before
