"""A real gateway's metrics: what people do is counted, scraped, and goes on over the death of a data process."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import psycopg
import pytest

from tests.support import processes
from tests.support.gateway import TARGET, VESTIBULE, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for
from vestibule.metrics import FAMILIES

pytestmark = pytest.mark.timeout(300)


def masking(policy: dict[str, object]) -> None:
    policy["masks"] = [{"name": "ssn", "columns": ["*.customers.ssn"], "transform": {"keep_last": 4}}]


def test_what_people_do_is_counted(gateways: GatewayFactory, postgres15: PostgresServer) -> None:
    gateway = gateways.make({TARGET: postgres15}, policy=masking)
    token = gateway.login("dev1")
    with psycopg.connect(gateway.conninfo("dev1", token), autocommit=True) as connection:
        connection.execute("SELECT id, ssn FROM customers ORDER BY id LIMIT 3").fetchall()
        for refused in ("SELECT pg_terminate_backend(1)", "SELECT id FROM customers WHERE ssn = '1'", "SELECT 1/0"):
            with contextlib.suppress(psycopg.Error):
                connection.execute(refused)
        assert gateway.metric("vestibule_sessions_open") == 1
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(gateway.conninfo("dev1", "vst_" + "x" * 43))
    wait_for(lambda: gateway.metric("vestibule_sessions_closed_total", cause="client_closed") == 1, "its end")

    def value(name: str, **labels: str) -> float:
        return gateway.metric(f"vestibule_{name}", **labels)

    assert value("statements_decided_total", target=TARGET, decision="allow", impact="read") == 2
    assert value("statements_decided_total", target=TARGET, decision="deny", impact="admin") == 1
    assert value("statements_decided_total", target=TARGET, decision="deny", impact="unknown") == 1
    assert value("statements_denied_total", cause="access") == 1
    assert value("statements_denied_total", cause="unsupported") == 1, "a condition over a masked column"
    assert value("statements_refused_total", code="42501") == 2
    assert value("statements_finished_total", outcome="ok") == 1
    assert value("statements_finished_total", outcome="error") == 1
    assert value("rows_sent_total", target=TARGET) == 3
    assert value("sent_bytes_total", target=TARGET) > 20
    assert value("masked_values_total", target=TARGET) == 3
    assert value("sign_ins_total", result="ok") == 1
    assert value("logins_total", result="ok") == 1
    assert value("logins_total", result="token_unknown") == 1
    assert value("sessions_opened_total", target=TARGET) == 1
    for name in ("decision", "commit", "target_wait", "added"):
        assert value(f"{name}_seconds_count") >= 2, name
    for process in ("control", "0"):
        assert value("journal_records_total", process=process) > 2
        assert value("process_resident_memory_bytes", process=process) > 1 << 24
    assert value("log_records") > 5
    assert value("ready") == 1
    assert 0 < value("certificate_expiry_seconds", listener="postgres") < 4e8
    unknown = {name for name, _ in gateway.metrics() if not name.startswith(tuple(FAMILIES))}
    assert unknown == set()


def test_no_person_and_nothing_that_was_typed_is_in_the_metrics(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    gateway = gateways.make({TARGET: postgres15})
    token = gateway.login("dev1")
    with psycopg.connect(gateway.conninfo("dev1", token, application_name="typedword"), autocommit=True) as connection:
        for typed in ("SELECT 'typedword'", "SELECT typedword", "typedword"):
            with contextlib.suppress(psycopg.Error):
                connection.execute(typed)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(gateway.conninfo("typedword", "typedword", target="typedword"))
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.metrics_port}/metrics") as answer:
        text = answer.read().decode()
    assert "vestibule_statements_decided_total" in text
    for secret in ("typedword", "dev1", token, "127.0.0.1"):
        assert secret not in text


def test_counters_go_on_when_a_data_process_is_replaced(gateways: GatewayFactory, postgres15: PostgresServer) -> None:
    gateway = gateways.make({TARGET: postgres15})
    token = gateway.login("dev1")
    opened = "vestibule_sessions_opened_total"
    psycopg.connect(gateway.conninfo("dev1", token)).close()
    assert gateway.metric(opened) == 1
    assert gateway.program is not None
    processes.kill_all([min(processes.descendants(gateway.program.pid))])
    wait_for(lambda: gateway.metric("vestibule_data_process_restarts_total") == 1, "the next data process")
    assert gateway.metric(opened) == 1
    psycopg.connect(gateway.conninfo("dev1", token)).close()
    assert gateway.metric(opened) == 2


def test_two_data_processes_are_added_up(gateways: GatewayFactory, postgres15: PostgresServer) -> None:
    gateway = gateways.make({TARGET: postgres15}, settings=lambda it: it.update(workers=2))
    token = gateway.login("dev1")
    connections = [psycopg.connect(gateway.conninfo("dev1", token), autocommit=True) for _ in range(6)]
    assert gateway.metric("vestibule_sessions_open") == 6
    for connection in connections:
        connection.execute("SELECT 1")
        connection.close()
    wait_for(lambda: gateway.metric("vestibule_sessions_closed_total") == 6, "their end")
    assert gateway.metric("vestibule_statements_finished_total", outcome="ok") == 6
    assert gateway.metric("vestibule_data_processes_ready") == 2
    assert gateway.metric("vestibule_journal_records_total", process="1") > 0


def test_metrics_are_served_by_tls_where_a_certificate_is_named_and_only_there(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    gateway = gateways.make({TARGET: postgres15}, start=False)
    pair = {name: gateway.settings["listeners"]["control"][name] for name in ("certificate", "key")}
    gateway.settings["listeners"]["metrics"].update(pair)
    gateway.start()
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        gateway.metrics()
    gateway.control_port = gateway.metrics_port
    status, text = gateway.get("/metrics")
    assert status == 200
    assert 'vestibule_certificate_expiry_seconds{listener="metrics"}' in text


def test_who_waits_for_whom_is_seen_and_so_is_a_policy_file_that_does_not_rule(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    def holding(policy: dict[str, Any]) -> None:
        approvers = {"groups": ["dba-managers"], "quorum": 1}
        rule = {
            "name": "two",
            "match": {"verbs": ["delete"]},
            "action": "hold",
            "approvers": approvers,
            "expires": "15m",
        }
        policy["guardrails"].append(rule)

    gateway = gateways.make({TARGET: postgres15}, policy=holding)
    token = gateway.login("dev1")
    gateway.login("dora")
    # In a transaction it is refused at once, and the request waits all the same.
    with psycopg.connect(gateway.conninfo("dev1", token)) as connection, pytest.raises(psycopg.Error):
        connection.execute("DELETE FROM loans WHERE id = 0")
    assert gateway.metric("vestibule_approvals_waiting") == 1
    wait_for(lambda: gateway.metric("vestibule_approvals_oldest_seconds") > 0.5, "time to pass")
    assert gateway.metric("vestibule_approvals_asked_total", target=TARGET) == 1
    assert gateway.metric("vestibule_statements_decided_total", decision="hold", impact="write") == 1
    [waiting] = json.loads(gateway.cli("dora", "approvals", "list", "--json").output)
    assert gateway.cli("dora", "approvals", "deny", waiting["approval"], "--comment", "no").status == 0
    assert gateway.metric("vestibule_approvals_answered_total", answer="refused") == 1
    assert gateway.metric("vestibule_approvals_waiting") == 0
    assert gateway.metric("vestibule_approvals_oldest_seconds") == 0

    assert gateway.metric("vestibule_policy_file_rejected") == 0
    gateway.change_policy(lambda policy: policy.update(nonsense=1))
    wait_for(lambda: gateway.metric("vestibule_policy_file_rejected") == 1, "that it is read")
    gateway.change_policy(lambda policy: policy.pop("nonsense"))
    wait_for(lambda: gateway.metric("vestibule_policy_file_rejected") == 0, "that it rules again")


def test_an_address_that_is_taken_is_told_and_nothing_is_served(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    gateway = gateways.make({TARGET: postgres15}, start=False)
    gateway.write_files()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", gateway.metrics_port))
        taken.listen()
        done = gateway.sandbox.run(
            [VESTIBULE, "serve", "--config", gateway.settings_file], folder=gateway.folder, timeout=90
        )
    assert done.returncode == 3
    assert "in use" in done.stderr
