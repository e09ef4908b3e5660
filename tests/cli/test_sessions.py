"""Sessions on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from vestibule.cli import sessions
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.root import build

SESSION = "3c77dd78-f9f6-41b4-a3d7-d27bfce7f2a4"
ABOUT: dict[str, Any] = {
    "session": SESSION,
    "opened_at": "2026-01-31T09:00:00.000000Z",
    "closed_at": "2026-01-31T09:00:30.500000Z",
    "issuer": "https://idp",
    "subject": "s-1",
    "name": "alice",
    "ip": "192.0.2.7",
    "port": 50_000,
    "banner": "psql",
    "target": "core",
    "account": "vestibule_rw",
    "database": "core",
    "cause": "client_closed",
    "statements": 2,
    "denied": 1,
    "complete": True,
}
ALLOWED: dict[str, Any] = {
    "number": 1,
    "decided_at": "2026-01-31T09:00:01.000000Z",
    "text": "SELECT pg_sleep(5)",
    "decision": "allow",
    "rule": "all",
    "cause": "granted",
    "outcome": "ok",
    "error_code": None,
    "error_text": None,
    "rows": 1,
    "duration_us": 5_000_000,
    "finished_at": "2026-01-31T09:00:09.000000Z",
}
DENIED = ALLOWED | {
    "number": 2,
    "decided_at": "2026-01-31T09:00:02.000000Z",
    "text": "DROP TABLE t; -- \x1b[2J[red]",
    "decision": "deny",
    "rule": "no dropping",
    "cause": "by migration only",
    "outcome": "refused",
}
HELD = ALLOWED | {"number": 3, "decision": "hold", "rule": "two people", "cause": "Ask.", "text": "DELETE FROM t"}
WAITS = HELD | {"outcome": None, "finished_at": None, "duration_us": None, "rows": None}


TABLES: list[dict[str, Any]] = [
    {
        "statement": 1,
        "at_us": 1_100_000,
        "columns": [
            {"name": "id", "type": 23, "masked": None},
            {"name": "ssn", "type": 25, "masked": "keep_last"},
            {"name": "place", "type": 600, "masked": None},
        ],
        "continued": False,
        "rows": [["1", "*****6789", {"bytes": 16}], ["2", None, None]],
        "ended": False,
        "tag": None,
        "error": None,
    },
    {
        "statement": 1,
        "at_us": 9_000_000,
        "columns": [{"name": "id", "type": 23, "masked": None}],
        "continued": True,
        "rows": [["3\x1b[2J"]],
        "ended": True,
        "tag": "SELECT 3",
        "error": None,
    },
]


class Gateway:
    """Answers as the control plane does."""

    server = "https://v"
    pages = ("0.0.0", "0.1.0", "1.0.0")

    def __init__(self, killed: bool = True) -> None:
        self.asked: list[tuple[str, str, Mapping[str, Any]]] = []
        self.killed = killed

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, path: str, query: Mapping[str, Any] | None = None) -> Any:
        self.asked.append((method, path, dict(query or {})))
        if path.endswith("/kill"):
            return {"session": SESSION, "killed": self.killed}
        if path == "/api/v1/sessions":
            more = "before" not in (query or {})
            return {"sessions": [ABOUT], "next": "cursor" if more else None}
        if path.endswith("/replay/results"):
            return self._results(query or {})
        after = (query or {})["after"]
        return {"session": ABOUT, "statements": [DENIED] if after else [ALLOWED], "next": None if after else 1}

    def _results(self, query: Mapping[str, Any]) -> Any:
        number = self.pages.index(query["after"]) if query.get("after") else 0
        known = [ALLOWED] if query.get("seen") == 0 else []
        over = number >= len(TABLES)
        following = self.pages[min(number + 1, len(TABLES))]
        page = {"tables": TABLES[number : number + 1], "next": following, "over": over, "missing": []}
        return {"session": ABOUT, "statements": known, **page}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setattr(sessions, "logged_in", lambda: made)
    monkeypatch.setenv("COLUMNS", "200")
    return made


def run(*arguments: str) -> Result:
    line = ("sessions", *arguments)
    return CliRunner().invoke(build(line), line)


def test_a_list_asks_for_what_was_named_and_goes_through_the_pages(gateway: Gateway) -> None:
    result = run("list", "--user", "alice", "--open", "--limit", "2")
    assert result.exit_code == 0, result.output
    assert gateway.asked[0][2] == {"user": "alice", "state": "open", "limit": 2}
    assert gateway.asked[1][2]["before"] == "cursor"
    assert "alice" in result.output
    assert "3c77dd78" in result.output


def test_a_list_as_json_is_what_the_gateway_gave(gateway: Gateway) -> None:
    assert json.loads(run("list", "--json", "--limit", "2").output) == [ABOUT, ABOUT]


def test_a_session_is_shown_whole_over_its_pages(gateway: Gateway) -> None:
    output = run("show", "3c77").output
    assert "SELECT pg_sleep(5)" in output
    assert "no dropping" in output
    assert [asked[2]["after"] for asked in gateway.asked] == [0, 1]


def test_hostile_text_reaches_the_terminal_without_its_teeth(gateway: Gateway) -> None:
    for command in ("show", "replay"):
        output = run(command, "3c77", *(["--speed", "0"] if command == "replay" else [])).output
        assert "\x1b[2J" not in output
        assert "?[2J[red]" in output


def test_a_replay_is_in_the_order_of_time() -> None:
    moments = sessions.timeline(ABOUT, [ALLOWED, DENIED])
    assert [(moment.at_us // 1_000_000, moment.text.split()[0]) for moment in moments] == [
        (0, "opened"),
        (1, "#1"),
        (2, "#2"),
        (6, "#1"),
        (30, "closed:"),
    ]


def test_a_held_statement_is_said_to_be_held_and_what_became_of_it_is_told() -> None:
    texts = [moment.text for moment in sessions.timeline(ABOUT, [HELD])]
    assert texts[1] == "#3 DELETE FROM t\nheld by rule 'two people': Ask."
    assert texts[2].startswith("#3 ok, 1 row")


def test_a_statement_that_is_still_held_has_no_end() -> None:
    assert len(sessions.timeline(ABOUT, [WAITS])) == 3


@pytest.mark.parametrize(("row", "ending"), [(HELD, "ok, 1 row"), (WAITS, "not ended")])
def test_the_table_says_that_a_statement_is_held(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, row: Mapping[str, Any], ending: str
) -> None:
    monkeypatch.setattr(sessions, "_whole", lambda *_: (ABOUT, [row]))
    output = run("show", "3c77").output
    assert "hold (two people)" in output
    assert ending in output
    assert "running" not in output


def test_an_outcome_is_never_later_than_its_record_nor_behind_the_end() -> None:
    quick = ALLOWED | {"finished_at": "2026-01-31T09:00:01.500000Z"}
    closed = ABOUT | {"closed_at": "2026-01-31T09:00:01.500000Z"}
    assert [moment.text.split()[0] for moment in sessions.timeline(closed, [quick])] == [
        "opened",
        "#1",
        "#1",
        "closed:",
    ]


@pytest.mark.parametrize(("speed", "slept"), [("1", [0, 1, 1, 4, 10]), ("10", [0, 0.1, 0.1, 0.4, 2.45]), ("0", [])])
def test_a_replay_keeps_the_pauses_or_is_faster(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, speed: str, slept: list[float]
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("vestibule.cli.sessions.time.sleep", pauses.append)
    result = run("replay", "3c77", "--speed", speed)
    assert result.exit_code == 0, result.output
    assert pauses == pytest.approx(slept)
    assert "denied by rule 'no dropping'" in result.output


def test_a_killed_session_is_said_to_have_ended(gateway: Gateway) -> None:
    result = run("kill", "3c77")
    assert result.exit_code == 0
    assert gateway.asked == [("POST", "/api/v1/sessions/3c77/kill", {})]


def test_a_session_that_was_not_open_is_a_failure(gateway: Gateway) -> None:
    gateway.killed = False
    result = run("kill", "3c77")
    assert isinstance(result.exception, CommandError)
    assert result.exception.code is Exit.FAILED


@pytest.mark.parametrize("session", ["../me", "x y", "3c77?limit=1"])
def test_what_is_no_id_goes_nowhere(gateway: Gateway, session: str) -> None:
    result = run("show", session)
    assert isinstance(result.exception, CommandError)
    assert result.exception.code is Exit.USAGE
    assert gateway.asked == []


def test_what_was_shown_stands_under_its_statement_and_before_its_outcome(gateway: Gateway) -> None:
    output = run("replay", "3c77", "--speed", "0").output
    places = [output.index(words) for words in ("SELECT pg_sleep(5)", "*****6789", "3?[2J", "#1 ok")]

    assert places == sorted(places)
    assert "ssn (keep_last)" in output
    assert "NULL" in output
    assert "16 bytes" in output
    assert "\x1b[2J" not in output


def test_a_replay_as_json_has_the_tables_at_their_moments(gateway: Gateway) -> None:
    told = json.loads(run("replay", "3c77", "--json").output)

    assert [each["at_us"] for each in told] == sorted(each["at_us"] for each in told)
    assert [each["rows"] for each in told if "rows" in each] == [table["rows"] for table in TABLES]


def test_following_shows_statements_and_rows_as_they_come_until_the_end(gateway: Gateway) -> None:
    result = run("replay", "3c77", "--follow")
    assert result.exit_code == 0, result.output
    places = [result.output.index(words) for words in ("SELECT pg_sleep(5)", "*****6789", "#1 SELECT 3", "closed:")]

    assert places == sorted(places)
    asked = [query for _, _, query in gateway.asked]
    assert [(query["after"], query["seen"]) for query in asked] == [("0.0.0", 0), ("0.1.0", 1), ("1.0.0", 1)]
    assert all(query["wait"] == 20 for query in asked)


def test_following_as_json_is_a_page_a_line(gateway: Gateway) -> None:
    lines = run("replay", "3c77", "--follow", "--json").output.splitlines()

    assert [len(json.loads(line)["tables"]) for line in lines] == [1, 1, 0]
