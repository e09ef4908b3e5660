"""No evidence, no access: a full disk, and killed processes, while sessions are open; and what is on record later."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support import processes
from tests.support.at_target import backend_of, is_running, texts_in
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.raw_client import codes, extended, in_session
from tests.support.sandbox import Sandbox
from tests.support.signing_in import SignedIn, sign_in
from tests.support.small_disk import small_disk
from tests.support.waiting import wait_for
from vestibule.protocols.postgres import messages as pg

MIB = 1 << 20
DISK = 64 * MIB
WORDS = "vestibule: evidence cannot be recorded; refused"


@contextmanager
def with_a_small_journal(
    gateways: GatewayFactory, sandbox: Sandbox, server: PostgresServer
) -> Iterator[tuple[Gateway, Path]]:
    """A gateway whose journal lies on a file system of its own; give that too."""
    with small_disk(sandbox.folder("small-disk"), DISK, sandbox.as_owner([])) as disk:
        house = gateways.make({TARGET: server}, start=False)
        house.settings["journal"] = {"segment_bytes": "1MiB", "min_free": "12MiB", "stop_free": "6MiB"}
        house.data.mkdir()
        sandbox.own(house.data, 0o700)
        (house.data / "journal").symlink_to(disk)
        house.start()
        yield house, disk
        house.stop()


def test_a_full_disk_refuses_statements_and_log_ins_and_service_resumes_by_itself(
    gateways: GatewayFactory, sandbox: Sandbox, postgres15: PostgresServer, table: str, name: str
) -> None:
    insert = f"INSERT INTO {table} VALUES ('%s')"
    with with_a_small_journal(gateways, sandbox, postgres15) as (house, disk):
        journal = Journal(house.data)
        dev1 = sign_in(house, "dev1")
        with in_session(house.port, house.ca, f"dev1+{TARGET}", dev1.token, application_name=name) as client:
            assert codes(client.query(insert % "before")) == ["INSERT 0 1", "Z I"]
            client.ask(pg.Parse("s", (insert % "prepared").encode()), pg.Sync())

            fill(sandbox, disk)
            wait_for(lambda: codes(client.query("SELECT 1"))[0].startswith("ERROR"), "the first refusal")
            mark = postgres15.mark()

            assert codes(client.query(insert % "full")) == ["ERROR 58030", "Z I"]
            assert client.messages[-2].text("M") == WORDS
            assert codes(client.ask(*extended(insert % "full"), pg.Sync()))[-2:] == ["ERROR 58030", "Z I"]
            assert codes(client.ask(pg.Bind("", "s"), pg.Execute(""), pg.Sync())) == ["ERROR 58030", "Z I"]
            assert codes(client.query("BEGIN")) == ["ERROR 58030", "Z I"]
            assert refused_log_in(house, dev1) == WORDS
            assert postgres15.statements(mark) == []

            empty(sandbox, disk)
            wait_for(lambda: "INSERT 0 1" in codes(client.query(insert % "after")), "service to resume", 30)

            assert codes(client.ask(pg.Bind("", "s"), pg.Execute(""), pg.Sync()))[-2:] == ["INSERT 0 1", "Z I"]
            with psycopg.connect(house.conninfo("dev1", dev1.token)) as another:
                assert another.execute("SELECT 41 + 1").fetchone() == (42,)
            client.send(pg.Terminate())
            session = journal.closed_session(name)

        assert texts_in(postgres15, table) == ["after", "before", "prepared"]
        assert session.one("SessionClosed")["cause"] == "client_closed"
        assert "open" not in session.outcomes
        faults = [record for record in journal.records("AuditFault") if record.header.node.endswith(".0")]
        assert [(record["fault"], record["phase"]) for record in faults] == [
            ("journal_full", "started"),
            ("journal_full", "ended"),
        ]
        assert faults[1]["refused"]["statements"] >= 4
        assert [text for decision, text in session.decisions if decision == "allow" and "full" in text] == []


def test_a_full_disk_in_a_block_fails_the_block_and_in_a_pipeline_the_segment(
    gateways: GatewayFactory, sandbox: Sandbox, postgres15: PostgresServer, table: str
) -> None:
    insert = f"INSERT INTO {table} VALUES ('x')"
    with with_a_small_journal(gateways, sandbox, postgres15) as (house, disk):
        dev1 = sign_in(house, "dev1")
        with in_session(house.port, house.ca, f"dev1+{TARGET}", dev1.token) as client:
            client.query("BEGIN")
            client.query(insert)
            fill(sandbox, disk)
            wait_for(lambda: codes(client.query("SAVEPOINT s"))[0] == "ERROR 58030", "the first refusal")

            assert codes(client.query(insert)) in (["ERROR 58030", "Z E"], ["ERROR 25P02", "Z E"])
            assert codes(client.ask(*extended(insert), *extended(insert), pg.Sync()))[-1] == "Z E"
            empty(sandbox, disk)
            wait_for(lambda: codes(client.query("ROLLBACK")) == ["ROLLBACK", "Z I"], "service to resume", 30)
            assert codes(client.query("SELECT 41 + 1"))[1:] == ["row 42", "SELECT 1", "Z I"]

    assert texts_in(postgres15, table) == []


def test_a_journal_that_is_gone_refuses_everything_and_does_not_keep_the_gateway_from_ending(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    house = gateways.make({TARGET: postgres15}, start=False)
    house.settings["journal"]["commit_timeout"] = "1s"
    house.start()
    dev1 = sign_in(house, "dev1")
    with in_session(house.port, house.ca, f"dev1+{TARGET}", dev1.token, application_name=name) as client:
        shutil.rmtree(house.data / "journal")
        wait_for(lambda: codes(client.query("SELECT 1"))[0].startswith("ERROR"), "the first refusal")
        mark = postgres15.mark()

        assert codes(client.query("SELECT 1")) == ["ERROR 58030", "Z I"]
        assert codes(client.ask(*extended("SELECT 1"), pg.Sync()))[-2:] == ["ERROR 58030", "Z I"]
        assert refused_log_in(house, dev1) == WORDS
        assert postgres15.statements(mark) == []
        began = time.monotonic()
        assert house.stop() == 0
        assert time.monotonic() - began < 20
        assert codes(client.rest()) == ["FATAL 57P01"]


def test_a_data_process_that_is_killed_ends_its_sessions_is_back_in_seconds_and_what_it_left_is_recorded(
    gateways: GatewayFactory, postgres15: PostgresServer, table: str, name: str
) -> None:
    house = gateways.make({TARGET: postgres15})
    journal = Journal(house.data)
    dev1 = sign_in(house, "dev1")
    connection = psycopg.connect(house.conninfo("dev1", dev1.token, application_name=name), autocommit=True)
    connection.execute(f"INSERT INTO {table} VALUES ('kept')")
    backend = backend_of(postgres15, name)
    failed: list[BaseException] = []

    def sleep() -> None:
        try:
            connection.execute("SELECT pg_sleep(60)")
        except psycopg.OperationalError as error:
            failed.append(error)

    sleeper = threading.Thread(target=sleep, daemon=True)
    sleeper.start()
    wait_for(lambda: is_running(postgres15, backend, "pg_sleep"), "the statement at the target")
    (victim,) = data_processes(house)
    killed = time.monotonic()

    os.kill(victim, signal.SIGKILL)
    sleeper.join(10)
    wait_for(lambda: house.psql("dev1", dev1.token).run("SELECT 1").rows == ["1"], "a new session", 15)

    assert time.monotonic() - killed < 15
    assert len(failed) == 1
    assert data_processes(house) != [victim]
    assert postgres15.execute(f"SELECT x FROM {table}") == [("kept",)]
    session = journal.closed_session(name)
    assert session.one("SessionClosed")["cause"] == "crash"
    assert session.outcomes == ["ok", "unknown"]
    started = [record for record in journal.records("NodeStarted") if record.header.node.endswith(".0")]
    assert [record["clean"] for record in started] == [True, False]
    # The target does not look whether anybody waits for a statement that runs.
    postgres15.execute("SELECT pg_terminate_backend(%s)", [backend])
    verify(house)


def test_a_control_process_that_is_killed_takes_the_data_process_along_and_both_come_back_on_the_same_log(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    house = gateways.make({TARGET: postgres15})
    dev1 = sign_in(house, "dev1")
    connection = psycopg.connect(house.conninfo("dev1", dev1.token, application_name=name), autocommit=True)
    connection.execute("SELECT 1")
    children = data_processes(house)

    os.kill(house.program.pid, signal.SIGKILL)
    assert processes.wait_gone([house.program.pid, *children], 20)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    house.kill()
    house.start()

    assert house.psql("dev1", dev1.token).run("SELECT 41 + 1").rows == ["42"]
    session = Journal(house.data).session(name)
    assert session.is_closed
    assert session.outcomes == ["ok"]
    verify(house)


def fill(sandbox: Sandbox, disk: Path) -> None:
    """Take all room, as the user that the disk belongs to."""
    volume = os.statvfs(disk)
    room = volume.f_bavail * volume.f_frsize
    done = sandbox.run(["fallocate", "--length", str(room), disk / "ballast"], folder=sandbox.root)
    assert done.returncode == 0, done.stderr


def empty(sandbox: Sandbox, disk: Path) -> None:
    """Give the room back."""
    assert sandbox.run(["rm", disk / "ballast"], folder=sandbox.root).returncode == 0


def refused_log_in(house: Gateway, who: SignedIn) -> str:
    """What somebody is told who would log in."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(house.conninfo(who.person, who.token))
    return str(caught.value).rpartition("FATAL:  ")[2].strip()


def verify(house: Gateway) -> None:
    """Stop the gateway, and have all its evidence checked as an outsider would."""
    house.stop()
    done = house.cli("ana", "evidence", "verify", house.data)
    assert done.status == 0, done.output + done.errors


def data_processes(house: Gateway) -> list[int]:
    """The data processes, without what those have started."""
    below = processes.descendants(house.program.pid)
    return [pid for pid in below if "vestibule.app.data" in command_of(pid)]


def command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as line:
            return line.read()
    except OSError:
        return ""
