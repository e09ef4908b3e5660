"""Targets on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from vestibule.cli import targets
from vestibule.cli.root import build

ANSWER: dict[str, Any] = {
    "targets": [
        {
            "name": "core",
            "protocol": "postgres",
            "databases": ["core", "reports"],
            "labels": {"env": "production"},
            "user": "alice+core",
        }
    ],
    "port": 15432,
}


class Gateway:
    server = "https://vestibule.example:8443"

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, path: str) -> Any:
        assert (method, path) == ("GET", "/api/v1/targets")
        return self.answer


def run(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], *options: str) -> str:
    monkeypatch.setattr(targets, "logged_in", lambda: Gateway(answer))
    line = ("targets", *options)
    result = CliRunner().invoke(build(line), line)
    assert result.exit_code == 0, result.output
    return result.output


def test_each_database_is_shown_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    output = run(monkeypatch, ANSWER)
    assert "core (postgres, env=production)" in output
    assert "psql 'host=vestibule.example port=15432 user=alice+core dbname=reports'" in output


def test_json_is_what_the_gateway_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(run(monkeypatch, ANSWER, "--json")) == ANSWER


def test_nobody_is_left_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no target" in run(monkeypatch, {"targets": [], "port": 15432})
