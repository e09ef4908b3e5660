"""The real clients do what the tests use them for, here against a server directly."""

from __future__ import annotations

import pytest

from tests.support.clients import Psql
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_for

RUNNING = "SELECT query FROM pg_stat_activity WHERE usename = 'vestibule_rw' AND state = 'active'"


def direct(sandbox: Sandbox, server: PostgresServer, *, modern: bool = False) -> Psql:
    settings = {
        "host": "localhost",
        "port": str(server.port),
        "user": GATEWAY,
        "password": server.passwords[GATEWAY],
        "database": "core",
        "sslmode": "verify-full",
        "sslrootcert": str(server.ca),
    }
    return Psql(sandbox, settings, modern)


def test_psql_goes_on_after_an_error(sandbox: Sandbox, postgres15: PostgresServer) -> None:
    done = direct(sandbox, postgres15).run("SELECT 1", "SELECT nonsense", "SELECT 2")

    assert done.rows == ["1", "2"]
    assert "42703" in done.errors


@pytest.mark.parametrize(("modern", "version"), [(False, "3.0"), (True, "3.2")])
def test_psql_speaks_with_its_own_libpq_or_with_18(
    sandbox: Sandbox, postgres18: PostgresServer, modern: bool, version: str
) -> None:
    psql = direct(sandbox, postgres18, modern=modern)
    if modern:
        psql.settings = {**psql.settings, "minprotocolversion": version, "sslnegotiation": "direct"}

    assert psql.run("SELECT 1").rows == ["1"]


def test_ctrl_c_in_a_terminal_cancels(sandbox: Sandbox, postgres15: PostgresServer) -> None:
    with direct(sandbox, postgres15).terminal() as terminal:
        terminal.expect("core=> ")
        terminal.type("SELECT pg_sleep(60);")
        terminal.expect("pg_sleep(60);")
        wait_for(lambda: any("pg_sleep" in row[0] for row in postgres15.execute(RUNNING)), "the statement to run")
        terminal.interrupt()
        assert "57014" in terminal.expect("core=> ")
        terminal.type("\\q")
        assert terminal.wait() == 0
