"""pgcli through the gateway, in a real terminal: its completion is filled, it describes, asks and leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import Terminal
from tests.support.evidence import Journal, SessionEvidence
from tests.support.gateway import Gateway
from tests.support.postgres import DATABASE
from tests.support.sandbox import ENVIRONMENT, Sandbox
from tests.support.signing_in import SignedIn
from tests.support.waiting import wait_for

Start = Callable[[str], Terminal]
CLEAR_LINE = b"\x15"


@pytest.fixture
def start(sandbox: Sandbox, clients: Gateway, dev: SignedIn, name: str) -> Iterator[Start]:
    """Starts pgcli for a target, under the test's name; what is still open behind the test is hung up."""
    opened: list[Terminal] = []

    def begin(target: str) -> Terminal:
        settings = {
            "PGHOST": "localhost",
            "PGPORT": str(clients.port),
            "PGUSER": f"{dev.person}+{target}",
            "PGPASSWORD": dev.token,
            "PGDATABASE": DATABASE,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(clients.ca),
            "PAGER": "cat",
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        command: list[str | Path] = [ENVIRONMENT / "bin" / "pgcli", "--application-name", name]
        opened.append(Terminal.start(sandbox, command, folder=sandbox.folder("pgcli"), environment=settings))
        opened[-1].expect("core>", 100)
        return opened[-1]

    yield begin
    for terminal in opened:
        terminal.close()


def sessions_of(clients: Gateway, name: str) -> list[SessionEvidence]:
    """Give the sessions that named themselves so: what is typed has one, what is completed another."""
    records = Journal(clients.data).records()
    opened = [each.session for each in records if each.kind == "SessionOpened" and each["client_banner"] == name]
    return [SessionEvidence(each, [one for one in records if one.session == each]) for each in opened if each]


def offers(terminal: Terminal, typed: bytes, wanted: str) -> bool:
    """Tell whether pgcli offers `wanted` when somebody has typed so much."""
    os.write(terminal.descriptor, CLEAR_LINE + typed)
    try:
        terminal.expect(wanted, 3)
    except AssertionError:
        return False
    finally:
        os.write(terminal.descriptor, CLEAR_LINE)
    return True


def test_pgcli_completes_describes_asks_and_leaves(start: Start, target: str, clients: Gateway, name: str) -> None:
    terminal = start(target)
    wait_for(lambda: offers(terminal, b"SELECT * FROM transac", "transactions"), "pgcli's offer of a table")
    wait_for(lambda: offers(terminal, b"SELECT * FROM loans WHERE princ", "principal"), "pgcli's offer of a column")
    terminal.type("SELECT 41 + 1 AS answer;")
    terminal.expect("| 42")
    terminal.type("\\dt")
    terminal.expect("| transactions")
    terminal.expect("SELECT 5")
    terminal.type("\\d customers")
    terminal.expect("character(2)")
    terminal.expect("customers_pkey")
    terminal.expect('TABLE "accounts" CONSTRAINT')
    terminal.type("\\q")
    assert terminal.wait(60) == 0

    wait_for(lambda: all(each.is_closed for each in sessions_of(clients, name)), "the end of pgcli's sessions")
    sessions = sessions_of(clients, name)
    assert len(sessions) >= 2
    for session in sessions:
        assert {decision for decision, _ in session.decisions} == {"allow"}
        assert set(session.outcomes) == {"ok"}


def test_pgcli_shows_masked_columns_masked(start: Start, masked: str) -> None:
    terminal = start(masked)
    terminal.type("SELECT name, ssn, email, born FROM customers WHERE id = 1;")
    terminal.expect("***1120 | ***   |")
    terminal.type("SELECT name FROM customers WHERE ssn = '078-05-1120';")
    terminal.expect("customers.ssn is masked for you")
    terminal.type("\\d customers")
    terminal.expect("customers_pkey")
    wait_for(lambda: offers(terminal, b"SELECT * FROM transac", "transactions"), "pgcli's offer of a table")
    terminal.type("\\q")
    assert terminal.wait(60) == 0
