"""Approvals on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from vestibule.cli import approvals
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.root import build

ROW: dict[str, Any] = {
    "approval": "AR-7Q2M4V0XKD",
    "state": "pending",
    "requester": {"iss": "https://idp", "sub": "u-1", "name": "dev1", "type": "human"},
    "groups": ["engineering"],
    "ip": "192.0.2.7",
    "port": 50_000,
    "banner": "psql",
    "session": "3c77dd78-f9f6-41b4-a3d7-d27bfce7f2a4",
    "number": 7,
    "protocol": "postgres",
    "target": "core-banking",
    "account": "vestibule_rw",
    "database": "core",
    "search_path": "public",
    "text": "DELETE FROM loans -- \x1b[2J[red]\u202e",
    "text_bytes": 4_000,
    "parameters": [{"type": "23", "value": "17\x07", "null": False}, {"type": "25", "null": True}],
    "operations": [{"verb": "delete", "object": "public.loans", "impact": "write"}],
    "rule": "delete in production",
    "policy": "5" * 64,
    "reason": "Two people delete.",
    "approvers": ["dba-managers", "leads"],
    "quorum": 2,
    "requested_at": "2026-01-31T09:00:00.000000Z",
    "expires_at": "2026-01-31T09:15:00.000000Z",
    "live": True,
    "scope": "statement",
    "granted": 1,
    "answers": [
        {"by": "bea", "answer": "granted", "comment": "fine\x1b[31m", "channel": "cli", "at": "2026-01-31T09:01:00Z"}
    ],
    "ended_at": None,
    "may_answer": True,
    "shown": "ab" * 32,
}


class Gateway:
    """Answers as the control plane does."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Mapping[str, Any]]] = []
        self.becomes: dict[str, Any] = {"state": "granted", "granted": 2}
        self.refusal: CommandError | None = None

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, path: str, *, query: Any = None, body: Any = None) -> Any:
        self.asked.append((method, path, query or body or {}))
        if path == "/api/v1/approvals":
            return {"approvals": [ROW], "next": None if "before" in query else "cursor"}
        if method == "POST":
            if self.refusal is not None:
                raise self.refusal
            return ROW | self.becomes
        return ROW


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setattr(approvals, "logged_in", lambda: made)
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build(["approvals"]), ["approvals", *arguments])


def test_a_request_shows_what_will_run_who_asks_from_where_since_when_and_until_when(gateway: Gateway) -> None:
    told = run("show", "AR-7Q2M4V0XKD").stdout
    for words in (
        "DELETE FROM loans",
        "$1 = 17",
        "$2 = NULL",
        "delete public.loans (write)",
        "dev1 (human; https://idp, u-1)",
        "192.0.2.7:50000, client psql",
        "core-banking/core as vestibule_rw, search path public",
        "since     2026-01-31T09:00:00",
        "until     2026-01-31T09:15:00",
        "Two people delete. (rule delete in production)",
        "1 of 2, by dba-managers, leads",
        "granted by bea at 2026-01-31T09:01:00Z: fine",
        "engineering",
        "3c77dd78-f9f6-41b4-a3d7-d27bfce7f2a4, statement 7",
        "it waits in the open session",
        "text of 4000 bytes",
    ):
        assert words in told


@pytest.mark.parametrize("command", [("show", "AR-7Q2M4V0XKD"), ("list",), ("approve", "AR-7Q2M4V0XKD")])
def test_nothing_of_a_request_moves_the_terminal(gateway: Gateway, command: tuple[str, ...]) -> None:
    told = run(*command).output
    assert not set(told) & {"\x1b", "\x07", "\u202e"}
    assert "[red]" in told


@pytest.mark.parametrize("command", [("show", "AR-7Q2M4V0XKD"), ("list",)])
def test_json_is_what_the_gateway_says(gateway: Gateway, command: tuple[str, ...]) -> None:
    told = json.loads(run(*command, "--json").stdout)
    assert told in (ROW, [ROW, ROW])


def test_a_list_is_of_what_waits_and_goes_over_pages(gateway: Gateway) -> None:
    told = run("list").stdout
    assert told.count("AR-7Q2M4V0XKD") == 2
    assert [asked[2] for asked in gateway.asked] == [
        {"state": "pending", "limit": 50},
        {"state": "pending", "limit": 49, "before": "cursor"},
    ]
    run("list", "--state", "all", "--limit", "1")
    assert gateway.asked[-1][2] == {"limit": 1}


@pytest.mark.parametrize("word", ["approve", "deny"])
def test_an_answer_is_for_what_was_shown_and_shows_it_first(gateway: Gateway, word: str) -> None:
    told = run(word, "ar-7q2m4v0xkd", "--comment", "as agreed")
    assert told.exit_code == Exit.OK
    assert "DELETE FROM loans" in told.stdout
    assert gateway.asked == [
        ("GET", "/api/v1/approvals/AR-7Q2M4V0XKD", {}),
        (
            "POST",
            f"/api/v1/approvals/AR-7Q2M4V0XKD/{word}",
            {"shown": "ab" * 32, "comment": "as agreed", "channel": "cli"},
        ),
    ]


@pytest.mark.parametrize(
    ("becomes", "words"),
    [
        ({"state": "granted"}, "AR-7Q2M4V0XKD is approved; the statement goes on."),
        ({"state": "granted", "live": False}, "is approved until 2026-01-31T09:15:00.000000Z; dev1 runs"),
        ({"state": "pending", "granted": 1}, "1 of 2 so far"),
        ({"state": "refused"}, "is refused."),
        ({"state": "spent"}, "is spent."),
    ],
)
def test_what_became_of_it_is_told(gateway: Gateway, becomes: dict[str, Any], words: str) -> None:
    gateway.becomes = becomes
    assert words in run("approve", "AR-7Q2M4V0XKD").stderr


def test_an_answer_in_json_is_json_alone(gateway: Gateway) -> None:
    assert json.loads(run("deny", "AR-7Q2M4V0XKD", "--json").stdout) == ROW | gateway.becomes


def test_a_refused_answer_is_a_failure_in_the_words_of_the_gateway(gateway: Gateway) -> None:
    gateway.refusal = CommandError("AR-7Q2M4V0XKD was approved already by cay")
    told = run("approve", "AR-7Q2M4V0XKD")
    assert isinstance(told.exception, CommandError)
    assert told.exception.code is Exit.FAILED


@pytest.mark.parametrize("hostile", ["x", "AR-", "AR-../../me", "AR-0?a=b", "AR-\u0660\u0661", "AR-a/approve", ""])
@pytest.mark.parametrize("command", ["show", "approve", "deny"])
def test_what_is_no_id_is_not_asked_for(gateway: Gateway, command: str, hostile: str) -> None:
    told = run(command, hostile)
    assert isinstance(told.exception, CommandError)
    assert told.exception.code is Exit.USAGE
    assert gateway.asked == []


@pytest.mark.parametrize("command", ["list", "show", "approve", "deny"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    told = run(command, "--help").stdout
    assert f"vestibule approvals {command}" in told.replace("│", "")
