"""The gateway as a process: what it refuses to start with, what it records, how it ends."""

from __future__ import annotations

import json
import socket
import subprocess

import psycopg
import pytest

from tests.support import processes
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, VESTIBULE, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for
from vestibule.evidence import verify


def attempt(gateway: Gateway) -> subprocess.CompletedProcess[str]:
    """Start it without the expectation that it serves."""
    return gateway.sandbox.run(
        [VESTIBULE, "serve", "--config", gateway.settings_file], folder=gateway.folder, timeout=60
    )


@pytest.fixture
def stopped(gateways: GatewayFactory, postgres15: PostgresServer) -> Gateway:
    made = gateways.make({TARGET: postgres15}, start=False)
    made.write_files()
    return made


def test_it_starts_twice_on_one_folder_and_ends_well_both_times(stopped: Gateway) -> None:
    for _ in range(2):
        stopped.start()
        assert stopped.stop() == 0
    kinds = [record.kind for record in Journal(stopped.data).records()]
    assert kinds.count("LogGenesis") == 1, "a log begins once"
    assert kinds.count("PolicyApplied") == 1, "the same policy is not applied again"
    assert kinds.count("NodeStarted") == kinds.count("NodeStopped") == 4
    assert verify.main([str(stopped.data)]) == 0


def test_a_second_gateway_on_the_same_data_is_refused(gateways: GatewayFactory, stopped: Gateway) -> None:
    stopped.start()
    done = attempt(stopped)
    assert done.returncode == 1
    assert "journal" in done.stderr
    assert stopped.get("/readyz")[0] == 200, "the first goes on"


def test_a_wrong_policy_is_told_with_its_line_and_nothing_is_served(stopped: Gateway) -> None:
    stopped.sandbox.write(stopped.policy_file, "version: 1\nacess: []\n")
    done = attempt(stopped)
    assert done.returncode == 2
    assert "policy.yaml:2" in done.stderr
    assert "access" in done.stderr


def test_a_limit_for_no_target_is_told_at_the_start_and_when_the_policy_changes(stopped: Gateway) -> None:
    stopped.settings.setdefault("limits", {})["sessions_per_target"] = {TARGET: 5, f"{TARGET}s": 6}
    stopped.start()
    program = stopped.program
    assert program is not None
    stopped.change_policy(lambda policy: policy.update(roles={"auditor": {"groups": ["nobody"]}}))

    def told() -> list[dict[str, str]]:
        lines = [json.loads(line) for line in program.output().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["event"] == "limit_without_target"]

    wait_for(lambda: len(told()) == 2, "the word about the limit, twice")
    assert {(line["target"], line["advice"]) for line in told()} == {(f"{TARGET}s", f'did you mean "{TARGET}"?')}


def test_a_port_that_is_taken_is_told(stopped: Gateway) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", stopped.port))
        taken.listen()
        done = attempt(stopped)
    assert done.returncode == 3
    assert "in use" in done.stderr


def test_no_secret_is_in_a_process_list_or_an_environment(gateway: Gateway) -> None:
    token = gateway.login("dev1")
    assert gateway.program is not None
    shown = b""
    for pid in (gateway.program.pid, *processes.descendants(gateway.program.pid)):
        for what in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{what}", "rb") as file:
                shown += file.read()
    password = next(iter(gateway.targets.values())).passwords["vestibule_rw"]
    assert token.encode() not in shown
    assert password.encode() not in shown


def test_a_killed_data_process_is_replaced_and_its_sessions_are_closed(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    gateway = gateways.make({TARGET: postgres15})
    token = gateway.login("dev1")
    connection = psycopg.connect(gateway.conninfo("dev1", token), autocommit=True)
    connection.execute("SELECT 1")
    assert gateway.program is not None
    [data_process, *_] = processes.descendants(gateway.program.pid)
    processes.kill_all([data_process])
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 2")
    wait_for(lambda: psycopg.connect(gateway.conninfo("dev1", token)).close() is None, "the next data process")
    gateway.login("ana")
    [session] = [row for row in gateway.sessions("ana", "--user", "dev1") if row["cause"] == "crash"]
    assert session["complete"] is False
    gateway.stop()
    assert verify.main([str(gateway.data)]) == 0
