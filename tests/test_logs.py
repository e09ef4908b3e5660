"""How the operator's log looks, whoever writes to it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from vestibule.logs import LONGEST, Format, configure


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    shown = capsys.readouterr()
    assert shown.out == "", "standard output is for what a command gives"
    return [json.loads(line) for line in shown.err.splitlines()]


def test_an_event_is_one_line_of_json_with_name_level_time_and_process(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "3")
    structlog.get_logger().warning("target_failed", target="core", cause="a\nb \x1b[31m é")
    [line] = said(capsys)
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "target_failed",
        "level": "warning",
        "process": "3",
        "target": "core",
        "cause": "a\nb \x1b[31m é",
    }


@pytest.mark.parametrize(("form", "is_terminal", "is_json"), [
    ("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)
])  # fmt: skip
def test_people_get_text_and_programs_get_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: Format, is_terminal: bool, is_json: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    configure(form, "control")
    structlog.get_logger().info("serving", url="https://v")
    shown = capsys.readouterr().err
    assert shown.startswith("{") is is_json
    assert "serving" in shown


def test_of_an_error_the_type_and_the_place_are_logged_and_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "3")

    def fail() -> None:
        raise ValueError("078-05-1120")

    try:
        fail()
    except ValueError:
        structlog.get_logger().critical("journal_writer_failed", exc_info=True)
    [line] = said(capsys)
    assert line["error"] == "ValueError"
    assert "fail:" in line["where"].split(" < ")[0]
    assert "1120" not in json.dumps(line)


def test_what_a_library_says_comes_without_what_it_put_into_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "control")
    try:
        raise KeyError("078-05-1120")
    except KeyError:
        logging.getLogger("uvicorn.error").error("Exception for %s\nsecret trace", "hunter2", exc_info=True)
    [line] = said(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("library_said", "error", "uvicorn.error")
    assert line["template"] == "Exception for %s"
    assert line["error"] == "KeyError"
    assert not [secret for secret in ("hunter2", "1120", "secret trace") if secret in json.dumps(line)]


def test_a_library_that_chats_is_not_heard(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "control")
    logging.getLogger("uvicorn.error").info("Started server process")
    assert said(capsys) == []


def test_a_field_without_end_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "3")
    structlog.get_logger().error("policy_not_applied", reason="x" * 1_000_000)
    [line] = said(capsys)
    assert len(line["reason"]) == LONGEST + 1
