"""The log of a real gateway: lines that a program can read, and nothing in them that somebody sent or was shown."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from typing import Any

import psycopg
import pytest

from tests.docs.test_logs import logged
from tests.support import processes
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

#: What no line may hold: literals, names, comments, parameters, results, and what is typed in wrong places.
CANARIES = [
    f"canary{number}of{kind}" for number, kind in enumerate(("literal", "name", "comment", "bind", "result", "user"))
]
LITERAL, NAME, COMMENT, BIND, RESULT, USER = CANARIES


def lines(gateway: Gateway) -> list[dict[str, Any]]:
    assert gateway.program is not None
    return [json.loads(line) for line in gateway.program.output().splitlines()]


def misbehave(gateway: Gateway, token: str, server: PostgresServer) -> None:
    """Do what is allowed, refused, wrong and broken, with a canary in each."""
    server.execute(f"CREATE TABLE IF NOT EXISTS shown AS SELECT '{RESULT}'::text AS x")
    server.execute(f"GRANT SELECT ON shown TO {GATEWAY}")
    with psycopg.connect(gateway.conninfo("dev1", token, application_name=USER), autocommit=True) as connection:
        for statement in (
            "SELECT x FROM shown",
            "SELECT x::int FROM shown",
            f"SELECT '{LITERAL}'",
            f"SELECT '{LITERAL}'::int",
            f"SELECT {NAME} FROM {NAME}",
            f"DROP TABLE {NAME}",
            f"SELECT 1 /* {COMMENT}",
            f"{NAME} {LITERAL}",
            f"DO $$ BEGIN RAISE EXCEPTION '{LITERAL}'; END $$",
            f"COPY shown TO PROGRAM '{LITERAL}'",
        ):
            with contextlib.suppress(psycopg.Error):
                connection.execute(statement)
        with contextlib.suppress(psycopg.Error):
            connection.execute("SELECT %s::int", [BIND])
    for person, password in ((USER, token), ("dev1", BIND), (USER, "vst_" + "y" * 43)):
        with contextlib.suppress(psycopg.Error):
            psycopg.connect(gateway.conninfo(person, password, application_name=USER)).close()
    for raw in (f"{USER} HTTP/1.1\r\n\r\n", "\x16\x03\x01" + USER, "\x00\x00\x00\x20" + USER * 3):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock:
            sock.sendall(raw.encode("latin-1"))
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while sock.recv(1024):
                    pass
    gateway.get(f"/approvals/{USER}", USER)
    gateway.get(f"/{USER}?token={token}")


def test_no_line_holds_what_somebody_sent_or_was_shown(gateways: GatewayFactory, postgres15: PostgresServer) -> None:
    gateway = gateways.make({TARGET: postgres15})
    token = gateway.login("dev1")
    misbehave(gateway, token, postgres15)
    gateway.change_policy(lambda policy: policy.update(nonsense=1))
    wait_for(lambda: any(line["event"] == "policy_not_applied" for line in lines(gateway)), "the word about the policy")
    assert gateway.program is not None
    processes.kill_all([min(processes.descendants(gateway.program.pid))])
    wait_for(lambda: any(line["event"] == "data_process_started_again" for line in lines(gateway)), "the next process")
    program = gateway.program
    gateway.stop()

    text = program.output()
    secrets = [token, postgres15.passwords[GATEWAY], "dev1", *CANARIES]
    assert [secret for secret in secrets if secret in text] == []
    assert re.findall(r"vst_\w+", text) == []
    known = {event for event, _ in logged()}
    for line in text.splitlines():
        found = json.loads(line)
        assert found["event"] in known
        assert found["level"] in ("info", "warning", "error", "critical")
        assert found["process"] in ("control", "0")
    assert {"serving", "opening_failed", "data_process_ended", "stopping"} <= {
        json.loads(line)["event"] for line in text.splitlines()
    }
