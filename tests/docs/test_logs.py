"""The reference of the log is what the code logs."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from vestibule.logs import LONGEST
from vestibule.server.repeats import OPEN, WINDOW

CHECKOUT = Path(__file__).parents[2]
SOURCE = CHECKOUT / "src" / "vestibule"
PAGE = (CHECKOUT / "docs/reference/logs.md").read_text()
LEVELS = ("debug", "info", "warning", "error", "critical", "exception")


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger, with the file that it stands in."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "_log"), attr=level)) if level in LEVELS:
                    yield path.relative_to(SOURCE).as_posix(), node


def logged() -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for _, call in calls():
        event, level = call.args[0].value, call.func.attr  # type: ignore[attr-defined] - the test below sees to it
        fields = {str(keyword.arg) for keyword in call.keywords}
        found[event, level] |= (fields - {"exc_info"}) | ({"error", "where"} if "exc_info" in fields else set())
    found["library_said", "any"] = {"logger", "template"}
    return found


def test_an_event_is_a_name_and_everything_else_is_a_field() -> None:
    for place, call in calls():
        assert len(call.args) == 1, f"{place}:{call.lineno} formats a message"
        assert isinstance(call.args[0], ast.Constant), f"{place}:{call.lineno} computes its event"
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", call.args[0].value)
        assert all(keyword.arg for keyword in call.keywords), f"{place}:{call.lineno} hands over fields nobody sees"


def test_nothing_is_logged_that_could_hold_what_somebody_sent() -> None:
    told = {
        "text",
        "sql",
        "statement",
        "query",
        "token",
        "password",
        "secret",
        "value",
        "row",
        "parameters",
        "name",
        "user",
    }
    for place, call in calls():
        assert not told & {str(keyword.arg) for keyword in call.keywords}, f"{place}:{call.lineno}"


def test_the_table_is_the_code_s_in_both_directions() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", PAGE.split("## Every event")[1], re.MULTILINE)
    documented = {(event, level): set(re.findall(r"`(\w+)`", fields)) for event, level, fields, _ in rows}
    assert len(rows) == len(documented)
    assert documented == logged()


def test_nothing_is_printed_past_the_log() -> None:
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name.startswith("cli/") or name == "evidence/verify.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{name}:{node.lineno}"


def test_the_numbers_that_it_states_are_the_code_s() -> None:
    assert f"longer than {LONGEST:,} characters" in PAGE
    assert f"within {WINDOW:.0f} seconds" in PAGE
    assert f"Beyond {OPEN:,} different ones" in PAGE


def test_what_it_calls_bounded_is_what_has_a_count_and_nothing_else() -> None:
    bounded = PAGE.split("**What strangers cause is bounded**")[1].split("the first of")[0]
    assert set(re.findall(r"`(\w+)`", bounded)) == {
        event for (event, _), fields in logged().items() if "count" in fields
    }
