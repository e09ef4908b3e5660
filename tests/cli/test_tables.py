"""Recorded results on a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from vestibule.cli.tables import Tables, ending, recorded, rendered, title


def table(statement: int = 1, at_us: int = 0, **more: Any) -> dict[str, Any]:
    column = {"name": "n", "type": 25, "masked": None}
    made = {"statement": statement, "at_us": at_us, "columns": [column], "continued": False, "rows": [["a"]]}
    return {**made, "ended": True, "tag": "SELECT 1", "error": None, **more}


def drawn(of: dict[str, Any]) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(rendered(of, str))
    return capture.get()


def test_tables_wait_for_their_moment_and_their_statement() -> None:
    tables = Tables(iter([table(1, 5), table(2, 6), table(3, 50)]))

    assert list(tables.until(4, {1, 2})) == []
    assert [each["statement"] for each in tables.until(10, {1})] == [1]
    assert [each["statement"] for each in tables.until(10, {1, 2})] == [2]
    assert [each["statement"] for each in tables.rest()] == [3]


def test_a_statement_that_ends_has_shown_everything_whatever_the_clocks_say() -> None:
    tables = Tables(iter([table(1, 500), table(2, 600)]))

    assert [each["statement"] for each in tables.until(10, {1, 2}, ending=1)] == [1]


def test_no_page_is_asked_for_before_it_is_wanted() -> None:
    class Counting:
        asked = 0

        def call(self, *_: object, query: dict[str, Any], **__: object) -> dict[str, Any]:
            self.asked += 1
            at = int(query.get("after", 0))
            return {"tables": [table(at + 1)], "next": str(at + 1), "over": at == 9}

    api = Counting()
    pages = recorded(api, "x")  # type: ignore[arg-type] # as far as it is asked
    next(pages)
    assert api.asked == 1
    assert len(list(pages)) == 9


def test_a_running_session_ends_where_nothing_new_comes() -> None:
    class Running:
        def call(self, *_: object, query: dict[str, Any], **__: object) -> dict[str, Any]:
            is_new = "after" not in query
            return {"tables": [table()] if is_new else [], "next": "0.5.0", "over": False}

    assert len(list(recorded(Running(), "x"))) == 1  # type: ignore[arg-type] # as far as it is asked


def test_a_table_that_goes_on_has_no_second_heading() -> None:
    assert "n" in drawn(table()).splitlines()[0]
    assert drawn(table(continued=True)).split() == ["a"]
    assert title(table(continued=True)) == "#1 rows (continued)"


@pytest.mark.parametrize("of", [table(columns=[]), table(continued=True, rows=[])])
def test_what_has_no_rows_to_draw_is_not_drawn(of: dict[str, Any]) -> None:
    assert rendered(of, str) is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "#1 SELECT 1"),
        ({"ended": False}, ""),
        ({"tag": None, "error": "22012 division by zero"}, "#1 22012 division by zero"),
        ({"tag": None}, "#1 suspended"),
    ],
)
def test_an_end_says_how(more: dict[str, Any], words: str) -> None:
    assert ending(table(**more)) == words
